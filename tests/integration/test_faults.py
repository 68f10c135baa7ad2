"""Hundreds of pulls while workers, nix and nginx are killed, the disk fails, and garbage is collected: no wrong bytes are
ever served, and nothing is lost."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from registry import NIXERY, ROOT, Registry, digest_of, wait_for

PULLS = int(os.environ.get("NIXERY_TEST_PULLS", "500"))
SEED = int(os.environ.get("NIXERY_TEST_SEED", "1"))
PULLERS = 4
# Faults for each pull, on average: few enough for a slow machine to finish, and enough on a fast one.
LEAST_HARM, MOST_HARM = 0.25, 1

def children_of(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    direct = []
    for task in tasks:
        try:
            direct += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass  # this thread has ended; its children were reparented
    return direct + [further for child in direct for further in children_of(child)]


def parent_is_ours_or_nix(pid: int) -> bool:
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/comm").read_text().startswith(("nix", "git"))
    except OSError:
        return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def drop_tags(registry: Registry, which=lambda: True):
    """Like a moved source. Links that are still being published have another name and are kept."""
    for link in (registry.tree / "tags").rglob("_tags/*"):
        if not link.name.startswith(".") and which():
            link.unlink(missing_ok=True)


def kill(pid: int, how: int = signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


class Unavailable(Exception):
    """Clients retry after 429, 5xx and broken connections."""


class Storm:
    def __init__(self, registry: Registry, failing_disk: Path):
        self.registry = registry
        self.failing_disk = failing_disk
        self.random = random.Random(SEED)
        self.lock = threading.Lock()
        self.left = PULLS
        self.acts = 0
        self.manifests: dict[str, str] = {}
        self.wrong: list[str] = []
        self.counts = {"pulls": 0, "tries": 0, "worker": 0, "nix": 0, "nginx": 0, "gc": 0, "disk": 0}

    # Pulling

    def names(self) -> list[str]:
        singles = [f"p{n}" for n in range(30)]
        return singles + [f"{a}/{b}" for a, b in zip(singles, singles[7:] + singles[:7])]

    def get(self, target: str):
        try:
            answer = self.registry.get(target, timeout=60)
        except Exception as error:  # the server ended before or during its response
            raise Unavailable(str(error)) from None
        if answer.status in (429, 500, 502, 503, 504):
            raise Unavailable(f"{answer.status} {answer.body}")
        return answer

    def follow(self, target: str):
        for _ in range(11):
            answer = self.get(target)
            if answer.status != 307:
                return answer
            target = answer.headers["Location"]
        raise Unavailable("more than ten redirects")

    def try_to_pull(self, name: str):
        manifest = self.follow(f"/v2/{name}/manifests/latest")
        assert manifest.status == 200, f"{name}: {manifest.status} {manifest.body}"
        digest = "sha256:" + hashlib.sha256(manifest.body).hexdigest()
        assert manifest.headers["Docker-Content-Digest"] == digest, f"{name}: wrong manifest"
        with self.lock:
            assert self.manifests.setdefault(name, digest) == digest, f"{name}: another image than before"
        for link in [manifest.json["config"], *manifest.json["layers"]]:
            blob = self.follow(f"/v2/{name}/blobs/{link['digest']}")  # also while it is rebuilt
            if blob.status == 404:  # collected meanwhile: the client starts again
                raise Unavailable("blob")
            assert blob.status == 200, f"{name}: {link['digest']}: {blob.status} {blob.body[:200]}"
            assert "sha256:" + hashlib.sha256(blob.body).hexdigest() == link["digest"], f"{name}: wrong bytes for {link['digest']}"

    def pull(self, name: str):
        deadline = time.monotonic() + 600  # a failing disk stays until another pull has succeeded
        last = None
        while time.monotonic() < deadline:
            with self.lock:
                self.counts["tries"] += 1
            try:
                return self.try_to_pull(name)
            except Unavailable as passing:
                last = passing
                time.sleep(0.1)
        raise AssertionError(f"{name}: never pulled; at last: {last}")

    def pull_on(self, number: int):
        choose = random.Random(SEED * 1000 + number)
        while not self.wrong:
            while self.left > 0 and self.acts < LEAST_HARM * (self.counts["pulls"] - PULLERS) and not self.wrong:
                time.sleep(0.01)
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
            try:
                self.pull(choose.choice(self.names()))
                with self.lock:
                    self.counts["pulls"] += 1
            except AssertionError as error:
                self.wrong.append(str(error))

    # Harm

    def start_worker(self, one_in: int = 0):
        faults = {}
        if one_in:
            self.counts["disk"] += 1
            faults = {"LD_PRELOAD": str(self.failing_disk), "FAIL_ONE_IN": str(one_in), "FAIL_DIRS": f"{self.registry.tree}:{self.registry.state}"}
        self.registry.worker_log = self.registry.dir / "worker.log"
        self.registry.worker = subprocess.Popen(
            [NIXERY, "serve"], env={**self.registry.env, **faults}, stderr=open(self.registry.worker_log, "ab"), stdin=subprocess.DEVNULL
        )

    def kill_worker(self):
        self.registry.stop_worker(signal.SIGKILL)
        self.counts["worker"] += 1
        self.start_worker(self.random.choice([0, 0, 30, 200]))

    def kill_nix(self):
        """And builders, but not their children: a script that continues without its mkdir has failed by itself."""
        victims = [pid for pid in children_of(self.registry.worker.pid) if parent_is_ours_or_nix(pid)]
        if victims:
            kill(self.random.choice(victims), self.random.choice([signal.SIGKILL, signal.SIGTERM]))
            self.counts["nix"] += 1

    def kill_nginx(self):
        workers = self.registry.nginx_workers()
        kill(self.registry.nginx.pid)
        self.registry.nginx.wait()
        for pid in workers:
            kill(int(pid))
        self.counts["nginx"] += 1
        wait_for(lambda: is_free(self.registry.port), "nginx's workers to be gone", 60)
        self.registry.start_nginx()

    def collect(self):
        self.counts["gc"] += 1
        self.registry.nixery("gc", "--max-age", "0s", "--grace", self.random.choice(["0s", "1s"]))

    def drop_tags(self):
        drop_tags(self.registry, lambda: self.random.random() < 0.3)

    def rage(self):
        harm = [self.kill_worker] * 4 + [self.kill_nix] * 4 + [self.kill_nginx, self.collect, self.drop_tags, self.drop_tags]
        while self.left > 0 and not self.wrong:
            time.sleep(self.random.uniform(0.05, 0.5))
            if self.acts > MOST_HARM * (self.counts["pulls"] + PULLERS):
                continue
            self.acts += 1
            if self.registry.worker.poll() is not None:
                self.start_worker()  # like systemd
            self.random.choice(harm)()


@pytest.fixture
def failing_disk(directory):
    library = directory / "failing_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).with_name("failing_disk.c"), "-ldl"], check=True)
    return library


def test_the_failing_disk_library_works(directory, failing_disk):
    """Tests the library that the next test uses."""
    tree, state = directory / "tree", directory / "state"
    env = {**os.environ, "NIXERY_TREE": str(tree), "NIXERY_STATE": str(state), "LD_PRELOAD": str(failing_disk), "FAIL_DIRS": str(directory),
           "NIXERY_RESOLVE_NIX": str(ROOT / "nix/resolve.nix")}
    tree.mkdir()
    assert subprocess.run([NIXERY, "verify"], env=env, capture_output=True).returncode == 0
    shutil.rmtree(state)
    done = subprocess.run([NIXERY, "verify"], env={**env, "FAIL_ONE_IN": "1"}, capture_output=True, text=True)
    assert done.returncode == 1 and ("No space left" in done.stderr or "Input/output error" in done.stderr), done


def served_layers(registry, name) -> set[str]:
    """The digests of its layers. Checks each blob, which must exist without a rebuild."""
    manifest = registry.manifest(name)
    assert manifest.status == 200, manifest.body
    layers = {layer["digest"] for layer in manifest.json["layers"]}
    for digest in {manifest.json["config"]["digest"], *layers}:
        blob = registry.get(f"/v2/{name}/blobs/{digest}")
        assert blob.status == 200, blob.body
        assert digest_of(blob.body) == digest
    return layers


def test_unreadable_blobs_do_not_fail_builds_and_are_found(new_registry, packages, failing_disk):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    layers = served_layers(registry, "p29")
    registry.stop_worker()
    unreadable = {"LD_PRELOAD": str(failing_disk), "FAIL_READS": str(registry.tree / "blobs")}
    registry.start_worker(**unreadable)
    layers |= served_layers(registry, "p28/p14")  # of which the first image holds a part
    assert registry.events("a blob cannot be read")
    assert "Input/output error" in registry.events("a blob cannot be read")[0]["error"]

    shutil.rmtree(registry.state / "originals")  # as in a tree that an earlier version has built
    found = registry.nixery("verify", "--repair", "--json", **unreadable)
    assert found.returncode == 1
    problems = {problem["name"]: problem for problem in json.loads(found.stdout)["problems"] if problem["what"] == "blob"}
    assert all("cannot be read: Input/output error" in problem["message"] for problem in problems.values()), problems
    assert {name for name, problem in problems.items() if problem["repaired"]} == layers
    left = [problem["message"] for name, problem in problems.items() if name not in layers]
    assert len(left) >= 2 and all("it is left as it is" in message for message in left)  # configs
    registry.stop_worker()
    registry.start_worker()
    assert registry.nixery("verify").returncode == 0
    for digest in layers:
        blob = registry.blob("p29", digest)
        assert blob.status == 200 and digest_of(blob.body) == digest


def test_manifests_that_cannot_be_read_are_named_and_made_again(new_registry, packages, failing_disk):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    before = registry.manifest("p29").body
    unreadable = {"LD_PRELOAD": str(failing_disk), "FAIL_READS": str(registry.tree / "manifests")}
    found = registry.nixery("verify", "--json", **unreadable)
    assert found.returncode == 1, found.stderr
    manifests = {problem["name"]: problem["message"] for problem in json.loads(found.stdout)["problems"] if problem["what"] == "manifest"}
    assert digest_of(before) in manifests
    assert all("Input/output error" in message for message in manifests.values()), manifests
    collected = registry.nixery("gc", "--grace", "0s", **unreadable)  # what the manifests lead to, nobody knows
    assert collected.returncode == 1 and "Input/output error" in collected.stderr, collected
    assert registry.nixery("verify").returncode == 0  # so nothing is lost
    assert registry.nixery("verify", "--repair", **unreadable).returncode == 0
    assert registry.manifest("p29").body == before
    assert registry.nixery("verify").returncode == 0


def test_no_wrong_bytes_are_served_and_nothing_is_lost_during_kills_and_disk_failures(new_registry, packages, failing_disk):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_HOP_SECONDS="5")
    storm = Storm(registry, failing_disk)
    pullers = [threading.Thread(target=storm.pull_on, args=(number,)) for number in range(PULLERS)]
    for puller in pullers:
        puller.start()
    storm.rage()
    for puller in pullers:
        puller.join()
    print(json.dumps(storm.counts))
    assert not storm.wrong, "\n".join(storm.wrong)
    assert storm.counts["pulls"] == PULLS
    assert min(storm.counts.values()) > 0, storm.counts

    # After the faults, all files are right, even unrequested ones, and leftovers do no harm.
    registry.stop_worker(signal.SIGKILL)
    found = registry.nixery("verify", "--json")
    assert found.returncode == 0, found.stdout
    storm.start_worker()
    wait_for(registry._worker_serves, "the worker to serve")
    for name in storm.names():
        storm.pull(name)
    assert not storm.wrong
    # No process of a killed parent continues.
    wait_for(lambda: not children_of(registry.worker.pid), "nix to end")
    evaluations = ["pgrep", "-f", f"nixery-packages={packages}"]
    wait_for(lambda: subprocess.run(evaluations, capture_output=True).stdout == b"", "the last of them to be gone")
    # A day later, without any process, only pulled images are left.
    registry.stop_worker()
    collected = registry.nixery("gc", "--grace", "0s", "--json")
    assert collected.returncode == 0, collected.stderr
    assert json.loads(collected.stdout)["images"] == []
    assert registry.nixery("verify").returncode == 0
