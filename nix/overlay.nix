# What Nixery's own image needs beyond a package set. For nixpkgs, and for nix/debian-packages with nixery in it.
final: previous:

{
  nixery = if previous ? stdenv then final.callPackage ./package.nix { }
    else previous.nixery or (throw "this package set has no nixery: generate it with --deb");

  # What Nix has to know of that image's store paths, of this package's among them:
  #   nix-store --register-validity </share/nixery/registration
  nixery-registration =
    let
      inherit (builtins) concatLists elemAt filter fromJSON genList getAttr length readFile;
      declared = (fromJSON (readFile ../packaging/image/nixery.json)).contents;
      packages = map (name: getAttr name final) (filter (name: name != "nixery-registration") declared);
    in
    derivation {
      name = "nixery-registration";
      inherit (final.bashInteractive) system;
      builder = "${final.bashInteractive}/bin/bash";
      PATH = "${final.coreutils}/bin";
      inherit packages;
      exportReferencesGraph = concatLists (genList (i: [ "graph-${toString i}" (elemAt packages i) ]) (length packages));
      # A record is a path, its derivation, how many paths it refers to, and these.
      args = [ "-c" ''
        mkdir -p $out/share/nixery
        { cat graph-*; printf '%s\n\n%s\n' $out $(wc -w <<<"$packages"); printf '%s\n' $packages; } >$out/share/nixery/registration
      '' ];
    };
}
