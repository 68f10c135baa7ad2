"""nix/: the package, the flake and the NixOS module evaluate and match the program. nixpkgs is not needed: a small
substitute has the parts that these files use."""

import json
import os
import re
import shutil
import subprocess

import pytest

from engines import check, program
from registry import ROOT, nix_settings

# Options have their default or set value; a false condition gives nothing. Types must exist.
STAND_IN = r"""
rec {
  lib = {
    mkEnableOption = description: { default = false; inherit description; };
    mkOption = option: assert option ? type && option ? description; option;
    mkIf = condition: value: if condition then value else { };
    types = { package = "package"; str = "str"; int = "int"; bool = "bool"; nullOr = t: t; attrsOf = t: t; oneOf = ts: ts; };
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    removePrefix = prefix: text:
      if lib.hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
    makeBinPath = packages: builtins.concatStringsSep ":" (map (p: "${p}/bin") packages);
    licenses.asl20 = "Apache-2.0";
  };
  packages = builtins.listToAttrs (map (name: { inherit name; value = name; }) [
    "meson" "ninja" "pkg-config" "python3" "makeWrapper" "curl" "fcgi" "fmt" "libarchive" "libdeflate" "libyaml" "openssl"
    "rapidjson" "zstd" "nix" "git" "openssh" "cacert" ]);
  scope = packages // { inherit lib callPackage; stdenv.mkDerivation = given: given // { outPath = "/PACKAGE"; }; };
  # Like nixpkgs: a package's arguments must exist.
  callPackage = file: more:
    let asked = import file; in asked (builtins.mapAttrs (name: _: scope.${name}) (builtins.functionArgs asked) // more);
  pkgs = scope;

  evaluate = file: given:
    let
      config = { services.nixery = settled; services.nginx.group = "nginx"; nix.package = "nix"; };
      module = import file { inherit config lib pkgs; };
      options = module.options.services.nixery;
      settled = builtins.mapAttrs (name: option: given.${name} or option.default) options;
    in
    assert builtins.all (name: options ? ${name}) (builtins.attrNames given);
    module.config;
}
"""


@pytest.fixture
def nix(directory):
    (directory / "stand-in.nix").write_text(STAND_IN)
    env = {**os.environ, **nix_settings(), "HOME": str(directory)}

    def evaluate(expression: str):
        whole = f"with import {directory}/stand-in.nix; {expression}"
        words = [program("nix-instantiate", "nix-bin"), "--eval", "--strict", "--json", "--read-write-mode", "--expr", whole]
        done = subprocess.run(words, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    evaluate.env = env
    return evaluate


def module(nix, given: str):
    return nix(f"builtins.removeAttrs (evaluate {ROOT}/nix/module.nix {given}) []")


def failed(evaluated) -> list[str]:
    return [claim["message"] for claim in evaluated["assertions"] if not claim["assertion"]]


def test_the_package_has_the_project_s_version_and_libraries(nix):
    text = (ROOT / "meson.build").read_text()
    package = nix(f"builtins.removeAttrs (callPackage {ROOT}/nix/package.nix {{ }}) [ \"outPath\" ]")
    assert f"version: '{package['version']}'" in text
    libraries = {"RapidJSON": "rapidjson", "libcurl": "curl", "libcrypto": "openssl", "libzstd": "zstd", "yaml-0.1": "libyaml"}
    for name in set(re.findall(r"^  dependency\('([\w.-]+)'", text, flags=re.M)) - {"threads"}:
        assert libraries.get(name, name) in package["buildInputs"], name
    assert "nix/bin:git/bin:openssh/bin" in package["postInstall"]


def test_the_packages_source_has_exactly_the_files_that_meson_needs(nix):
    source = nix(f"toString (callPackage {ROOT}/nix/package.nix {{ }}).src")
    text = (ROOT / "meson.build").read_text()
    for name in re.findall(r"'((?:nginx|nix|packaging)/[^']*)'", text) + ["src/meson.build", "src/main.cc"]:
        assert os.path.exists(f"{source}/{name}"), name
    assert not {"tests", "build", ".git", "README.md"} & set(os.listdir(source))
    assert sorted(os.listdir(f"{source}/nix")) == ["overlay.nix", "package.nix", "resolve.nix", "source.nix"]
    assert not {"kubernetes", "helm", "debian"} & set(os.listdir(f"{source}/packaging"))


def test_the_module_does_nothing_unless_it_is_enabled(nix):
    assert module(nix, "{ }") == {}


def test_the_module_runs_the_package_s_units_behind_nginx(nix):
    made = module(nix, """{ enable = true; hostName = "r.example.org";
                            settings = { NIXERY_PKGS_PATH = "/srv/set"; NIXERY_SBOM = false; NIXERY_CATALOG = true; NIXERY_HOPS = 5; }; }""")
    assert failed(made) == []
    assert made["systemd"]["packages"] == ["/PACKAGE"]
    worker, socket = made["systemd"]["services"]["nixery"], made["systemd"]["sockets"]["nixery"]
    assert worker["environment"] == {
        "NIXERY_PKGS_PATH": "/srv/set", "NIXERY_SBOM": "0", "NIXERY_CATALOG": "1", "NIXERY_HOPS": "5",
        "NIXERY_USE_LOG": "/var/log/nginx/nixery-use.log",
    }  # fmt: skip
    assert worker["path"] == ["nix", "git", "openssh"]
    assert (socket["socketConfig"]["SocketGroup"], socket["wantedBy"]) == ("nginx", ["sockets.target"])
    nginx = made["services"]["nginx"]
    assert nginx["enable"] is True
    included = re.findall(r"include /PACKAGE/share/nixery/nginx/(\S+);", nginx["commonHttpConfig"])
    included += re.findall(r"include /PACKAGE/share/nixery/nginx/(\S+);", nginx["virtualHosts"]["r.example.org"]["extraConfig"])
    assert included == ["nixery-http.conf", "nixery-use.conf", "nixery-locations.conf"]
    installed = (ROOT / "meson.build").read_text()
    assert all(f"'nginx/{name}'" in installed for name in included)


def test_the_module_makes_the_users_and_directories_of_the_units(nix):
    made = module(nix, "{ enable = true; }")
    unit = (ROOT / "packaging/systemd/nixery.service.in").read_text()
    user = re.search(r"^User=(.*)$", unit, flags=re.M).group(1)
    assert made["users"]["users"][user]["home"] in re.search(r"HOME=(\S+)", unit).group(1)
    assert {"nixery", "nix-users"} <= set(made["users"]["groups"])
    shipped = (ROOT / "packaging/systemd/tmpfiles.conf").read_text()
    rules = {tuple(line.split()[:5]) for line in shipped.splitlines() if line.startswith("d ")}
    for rule in made["systemd"]["tmpfiles"]["rules"]:
        assert tuple(rule.split()[:5]) in rules, rule


def test_without_a_host_name_the_module_does_not_configure_nginx(nix):
    made = module(nix, '{ enable = true; settings.NIXERY_CHANNEL = "nixos-unstable"; }')
    assert made["services"]["nginx"] == {}
    assert made["systemd"]["services"]["nixery"]["environment"] == {"NIXERY_CHANNEL": "nixos-unstable"}
    assert made["systemd"]["sockets"]["nixery"]["socketConfig"]["SocketGroup"] == "nixery"


def test_the_module_refuses_two_sources_and_other_directories(nix):
    made = module(nix, '{ enable = true; settings = { NIXERY_CHANNEL = "a"; NIXERY_PKGS_REPO = "b"; NIXERY_TREE = "/t"; }; }')
    two, place = failed(made)
    assert "NIXERY_CHANNEL NIXERY_PKGS_REPO" in two and "NIXERY_TREE cannot be set" in place


# Applies overlays like nixpkgs. bash and coreutils, which build the few files of the image's package set, are the
# machine's.
NIXPKGS = r"""
{ system ? builtins.currentSystem, config ? { }, overlays ? [ ] }:
let
  make = name: derivation {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/bin:/usr/bin; mkdir -p $out/bin; for p in bash mkdir cat wc printf; do ln -s $(command -v $p) $out/bin/; done" ];
  };
  names = [ "meson" "ninja" "pkg-config" "python3" "makeWrapper" "curl" "fcgi" "fmt" "libarchive" "libdeflate" "libyaml" "openssl"
    "rapidjson" "zstd" "nix" "nginx" "git" "openssh" "cacert" "bashInteractive" "coreutils" ];
  base = final: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names) // {
    lib = { makeBinPath = toString; licenses.asl20 = { spdxId = "Apache-2.0"; }; };
    stdenv.mkDerivation = given: derivation ({ name = "${given.pname}-${given.version}"; builder = "/bin/sh"; inherit system; }
      // removeAttrs given [ "meta" ]) // { inherit (given) pname version meta; };
    callPackage = file: more: let asked = import file; in asked (builtins.intersectAttrs (builtins.functionArgs asked) final // more);
  };
  final = builtins.foldl' (previous: overlay: previous // overlay final previous) (base final) overlays;
in
final
"""


def test_the_images_package_set_has_nixery_and_its_registration(nix, directory):
    """With a substitute for nixpkgs, evaluated like in the registry: unpinned files cannot be read."""
    (directory / "nixpkgs").mkdir()
    (directory / "nixpkgs/default.nix").write_text(NIXPKGS)
    words = [program("nix-build", "nix-bin"), "--no-out-link", str(ROOT / "nix/image.nix"), "--arg", "packages", str(directory / "nixpkgs")]
    made = subprocess.run(words, env=nix.env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    request = directory / "request.json"
    request.write_text(json.dumps({"system": "x86_64-linux", "names": ["nixery", "nixery-registration", "nginx"]}))
    words = [program("nix-instantiate", "nix-bin"), "--eval", "--strict", "--json", "--read-write-mode", "--option", "restrict-eval", "true",
             "-I", f"nixery-packages={made.stdout.strip()}", "-I", f"resolve={ROOT}/nix/resolve.nix",
             "-I", f"nixery-request={request}", str(ROOT / "nix/resolve.nix")]  # fmt: skip
    done = subprocess.run(words, env={**nix.env, "NIX_PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)
    assert resolved["problems"] == []
    nixery, registration, _ = resolved["packages"]
    assert (nixery["pname"], nixery["mainProgram"], nixery["licenses"]) == ("nixery", "nixery", ["Apache-2.0"])
    asked = subprocess.run([program("nix-store", "nix-bin"), "--query", "--references", registration["drvPath"]], env=nix.env, capture_output=True, text=True)
    for name in ("nixery-0", "nix", "nginx", "git", "cacert", "bashInteractive", "coreutils"):
        assert re.search(rf"-{name}\b", asked.stdout), name


def test_the_flake_has_package_overlay_and_module(nix, directory):
    """From its subdirectory, with the surrounding files, and a substitute for nixpkgs."""
    stand_in, copy = directory / "nixpkgs", directory / "nixery"
    stand_in.mkdir()
    (stand_in / "stand-in.nix").write_text(STAND_IN)
    (stand_in / "flake.nix").write_text("""{ outputs = _: { legacyPackages =
      let made = (import ./stand-in.nix).pkgs; in { x86_64-linux = made; aarch64-linux = made; }; }; }""")
    for part in ("src", "nginx", "nix", "packaging"):
        shutil.copytree(ROOT / part, copy / part)
    for part in ("meson.build", "meson_options.txt"):
        shutil.copy(ROOT / part, copy)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "All"]):
        check(program("git", "git"), "-C", str(copy), *words)

    def evaluate(attribute: str, apply: str):
        words = [program("nix", "nix-bin"), "--extra-experimental-features", "nix-command flakes", "eval", "--json", "--no-write-lock-file",
                 "--override-input", "nixpkgs", f"path:{stand_in}", f"git+file://{copy}?dir=nix#{attribute}", "--apply", apply]  # fmt: skip
        done = subprocess.run(words, env=nix.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for system in ("x86_64-linux", "aarch64-linux"):
        assert evaluate(f"packages.{system}.default", "p: p.pname") == "nixery"
        assert evaluate("packages", f"p: p.{system} ? imagePackages") is True
    assert evaluate("nixosModules.default", "builtins.isFunction") is True
    assert evaluate("overlays.default", "o: builtins.isFunction (o { })") is True
