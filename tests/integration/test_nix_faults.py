"""Faults of Nix itself and of the machine: clients learn that the registry is at fault, the operator gets the details, and
no failure of the package is cached."""

import ctypes
import os
import shutil
import stat
from pathlib import Path

import pytest

from engines import check, program
from package_sets import write_package_set
from registry import free_port, wait_for
from test_daemon import Daemon
from test_observability import checks_of, readiness, scrape

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a worker a store of its own to break")

# `good` needs only a shell; `chmods` calls chmod like every unpacking of a source.
SET = """
{ system, ... }:
let
  package = name: script: derivation {
    name = "${name}-SALT"; inherit system; builder = "/bin/sh"; args = [ "-c" script ];
  };
in rec {
  good = package "good" "echo good > $out";
  other = package "other" "echo other > $out";
  third = package "third" "echo third > $out";
  chmods = package "chmods" "PATH=/bin:/usr/bin; mkdir source && chmod -R u+w source && echo done > $out";
  failing = package "failing" "echo this is the reason; exit 1";
  needs-failing = package "needs-failing" "echo ${failing} > $out";
  needs-more = package "needs-more" "echo ${needs-failing} ${needs-needs} > $out";
  needs-needs = package "needs-needs" "echo ${needs-failing} > $out";
}
"""
PLAIN = "build-users-group =\nsandbox = false\nsubstituters =\n"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 16384, 1 << 18


@pytest.fixture
def packages(directory):
    return str(write_package_set(directory / "packages", SET))


def with_own_store(size: str) -> dict:
    """Popen options for a process with its own empty file system of that size at /nix."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare():
        for failed in (
            libc.unshare(CLONE_NEWNS),
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
            libc.mount(b"none", b"/nix", b"tmpfs", 0, f"size={size}".encode()),
        ):
            if failed:
                raise OSError(ctypes.get_errno(), "cannot mount an own /nix")

    return {"preexec_fn": prepare}


@pytest.fixture
def own_store(new_registry, packages):
    """A registry whose worker has its own small store, and the store's path for the test."""
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIX_CONFIG=PLAIN, NIXERY_FAILURE_SECONDS="600")
    registry.stop_worker()
    registry.process_options = with_own_store("64m")
    registry.start_worker()
    registry.nix = Path(f"/proc/{registry.worker.pid}/root/nix")
    readiness(registry, 200)
    return registry


def is_registrys_fault(registry, name: str, words: str):
    answer = registry.manifest(name)
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE"), answer.body
    assert int(answer.headers["Retry-After"]) > 0
    assert words in answer.error["message"], answer.error
    records = registry.state / "failures"
    assert not records.exists() or not list(records.iterdir()), "it was remembered as the package's"
    return answer


def faults(registry) -> dict[str, float]:
    counted = {name: value for name, value in scrape(registry).items() if name.startswith("nixery_nix_faults_total") and value}
    return {name.split('"')[1]: value for name, value in counted.items()}


def test_a_full_store_is_the_registrys_fault_until_space_is_freed(own_store):
    filler = own_store.nix / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    answer = own_store.manifest("good")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE"), answer.body
    assert "disk" in faults(own_store)
    why = checks_of(readiness(own_store, 503))["nix"]  # by Nix's own message, or that of the build that cannot write
    assert "disk I/O error" in why or "No space left" in why
    wait_for(lambda: scrape(own_store)["nixery_nix_can_build"] == 0, "a build of nothing to fail")
    filler.unlink()
    readiness(own_store, 200)
    assert own_store.manifest("good").status == 200
    assert scrape(own_store)["nixery_nix_can_build"] == 1


def test_unwritable_gc_roots_are_the_registrys_fault(own_store):
    roots = own_store.nix / "var/nix/gcroots/auto"
    shutil.rmtree(roots)
    roots.write_text("no directory\n")
    is_registrys_fault(own_store, "good", "gcroots")
    assert faults(own_store) == {"gc_roots": 1}
    assert "gcroots" in checks_of(readiness(own_store, 503))["nix"]
    roots.unlink()
    roots.mkdir()
    assert own_store.manifest("good").status == 200
    readiness(own_store, 200)


@pytest.mark.parametrize("group, words", [("no-such-group", "does not exist"), ("nogroup", "has no members")])
def test_missing_build_users_are_the_registrys_fault(new_registry, packages, group, words):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIX_CONFIG=PLAIN + f"build-users-group = {group}\n")
    is_registrys_fault(registry, "good", words)
    is_registrys_fault(registry, "good", words)
    assert faults(registry) == {"build_users": 2}
    assert group in checks_of(readiness(registry, 503))["nix"]
    assert registry.manifest("nosuch").status == 404  # evaluation still works


def test_faults_of_a_daemon_are_the_registrys_fault(new_registry, packages, directory):
    directory.chmod(0o755)
    daemon = Daemon(directory, PLAIN + "build-users-group = no-such-group\n")
    try:
        registry = new_registry(NIXERY_PKGS_PATH=packages, NIX_CONFIG="", NIX_REMOTE=f"unix://{daemon.socket}")
        is_registrys_fault(registry, "good", "does not exist")
        assert "no-such-group" in checks_of(readiness(registry, 503))["nix"]
        daemon.stop()
        daemon.settings = PLAIN
        daemon.start()
        assert registry.manifest("good").status == 200
        readiness(registry, 200)
    finally:
        daemon.stop()


def test_too_few_descriptors_for_nix_are_the_registrys_fault(new_registry, packages, directory):
    shims = directory / "shims"
    shims.mkdir()
    (shims / "nix-store").write_text(
        f"#!/bin/sh\n[ ! -e {directory}/few ] || ulimit -n 14\nexec {program('nix-store', 'nix-bin')} \"$@\"\n")
    (shims / "nix-store").chmod(0o755)
    registry = new_registry(NIXERY_PKGS_PATH=packages, PATH=f"{shims}:{os.environ['PATH']}")
    readiness(registry, 200)
    (directory / "few").touch()
    is_registrys_fault(registry, "good", "Too many open files")
    assert faults(registry) == {"limits": 1}
    (directory / "few").unlink()
    assert registry.manifest("good").status == 200


def test_a_missing_temporary_directory_is_the_registrys_fault(new_registry, packages, directory):
    """Nix's message is not in the list; the build probe finds that Nix cannot build."""
    registry = new_registry(NIXERY_PKGS_PATH=packages, TMPDIR=str(directory / "temporary"))
    is_registrys_fault(registry, "good", "nix cannot build now")
    assert faults(registry) == {"other": 1}
    readiness(registry, 503)
    (directory / "temporary").mkdir()
    assert registry.manifest("good").status == 200
    readiness(registry, 200)


def test_a_chmod_that_nixs_syscall_filter_refuses_is_the_registrys_fault(new_registry, packages, directory):
    """Like a volume with a setgid bit from Kubernetes' fsGroup."""
    volume = directory / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    assert volume.stat().st_mode & stat.S_ISGID
    registry = new_registry(NIXERY_PKGS_PATH=packages, TMPDIR=str(volume), NIX_CONFIG=PLAIN + "filter-syscalls = true\n")
    is_registrys_fault(registry, "chmods", "setgid")
    assert "setgid" in checks_of(readiness(registry, 503))["nix"]
    registry.stop_worker()
    registry.start_worker(NIX_CONFIG=PLAIN + "filter-syscalls = false\n")
    readiness(registry, 200)
    assert registry.manifest("chmods").status == 200


def test_repeated_probes_leave_the_same_few_paths(own_store):
    """Nix 2.8 leaves an empty lock and the output of the second build, always under the same names."""
    probes = lambda: sorted(path.name for path in (own_store.nix / "store").glob("*nixery-build-probe*"))
    roots = own_store.nix / "var/nix/gcroots/auto"

    def probe_again(name: str):
        roots.rename(roots.with_name("aside"))
        roots.write_text("no directory\n")
        is_registrys_fault(own_store, name, "gcroots")
        readiness(own_store, 503)
        roots.unlink()
        roots.with_name("aside").rename(roots)
        readiness(own_store, 200)

    probe_again("good")
    left = probes()
    assert 2 <= len(left) <= 4, left
    for name in ("other", "third"):
        probe_again(name)
        wait_for(lambda: probes() == left, f"{left} alone to be left")
    # After a garbage collection it is built again.
    inside = ("nsenter", "-t", str(own_store.worker.pid), "-m")
    (own_store.state / "probe/build").unlink()
    check(*inside, program("nix-store", "nix-bin"), "--gc", env={**own_store.env, "NIX_REMOTE": ""})
    assert not [name for name in probes() if not name.endswith(".lock")]
    probe_again("good")
    assert set(probes()) <= set(left)


def test_a_failure_while_nix_can_build_is_the_packages_fault(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_FAILURE_SECONDS="600")
    for _ in range(2):
        answer = registry.manifest("failing")
        assert (answer.status, answer.error["detail"]["failure"]) == (424, "build_failed"), answer.body
    assert faults(registry) == {}
    assert len(registry.events("build failed")) == 1
    readiness(registry, 200)


@pytest.mark.parametrize("name", ["needs-failing", "needs-more", "good/failing", "failing/needs-failing", "needs-failing/needs-more"])
def test_the_failed_build_is_named_not_its_dependents(new_registry, packages, name):
    answer = new_registry(NIXERY_PKGS_PATH=packages).manifest(name)
    assert answer.status == 424
    message = answer.error["message"].splitlines()[0]
    assert "-failing-" in message and "exit code 1" in message and "dependenc" not in message, message
    assert "this is the reason" in answer.error["message"]


def test_the_failed_build_is_named_through_a_daemon(new_registry, packages, directory):
    directory.chmod(0o755)
    daemon = Daemon(directory, PLAIN)
    try:
        registry = new_registry(NIXERY_PKGS_PATH=packages, NIX_CONFIG="", NIX_REMOTE=f"unix://{daemon.socket}")
        message = registry.manifest("needs-more").error["message"].splitlines()[0]
        assert "-failing-" in message and "exit code 1" in message and "dependenc" not in message, message
    finally:
        daemon.stop()


def test_what_no_binary_cache_has_is_refused_where_nothing_is_compiled(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_SUBSTITUTE_ONLY="1")
    for name in ("good", "good/other"):
        answer = registry.manifest(name)
        assert (answer.status, answer.error["detail"]["failure"]) == (404, "not_cached"), answer.body
        assert answer.error["message"].endswith("NIXERY_SUBSTITUTE_ONLY"), answer.error
    assert faults(registry) == {}


def test_a_binary_cache_that_does_not_respond_is_the_registrys_fault(new_registry, packages):
    cache = f"http://127.0.0.1:{free_port()}"
    registry = new_registry(
        NIXERY_PKGS_PATH=packages, NIXERY_SUBSTITUTE_ONLY="1", NIXERY_FAILURE_SECONDS="600",
        NIX_CONFIG=PLAIN.replace("substituters =", f"substituters = {cache}\ndownload-attempts = 1"))
    for name in ("good", "good/other"):
        is_registrys_fault(registry, name, "unable to download")
    assert faults(registry) == {"network": 2}
