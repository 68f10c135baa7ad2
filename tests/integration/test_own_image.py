"""The image of Nixery itself: made by packaging/build-image, run by docker, used for pulls."""

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from engines import check, program, run, skopeo
from package_sets import write_package_set
from registry import ROOT, free_port, nix_settings, wait_for

# Packages that are built with the image's own programs: /bin/sh and coreutils.
PACKAGES = """
{ system, ... }:
{
  greeting = derivation {
    name = "greeting-SALT"; inherit system;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/bin; mkdir -p $out/share; echo built in a container >$out/share/greeting" ];
  };
  slow = derivation {
    name = "slow-SALT"; inherit system;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/bin; sleep 45; mkdir -p $out/share; echo slow >$out/share/slow" ];
  };
}
"""
CONTROL = """\
Package: own-package
Version: 1:2.0-1
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Depends: hello
Description: a package that no archive has
"""
NIX_CONFIG = "substituters ="
USER = "1000:1000"
CONFINED = ("--user", USER, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


@pytest.fixture
def packages(directory):
    """A package set of unbuilt packages."""
    return write_package_set(directory / "packages", PACKAGES)


class Container:
    def __init__(self, docker, image, packages, *options, mode="serve"):
        self.docker, self.port = docker, free_port()
        self.id = docker.check(
            "run", "--detach", "--network", "host", "-e", f"NGINX_LISTEN=127.0.0.1:{self.port}", "-e", f"NIX_CONFIG={NIX_CONFIG}",
            "-e", "NIXERY_PKGS_PATH=/packages", "-v", f"{packages}:/packages:ro", *options, image, mode,
        ).strip()  # fmt: skip

    def is_up(self):
        assert self.running(), self.log()
        return run("curl", "-sf", f"http://127.0.0.1:{self.port}/v2/_catalog").returncode == 0  # by the worker

    def running(self):
        return json.loads(self.docker.check("inspect", "--format", "{{json .State.Running}}", self.id))

    def log(self):
        return (lambda done: done.stdout + done.stderr)(self.docker("logs", self.id))

    def exec(self, *words):
        return self.docker.check("exec", self.id, *words)

    def stop(self, limit=60):
        """Like a runtime: SIGTERM, then SIGKILL after the timeout. Returns the exit status."""
        self.docker.check("stop", "--time", str(limit), self.id)
        return json.loads(self.docker.check("inspect", "--format", "{{json .State.ExitCode}}", self.id))


@contextmanager
def started(docker, image, packages, *options):
    container = Container(docker, image, packages, *options)
    try:
        wait_for(container.is_up, "the container to answer", 180)
        yield container
    finally:
        docker("rm", "--force", "--volumes", container.id)


@contextmanager
def volumes(docker, image):
    """Volumes of a container without root: /nix, seeded as its user, and its data."""
    names = {"nix": docker.check("volume", "create").strip(), "data": docker.check("volume", "create").strip()}
    try:
        mounts = ("-v", f"{names['nix']}:/seed", "-v", f"{names['data']}:/var/lib/nixery")
        own = ("--read-only", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--network", "none")
        docker.check("run", "--rm", *own, *mounts, image, "own", USER, "/seed", "/var/lib/nixery")
        docker.check("run", "--rm", *CONFINED, "--network", "none", *mounts, image, "seed", "/seed")
        yield ("-v", f"{names['nix']}:/nix", "-v", f"{names['data']}:/var/lib/nixery", "--tmpfs", "/tmp", "--tmpfs", "/run/nixery")
    finally:
        docker("volume", "rm", "--force", *names.values())


def pull(container, name, directory):
    """Pulls with skopeo into an OCI layout."""
    layout = directory / name.replace("/", "-").replace(":", "-")
    done = skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{container.port}/{name}", f"oci:{layout}:latest")
    assert done.returncode == 0, done.stderr + container.log()
    return layout


def holds(layout: Path, file: str) -> bool:
    return any(file in run("tar", "-tf", str(blob)).stdout for blob in (layout / "blobs/sha256").iterdir())


def test_the_image_is_declared_with_the_project_s_version(own_image):
    declared = json.loads((ROOT / "packaging/image/nixery.json").read_text())
    assert f"version: '{declared['tag']}'," in (ROOT / "meson.build").read_text()
    assert own_image == f"{declared['name']}:{declared['tag']}"


def test_a_set_with_a_local_deb_is_reproducible(directory):
    """With the .deb at any path; its dependencies come from the archive."""
    made = directory / "made"
    (made / "DEBIAN").mkdir(parents=True)
    (made / "DEBIAN/control").write_text(CONTROL)
    (made / "usr/bin").mkdir(parents=True)
    (made / "usr/bin/own").write_text("#!/bin/sh\nexec hello\n")
    (made / "usr/bin/own").chmod(0o755)
    check("dpkg-deb", "--root-owner-group", "--build", str(made), str(directory / "own.deb"))
    (directory / "elsewhere").mkdir()
    shutil.copy(directory / "own.deb", directory / "elsewhere/other-name.deb")
    generate = str(ROOT / "nix/debian-packages/generate")
    for out, deb in (("first", "own.deb"), ("second", "elsewhere/other-name.deb")):
        check(generate, "--out", str(directory / out), "--list", "/dev/null", "--deb", str(directory / deb), *(["--no-update"] if out == "second" else []))
    check("diff", "-r", str(directory / "first"), str(directory / "second"))
    assert directory.name not in check("cat", str(directory / "first/packages/x86_64-linux.json"))
    env = nix_settings()
    path = check(program("nix-build", "nix-bin"), "--no-out-link", str(directory / "first"), "-A", "own-package", env=env).strip()
    closure = check(program("nix-store", "nix-bin"), "--query", "--requisites", path, env=env)
    assert (Path(path) / "bin/own").exists() and re.search(r"-dash-", closure), closure


def test_as_root_it_builds_serves_and_stops_on_sigterm(docker, own_image, packages, directory):
    with started(docker, own_image, packages) as container:
        assert holds(pull(container, "greeting", directory), "share/greeting")
        assert run("curl", "-sf", f"http://127.0.0.1:{container.port}/").stdout.startswith("<!doctype html>")
        assert container.stop() == 0
        assert "ended by itself" not in container.log()


def test_confined_and_without_root_it_builds_serves_and_stops(docker, own_image, packages, directory):
    with volumes(docker, own_image) as mounts:
        with started(docker, own_image, packages, *CONFINED, *mounts) as container:
            assert holds(pull(container, "greeting", directory), "share/greeting")
            # No process runs as root, and none can write to the image.
            for line in container.docker.check("top", container.id, "-eo", "pid,uid,args").splitlines()[1:]:
                assert line.split()[1] == "1000", line
            assert docker("exec", container.id, "touch", "/bin/x").returncode != 0
            assert container.stop() == 0
        # The next container finds the built images and seeded volumes.
        with started(docker, own_image, packages, *CONFINED, *mounts) as container:
            before = container.log()
            pull(container, "greeting", directory)
            assert "image built" not in container.log(), before


def test_without_root_and_without_a_seeded_store_it_names_the_fix(docker, own_image):
    done = docker("run", "--rm", "--network", "none", *CONFINED, "--tmpfs", "/run/nixery", "--tmpfs", "/tmp", own_image, "worker")
    assert done.returncode == 1 and "mount a volume at /nix that `seed` has filled" in done.stderr


def test_its_nix_has_the_images_store_registered(docker, own_image, packages):
    with started(docker, own_image, packages) as container:
        # Except for what the worker builds to show that Nix can build.
        store = {name for name in container.exec("ls", "/nix/store").split() if "-nixery-build-probe" not in name}
        valid = {line.rpartition("/")[2] for line in container.exec("nix-store", "--query", "--requisites", "/nix/var/nix/gcroots/nixery-image").split()}
        programs = {container.exec("readlink", "-f", f"/bin/{name}").split("/")[3] for name in ("nixery", "nix", "nginx", "git", "bash", "ls")}
        assert programs <= valid <= store
        # Except for paths built for the set itself, every path of the image is registered in its Nix.
        assert store - valid == set(), store - valid
        # No path is garbage, and none is broken.
        container.exec("nix-store", "--gc")
        assert store <= set(container.exec("ls", "/nix/store").split())
        container.exec("nix-store", "--verify", "--check-contents")


def test_a_volume_of_an_earlier_image_is_seeded_again(docker, own_image, packages):
    """Existing paths stay, missing ones are added, partial ones are removed."""
    with volumes(docker, own_image) as mounts:
        nix = mounts[1].split(":")[0]
        spoil = "set -e; cd /seed/store; first=$(ls | head -n 1); mkdir .seeding-x; touch .seeding-x/y; chmod 0555 .seeding-x; chmod -R u+w $first; rm -r $first; mkdir other"
        docker.check("run", "--rm", "--user", USER, "--network", "none", "-v", f"{nix}:/seed", "--entrypoint", "/bin/bash", own_image, "-c", spoil)
        said = docker("run", "--rm", *CONFINED, "--network", "none", "-v", f"{nix}:/seed", own_image, "seed", "/seed")
        assert said.returncode == 0 and "with 1 store paths" in said.stderr, said.stderr
        left = docker.check("run", "--rm", "--network", "none", "-v", f"{nix}:/seed", "--entrypoint", "/bin/ls", own_image, "-A", "/seed/store").split()
        assert "other" in left and not [name for name in left if name.startswith(".seeding")]


@pytest.mark.parametrize("victim", ["nixery.serve", "nginx"])
def test_the_container_ends_when_one_process_dies(docker, own_image, packages, victim):
    with started(docker, own_image, packages) as container:
        listed = [line.split(None, 2) for line in docker.check("top", container.id, "-eo", "pid,ppid,args").splitlines()[1:]]
        wanted = {"nixery.serve": "nixery serve", "nginx": "master process"}[victim]
        called_so = {pid: parent for pid, parent, words in listed if wanted in words and "start" not in words}
        # A child has its parent's name until it executes its program.
        (pid,) = [pid for pid, parent in called_so.items() if parent not in called_so]
        os.kill(int(pid), 9)
        wait_for(lambda: not container.running(), "the container to end", 60)
        assert container.stop() == 1
        wait_for(lambda: f"{victim.split('.')[0]} ended by itself" in container.log(), "the log to say so")


def test_a_request_is_finished_while_it_stops(docker, own_image, packages):
    with started(docker, own_image, packages) as container:
        asked = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{container.port}/v2/slow/manifests/latest"],
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        wait_for(lambda: "sleep 45" in docker.check("top", container.id, "-eo", "pid,args"), "the build to run", 60)
        assert container.stop() == 0
        # 307: the worker redirects the waiting client to the same URL, and another worker continues.
        assert asked.communicate(timeout=60)[0] in ("200", "307")


def test_its_git_fetches_a_source(docker, own_image, packages, directory):
    git = (program("git", "git"), "-C", str(packages), "-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "All"]):
        check(*git, *words)
    source = ("-e", "NIXERY_PKGS_PATH=", "-e", "NIXERY_PKGS_REPO=file:///packages/.git")
    with started(docker, own_image, packages, *source) as container:
        assert holds(pull(container, "greeting:main", directory), "share/greeting")


def test_the_operators_files_are_included_by_nginx(docker, own_image, packages, directory):
    (directory / "server.d").mkdir()
    (directory / "server.d/greeting.conf").write_text("location = /mine { return 200 mine; }\n")
    with started(docker, own_image, packages, "-v", f"{directory}/server.d:/etc/nixery.d/server:ro") as container:
        assert run("curl", "-sf", f"http://127.0.0.1:{container.port}/mine").stdout == "mine"


def test_other_arguments_are_passed_to_nixery(docker, own_image):
    declared = json.loads((ROOT / "packaging/image/nixery.json").read_text())
    assert declared["tag"] in docker.run_image(own_image, "--version")
    assert "nixery gc" in docker.run_image(own_image, "help", "gc")
