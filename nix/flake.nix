# In a subdirectory: use it as  git+https://HOST/nixery?dir=nix
{
  description = "Container registry that builds an image from its name when it is pulled";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      forEach = make: builtins.listToAttrs (map (system: { name = system; value = make nixpkgs.legacyPackages.${system}; })
        [ "x86_64-linux" "aarch64-linux" ]);
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./package.nix { };
        # A package set: NIXERY_PKGS_PATH for building Nixery's own image (packaging/image).
        imagePackages = import ./image.nix { packages = pkgs.path; inherit (pkgs) system; };
      });
      overlays.default = import ./overlay.nix;
      nixosModules.default = import ./module.nix;
    };
}
