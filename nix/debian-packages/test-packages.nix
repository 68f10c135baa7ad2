# Packages for tests, of the kinds that go wrong or take long. They are in a set made with --with-test-packages alone.
{ packages, stage0, config, system }:

let
  inherit (builtins) concatStringsSep genList listToAttrs map;

  package = { pname, version ? "1.0", script ? "mkdir -p $out/bin", meta ? { } }:
    let
      name = "${pname}-${version}";
      drv = derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "${stage0}/busybox";
        args = [ "sh" "-c" script ];
      };
    in
    drv // {
      inherit pname version;
      outputs = [ "out" ];
      meta = { description = "A package for tests"; priority = 5; outputsToInstall = [ "out" ]; } // meta;
    };

  # As nixpkgs' check-meta says it: the package can be looked at, but not be had.
  refuse = reason: refused:
    let
      message = "Package ‘${refused.name}’ in ${toString ./test-packages.nix}:1 ${reason}, refusing to evaluate.";
    in
    refused // { drvPath = throw message; outPath = throw message; out = throw message; };

  program = name: text: ''
    mkdir -p $out/bin
    printf '#!${packages.dash.out}/bin/sh\n%s\n' '${text}' > $out/bin/${name}
    chmod +x $out/bin/${name}
  '';

  allowed = flag: config.${flag} or false;
in
{
  # Says much, then fails.
  failingPackage = package {
    pname = "failing-package";
    script = ''
      for line in ${concatStringsSep " " (genList (n: toString (n + 1)) 39)}; do echo "line $line of the log"; done
      echo "line 40 of the log: this is the reason"
      exit 1
    '';
  };

  # slow.s30 takes thirty seconds.
  slow = { recurseForDerivations = false; } // listToAttrs (map
    (seconds: {
      name = "s${toString seconds}";
      value = package {
        pname = "slow-s${toString seconds}";
        script = "sleep ${toString seconds} # ${system}\n" + program "slow" "echo slow";
        meta.mainProgram = "slow";
      };
    })
    [ 1 2 5 10 20 30 60 120 360 ]);

  brokenPackage =
    let it = package { pname = "broken-package"; meta.broken = true; };
    in if allowed "allowBroken" then it else refuse "is marked as broken" it;

  unfreePackage =
    let
      it = package {
        pname = "unfree-package";
        meta = {
          unfree = true;
          license = { free = false; fullName = "Unfree"; shortName = "unfree"; };
        };
      };
    in if allowed "allowUnfree" then it else refuse "has an unfree license (‘unfree’)" it;

  amd64Only =
    let it = package { pname = "amd64-only"; script = program "amd64-only" "echo amd64"; meta.platforms = [ "x86_64-linux" ]; };
    in if system == "x86_64-linux" then it else refuse "is not available on the requested hostPlatform" it;

  unsupportedPackage =
    let it = package { pname = "unsupported-package"; meta = { platforms = [ "riscv64-linux" ]; unsupported = true; }; };
    in if allowed "allowUnsupportedSystem" then it else refuse "is not available on the requested hostPlatform" it;

  # Its name is not known before another derivation is built.
  importFromDerivation = package {
    pname = builtins.readFile (package { pname = "imported-name"; script = "printf imported > $out"; });
  };

  notAPackage = { };

  aFunction = { name }: name;

  aString = "no package";

  throwingPackage = throw "this attribute always throws";
}
