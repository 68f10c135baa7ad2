# Names -> packages, in one evaluation. Names come in as data and are only ever compared with attribute names, so none
# of them can be read as code.
#
#   nix-instantiate --eval --strict --json --read-write-mode -I nixery-packages=SET resolve.nix --argstr request JSON
#
# request:  { system, config, names = [ "python3packages.requests" … ],           in any case
#             aliases }                                                           see src/nix/blocked.h; may be left out
# result:   { packages = [ … ]; cacert = … or null; problems = [ … ]; }           packages is empty if there are problems
#
# SET is nixpkgs, or anything of its shape: an attribute set of derivations, or a function to one.
{ request }:

let
  inherit (builtins)
    any attrNames concatMap concatStringsSep elem filter foldl' fromJSON functionArgs genList hasAttr head intersectAttrs
    isAttrs isFunction isList isString length map match replaceStrings split stringLength substring tail trace tryEval unsafeDiscardStringContext;

  asked = fromJSON request;

  set =
    let
      imported = import <nixery-packages>;
      arguments = { inherit (asked) system config; overlays = [ ]; };
      taken = functionArgs imported;
    in
    if !isFunction imported then imported
    else imported (if taken == { } then arguments else intersectAttrs taken arguments);

  characters = text: genList (i: substring i 1 text) (stringLength text);
  lower = replaceStrings (characters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (characters "abcdefghijklmnopqrstuvwxyz");

  # How `name` is spelt in `attrs`: exactly, else in the first attribute that differs only in case, else null.
  spelling = attrs: name:
    let alike = filter (candidate: lower candidate == lower name) (attrNames attrs); in
    if hasAttr name attrs then name
    else if alike == [ ] then null
    else head alike;

  isPackage = value: isAttrs value && (value.type or null) == "derivation";

  # Walks down from `value` along the components `rest`; `done` are those behind us, as they are spelt.
  descend = done: rest: value:
    if rest == [ ] then { attribute = concatStringsSep "." done; inherit value; }
    else if !isAttrs value then { problem = "unknown"; names = [ ]; within = concatStringsSep "." done; }
    else
      let spelt = spelling value (head rest); in
      if spelt == null then { problem = "unknown"; names = attrNames value; within = concatStringsSep "." done; }
      else descend (done ++ [ spelt ]) (tail rest) value.${spelt};

  components = path: filter isString (split "\\." path);

  # What a step of an alias candidate leads to from each of `sets`.
  enter = sets: step: concatMap
    (attrs:
      if !optional false (isAttrs attrs) then [ ]
      else map (name: attrs.${name}) (
        if step ? pattern then filter (name: match step.pattern (lower name) != null) (attrNames attrs)
        else let spelt = spelling attrs step.name; in if spelt == null then [ ] else [ spelt ]))
    sets;

  # Whether the set has `package` under a blocked path, too. Names are compared first, as that instantiates nothing.
  isBlocked = name: package:
    let
      isIt = path: attrs: optional false (
        let found = descend [ ] path attrs; in
        found ? value && isPackage found.value && (found.value.name or null) == (package.name or null)
        && found.value.drvPath == package.drvPath);
    in
    any (candidate: any (isIt (components candidate.path)) (foldl' enter [ set ] candidate.within)) ((asked.aliases or { }).${name} or [ ]);

  # The last of these lines before an error tells which package it was.
  resolving = name: trace "nixery-resolving ${name}";

  find = name: resolving name (
    let found = descend [ ] (components name) set; in
    if found ? problem then found // { requested = name; }
    else if isPackage found.value then
      if isBlocked name found.value then { problem = "blocked"; requested = name; }
      else if optional false (found.value.meta.unsupported or false) then { problem = "unsupported"; requested = name; inherit (found) attribute; }
      else found // { requested = name; }
    else {
      problem = if isAttrs found.value then "set" else "no package";
      requested = name;
      inherit (found) attribute;
      names = if isAttrs found.value then attrNames found.value else [ ];
    });

  # What only informs must not fail an image.
  optional = fallback: value: let tried = tryEval value; in if tried.success then tried.value else fallback;
  text = value: let tried = optional null value; in if isString tried then unsafeDiscardStringContext tried else "";

  licenses = meta:
    let
      given = optional [ ] (meta.license or [ ]);
      name = license: if isString license then license else text (license.spdxId or license.fullName or license.shortName or "");
    in
    filter (license: license != "") (map name (if isList given then given else [ given ]));

  # meta.outputsToInstall is what a person gets who installs the package; a container needs no manuals.
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
    resolving found.requested {
      inherit (found) requested attribute;
      inherit priority;
      drvPath = unsafeDiscardStringContext package.drvPath;
      outputs = map (output: {
        name = output;
        path = unsafeDiscardStringContext (if package ? ${output} then package.${output} else package).outPath;
      }) (installed package);
      name = text package.name;
      pname = text (package.pname or (builtins.parseDrvName package.name).name);
      version = text (package.version or (builtins.parseDrvName package.name).version);
      description = text (meta.description or "");
      homepage = let given = optional "" (meta.homepage or ""); in text (if isList given then head given else given);
      mainProgram = text (meta.mainProgram or "");
      licenses = licenses meta;
    };

  found = map find asked.names;
  problems = filter (result: result ? problem) found;
in
{
  inherit problems;
  packages = if problems == [ ] then map describe found else [ ];
  # Certificates go into every image that the set has them for.
  cacert = if problems == [ ] && isAttrs set && isPackage (set.cacert or null)
    then describe { requested = "cacert"; attribute = "cacert"; value = set.cacert; } else null;
}
