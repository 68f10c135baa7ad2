# Here, and not at the top, because that is kept small: use it as  git+https://HOST/nixery?dir=nix
{
  description = "Container registry that builds an image from its name when it is pulled";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      forEach = make: builtins.listToAttrs (map (system: { name = system; value = make nixpkgs.legacyPackages.${system}; })
        [ "x86_64-linux" "aarch64-linux" ]);
    in
    {
      packages = forEach (pkgs: { default = pkgs.callPackage ./package.nix { }; });
      overlays.default = final: _: { nixery = final.callPackage ./package.nix { }; };
      nixosModules.default = import ./module.nix;
    };
}
