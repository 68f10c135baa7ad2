"""Builds of minutes with real clients, including those that time out after 30 seconds without a response.

All of them wait at the same time, and nearly all of the time is spent asleep: tests/run runs this file beside the others.
"""

import http.client
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

import fastcgi
from conftest import temporary_directory
from engines import program, skopeo
from package_sets import copy_with_new_slow_packages
from registry import Registry, free_port, wait_for

PATIENCE = 30  # seconds until the response's headers, like containerd since 2.3

FRONT = """
user root; daemon off; pid {dir}/front.pid; error_log {dir}/front-error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {dir}/front-temp; proxy_temp_path {dir}/front-temp; fastcgi_temp_path {dir}/front-temp;
  uwsgi_temp_path {dir}/front-temp; scgi_temp_path {dir}/front-temp;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_set_header Host $http_host;
      proxy_read_timeout {seconds}s;
    }}
  }}
}}
"""


@dataclass
class Wait:
    """One client's pull of a manifest, request by request."""

    statuses: list[int] = field(default_factory=list)
    hops: list[float] = field(default_factory=list)  # seconds until each response
    seconds: float = 0
    digest: str | None = None
    messages: list[str] = field(default_factory=list)


def pull(port: int, name: str, attempts: int) -> Wait:
    """Like containerd: up to ten redirects with a timeout each; a 429 is retried at once, several times."""
    wait, start = Wait(), time.monotonic()
    for _ in range(attempts):
        target = f"/v2/{name}/manifests/latest"
        for _ in range(11):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            began = time.monotonic()
            connection.request("GET", target)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            wait.statuses.append(answer.status)
            wait.hops.append(time.monotonic() - began)
            if answer.status != 307:
                break
            target = answer.headers["Location"]
        if answer.status == 200:
            wait.digest = answer.headers["Docker-Content-Digest"]
            break
        wait.messages.append(body.decode())
        if answer.status != 429:
            break
    wait.seconds = time.monotonic() - start
    return wait


@pytest.fixture(scope="module")
def slow_images(package_set):
    """The package set, its slow packages never built before."""
    with temporary_directory() as directory:
        yield str(copy_with_new_slow_packages(package_set, directory / "set"))


@pytest.fixture(scope="module")
def registry(new_module_registry, slow_images) -> Registry:
    return new_module_registry(NIXERY_PKGS_PATH=slow_images, NIXERY_BUILDS="8")


@pytest.fixture(scope="module")
def front(registry):
    """A load balancer with a timeout of 30 seconds."""
    port = free_port()
    conf = registry.dir / "front.conf"
    conf.write_text(FRONT.format(dir=registry.dir, port=port, behind=registry.port, seconds=PATIENCE))
    process = subprocess.Popen([program("nginx", "nginx"), "-c", str(conf), "-e", str(registry.dir / "front-error.log")])

    def answers():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False

    wait_for(answers, "the nginx in front to answer")
    yield port
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def waits(registry, front, docker, podman, containerd, tmp_path_factory):
    """All clients' pulls, started at the same time."""
    layout = tmp_path_factory.mktemp("skopeo")
    host = f"127.0.0.1:{front}"

    def engine(pull):
        start = time.monotonic()
        output = pull()
        return output, time.monotonic() - start

    # Builds what all slow packages need, so that each build below is mostly its own sleep.
    assert registry.manifest("slow.s1").status == 200
    with ThreadPoolExecutor(16) as pool:
        begun = {
            "two minutes": pool.submit(pull, registry.port, "slow.s120", 1),
            "two minutes, through a load balancer": pool.submit(pull, front, "slow.s120", 1),
            "six minutes": pool.submit(pull, registry.port, "slow.s360", 5),
            "docker": pool.submit(engine, lambda: docker("pull", f"{host}/slow.s120")),
            "podman": pool.submit(engine, lambda: podman.pull(f"{host}/slow.s120")),
            "skopeo": pool.submit(engine, lambda: skopeo("copy", "--src-tls-verify=false", f"docker://{host}/slow.s120", f"oci:{layout}:x")),
            "ctr": pool.submit(engine, lambda: containerd.check("images", "pull", "--plain-http", f"{host}/slow.s120:latest")),
        }
        yield begun


@pytest.mark.parametrize("who", ["two minutes", "two minutes, through a load balancer"])
def test_one_pull_waits_for_a_build_of_two_minutes_with_a_client_timeout_of_thirty_seconds(waits, who):
    wait = waits[who].result()
    assert wait.statuses[-1] == 200, wait
    assert set(wait.statuses[:-1]) == {307} and 5 <= len(wait.statuses) <= 10
    assert 110 < wait.seconds < 180
    assert max(wait.hops) < PATIENCE


@pytest.mark.parametrize("who", ["docker", "podman", "skopeo"])
def test_engines_pull_it_through_a_load_balancer_with_a_timeout_of_thirty_seconds(waits, who):
    done, seconds = waits[who].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds > 60


def test_containerd_pulls_it_through_the_load_balancer(waits):
    output, seconds = waits["ctr"].result()
    assert "done" in output
    assert seconds > 60


def test_a_build_of_six_minutes_needs_the_clients_own_retries_and_no_second_build(waits, registry):
    wait = waits["six minutes"].result()
    assert wait.statuses[-1] == 200, wait
    # Ten responses of twenty seconds are 200 s; a slow machine may need more than twice that.
    assert 1 <= wait.statuses.count(429) <= 2
    assert wait.seconds > 330
    assert max(wait.hops) < PATIENCE
    assert len([event for event in registry.events("image built") if event["reference"].startswith("slow.s360")]) == 1
    assert re.search(
        r'"message":"the image is still being built \(building with nix: building slow-[0-9a-f]{32}-s360-1\.0, \d+ s\): '
        r'pull it again in a while, the build continues"', wait.messages[0]), wait.messages


def test_messages_of_a_pull_that_waits_too_long_and_of_the_next_one(new_module_registry, slow_images, docker, podman):
    registry = new_module_registry(NIXERY_PKGS_PATH=slow_images, NIXERY_HOP_SECONDS="3", NIXERY_HOPS="1")
    wait_for(lambda: registry.manifest("slow.s1").status == 200, "what all slow packages need", 300)
    # Nix already builds before the user's pull.
    assert registry.get("/v2/slow.s60/manifests/latest").status == 307
    wait_for(lambda: b"building slow-" in fastcgi.ask(registry.socket, "/api/build/slow.s60"), "nix to build", 60)
    image = f"{registry.host}/slow.s60"
    result = docker("pull", image)
    assert result.returncode == 1
    assert re.fullmatch(
        r"Error response from daemon: toomanyrequests: the image is still being built \(building with nix: building "
        r"slow-[0-9a-f]{32}-s60-1\.0, \d+ s\): pull it again in a while, the build continues\n", result.stderr), result.stderr
    # podman retries by itself after Retry-After until it is built.
    wait_for(lambda: podman.pull(image).returncode == 0, "podman to have it", 180)
    assert f"Status: Downloaded newer image for {image}:latest" in docker.check("pull", image)
    assert docker.run_image(image) == "slow\n"
