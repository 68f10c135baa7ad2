"""STATE on a disk with few inodes: refused names use none, and without free inodes a worker still collects and drains."""

import json
import os
import shutil
import time
from contextlib import contextmanager

import pytest

import fastcgi
from engines import check


@contextmanager
def small_disk(path, **limits):
    """A file system of that many bytes or inodes; only root can mount one."""
    path.mkdir(exist_ok=True)
    options = ",".join(f"{name}={value}" for name, value in limits.items())
    check("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))
    try:
        yield path
    finally:
        check("umount", "-l", str(path))


@pytest.fixture
def registry(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    registry.stop_worker()
    return registry


def status_of(registry, name, tag="latest") -> int:
    """From the worker itself: nginx would make thousands of requests slow."""
    return int(fastcgi.ask(registry.socket, f"/v2/{name}/manifests/{tag}").split()[1])


def free_inodes(path) -> int:
    return os.statvfs(path).f_ffree


def use_up_inodes(directory, suffix):
    """With empty files whose names are as long as a build's key."""
    directory.mkdir(exist_ok=True)
    with pytest.raises(OSError, match="No space left"):
        for number in range(100_000):
            (directory / f"{number:064x}{suffix}").touch()


def use_up_bytes(path):
    with pytest.raises(OSError, match="No space left"), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def make_old(registry, hours):
    then = time.time() - hours * 3600
    for top in (registry.tree, registry.state):
        for path in top.rglob("*"):
            os.utime(path, (then, then), follow_symlinks=False)


def collect(registry, *words):
    done = registry.nixery("gc", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_thousands_of_refused_names_and_tags_leave_no_files(registry):
    with small_disk(registry.state, size="32m", nr_inodes=1000):
        registry.start_worker()
        assert registry.manifest("p4").status == 200
        assert status_of(registry, "no-such-package") == 404  # from now on the set's names are known
        before, inodes = registry.files(), free_inodes(registry.state)
        for number in range(1500):
            assert status_of(registry, f"no-such-{number}") == 404
            assert status_of(registry, f"p4/p5/no-such-{number}") == 404
            assert status_of(registry, "p4", f"no-such-{number}") == 404
        assert registry.files() == before
        assert free_inodes(registry.state) == inodes
        assert registry.manifest("p5").status == 200


@pytest.mark.parametrize("lost", ["nothing", "locks"])
def test_a_worker_without_inodes_refuses_collects_and_drains(registry, lost):
    with small_disk(registry.state, size="32m", nr_inodes=1000):
        registry.start_worker()
        assert registry.manifest("p4").status == 200
        assert status_of(registry, "no-such-package") == 404
        make_old(registry, 48)
        if lost == "locks":
            shutil.rmtree(registry.state / "locks")
        use_up_inodes(registry.state / "logs", ".log")
        assert registry.manifest("p4").status == 200
        assert status_of(registry, "no-such-either") == (503 if lost == "locks" else 404)
        assert registry.manifest("p5").status == 503
        assert registry.stop_worker() == 0

        registry.start_worker()  # without any free inode
        assert registry.manifest("p4").status == 200
        done = collect(registry, "--max-age", "0s", "--grace", "0s")
        assert done["stateFiles"] > 500 and [image["names"] for image in done["images"]] == [["p4:latest"]]
        assert free_inodes(registry.state) > 500
        for name in ("p4", "p5"):
            assert registry.manifest(name).status == 200
        assert registry.nixery("verify").returncode == 0


def test_the_number_of_logs_is_limited_without_collections(registry):
    with small_disk(registry.state, size="32m", nr_inodes=5000):
        registry.start_worker()
        (registry.state / "logs").mkdir()
        for number in range(3000):
            (registry.state / f"logs/{number:064x}.log").touch()
        assert registry.manifest("p29").status == 200
        logs = list((registry.state / "logs").iterdir())
        assert len(logs) <= 1000
        assert any("p29" in log.read_text() for log in logs)


@pytest.mark.parametrize("limit", [{"size": "4m"}, {"nr_inodes": 2000}])
def test_a_full_disk_can_be_collected(registry, limit):
    """TREE and STATE on one disk on which a collection cannot even move a file: TREE/incoming is missing, too."""
    disk = registry.dir / "disk"
    with small_disk(disk, **limit):
        registry.tree = disk / "tree"
        registry.state = disk / "state"
        registry.env.update(NIXERY_TREE=str(registry.tree), NIXERY_STATE=str(registry.state))
        registry.start_worker()
        for number in range(20, 30):
            assert status_of(registry, f"p{number}") == 200
        make_old(registry, 48)
        registry.stop_worker()
        for gone in (registry.tree / "incoming", registry.state / "locks"):
            shutil.rmtree(gone)
        use_up_bytes(disk / "filler") if "size" in limit else use_up_inodes(disk / "filler", "")
        done = collect(registry, "--max-age", "24h")
        assert len(done["images"]) == 10 and done["freedBytes"] > 0
        assert not list(registry.tree.glob("manifests/sha256/*"))
        assert not list(registry.tree.glob("blobs/sha256/*/*"))
        registry.start_worker()
        assert status_of(registry, "p20") == 200
        assert registry.stop_worker() == 0


def test_images_with_future_times_are_collected_when_they_have_existed_for_long(registry):
    registry.start_worker()
    for name in ("p4", "p29"):
        assert registry.manifest(name).status == 200
    make_old(registry, -2 * 365 * 24)
    policy = ("--max-size", "1", "--max-age", "30d")
    assert collect(registry, *policy)["images"] == []  # they may be in use
    manifests = list(registry.tree.glob("manifests/sha256/*/manifest.*"))
    assert len(manifests) > 2 and all(path.stat().st_mtime <= time.time() for path in manifests)
    make_old(registry, 2)
    done = collect(registry, *policy)
    assert {image["reason"] for image in done["images"]} == {"size"} and done["leftBytes"] == 0
    assert registry.manifest("p4").status == 200
