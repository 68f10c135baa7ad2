"""Failures: status, code and message, and how clients show them."""

import json
import os
import re

import pytest

from engines import program, run, skopeo
from registry import ROOT, Registry, wait_for


@pytest.mark.parametrize(
    "name, tag, status, code, words",
    [
        ("crul", "latest", 404, "MANIFEST_UNKNOWN", ["no package 'crul'", "did you mean 'curl'"]),
        ("python3packages.request", "latest", 404, "MANIFEST_UNKNOWN", ["python3packages.requests"]),
        ("python3packages", "latest", 404, "MANIFEST_UNKNOWN", ["set of packages", "python3packages."]),
        ("brokenpackage", "latest", 403, "DENIED", ["brokenpackage", "marked as broken", "NIXERY_ALLOW_BROKEN"]),
        ("unsupportedpackage", "latest", 404, "MANIFEST_UNKNOWN", ["unsupportedpackage", "not available", "x86_64-linux"]),
        ("importfromderivation", "latest", 422, "MANIFEST_INVALID", ["importfromderivation"]),
        ("failingpackage", "latest", 424, "MANIFEST_INVALID", ["the build failed", "failing-package", "this is the reason"]),
        ("hello", "v1", 404, "MANIFEST_UNKNOWN", ["unknown tag 'v1'"]),
        ("hello", "a" * 40, 404, "MANIFEST_UNKNOWN", ["unknown tag"]),
        ("hello", "sha256-" + "a" * 64 + ".sig", 404, "MANIFEST_UNKNOWN", ["attached"]),
        ("Hello", "latest", 400, "NAME_INVALID", ["'Hello'", "lower-case"]),
        ("hello", "-x", 404, "MANIFEST_UNKNOWN", ["'-x'", "tag"]),
        ("arm64", "latest", 400, "NAME_INVALID", ["no package"]),
        ("arm64/amd64/hello", "latest", 400, "NAME_INVALID", ["one platform"]),
    ],
)
def test_a_failure_has_its_status_code_and_reason(registry, name, tag, status, code, words):
    answer = registry.manifest(name, tag)
    assert answer.status == status, answer.body
    assert answer.error["code"] == code
    for word in words:
        assert word in answer.error["message"], answer.error
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    head = registry.head(f"/v2/{name}/manifests/{tag}")
    assert (head.status, head.body) == (status, b"")


def test_an_import_from_a_build_is_refused_before_it_builds(registry):
    assert "allow-import-from-derivation" in registry.manifest("importfromderivation").error["message"] or "disabled" in registry.manifest(
        "importfromderivation").error["message"]


def test_unbuilt_blobs_and_manifests_are_unknown(registry):
    digest = "sha256:" + "a" * 64
    assert registry.get(f"/v2/hello/blobs/{digest}").error["code"] == "BLOB_UNKNOWN"
    assert registry.get(f"/v2/hello/manifests/{digest}").error["code"] == "MANIFEST_UNKNOWN"
    for wrong in ("sha256:abc", "sha256:" + "A" * 64, "sha512:" + "a" * 128, "md5:x"):
        for kind in ("blobs", "manifests"):
            answer = registry.get(f"/v2/hello/{kind}/{wrong}")
            assert (answer.status, answer.error["code"]) == (400, "DIGEST_INVALID"), wrong


def test_docker_and_podman_and_skopeo_show_the_message(registry, docker, podman):
    for name, words in (("crul", "did you mean 'curl'"), ("failingpackage", "this is the reason"), ("brokenpackage", "marked as broken")):
        image = f"{registry.host}/{name}"
        for pulled in (docker("pull", image), podman.pull(image), skopeo("inspect", "--tls-verify=false", f"docker://{image}")):
            assert pulled.returncode != 0
            assert words in pulled.stderr, (pulled.args, pulled.stderr)


def test_nix_printing_more_than_a_pipe_holds_does_not_hang(new_registry, directory):
    (directory / "default.nix").write_text(
        '{ system, ... }: { noisy = builtins.foldl\' (x: i: builtins.trace (builtins.concatStringsSep "" (builtins.genList (_: "x") 1000)) x) '
        f'(derivation {{ name = "noisy-{directory.name}"; inherit system; '
        'builder = "/bin/sh"; args = [ "-c" "i=0; while [ $i -lt 5000 ]; do echo '
        'a line of sixty characters or so, again and again and again $i; i=$((i+1)); done; echo > $out" ]; }) (builtins.genList (i: i) 400); }'
    )
    registry = new_registry(NIXERY_PKGS_PATH=str(directory))
    assert registry.manifest("noisy").status == 200
    (log,) = (registry.state / "logs").glob("*.log")
    assert "again and again 4999\n" in log.read_text()  # it was built here, and all its output was read


def test_an_evaluation_that_never_ends_or_eats_memory_is_stopped(new_registry, directory):
    (directory / "default.nix").write_text(
        "{ ... }: { loop = let f = x: builtins.seq (x + 1) (f (x + 1)); in f 0; deep = let f = x: 1 + f x; in f 0;"
        " spin = builtins.foldl' (a: b: a + b) 0 (builtins.genList (i: builtins.foldl' (a: b: a + b) i (builtins.genList (j: j) 100000)) 1000000);"
        " fat = builtins.deepSeq (builtins.genList (i: toString i) 100000000) null; }"
    )
    registry = new_registry(NIXERY_PKGS_PATH=str(directory), NIXERY_EVAL_TIMEOUT="3", NIXERY_EVAL_MEMORY="512")
    for name in ("loop", "deep", "spin", "fat"):
        answer = registry.manifest(name)
        assert answer.status in (422, 424), (name, answer.body)
        assert name in answer.error["message"]
    assert run("pgrep", "-f", f"nixery-packages={directory}").stdout == ""


def test_a_build_over_its_time_limit_is_stopped_and_reported(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set, NIX_TIMEOUT="2")
    answer = registry.manifest("slow.s30")
    assert answer.status == 424
    assert "longer than 2 s" in answer.error["message"]


def test_a_failed_build_is_not_built_again_at_every_request(new_registry):
    registry = new_registry(NIXERY_FAILURE_SECONDS="600")
    for _ in range(5):
        assert registry.manifest("failingpackage").status == 424
    assert len(registry.events("build failed")) == 1


DERIVATION = 'derivation {{ name = "{name}"; inherit system; builder = "/bin/sh"; args = [ "-c" "{script}" ]; }}'


def package_set_of(directory, **scripts: str) -> str:
    """A set in which each name is a script that has not run yet."""
    packages = directory / "packages"
    packages.mkdir()
    lines = [f"{name} = {DERIVATION.format(name=f'{name}-{directory.name}', script=script)};" for name, script in scripts.items()]
    (packages / "default.nix").write_text("{ system, ... }: { " + "\n".join(lines) + " }")
    return str(packages)


def test_a_builders_output_is_never_taken_for_nixs_messages(new_registry, directory):
    said = {
        "gradle": "Could not resolve all files for configuration",
        "disk": "cat: x: Input/output error",
        "cmake": "CMake 3.20 or higher is required to build this",
        "slowtest": "test 7 timed out after 5 seconds",
        "feature": "required system or feature not available",
        "posing": "error: building of x from .drv file timed out after 5 seconds",
        "socket": "error: cannot connect to socket at x: Connection refused",
        "full": "note: build failure may have been caused by lack of free disk space",
        "gone": "error: cannot build missing derivation x",
        "store": "error: executing SQLite statement x: database or disk is full (in y)",
        "users": "error: the build users group x has no members",
        "files": "error: creating pipe: Too many open files",
        "chmod": "chmod: changing permissions of x: Operation not permitted",
        "roots": "error: creating directory /nix/var/nix/gcroots/auto: Not a directory",
    }
    packages = package_set_of(directory, **{name: f"echo '{line}'; exit 1" for name, line in said.items()})
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_FAILURE_SECONDS="600")
    for name, line in said.items():
        for _ in range(2):
            answer = registry.manifest(name)
            assert (answer.status, answer.error["detail"]["failure"]) == (424, "build_failed"), (name, answer.body)
            assert line in answer.error["message"] and f"{name}-{directory.name}.drv" in answer.error["message"]
    assert len(registry.events("build failed")) == len(said)


def test_a_builder_that_prints_nixs_log_format_is_not_taken_for_nix(new_registry, directory):
    message = '@nix {\\"action\\":\\"msg\\",\\"level\\":0,\\"msg\\":\\"error: creating pipe: Too many open files\\",\\"raw_msg\\":\\"x\\"}'
    registry = new_registry(NIXERY_PKGS_PATH=package_set_of(directory, poser=f"echo '{message}'; exit 1"))
    answer = registry.manifest("poser")
    assert (answer.status, answer.error["detail"]["failure"]) == (424, "build_failed"), answer.body
    assert "error: creating pipe: Too many open files" in answer.error["message"]  # as a line of the log


def test_a_download_that_fails_for_the_network_is_503_and_retried_at_once(new_registry, directory):
    """Only the output of a fetch is interpreted, because Nix gives no other build a network."""
    fixed = ' outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "' + "0" * 64 + '"; }'
    def fetch(name, line):
        return DERIVATION.format(name=f"{name}-{directory.name}", script=f"echo '{line}'; exit 1").rstrip().removesuffix("}") + fixed
    sources = {
        "offline": fetch("offline", "curl: (6) Could not resolve host: example.org"),
        "absent": fetch("absent", "curl: (22) The requested URL returned error: 404"),
    }
    sources |= {f"needs-{name}": DERIVATION.format(name=f"needs-{name}", script="echo ${" + source + "} > $out")
                for name, source in sources.items()}
    (directory / "default.nix").write_text(
        "{ system, ... }: { " + "\n".join(f'"{name}" = {source};' for name, source in sources.items()) + " }")
    registry = new_registry(NIXERY_PKGS_PATH=str(directory), NIXERY_FAILURE_SECONDS="600")
    for name in ("offline", "needs-offline"):
        for _ in range(2):
            answer = registry.manifest(name)
            assert (answer.status, answer.error["detail"]["failure"]) == (503, "unavailable"), (name, answer.body)
            assert "a download failed" in answer.error["message"] and "Could not resolve host" in answer.error["message"]
    for name in ("absent", "needs-absent"):
        for _ in range(2):
            answer = registry.manifest(name)
            assert (answer.status, answer.error["detail"]["failure"]) == (424, "build_failed"), (name, answer.body)
    assert len(registry.events("build failed")) == 6  # cached failures were not retried


def test_a_failing_download_of_a_dependency_is_503_and_retried_at_once(new_registry, directory):
    inner = DERIVATION.format(name=f"inner-{directory.name}", script="echo test 7 timed out after 5 seconds; exit 1")
    outer = DERIVATION.format(name="outer", script="echo ${" + inner + "} > $out")
    (directory / "default.nix").write_text("{ system, ... }: { outer = " + outer + "; }")
    answer = new_registry(NIXERY_PKGS_PATH=str(directory)).manifest("outer")
    assert (answer.status, answer.error["detail"]["failure"]) == (424, "build_failed"), answer.body
    assert "test 7 timed out after 5 seconds" in answer.error["message"]  # the end of the log


def test_a_derivation_that_nix_collected_before_it_was_built_is_503_and_built_the_next_time(new_registry, directory):
    nix_store, shims = program("nix-store", "nix-bin"), directory / "shims"
    shims.mkdir()
    (shims / "nix-store").write_text(
        f'#!/bin/sh\ncase "$*" in *--dry-run*) ;; *--realise*) if [ -e {directory}/collect ]; then rm {directory}/collect\n'
        f'for word; do case $word in *.drv!*) {nix_store} --delete "${{word%%!*}}" >{directory}/collected 2>&1 ;; esac; done; fi ;;\n'
        f'esac\nexec {nix_store} "$@"\n')  # fmt: skip
    (shims / "nix-store").chmod(0o755)
    packages = package_set_of(directory, fresh="echo > $out")
    registry = new_registry(NIXERY_PKGS_PATH=packages, PATH=f"{shims}:{os.environ['PATH']}")
    (directory / "collect").touch()
    answer = registry.manifest("fresh")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE"), (answer.body, (directory / "collected").read_text())
    assert "garbage collection" in answer.error["message"]
    assert registry.manifest("fresh").status == 200


def test_an_unexpected_error_is_logged_and_counted_and_shows_no_paths(new_registry, directory):
    expression = directory / "resolve.nix"
    expression.write_text((ROOT / "nix/resolve.nix").read_text())
    registry = new_registry(NIXERY_RESOLVE_NIX=str(expression))
    expression.unlink()
    answer = registry.manifest("hello")
    assert answer.status == 503 and str(directory).encode() not in answer.body, answer.body
    assert "internal error of the registry" in answer.error["message"]
    (event,) = registry.events("build failed")
    assert event["failure"] == "storage" and str(expression) in event["error"]
    assert 'nixery_builds_total{outcome="storage"} 1' in registry.get("/metrics").body.decode()


def test_unknown_names_are_refused_without_an_evaluation_once_the_set_is_known(new_registry, counted_evaluations):
    settings, evaluations = counted_evaluations
    registry = new_registry(**settings)
    first = registry.manifest("crul")
    assert evaluations() == 1
    for n in range(300):
        answer = registry.manifest(f"unknown{n}")
        assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")
    assert registry.manifest("hello/crul").error["message"] == first.error["message"]
    assert evaluations() == 1
    assert registry.manifest("python3packages.request").error["message"].endswith("did you mean 'python3packages.requests'?")
    assert evaluations() == 2
    assert "python3packages.requests" in registry.manifest("python3packages.requets").error["message"]
    assert evaluations() == 2
    assert registry.manifest("bashinteractive").status == registry.manifest("python3packages.requests").status == 200
    assert evaluations() == 4


def test_a_new_package_is_found_after_it_was_unknown(new_registry, directory, counted_evaluations):
    settings, _ = counted_evaluations
    derivation = 'derivation { name = "x"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }'
    (directory / "default.nix").write_text(f"{{ system, ... }}: {{ one = {derivation}; }}")
    registry = new_registry(NIXERY_PKGS_PATH=str(directory), NIXERY_FAILURE_SECONDS="0", **settings)
    assert registry.manifest("two").status == 404
    (directory / "default.nix").write_text(f"{{ system, ... }}: {{ one = {derivation}; two = {derivation}; }}")
    wait_for(lambda: registry.manifest("two").status == 200, "the package that is there now")


@pytest.mark.parametrize("name", ["jq", "hello/jq", "python3packages.requests", "debianpackages.jq"])
def test_a_blocked_package_is_403_and_not_built(new_registry, name):
    registry = new_registry(NIXERY_BLOCKED="jq python3Packages.*")
    answer = registry.manifest(name)
    assert (answer.status, answer.error["code"]) == (403, "DENIED")
    assert "is not served by this registry" in answer.error["message"]
    assert not list((registry.tree / "manifests").rglob("manifest.*"))
    assert registry.manifest("hello").status == 200


# Sets with several paths, like nixpkgs' sets of Python packages. Both have the same names.
ALIASES = """{ system, ... }:
let
  drv = pname: text: derivation { name = "${pname}-1"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo ${text} > $out" ]; }
    // { inherit pname; };
  python = version: drv "python" version // { pkgs = {
    foo = drv "foo" version // { tests.of-foo = drv "foo-test" version; };
    inner.bar = drv "bar" version;
    gone = throw "not for this Python";
  }; };
  self = {
    pkgs = self;
    python2 = python "2"; python27 = self.python2; python2Packages = self.python2.pkgs; pythonPackages = self.python2Packages;
    python3 = python "3"; python3Packages = self.python3.pkgs // { gone = drv "gone" "3"; };
    steamwork = drv "gear" "it"; steamBroken = throw "steam is broken"; tool = drv "tool" "it" // { foo = drv "foo" "tool"; };
  };
in self"""

OTHER_WAYS = [
    ("python2packages.*", "python2packages.foo", "python2.pkgs.foo", "pkgs.python2packages.foo", "pythonpackages.foo",
     "pkgs.pkgs.python27.pkgs.foo", "python2.pkgs.foo.out", "python2.pkgs.inner.bar", "python2.pkgs.foo.tests.of-foo"),
    ("Python2*", "python2.pkgs.foo", "pythonpackages.foo", "pythonpackages.inner.bar", "pkgs.python2"),
    ("pytho?2pack*.fo?", "python2.pkgs.foo", "pythonpackages.foo"),
    ("python2packages.foo", "python2packages.foo.out", "python2.pkgs.foo", "pythonpackages.foo.out"),
    ("python27", "python2", "pkgs.python2.out", "pkgs.python27"),
    ("steam*", "pkgs.steamwork", "pkgs.pkgs.steamwork.out"),
]  # fmt: skip


@pytest.mark.parametrize("blocked, names", [(blocked, names) for blocked, *names in OTHER_WAYS])
def test_another_path_to_a_blocked_package_is_forbidden_too(directory, blocked, names):
    (directory / "default.nix").write_text(ALIASES)
    registry = Registry(directory, {"NIXERY_PKGS_PATH": str(directory), "NIXERY_BLOCKED": blocked})
    for name in names:
        planned = registry.nixery("plan", "--json", name)
        assert json.loads(planned.stdout)["error"]["failure"] == "forbidden", name
    others = registry.nixery("plan", "python3packages.foo/python3.pkgs.inner.bar/python3packages.gone/pkgs.tool.foo")
    assert others.returncode == 0, others.stderr


def test_a_request_is_redirected_to_itself_during_a_build_and_finally_gets_429(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set, NIXERY_HOP_SECONDS="3", NIXERY_HOPS="2")
    wait_for(lambda: registry.manifest("slow.s1").status == 200, "what all slow packages need", 120)
    target = "/v2/slow.s30/manifests/latest?ns=example.org"
    for hop in (1, 2):
        answer = registry.get(target)
        assert answer.status == 307
        assert answer.headers["Cache-Control"] == "no-store"
        target = answer.headers["Location"]
        assert target == f"/v2/slow.s30/manifests/latest?ns=example.org&nixery-hop={hop}"
    # The message has the progress, which may still be the evaluation.
    logs = lambda: "".join(log.read_text() for log in (registry.state / "logs").glob("*.log"))
    wait_for(lambda: re.search("building '[^']*-slow-[0-9a-f]{32}-s30-", logs()), "nix to build it")
    answer = registry.get(target)
    assert (answer.status, answer.error["code"]) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0
    assert "still being built (building with nix: building slow" in answer.error["message"]


def test_a_full_queue_is_429_with_retry_after(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set, NIXERY_BUILDS="1", NIXERY_QUEUE="0", NIXERY_HOP_SECONDS="1")
    assert registry.get("/v2/slow.s30/manifests/latest").status == 307
    answer = registry.get("/v2/hello/manifests/latest")
    assert (answer.status, answer.error["code"]) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0 and "are queued already" in answer.error["message"]


def test_without_a_worker_a_miss_is_503_and_built_images_are_served(new_registry):
    registry = new_registry()
    assert registry.manifest("hello").status == 200
    registry.stop_worker()
    assert registry.get("/v2/hello/manifests/latest").status == 200
    answer = registry.get("/v2/jq/manifests/latest")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    registry.start_worker()
    wait_for(lambda: registry.get("/v2/jq/manifests/latest").status == 200, "the new worker's image")
