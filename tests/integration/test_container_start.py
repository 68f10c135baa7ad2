"""The entrypoint of Nixery's own image, with its places below a directory and stand-ins for the programs that it starts.

test_own_image runs it in a container; here is what takes a moment that one can choose.
"""

import os
import signal
import stat
import subprocess

import pytest

from package_sets import write_package_set
from registry import ROOT, wait_for
from test_nix_faults import SET

NIX_STORE = """#!/bin/sh
[ "$1" = --register-validity ] || exit 1
touch registering
for i in $(seq 600); do [ -e registered ] && exit 0; sleep 0.05; done
exit 1
"""
NIXERY = """#!/bin/bash
printf '%s' "$NIX_CONFIG" >nix-config
touch serving
trap 'exit 0' TERM
for i in $(seq 600); do sleep 0.05; done
"""


@pytest.fixture
def started(directory):
    """Starts the entrypoint as in its image, and stops it."""
    (directory / "nix/store").mkdir(parents=True)
    (directory / "programs").mkdir()
    (directory / "registration").touch()
    for name, text in (("nix-store", NIX_STORE), ("nixery", NIXERY)):
        (directory / "programs" / name).write_text(text)
        (directory / "programs" / name).chmod(0o755)
    text = (ROOT / "packaging/container/start").read_text()
    for place, elsewhere in (("/run/nixery", "run"), ("/share/nixery/registration\n", "registration\n"), ("/nix/", "nix/"), ("/tmp/nixery-home", "home")):
        assert place in text, place
        text = text.replace(place, f"{directory}/{elsewhere}")
    start = directory / "start"
    start.write_text(text)
    start.chmod(start.stat().st_mode | stat.S_IXUSR)
    processes = []

    def begin(*words):
        env = {"PATH": f"{directory}/programs:{os.environ['PATH']}"}
        processes.append(subprocess.Popen([start, *words], cwd=directory, env=env, start_new_session=True))
        return processes[-1]

    yield begin
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def test_sigterm_stops_the_worker(started, directory):
    process = started("worker")
    wait_for((directory / "registering").exists, "the store to be registered")
    (directory / "registered").touch()
    wait_for((directory / "serving").exists, "the worker")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_sigterm_during_the_registration_of_the_store_prevents_the_start(started, directory):
    process = started("worker")
    wait_for((directory / "registering").exists, "the store to be registered")
    process.send_signal(signal.SIGTERM)
    (directory / "registered").touch()
    assert process.wait(timeout=60) == 0
    assert not (directory / "serving").exists()


def test_builders_may_change_modes_on_a_volume_of_kubernetes(started, directory, new_registry):
    """With fsGroup, kubelet sets the setgid bit on it."""
    started("worker")
    (directory / "registered").touch()
    wait_for((directory / "serving").exists, "the worker")
    volume = directory / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    assert volume.stat().st_mode & stat.S_ISGID
    packages = write_package_set(directory / "packages", SET)
    nix_config = (directory / "nix-config").read_text() + "substituters =\n"
    registry = new_registry(NIXERY_PKGS_PATH=str(packages), TMPDIR=str(volume), NIX_CONFIG=nix_config)
    answer = registry.manifest("chmods")
    assert answer.status == 200, answer.body
