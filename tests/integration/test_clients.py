"""Common clients, each with each kind of image."""

import json
import os
import stat

import grpc
import pytest

from engines import check, program, skopeo

IMAGES = {
    "shell/curl": ["curl", "--version"],
    "git": ["git", "--version"],
    "python3packages.requests": ["python3", "-c", "import requests, ssl; print(requests.__version__)"],
    "ffmpeg": ["ffmpeg", "-version"],
}


@pytest.mark.parametrize("name", IMAGES)
def test_docker_pulls_and_runs(registry, docker, name):
    assert docker.run_image(f"{registry.host}/{name}", *IMAGES[name])


@pytest.mark.parametrize("name", IMAGES)
def test_podman_pulls(registry, podman, name):
    pulled = podman.pull(f"{registry.host}/{name}")
    assert pulled.returncode == 0, pulled.stderr


@pytest.mark.parametrize("name", IMAGES)
def test_containerd_pulls(registry, containerd, name):
    image = f"{registry.host}/{name}:latest"
    containerd.check("images", "pull", "--plain-http", image)
    assert image in containerd.check("images", "ls", "-q")


def test_a_kubelet_pulls_by_tag_and_digest(registry, image_service):
    name = f"{registry.host}/shell/curl"
    digest = registry.manifest("shell/curl").headers["Docker-Content-Digest"]
    for image in (f"{name}:latest", f"{name}@{digest}"):
        assert b"sha256:" in image_service.pull(image)
        assert digest.encode() in image_service.status(image)
    assert image_service.status(f"{registry.host}/jq:latest") == b""


def test_a_kubelet_gets_the_reason_of_a_failure(registry, image_service):
    with pytest.raises(grpc.RpcError) as raised:
        image_service.pull(f"{registry.host}/crul:latest")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("name", IMAGES)
def test_skopeo_copies_and_umoci_unpacks(registry, directory, name):
    copied = skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/{name}", f"oci:{directory}/oci:x")
    assert copied.returncode == 0, copied.stderr
    check(program("umoci", "umoci"), "unpack", "--image", f"{directory}/oci:x", str(directory / "bundle"))
    rootfs = directory / "bundle/rootfs"
    (rootfs / "dev").mkdir(exist_ok=True)
    os.mknod(rootfs / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    check("chroot", str(rootfs), *IMAGES[name], env={"PATH": "/bin:/sbin:/usr/bin"})


def test_skopeo_inspects(registry):
    seen = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/hello")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["Architecture"] == "amd64"


def test_zstd_layers_are_read_by_podman_and_umoci(registry, podman, directory):
    manifest = registry.manifest("zstd/hello").json
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert podman.pull(f"{registry.host}/zstd/hello").returncode == 0
