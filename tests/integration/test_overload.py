"""An overloaded registry, seen by common clients."""

import subprocess

import grpc
import pytest

from conftest import started
from engines import program, run
from package_sets import write_package_set
from registry import Registry, wait_for
from test_newer_clients import crane, oras  # noqa: F401  (fixtures)

SET = """
{ system, ... }:
let
  package = name: script: derivation {
    name = "${name}-SALT"; inherit system; builder = "/bin/sh"; args = [ "-c" "PATH=/bin:/usr/bin; ${script}; echo ${name} > $out" ];
  };
in {
  gated = package "gated" "for i in $(seq 3000); do [ -e GATE ] && break; sleep 0.1; done; [ -e GATE ]";
  one = package "one" "true";
  two = package "two" "true";
  three = package "three" "true";
}
"""


@pytest.fixture
def busy(directory):
    """A registry that runs a build and has a full queue until busy.open()."""
    gate = directory / "gate"
    packages = write_package_set(directory / "packages", SET.replace("GATE", str(gate)))
    settings = {"NIXERY_BUILDS": "1", "NIXERY_QUEUE": "0", "NIXERY_HOP_SECONDS": "1", "NIX_TIMEOUT": "600"}
    with started(packages, settings) as registry:
        assert registry.get("/v2/gated/manifests/latest").status == 307
        registry.open = gate.touch
        try:
            yield registry
        finally:
            gate.touch()


def refused(registry, name: str) -> bool:
    return any(f"/v2/{name}/manifests/latest 429 " in line for line in (registry.dir / "access.log").read_text().splitlines())


def test_docker_shows_the_reason(busy, docker):
    pulled = docker("pull", f"{busy.host}/one")
    assert pulled.returncode != 0
    assert "toomanyrequests: 0 requests are queued already: try again in a while" in pulled.stderr, pulled.stderr


def test_containerd_reports_too_many_requests(busy, containerd):
    """containerd shows only the status, except for 404 and 401."""
    pulled = run(program("ctr", "containerd"), "-a", containerd.address, "images", "pull", "--plain-http", f"{busy.host}/one:latest")
    assert pulled.returncode != 0 and "429 Too Many Requests" in pulled.stderr, pulled.stderr


def test_a_kubelet_is_told_that_it_is_too_many_requests(busy, image_service):
    with pytest.raises(grpc.RpcError) as raised:
        image_service.pull(f"{busy.host}/one:latest")
    assert "429 Too Many Requests" in raised.value.details(), raised.value


def test_crane_shows_why(busy, crane):  # noqa: F811
    asked = crane("manifest", "--insecure", f"{busy.host}/one")
    assert asked.returncode != 0 and "TOOMANYREQUESTS: 0 requests are queued already: try again in a while" in asked.stderr, asked.stderr


def test_oras_shows_why(busy, oras):  # noqa: F811
    asked = oras("manifest", "fetch", "--plain-http", f"{busy.host}/one:latest")
    assert asked.returncode != 0 and "0 requests are queued already: try again in a while" in asked.stderr, asked.stderr


def test_podman_and_skopeo_retry_by_themselves(busy, podman):
    pulls = {
        "one": [*podman.words, "pull", "--tls-verify=false", f"{busy.host}/one"],
        "two": [program("skopeo", "skopeo"), "inspect", "--tls-verify=false", f"docker://{busy.host}/two"],
    }
    running = {name: subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for name, words in pulls.items()}
    try:
        for name in running:
            wait_for(lambda: refused(busy, name), f"{name} to be refused")
        busy.open()
        for name, process in running.items():
            printed, _ = process.communicate(timeout=300)
            assert process.returncode == 0, printed
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def test_podman_and_skopeo_retry_under_nginxs_limits(directory, podman, monkeypatch):
    """With the sample's zone for misses and without limit_req_status."""
    monkeypatch.setattr(Registry, "server", "limit_req zone=nixery_misses nodelay;")
    original = Registry.start_nginx

    def start_nginx(self):
        import registry as registries
        from registry import ROOT

        conf = registries.NGINX_CONF.replace("include {dir}/nixery-http.conf;", "include {dir}/nixery-http.conf; include {root}/nginx/nixery-limits.conf;")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registries, "NGINX_CONF", conf)
            original(self)

    monkeypatch.setattr(Registry, "start_nginx", start_nginx)
    packages = write_package_set(directory / "packages", SET)
    with started(packages, {}) as registry:
        # Misses of one client, more than two per second.
        answers = [registry.get(f"/v2/nosuch{n}/manifests/latest") for n in range(5)]
        assert 429 in {answer.status for answer in answers}, answers
        (limited, *_) = [answer for answer in answers if answer.status == 429]
        assert limited.error["code"] == "TOOMANYREQUESTS" and int(limited.headers["Retry-After"]) > 0
        assert 503 not in {answer.status for answer in answers}
        pulled = podman.pull(f"{registry.host}/three")
        assert pulled.returncode == 0, pulled.stderr
