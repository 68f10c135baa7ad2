# Names -> packages, in one evaluation. Names are data and are only compared with attribute names, never evaluated as
# code.
#
#   nix-instantiate --eval --strict --json --read-write-mode -I nixery-packages=SET -I nixery-request=FILE resolve.nix
#
# FILE:     JSON: { system, names = [ "python3packages.requests" … ],                       in any case
#             allow = { unfree, insecure, broken }, config, aliases, examples }          may be left out
#           allow:    { names, patterns } each: pnames or names of packages that nixpkgs must not refuse
#           config:   true if -I nixery-config=FILE is given: { config, overlays } for nixpkgs, or a function to that
#           aliases:  { everywhere, named }, see src/nix/blocked.h
#           examples: false if no package inside a requested set is wanted as an example (default: true)
# result:   { packages = [ … ]; problems = [ … ]; outermost; cacert }           packages is empty if there are problems;
#           problems: the first one at most; outermost: the set's names if a name within another set is unknown
#           cacert: as a package; null if the set has none; "throws" if it cannot be evaluated
#
# SET is nixpkgs or a similar set: an attribute set of derivations, or a function that returns one.
#
# The last line "trace: nixery-at STEP NAME" on standard error says where a failed evaluation was. STEP is
#   looking     the attribute is looked up       thrown    the attribute, or a set on the way to it, is a `throw`
#   describing  the package is evaluated         example   a requested set is searched for an example
# Without such a line, the set itself cannot be evaluated.
let
  inherit (builtins)
    any attrNames concatMap concatStringsSep deepSeq elem elemAt filter foldl' fromJSON functionArgs genList hasAttr head
    intersectAttrs isAttrs isFunction isList isString length map match parseDrvName readFile replaceStrings seq
    split stringLength substring tail trace tryEval unsafeDiscardStringContext;

  asked = { allow = { }; config = false; examples = true; } // fromJSON (readFile <nixery-request>);

  set =
    let
      imported = import <nixery-packages>;
      arguments = { inherit (asked) system; inherit (settings) config overlays; };
      taken = functionArgs imported;
      takes = name: isFunction imported && (taken == { } || taken ? ${name});
      lacks = name: asked.config && settings.given.${name} && !takes name;
    in
    if lacks "config" || lacks "overlays" then
      throw "the package set takes no config and overlays, so NIXERY_NIXPKGS_CONFIG cannot have an effect"
    else if !isFunction imported then imported
    else imported (if taken == { } then arguments else intersectAttrs taken arguments);

  # The configuration and overlays of nixpkgs: the operator's file, and the packages that are allowed by name.
  settings =
    let
      file = import <nixery-config>;
      value = if isFunction file then file { inherit (asked) system; } else file;
      others = filter (name: name != "config" && name != "overlays") (attrNames value);
      given =
        if !asked.config then { }
        else if !isAttrs value then throw "NIXERY_NIXPKGS_CONFIG is no set of config and overlays"
        else if others != [ ] then
          throw "NIXERY_NIXPKGS_CONFIG has '${head others}', but only 'config' and 'overlays' have an effect"
        else value;
      theirs = given.config or { };
    in
    {
      config = if isFunction theirs then arguments: withAllowed (theirs arguments) else withAllowed theirs;
      overlays = given.overlays or [ ];
      given = { config = given ? config; overlays = given ? overlays; };
    };

  # Adds the lists of allowed packages to nixpkgs' configuration `theirs`. Predicates in `theirs` keep their effect.
  withAllowed = theirs:
    let
      lists = kind: asked.allow.${kind} or { names = [ ]; patterns = [ ]; };
      isListed = kind: name:
        let list = lists kind; in elem (lower name) list.names || any (pattern: match pattern (lower name) != null) list.patterns;
      # nixpkgs gives either `name`, or `pname` and `version`.
      nameOf = package: package.name or "${package.pname or ""}-${package.version or ""}";
      pnameOf = package: package.pname or (parseDrvName package.name).name;
      isAllowed = kind: package:
        any (isListed kind) (map unsafeDiscardStringContext [ (nameOf package) (pnameOf package) ]);
      hasList = kind: lists kind != { names = [ ]; patterns = [ ]; };
      predicate = kind: option: otherwise:
        if hasList kind then { ${option} = package: isAllowed kind package || (theirs.${option} or otherwise) package; } else { };

      # Older releases have no allowBrokenPredicate, but call handleEvalIssue with a message that names the package.
      broken = predicate "broken" "allowBrokenPredicate" (_: false) // {
        handleEvalIssue = reason: message:
          let
            plain = replaceStrings [ "‘" "’" "\n" ] [ "'" "'" " " ] message;
            named = match "Package '([^']*)' in .*" plain;
          in
          if reason == "broken" && named != null && isAllowed "broken" { name = head named; } then true
          else (theirs.handleEvalIssue or (_: throw)) reason message;
      };
      isAll = kind: elem ".*" (lists kind).patterns;
    in
    theirs // { allowUnfree = isAll "unfree" || theirs.allowUnfree or false; }
    // predicate "unfree" "allowUnfreePredicate" (_: false)
    // predicate "insecure" "allowInsecurePredicate" (package: elem (nameOf package) (theirs.permittedInsecurePackages or [ ]))
    // (if isAll "broken" then { allowBroken = true; } else if hasList "broken" then broken else { });

  characters = text: genList (i: substring i 1 text) (stringLength text);
  lower = replaceStrings (characters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (characters "abcdefghijklmnopqrstuvwxyz");

  # The attribute of `attrs` for `name`: an exact match, else the first that differs in case only, else "_7zz" for "7zz"
  # (no part of an image name can begin with an underscore), else null.
  spelling = attrs: name:
    let
      spelt = name:
        let
          lowered = lower name;
          size = stringLength name;
          # Lengths first: `lower` takes much longer, and a set may have 25,000 names.
          alike = filter (candidate: stringLength candidate == size && lower candidate == lowered) (attrNames attrs);
        in
        if hasAttr name attrs then name
        else if alike == [ ] then null
        else head alike;
      plain = spelt name;
    in
    if plain == null && match "[0-9].*" name != null then spelt "_${name}" else plain;

  isPackage = value: isAttrs value && (value.type or null) == "derivation";

  # Walks down from `value` along the components `rest`; `done` are the visited ones, in the set's spelling.
  descend = done: rest: value:
    if rest == [ ] then { attribute = concatStringsSep "." done; inherit value; }
    else if !isAttrs value then { problem = "unknown"; names = [ ]; within = concatStringsSep "." done; }
    else
      let spelt = spelling value (head rest); in
      if spelt == null then { problem = "unknown"; names = attrNames value; within = concatStringsSep "." done; }
      else descend (done ++ [ spelt ]) (tail rest) value.${spelt};

  components = path: filter isString (split "\\." path);

  # What a step of a candidate leads to from each of `sets`.
  enter = sets: step: concatMap
    (attrs:
      if !optional false (isAttrs attrs) then [ ]
      else map (name: attrs.${name}) (
        if step ? pattern then filter (name: match step.pattern (lower name) != null) (attrNames attrs)
        else let spelt = spelling attrs step.name; in if spelt == null then [ ] else [ spelt ]))
    sets;

  # The packages that a candidate leads to.
  leadsTo = candidate: filter (value: optional false (isPackage value)) (map
    (attrs: (optional { } (descend [ ] (components candidate.path) attrs)).value or null)
    (foldl' enter [ set ] candidate.within));
  aliases = { everywhere = [ ]; named = { }; } // asked.aliases or { };
  candidatesEverywhere = concatMap leadsTo aliases.everywhere;

  # Whether `package` also has a blocked path. Names are compared first, which instantiates nothing.
  isBlocked = name: package:
    let isIt = other: optional false ((other.name or null) == (package.name or null) && other.drvPath == package.drvPath); in
    any isIt candidatesEverywhere || any isIt (concatMap leadsTo (aliases.named.${name} or [ ]));

  at = step: name: trace "nixery-at ${step} ${name}";

  find = name: at "looking" name (
    let found = descend [ ] (components name) set; in
    if !(tryEval (found.value or null)).success then at "thrown" name found.value
    else if found ? problem then found // { requested = name; }
    else if isPackage found.value then
      if isBlocked name found.value then { problem = "blocked"; requested = name; }
      else if optional false (found.value.meta.unsupported or false) then { problem = "unsupported"; requested = name; inherit (found) attribute; }
      else found // { requested = name; }
    else {
      problem = if isAttrs found.value then "set" else "no package";
      requested = name;
      inherit (found) attribute;
      example = if isAttrs found.value && asked.examples then at "example" name (exampleIn found.value) else "";
    });

  # The first package of `attrs` that an image name can spell; empty if the first few attributes are none.
  exampleIn = attrs:
    let
      canBeTyped = name: match "_?[0-9].*|[a-zA-Z].*" name != null && match "[a-zA-Z0-9_-]*[a-zA-Z0-9]" name != null
        && match ".*(___|-_|_-).*" name == null;
      candidates = filter canBeTyped (attrNames attrs);
      isGood = value: optional false (isPackage value && isString value.name && value.meta.available or true);
      from = n:
        if n == length candidates || n == 50 then ""
        else if isGood attrs.${elemAt candidates n} then elemAt candidates n
        else from (n + 1);
    in
    from 0;

  # Optional metadata must not make an image fail.
  optional = fallback: value: let tried = tryEval value; in if tried.success then tried.value else fallback;
  text = value: let tried = optional null value; in if isString tried then unsafeDiscardStringContext tried else "";

  licenses = meta:
    let
      given = optional [ ] (meta.license or [ ]);
      name = license: if isString license then license else text (license.spdxId or license.fullName or license.shortName or "");
    in
    filter (license: license != "") (map name (if isList given then given else [ given ]));

  # meta.outputsToInstall are the outputs for interactive installation; a container needs no manuals.
  installed = package:
    let
      meta = package.meta or { };
      outputs = package.outputs or [ "out" ];
      wanted = optional null (meta.outputsToInstall or null);
      chosen =
        if package.outputSpecified or false then [ package.outputName ]
        else if isList wanted && wanted != [ ] then wanted
        else [ (if elem "bin" outputs then "bin" else head outputs) ];
      programs = filter (output: !(elem output [ "man" "doc" "info" "devman" "devdoc" ])) chosen;
    in
    if programs == [ ] then chosen else programs;

  describe = found:
    let
      package = found.value;
      meta = package.meta or { };
      priority = optional 5 (meta.priority or 5);
    in
    {
      inherit (found) requested attribute;
      inherit priority;
      drvPath = unsafeDiscardStringContext package.drvPath;
      outputs = map (output: {
        name = output;
        path = unsafeDiscardStringContext (if package ? ${output} then package.${output} else package).outPath;
      }) (installed package);
      name = text package.name;
      pname = text (package.pname or (parseDrvName package.name).name);
      version = text (package.version or (parseDrvName package.name).version);
      description = text (meta.description or "");
      homepage = let given = optional "" (meta.homepage or ""); in text (if isList given then head given else given);
      mainProgram = text (meta.mainProgram or "");
      licenses = licenses meta;
    };

  found = seq set (map find asked.names);
  problems = filter (result: result ? problem) found;
in
{
  # Only the first is reported, and an unknown name brings all names of its set.
  problems = if problems == [ ] then [ ] else [ (head problems) ];
  # To know what "python3.11" was to be.
  outermost = if (head (problems ++ [ { } ])).within or "" == "" then [ ] else attrNames set;
  packages = if problems == [ ] then map (found: at "describing" found.requested (describe found)) found else [ ];
  # Every image gets CA certificates if the set has them. One that throws must not fail all images.
  cacert =
    let
      value = set.cacert or null;
      described = describe { requested = "cacert"; attribute = "cacert"; inherit value; };
    in
    if problems != [ ] || !isAttrs set || !optional true (isPackage value) then null
    else optional "throws" (at "describing" "cacert" (deepSeq described described));
}
