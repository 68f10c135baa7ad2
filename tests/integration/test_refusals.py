"""What a set of nixpkgs' shape refuses, in the words of releases up to 2025 and of 2026, and what its operator may change."""

import json
import re

import pytest

from registry import Registry

# check-meta as far as it matters here: which packages are refused, what is asked of `config`, and in which words.
CHECKED = r"""
{ system, config ? { }, overlays ? [ ] }:
let
  isNew = WORDING == "2026";
  theConfig = if builtins.isFunction config then config { pkgs = final; } else config;
  position = toString ./default.nix + ":7";
  nameOf = attrs: "${attrs.pname}-${attrs.version}";
  refuse = attrs: reason: problem: more:
    let
      message =
        if isNew then "Refusing to evaluate package '${nameOf attrs}' in ${position} because it ${problem}\n${more}"
        else "Package ‘${nameOf attrs}’ in ${position} ${problem}, refusing to evaluate.\n\n${more}";
    in
    if theConfig ? handleEvalIssue then theConfig.handleEvalIssue reason message else throw message;
  advice = "a) For `nixos-rebuild` you can set\n  { nixpkgs.config.allowSomething = true; }\nin configuration.nix to override this.\n";
  isAllowed = predicate: attrs: (theConfig.${predicate} or (_: false)) attrs;
  isBrokenAllowed = attrs: (theConfig.allowBroken or false) || (isNew && isAllowed "allowBrokenPredicate" attrs);
  check = attrs:
    if attrs.unfree or false && !(theConfig.allowUnfree or false) && !isAllowed "allowUnfreePredicate" attrs then
      refuse attrs "unfree" "has an unfree license (‘unfreeRedistributable’)" advice
    else if attrs.insecure or false && !isAllowed "allowInsecurePredicate" attrs then
      refuse attrs "insecure" "is marked as insecure" "\nKnown issues:\n - CVE-2020-1: bad\n - end of life\n\nYou can install it anyway by\n  $ export NIXPKGS_ALLOW_INSECURE=1\n"
    else if attrs.broken or false && !isBrokenAllowed attrs then
      if !isNew then refuse attrs "broken" "is marked as broken" advice
      else if theConfig ? handleEvalIssue then theConfig.handleEvalIssue "broken" "broken: This package is broken."
      else refuse attrs "problem" "has problems:\n- broken: This package is broken.\n" "See also https://nixos.org/manual\n"
    else if attrs.unsupported or false then
      refuse attrs "unsupported" "is not available on the requested hostPlatform:\n  hostPlatform.system = \"${system}\"" advice
    else true;
  make = attrs:
    let drv = derivation { name = nameOf attrs; inherit system; builder = "/bin/sh"; args = [ "-c" "echo ${attrs.text or "UNIQUE"} ${toString (attrs.needs or [ ])} > $out" ]; };
    in { type = "derivation"; outputName = "out"; outputs = [ "out" ]; inherit (attrs) pname version; name = nameOf attrs; meta = { };
         drvPath = assert check attrs; drv.drvPath; outPath = assert check attrs; drv.outPath; };
  base = self: {
    tool = make { pname = "tool"; version = "1.0"; };
    freeware = make { pname = "freeware"; version = "1.0"; unfree = true; };
    shareware = make { pname = "shareware"; version = "1.0"; unfree = true; };
    oldssl = make { pname = "old-ssl"; version = "1.0.2u"; insecure = true; };
    needsOldssl = make { pname = "needs-old-ssl"; version = "3"; needs = [ self.oldssl ]; };
    bad = make { pname = "bad"; version = "1.0"; broken = true; };
    worse = make { pname = "worse"; version = "1.0"; broken = true; };
    elsewhere = make { pname = "elsewhere"; version = "1.0"; unsupported = true; };
    renamed = throw "'renamed' has been renamed to/replaced by 'tool'"; # Converted to throw 2024-10-17
    oldSet = throw "oldSet has been removed, use newSet";
  };
  final = builtins.foldl' (previous: overlay: previous // overlay final previous) (base final) overlays;
in
final
"""

# Name, failure, status, words of the message, and the setting that allows it.
REFUSED = [
    ("freeware", "unfree", 403, "freeware-1.0 has an unfree license (unfreeRedistributable)", "NIXERY_ALLOW_UNFREE=freeware"),
    ("oldssl", "insecure", 403, "old-ssl-1.0.2u is marked as insecure (CVE-2020-1: bad; end of life)", "NIXERY_ALLOW_INSECURE=old-ssl-1.0.2u"),
    ("needsoldssl", "insecure", 403, "package 'needsoldssl' is not served: old-ssl-1.0.2u is marked as insecure", "NIXERY_ALLOW_INSECURE=old-ssl-1.0.2u"),
    ("bad", "broken", 403, "bad-1.0 is marked as broken", "NIXERY_ALLOW_BROKEN=bad"),
    ("elsewhere", "unsupported_platform", 404, "not available for x86_64-linux: elsewhere-1.0 does not support", None),
    ("renamed", "removed", 404, "package 'renamed' was removed or renamed: 'renamed' has been renamed to/replaced by 'tool'", None),
    ("oldset.inner", "removed", 404, "oldSet has been removed, use newSet", None),
]  # fmt: skip


@pytest.fixture(params=["2020", "2026"])
def checked(directory, request):
    (directory / "set").mkdir()
    expression = CHECKED.replace("WORDING", f'"{request.param}"').replace("UNIQUE", directory.name)
    (directory / "set/default.nix").write_text(expression)
    return str(directory / "set")


def test_a_refusal_says_what_it_is_and_which_setting_of_the_operator_allows_it(new_registry, checked):
    registry = new_registry(NIXERY_PKGS_PATH=checked)
    for name, failure, status, words, setting in REFUSED:
        answer = registry.manifest(name)
        assert (answer.status, answer.error["detail"]["failure"]) == (status, failure), answer.body
        message = answer.error["message"]
        assert words in message, message
        if setting:
            assert "the operator of this registry may allow it" in message and message.endswith(setting), message
        for advice in ("nixos-rebuild", "export", "configuration.nix", "install it", "See also", checked):
            assert advice not in message, message
    assert not registry.events("build failed")  # at level info: what was asked for wrongly fills no log


def test_packages_are_allowed_by_name_and_others_are_not(new_registry, checked):
    registry = new_registry(
        NIXERY_PKGS_PATH=checked, NIXERY_ALLOW_UNFREE="FreeW*", NIXERY_ALLOW_INSECURE="old-ssl-1.0.2u", NIXERY_ALLOW_BROKEN="bad")
    for name in ("freeware", "oldssl", "needsoldssl", "bad", "tool"):
        assert registry.manifest(name).status == 200, registry.manifest(name).body
    answers = {name: registry.manifest(name) for name in ("shareware", "worse")}
    assert {name: answer.error["detail"]["failure"] for name, answer in answers.items()} == {"shareware": "unfree", "worse": "broken"}
    assert "NIXERY_ALLOW_BROKEN" in answers["worse"].error["message"]


def test_every_package_of_a_kind_is_allowed_by_a_star(new_registry, checked):
    registry = new_registry(NIXERY_PKGS_PATH=checked, NIXERY_ALLOW_UNFREE="*", NIXERY_ALLOW_INSECURE="*", NIXERY_ALLOW_BROKEN="*")
    for name in ("freeware", "shareware", "oldssl", "bad", "worse"):
        assert registry.manifest(name).status == 200, registry.manifest(name).body


CONFIG = """{ system, ... }: {
  config = { pkgs, ... }: { allowUnfreePredicate = package: package.pname == "shareware" && pkgs ? tool; };
  overlays = [ (final: previous: { mine = previous.tool; inherit system; }) ];
}"""


def restarted(registry, **settings: str):
    registry.stop_worker()
    registry.start_worker(**settings, NIXERY_REFRESH_SECONDS="0")


def provenance_of(registry, name: str) -> dict:
    digest = registry.manifest(name).headers["Docker-Content-Digest"]
    referrers = registry.get(f"/v2/{name}/referrers/{digest}").json["manifests"]
    found = [r for r in referrers if r["annotations"].get("in-toto.io/predicate-type") == "https://slsa.dev/provenance/v1"]
    documents = []
    for referrer in found:
        manifest = registry.get(f"/v2/{name}/manifests/{referrer['digest']}").json
        documents.append(registry.blob(name, manifest["layers"][0]["digest"]).json["predicate"]["buildDefinition"])
    return documents


def test_a_configuration_file_reaches_nixpkgs_and_what_was_made_without_it_is_dropped(new_registry, checked, directory):
    file = directory / "nixpkgs.nix"
    file.write_text(CONFIG)
    registry = new_registry(NIXERY_PKGS_PATH=checked)
    assert [registry.manifest(name).status for name in ("tool", "shareware", "mine")] == [200, 403, 404]
    restarted(registry, NIXERY_NIXPKGS_CONFIG=str(file), NIXERY_ALLOW_UNFREE="freeware")
    assert [registry.manifest(name).status for name in ("tool", "shareware", "freeware", "mine")] == [200] * 4
    assert len(registry.events("tag dropped")) == 1
    (dependency,) = [d for d in provenance_of(registry, "mine")[0]["resolvedDependencies"] if d["name"] == "nixpkgs configuration"]
    assert re.fullmatch("[0-9a-f]{64}", dependency["digest"]["sha256"])
    assert provenance_of(registry, "freeware")[0]["internalParameters"] == {"allowUnfree": ["freeware"]}
    # The same file of another text is another configuration.
    images = len(list((registry.state / "images").iterdir()))
    file.write_text(CONFIG + "\n# changed\n")
    restarted(registry, NIXERY_NIXPKGS_CONFIG=str(file), NIXERY_ALLOW_UNFREE="freeware")
    assert registry.manifest("mine").status == 200
    assert len(list((registry.state / "images").iterdir())) == images + 1
    restarted(registry)
    assert [registry.manifest(name).status for name in ("tool", "shareware", "mine")] == [200, 403, 404]


def plan(directory, name: str, **settings: str) -> dict:
    planned = Registry(directory, {"NIXERY_PKGS_PATH": str(directory / "set"), **settings}).nixery("plan", "--json", name)
    return json.loads(planned.stdout)


def test_a_configuration_that_cannot_have_an_effect_is_an_error(directory):
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text("{ system }: { }")
    (directory / "nixpkgs.nix").write_text("{ config.allowUnfree = true; }")
    error = plan(directory, "tool", NIXERY_NIXPKGS_CONFIG=str(directory / "nixpkgs.nix"))["error"]
    assert "NIXERY_NIXPKGS_CONFIG cannot have an effect" in error["message"]


@pytest.mark.parametrize("text, message", [
    ("{ allowUnfree = true; }", "NIXERY_NIXPKGS_CONFIG has 'allowUnfree', but only 'config' and 'overlays' have an effect"),
    ("{ system, ... }: [ ]", "NIXERY_NIXPKGS_CONFIG is no set of config and overlays"),
])  # fmt: skip
def test_a_configuration_without_config_and_overlays_is_an_error(directory, text, message):
    """The first is what ~/.config/nixpkgs/config.nix holds."""
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text("{ config, overlays }: { }")
    (directory / "nixpkgs.nix").write_text(text)
    error = plan(directory, "tool", NIXERY_NIXPKGS_CONFIG=str(directory / "nixpkgs.nix"))["error"]
    assert message in error["message"], error


def test_a_configuration_file_reads_nothing_beside_itself(directory):
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text("{ config, overlays }: { }")
    (directory / "secret.nix").write_text("{ }")
    (directory / "nixpkgs.nix").write_text(f"{{ config = import {directory}/secret.nix; overlays = [ ]; }}")
    error = plan(directory, "tool", NIXERY_NIXPKGS_CONFIG=str(directory / "nixpkgs.nix"))["error"]
    assert error["failure"] == "unknown_package"  # the set does not look at config
    (directory / "set/default.nix").write_text("{ config, overlays }: builtins.seq config { }")
    error = plan(directory, "tool", NIXERY_NIXPKGS_CONFIG=str(directory / "nixpkgs.nix"))["error"]
    assert "forbidden" in error["message"], error


# Sets as people meet them: attributes that cannot be typed, sets without packages, attributes that fail in every way.
DERIVATION = 'derivation { name = "x"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }'
ODD = """{ system }: rec {
  _7zz = DRV; python311 = DRV; python3 = DRV; nodejs_20 = DRV; "" = DRV; "." = DRV; "new\\nline" = DRV;
  cacert = throw "no certificates here";
  lib = { __functionArgs = { }; __unfix__ = x: x; id = x: x; };
  set = { __unfix__ = DRV; _broken = throw "no"; aFails = throw "no"; bFails = DRV // { name = throw "no"; }; good = DRV; recurseForDerivations = true; };
  aborting = { a = abort "cannot be caught"; good = DRV; };
}""".replace("DRV", f"({DERIVATION})")


@pytest.fixture
def odd(directory):
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text(ODD)
    return directory


@pytest.mark.parametrize("name, message", [
    ("python3.11", "no package 'python3.11': did you mean 'python311'?"),
    ("nodejs.20", "no package 'nodejs.20': did you mean 'nodejs_20'?"),
    ("7z", "no package '7z': did you mean '7zz'?"),
    ("x", "no package 'x'"),
    ("set", "'set' is a set of packages, not a package: name one inside, such as 'set.good'"),
    ("set.goof", "no package 'set.goof': did you mean 'set.good'?"),
    ("lib", "'lib' is a set, not a package, and no package was found in it"),
    ("aborting", "'aborting' is a set, not a package, and no package was found in it"),
])  # fmt: skip
def test_near_matches_and_examples_are_packages_that_can_be_typed(odd, name, message):
    for _ in range(2):  # the second time, the names are known
        assert plan(odd, name)["error"]["message"] == message


def test_an_attribute_that_begins_with_an_underscore_and_a_digit_is_had_by_the_digit(odd, new_registry):
    registry = new_registry(NIXERY_PKGS_PATH=str(odd / "set"))
    assert registry.manifest("7zz").status == 200  # though cacert throws
    (event,) = registry.events("images get no certificates")
    assert "cacert" in event["reason"]
    blocked = new_registry(NIXERY_PKGS_PATH=str(odd / "set"), NIXERY_BLOCKED="_7zz")
    assert blocked.manifest("7zz").status == 403


def test_an_unknown_package_is_unknown_on_a_platform_that_the_set_does_not_have(directory):
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text(
        '{ system }: if system != "x86_64-linux" then throw "this set is not for ${system}" else { tool = ' + DERIVATION + "; }")
    assert plan(directory, "arm64/nosuch")["error"]["failure"] == "unknown_package"
    error = plan(directory, "arm64/tool")["error"]
    assert error["failure"] == "unsupported_platform"
    assert "no packages for aarch64-linux" in error["message"] and "this set is not for aarch64-linux" in error["message"]


def test_thousands_of_blocked_names_and_globs_are_no_obstacle(directory):
    """One argument of a process holds 128 KiB, and so does one environment variable: these come from a settings file."""
    (directory / "set").mkdir()
    names = [f"package{n}" for n in range(20)]
    packages = " ".join(f"{name} = make {name!r};".replace("'", '"') for name in ["bad", *names])
    (directory / "set/default.nix").write_text(
        "{ system }: let make = name: " + DERIVATION.replace('"x"', "name") + f" // {{ inherit name; }}; in {{ {packages} }}")
    blocked = [f"some-{'long-' * 10}name-{n}" for n in range(4000)] + [f"set{n}.*" for n in range(500)] + ["bad"]
    (directory / "settings").write_text(f"NIXERY_BLOCKED='{' '.join(blocked)}'\n")
    registry = Registry(directory, {"NIXERY_PKGS_PATH": str(directory / "set")})
    planned = registry.nixery("plan", "--json", "--settings", str(directory / "settings"), "/".join(names))
    assert planned.returncode == 0, planned.stdout
    refused = registry.nixery("plan", "--json", "--settings", str(directory / "settings"), "package1/bad")
    assert json.loads(refused.stdout)["error"]["failure"] == "forbidden"
    assert not list(directory.glob("state/.tmp-*"))
