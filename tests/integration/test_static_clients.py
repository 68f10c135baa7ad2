"""Pulls of built images by tag without any worker, with common clients."""

import json

import pytest

from engines import check, program, skopeo
from fabricated import nginx_alone

HELLO = ["echo", "hello from the tree"]


@pytest.fixture(scope="module")
def served():
    with nginx_alone() as served:
        served.digest = served.files_of.add_busybox("shell/busybox")
        yield served


@pytest.fixture(scope="module")
def image(served):
    return f"{served.host}/shell/busybox:latest"


def test_docker_pulls_and_runs(served, image, docker):
    docker.check("pull", image)
    assert docker.run_image(image, *HELLO) == "hello from the tree\n"
    assert docker.check("inspect", "--format", "{{index .RepoDigests 0}}", image).strip().endswith("@" + served.digest)


def test_docker_pulls_by_digest(served, docker):
    docker.check("pull", f"{served.host}/shell/busybox@{served.digest}")


def test_podman_pulls(image, podman):
    pulled = podman.pull(image)
    assert pulled.returncode == 0, pulled.stderr


def test_containerd_pulls_and_knows_the_digest(served, image, containerd):
    containerd.check("images", "pull", "--plain-http", image)
    assert served.digest in containerd.check("images", "ls", f"name=={image}")


def test_skopeo_copies_and_umoci_unpacks(served, image, directory):
    copied = skopeo("copy", "--src-tls-verify=false", f"docker://{image}", f"oci:{directory}/oci:x")
    assert copied.returncode == 0, copied.stderr
    check(program("umoci", "umoci"), "unpack", "--image", f"{directory}/oci:x", str(directory / "bundle"))
    assert check("chroot", str(directory / "bundle/rootfs"), "/bin/busybox", *HELLO) == "hello from the tree\n"


def test_skopeo_writes_an_archive_that_docker_loads(image, docker, directory):
    archive = f"docker-archive:{directory}/image.tar:busybox:x"
    copied = skopeo("copy", "--src-tls-verify=false", f"docker://{image}", archive)
    assert copied.returncode == 0, copied.stderr
    docker.check("load", "-i", str(directory / "image.tar"))
    assert docker.run_image("busybox:x", *HELLO) == "hello from the tree\n"


def test_skopeo_inspects_without_the_list_of_tags_which_needs_a_worker(served, image):
    seen = skopeo("inspect", "--no-tags", "--tls-verify=false", f"docker://{image}")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["Digest"] == served.digest


def test_a_push_is_refused_with_a_message_that_the_client_shows(served, image, directory):
    copied = skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{image}", f"docker://{served.host}/mine:1")
    assert copied.returncode != 0 and "pull-only" in copied.stderr
    deleted = skopeo("delete", "--tls-verify=false", f"docker://{image}")
    assert deleted.returncode != 0
    assert served.get("/v2/shell/busybox/manifests/latest").status == 200
