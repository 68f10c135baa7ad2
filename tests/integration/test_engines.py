"""The tests' container engines leave no files or mounts behind after they are stopped."""

import os
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import running, temporary_directory
from engines import Docker, Podman, check, program
from mounts import mounts_below, unmount_below

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and run these engines")


@contextmanager
def mounted(at: Path):
    at.mkdir()
    check(program("mount", "mount"), "-t", "tmpfs", "none", str(at))
    try:
        yield
    finally:
        if os.path.ismount(at):
            check(program("umount", "mount"), str(at))


def test_only_mounts_below_the_directory_are_unmounted(directory):
    mine, other = directory / "mine", directory / "mine-too"
    mine.mkdir()
    with mounted(other), mounted(mine / "a b"), mounted(mine / "a b/within"):
        assert mounts_below(mine) == [f"{mine}/a b", f"{mine}/a b/within"]
        unmount_below(mine)
        assert mounts_below(mine) == [] and mounts_below(directory) == [str(other)]


@pytest.fixture
def archive(directory):
    """An archive of an image with one program."""
    with tarfile.open(directory / "root.tar", "w") as tar:
        tar.add(program("busybox", "busybox-static"), "bin/busybox")
    return str(directory / "root.tar")


def test_docker_leaves_no_directory_behind(archive):
    with temporary_directory() as place, running(Docker(place)) as docker:
        docker.check("import", archive, "one")
        # A mount that dockerd keeps: the machine's own network.
        assert docker.check("run", "--rm", "--network", "host", "one", "/bin/busybox", "echo", "ran") == "ran\n"
        assert f"{place}/exec/netns/default" in mounts_below(place)
    assert mounts_below(place) == [] and not place.exists()


def test_podman_leaves_no_directory_behind(archive):
    with temporary_directory() as place:
        podman = Podman(place)
        for words in (["import", archive, "one"], ["image", "mount", "one"]):
            done = podman(*words)
            assert done.returncode == 0, done.stderr
        assert f"{place}/root/overlay" in mounts_below(place)
    assert mounts_below(place) == [] and not place.exists()
