"""packaging/quickstart: which processes it ends, and when it refuses to start. All of it needs its own machine."""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import running
from engines import check, program, run
from registry import ROOT, free_port, wait_for

QUICKSTART = str(ROOT / "packaging/quickstart")
NOBODY = pwd.getpwnam("nobody")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="quickstart is for root")


class Process:
    """A process of the program, optionally with another name."""

    def __init__(self, executable, *words: str):
        self.process = subprocess.Popen(words, executable=str(executable), stdin=subprocess.DEVNULL)

    def stop(self):
        self.process.kill()
        self.process.wait(timeout=30)


@pytest.fixture
def home(directory):
    for name in ("run", "build/src"):
        (directory / name).mkdir(parents=True)
    # A program that waits like a worker, in its place.
    shutil.copy(program("sleep", "coreutils"), directory / "build/src/nixery")
    return directory


def stop(home):
    said = check(QUICKSTART, "--home", str(home), "--stop")
    assert said.startswith("stopped")
    assert not (home / "run/worker.pid").exists() and not (home / "run/nginx.pid").exists()


def test_it_ends_its_own_worker_even_after_recompilation(home):
    with running(Process(home / "build/src/nixery", "nixery", "600")) as worker:
        (home / "run/worker.pid").write_text(f"{worker.process.pid}\n")
        replacement = home / "build/src/replacement"
        shutil.copy(home / "build/src/nixery", replacement)
        replacement.replace(home / "build/src/nixery")
        stop(home)
        assert worker.process.wait(timeout=30) == -15


def test_it_ends_its_own_nginx(home):
    (home / "run/nginx.conf").write_text(
        f"pid {home}/run/nginx.pid;\nevents {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{free_port()}; }} }}\n"
    )
    words = ("nginx", "-c", str(home / "run/nginx.conf"), "-e", str(home / "run/error.log"), "-g", "daemon off;")
    with running(Process(program("nginx", "nginx"), *words)) as nginx:
        # Its pid file exists before it has content, and before nginx handles signals, which it does when it has a
        # worker process.
        pid = nginx.process.pid
        wait_for(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text(), "nginx to be up")
        stop(home)
        assert nginx.process.wait(timeout=30) == 0


def test_a_process_with_a_reused_pid_is_not_ended(home):
    """After a reboot, the pids in its files may belong to other processes, even other workers and nginx servers."""
    other = home / "nixery"
    shutil.copy(home / "build/src/nixery", other)
    named = f"nginx -c {home}/run/nginx.conf.old"
    with running(Process(other, "nixery", "600")) as worker, running(Process(other, named, "600")) as server:
        (home / "run/worker.pid").write_text(f"{worker.process.pid}\n")
        (home / "run/nginx.pid").write_text(f"{server.process.pid}\n")
        stop(home)
        assert worker.process.poll() is None and server.process.poll() is None


@pytest.mark.parametrize("source, kept", [(ROOT, True), (ROOT / "elsewhere", False)])
def test_a_worker_of_another_clone_is_not_ended(home, source, kept):
    (home / "build/build.ninja").touch()
    (home / "build/meson-info").mkdir()
    (home / "build/meson-info/meson-info.json").write_text(json.dumps({"directories": {"source": str(source)}}))
    stubs = home / "stubs"
    stubs.mkdir()
    for name, script in {"meson": f'echo "$@" >{home}/meson', "ninja": "exit 1"}.items():
        (stubs / name).write_text(f"#!/bin/sh\n{script}\n")
        (stubs / name).chmod(0o755)
    done = run(QUICKSTART, "--home", str(home), "--offline", timeout=60, env={"PATH": f"{stubs}:{os.environ['PATH']}"})
    assert done.returncode == 1 and "2/5 compiling" in done.stdout
    assert (home / "build/build.ninja").exists() == kept
    assert (home / "meson").exists() != kept and (kept or (home / "meson").read_text().endswith(f"{home}/build {ROOT}\n"))


@pytest.mark.parametrize("name", ["tree", "state"])
def test_it_does_not_touch_the_directories_of_another_users_worker(home, name):
    (home / name).mkdir()
    os.chown(home / name, NOBODY.pw_uid, NOBODY.pw_gid)
    done = run(QUICKSTART, "--home", str(home), "--offline", timeout=60)
    assert done.returncode == 1 and f"{home}/{name} belongs to nobody" in done.stderr and "--home DIR" in done.stderr
    assert done.stdout == "" and list((home / name).iterdir()) == []
