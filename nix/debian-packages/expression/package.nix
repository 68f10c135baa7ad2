# One package: some .debs, unpacked into a derivation and made to find their dependencies in the store.
{ stage0, triplet, loader, pageSize }:

let
  inherit (builtins) head listToAttrs map;

  # The path depends on name and digest alone, so it is valid already where `generate` added the file.
  fetch = { name, url, sha256 }@deb:
    if builtins.substring 0 5 url != "debs/" then download deb
    else builtins.path { inherit name sha256; path = ./. + "/${url}"; recursive = false; };

  # As <nix/fetchurl.nix> would.
  download = { name, url, sha256 }: derivation {
    inherit name url;
    system = "builtin";
    builder = "builtin:fetchurl";
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = sha256;
    executable = false;
    unpack = false;
    preferLocalBuild = true;
    urls = [ url ];
    impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
  };
in

packages:
{ pname, version, debs, outputs, meta, depends ? [ ], closure ? [ ], alternatives ? [ ], fixup ? null }:

let
  drv = derivation {
    inherit pname version outputs alternatives triplet loader pageSize stage0;
    name = "${pname}-${version}";
    # Where it is built, which is where stage0 runs; what the package itself runs on is in meta.platforms.
    system = "x86_64-linux";
    builder = "${stage0}/busybox";
    args = [ "sh" ./builder.sh ];
    debs = map fetch debs;
    depends = map (name: packages.${name}.out) depends;
    closure = map (name: packages.${name}.out) closure;
    fixup = if fixup == null then "" else ./fixups + "/${fixup}";
  };

  common = drv // listToAttrs results // {
    inherit pname version outputs meta;
    all = map (result: result.value) results;
  };

  results = map
    (name: {
      inherit name;
      value = common // {
        inherit (drv.${name}) drvPath outPath type outputName;
        outputSpecified = true;
      };
    })
    outputs;
in
common // { inherit (drv.${head outputs}) drvPath outPath outputName; }
