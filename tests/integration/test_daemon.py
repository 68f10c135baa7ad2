"""The common multi-user Nix: a daemon that owns the store, and an unprivileged worker."""

import os
import pwd
import re
import signal
import socket
import subprocess

import pytest

from engines import check, program, run
from registry import Registry, nix_settings, wait_for

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}


class Daemon:
    """nix-daemon on this machine's store, with the test's own socket."""

    def __init__(self, directory, settings: str):
        self.settings = settings
        self.socket = directory / "nix.sock"
        self.log = directory / "nix-daemon.log"
        self.process = None
        self.start()

    def start(self):
        self.socket.unlink(missing_ok=True)
        env = {**os.environ, **nix_settings(), "NIX_REMOTE": "", "NIX_DAEMON_SOCKET_PATH": str(self.socket)}
        env["NIX_CONFIG"] = self.settings
        self.process = subprocess.Popen(
            [program("nix-daemon", "nix-bin")], env=env, stdin=subprocess.DEVNULL, stdout=open(self.log, "ab"), stderr=subprocess.STDOUT
        )
        wait_for(self._listens, "nix-daemon to listen")

    def _listens(self) -> bool:
        """Its socket exists before it listens."""
        assert self.process is None or self.process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self):
        """With the children that serve its clients, like a machine that goes down."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGSTOP)  # so that no child is started after they are listed
        children = run("pgrep", "-P", str(self.process.pid)).stdout.split()
        self.process.kill()
        self.process.wait()
        for child in children:
            run("kill", "-9", child)
        self.process = None
        wait_for(lambda: not self._listens(), "the last of them to be gone")  # a newly started child holds the socket


# Builds in a sandbox, like a multi-user installation, or without one on machines that do not support it.
SANDBOXED = "build-users-group =\nsandbox = true\nsandbox-fallback = false\nsubstituters =\n"
PLAIN = "build-users-group =\nsandbox = false\nsubstituters =\n"


@pytest.fixture(params=[SANDBOXED, PLAIN], ids=["sandboxed", "plain"])
def daemon(directory, request):
    directory.chmod(0o755)
    if request.param == SANDBOXED and subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode != 0:
        pytest.skip("this machine lets nobody make namespaces, so nix has no sandbox here")
    daemon = Daemon(directory, request.param)
    yield daemon
    daemon.stop()


@pytest.fixture
def unprivileged(directory, daemon, slow_set):
    """A registry whose worker runs as nobody and uses Nix only through the daemon's socket."""
    os.chmod(os.path.dirname(slow_set), 0o755)
    home = directory / "home"
    for place in (home, directory / "tree", directory / "state", directory / "run"):
        place.mkdir()
        os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    registry = Registry(directory, {"NIXERY_PKGS_PATH": slow_set, "HOME": str(home), "NIX_CONFIG": "",
                                    "NIX_REMOTE": f"unix://{daemon.socket}", "NIXERY_FAILURE_SECONDS": "600",
                                    "NIXERY_HOP_SECONDS": "120"})  # fmt: skip
    registry.process_options = AS_NOBODY
    registry.socket = directory / "run/nixery.sock"
    registry.env["NIXERY_LISTEN"] = f"unix:{registry.socket}"
    registry.start_nginx()
    registry.start_worker()
    yield registry
    registry.stop()


def test_an_unprivileged_worker_builds_what_root_builds(unprivileged, new_registry, slow_set):
    image = unprivileged.manifest("shell/hello")
    assert image.status == 200, image.body
    assert os.stat(f"/proc/{unprivileged.worker.pid}").st_uid == NOBODY.pw_uid
    of_root = new_registry(NIXERY_PKGS_PATH=slow_set).manifest("shell/hello")
    assert image.headers["Docker-Content-Digest"] == of_root.headers["Docker-Content-Digest"]
    slow = unprivileged.manifest("slow.s1")  # which cannot have been built before
    assert slow.status == 200, slow.body
    roots = check("nix-store", "--gc", "--print-roots", env={**nix_settings(), "NIX_REMOTE": ""})
    assert str(unprivileged.state / "gcroots") in roots


def test_errors_are_the_same_through_the_daemon(unprivileged):
    answer = unprivileged.manifest("failingpackage")
    assert (answer.status, answer.error["code"]) == (424, "MANIFEST_INVALID")
    assert "this is the reason" in answer.error["message"]
    assert unprivileged.manifest("crul").status == 404


def test_a_daemon_that_ends_during_a_build_is_a_transient_failure(unprivileged, daemon):
    assert unprivileged.manifest("hello").status == 200
    assert unprivileged.get("/v2/hello/manifests/latest").status == 200
    flight = subprocess.Popen(["curl", "-s", "-w", "%{http_code}", f"http://{unprivileged.host}/v2/slow.s10/manifests/latest"],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    logs = lambda: "".join(log.read_text() for log in (unprivileged.state / "logs").glob("*.log"))
    wait_for(lambda: re.search("building '[^']*-slow-[0-9a-f]{32}-s10-", logs()), "the build to begin")
    daemon.stop()
    cut_off = flight.communicate(timeout=180)[0]
    assert cut_off.endswith("503"), cut_off
    answer = unprivileged.get("/v2/jq/manifests/latest")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE"), answer.body
    assert int(answer.headers["Retry-After"]) > 0
    assert unprivileged.get("/v2/hello/manifests/latest").status == 200  # built images are served
    daemon.start()
    assert unprivileged.manifest("jq").status == 200
    assert unprivileged.manifest("slow.s10").status == 200
