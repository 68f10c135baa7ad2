"""The files for nodes: containerd and the engines that read registries.conf pull nixery.local/… from the node itself."""

import re

import pytest

from conftest import running, temporary_directory
from engines import Containerd, ImageService, run
from registry import ROOT, free_port

NODES = ROOT / "packaging/kubernetes/nodes"
LOCAL = "127.0.0.1:8080"


def config_path() -> str:
    """The setting of containerd 1.x that hosts.toml's comment requires."""
    text = (NODES / "hosts.toml").read_text()
    found = re.search(r'^#\s+containerd 1\.x\s+(\[.*\])\n#\s+config_path = "/etc/containerd/certs.d"$', text, re.MULTILINE)
    assert found, text
    return found[1]


@pytest.fixture(scope="module")
def node():
    """A node's containerd with kubelet's requests, and its directory of hosts."""
    with temporary_directory() as directory:
        hosts = directory / "certs.d/nixery.local"
        hosts.mkdir(parents=True)
        more = f'{config_path()}\n  config_path = "{directory}/certs.d"\n'
        with running(Containerd(directory, cri=True, more=more)) as engine:
            yield ImageService(engine.address), hosts / "hosts.toml"


def test_containerd_pulls_from_the_node(node, registry):
    images, hosts = node
    hosts.write_text((NODES / "hosts.toml").read_text().replace(LOCAL, registry.host))
    images.pull("nixery.local/hello:latest")
    assert images.status("nixery.local/hello:latest")


def test_containerd_falls_back_if_the_node_does_not_respond(node, registry):
    images, hosts = node
    text = (NODES / "hosts.toml").read_text()
    assert text.count(f'server = "http://{LOCAL}"') == 1
    text = text.replace(f'server = "http://{LOCAL}"', f'server = "http://{registry.host}"')
    hosts.write_text(text.replace(LOCAL, f"127.0.0.1:{free_port()}"))
    images.pull("nixery.local/jq:latest")
    assert images.status("nixery.local/jq:latest")


@pytest.mark.parametrize("dead", [None, "mirror"])
def test_registries_conf_uses_the_node_and_falls_back(podman, registry, directory, dead):
    """With podman, which reads the file like CRI-O."""
    text = (NODES / "registries.conf").read_text()
    before, mirror = text.split("[[registry.mirror]]")
    mirror = mirror.replace(LOCAL, f"127.0.0.1:{free_port()}" if dead else registry.host)
    (directory / "registries.conf").write_text(before.replace(LOCAL, registry.host) + "[[registry.mirror]]" + mirror)
    done = run(*podman.words, "pull", "nixery.local/hello:latest", env={"CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf")})
    assert done.returncode == 0, done.stderr
    run(*podman.words, "rmi", "nixery.local/hello:latest")
