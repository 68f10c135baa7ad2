# A package set that Nixery's own image can be built from: another one, with nix/overlay.nix. packaging/build-image uses it.
#
#   NIXERY_PKGS_PATH=$(nix-build nix/image.nix) NIXERY_IMAGES=packaging/image \
#     nixery build --docker-archive nixery.tar nixery/server:0.1.0
#
# `packages` is nixpkgs, or a set that nix/debian-packages made with nixery in it (--deb).
{ packages ? <nixpkgs>, system ? builtins.currentSystem }:

let
  inherit (import packages { inherit system; }) bashInteractive coreutils;
  base = builtins.path { name = "packages"; path = packages; };
  source = import ./source.nix;
  text = ''
    { system, config ? { }, overlays ? [ ], ... }:
    import ${base} { inherit system config; overlays = overlays ++ [ (import ${source}/nix/overlay.nix) ]; }
  '';
in
derivation {
  name = "nixery-image-packages";
  inherit system text;
  builder = "${bashInteractive}/bin/bash";
  PATH = "${coreutils}/bin";
  args = [ "-c" "mkdir $out; printf %s \"$text\" >$out/default.nix" ];
}
