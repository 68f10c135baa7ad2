# A package set of nixpkgs' shape whose packages are Debian's. Written by `generate`; nothing here needs a network once
# the .debs are in the store, where `generate` put them.
{ system ? builtins.currentSystem, config ? { }, overlays ? [ ], ... }:

let
  inherit (builtins)
    attrNames concatStringsSep filter foldl' fromJSON head isString listToAttrs map mapAttrs pathExists readDir readFile
    replaceStrings split tail;

  data = ./packages + "/${system}.json";

  generated =
    if pathExists data then fromJSON (readFile data)
    else throw "this package set has no packages for ${system}, only for ${concatStringsSep ", "
      (map (replaceStrings [ ".json" ] [ "" ]) (attrNames (readDir ./packages)))}";

  # The tools of every build: static, or started through the loader among them.
  stage0 = builtins.path { name = "debian-packages-stage0"; path = ./stage0; };

  mkPackage = import ./package.nix { inherit (generated) triplet loader pageSize; inherit stage0; };

  packages = mapAttrs (name: mkPackage packages) generated.packages;

  # "python3Packages.requests" is requests in the set python3Packages.
  insert = set: path: value:
    set // {
      ${head path} =
        if tail path == [ ] then value
        else insert (set.${head path} or { recurseForDerivations = true; }) (tail path) value;
    };

  named = foldl'
    (set: name: insert set (filter isString (split "\\." name)) packages.${generated.attributes.${name}})
    { }
    (attrNames generated.attributes);

  testPackages =
    if pathExists ./test-packages.nix then import ./test-packages.nix { inherit packages stage0 config system; }
    else { };

  final = foldl' (previous: overlay: previous // overlay final previous)
    (named // testPackages // {
      # Every package under Debian's name, those that others only depend on as well.
      debianPackages = packages // { recurseForDerivations = false; };
    })
    overlays;
in
final
