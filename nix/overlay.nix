# Additions to a package set for Nixery's own image: for nixpkgs, and for nix/debian-packages with nixery.
final: previous:

{
  nixery = if previous ? stdenv then final.callPackage ./package.nix { }
    else previous.nixery or (throw "this package set has no nixery: generate it with --deb");

  # Registration of that image's store paths, including this package's, in Nix's database:
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
      # A record is a path, its derivation, the number of its references, and the references.
      args = [ "-c" ''
        mkdir -p $out/share/nixery
        { cat graph-*; printf '%s\n\n%s\n' $out $(wc -w <<<"$packages"); printf '%s\n' $packages; } >$out/share/nixery/registration
      '' ];
    };
}
