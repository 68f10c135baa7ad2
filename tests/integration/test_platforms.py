"""One name for several platforms: an index, from which each client chooses its own."""

import json
import os

import pytest

from engines import program, skopeo

INDEX = "application/vnd.oci.image.index.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
BOTH = {"NIXERY_PLATFORMS": "amd64 arm64"}


@pytest.fixture(scope="module")
def both(new_module_registry):
    return new_module_registry(**BOTH)


def digest_of(answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["Docker-Content-Digest"]


def members(registry, name: str) -> dict[str, dict]:
    """The descriptors of an index by architecture."""
    answer = registry.manifest(name)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == answer.json["mediaType"]
    return {member["platform"]["architecture"]: member for member in answer.json["manifests"]}


def test_a_plain_name_is_an_index_of_the_platforms_images(both):
    answer = both.manifest("hello")
    assert answer.headers["Content-Type"] == INDEX
    found = members(both, "hello")
    assert list(found) == ["amd64", "arm64"]
    assert found["arm64"]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    for architecture, member in found.items():
        one = both.manifest(f"{architecture}/hello")
        assert digest_of(one) == member["digest"]
        assert len(one.body) == member["size"] and one.headers["Content-Type"] == member["mediaType"]
        assert both.config(f"{architecture}/hello")["architecture"] == architecture
    assert not [key for key in answer.json["annotations"] if key.startswith("io.nixery.left-out")]


def test_an_index_is_served_without_a_worker(both):
    digest = digest_of(both.manifest("jq"))
    before = both.worker_requests()
    assert digest_of(both.manifest("jq")) == digest
    assert digest_of(both.get(f"/v2/jq/manifests/{digest}")) == digest
    assert both.worker_requests() == before


def test_popularity_counts_the_images_of_an_index(new_registry):
    registry = new_registry(**BOTH)
    for name in ("hello", "jq", "arm64/jq"):
        digest_of(registry.manifest(name))
    counts = json.loads(registry.nixery("popularity").stdout)
    assert counts["hello"] == 2 and counts["jq"] == 2 and counts["libc6"] == 4, counts


def test_one_platform_gives_a_plain_manifest(new_registry):
    answer = new_registry(NIXERY_PLATFORMS="arm64").manifest("hello")
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
    assert answer.json["config"]


def test_a_platform_that_cannot_be_built_is_omitted_and_the_index_has_the_reason(both):
    assert list(members(both, "amd64only")) == ["amd64"]
    annotations = both.manifest("amd64only").json["annotations"]
    assert "amd64-only" in annotations["io.nixery.left-out.arm64"]
    assert "io.nixery.left-out.amd64" not in annotations


def test_a_requested_platform_that_cannot_be_built_fails(both):
    answer = both.manifest("arm64/amd64only")
    assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")


def test_a_package_that_no_platform_has_fails_as_for_one_platform(both, registry):
    for name in ("crul", "failingpackage"):
        two, one = both.manifest(name), registry.manifest(name)
        assert (two.status, two.error["code"]) == (one.status, one.error["code"]), name
        assert two.error["message"] == one.error["message"], name


def test_a_platform_that_timed_out_is_not_omitted(new_registry, directory):
    """Timeouts are transient: the next pull may succeed."""
    shims, hang = directory / "shims", directory / "hang"
    shims.mkdir()
    (shims / "nix-instantiate").write_text(
        '#!/bin/sh\nfor word in "$@"; do case "$word" in nixery-request=*) request="${word#*=}" ;; esac; done\n'
        f'if [ -e {hang} ] && grep -q aarch64-linux "$request"; then exec sleep 600; fi\n'
        f'exec {program("nix-instantiate", "nix-bin")} "$@"\n')  # fmt: skip
    (shims / "nix-instantiate").chmod(0o755)
    registry = new_registry(NIXERY_FAILURE_SECONDS="0", NIXERY_EVAL_TIMEOUT="15", PATH=f"{shims}:{os.environ['PATH']}", **BOTH)
    hang.touch()
    answer = registry.manifest("hello")
    assert (answer.status, answer.error["detail"]["failure"]) == (424, "timed_out"), answer.body
    hang.unlink()
    assert list(members(registry, "hello")) == ["amd64", "arm64"]


# The builds of both platforms; each waits for the other one to start.
MEETING = """{ system, ... }: {
  meeting = derivation {
    name = "meeting-SALT-${system}"; system = "x86_64-linux"; builder = "/bin/sh";
    args = [ "-c" ''
      PATH=/bin:/usr/bin
      met() { [ -e PLACE/x86_64-linux ] && [ -e PLACE/aarch64-linux ]; }
      touch PLACE/${system}
      for i in $(seq 600); do met && break; sleep 0.1; done
      met && echo met > $out
    '' ];
  };
}
"""


def test_the_members_are_built_in_parallel(new_registry, directory):
    packages, place = directory / "packages", directory / "place"
    packages.mkdir()
    place.mkdir()
    (packages / "default.nix").write_text(MEETING.replace("SALT", directory.name).replace("PLACE", str(place)))
    registry = new_registry(NIXERY_PKGS_PATH=str(packages), **BOTH)
    assert list(members(registry, "meeting")) == ["amd64", "arm64"]
    logs = [path.read_text() for path in (registry.state / "logs").glob("*.log")]
    assert any("amd64: " in log and "arm64: " in log for log in logs)


def test_the_docker_format_gives_a_manifest_list(new_registry):
    registry = new_registry(NIXERY_FORMAT="docker", **BOTH)
    answer = registry.manifest("hello")
    assert answer.headers["Content-Type"] == LIST
    assert "annotations" not in answer.json
    assert list(members(registry, "hello")) == ["amd64", "arm64"]


def test_docker_pulls_the_requested_platform(both, docker):
    for architecture in ("arm64", "amd64"):
        docker.check("pull", "--platform", f"linux/{architecture}", f"{both.host}/hello")
        seen = docker.check("image", "inspect", "--format", "{{.Architecture}}", f"{both.host}/hello")
        assert seen.strip() == architecture
    assert docker.run_image(f"{both.host}/hello", "hello")


def test_podman_pulls_the_requested_platform(both, podman):
    for architecture in ("arm64", "amd64"):
        pulled = podman("pull", "--tls-verify=false", "--arch", architecture, f"{both.host}/hello")
        assert pulled.returncode == 0, pulled.stderr
        seen = podman("image", "inspect", "--format", "{{.Architecture}}", f"{both.host}/hello")
        assert seen.stdout.strip() == architecture


def test_containerd_pulls_each_platform(both, containerd):
    for architecture in ("arm64", "amd64"):
        containerd.check("images", "pull", "--plain-http", "--platform", f"linux/{architecture}", f"{both.host}/hello:latest")


def test_skopeo_copies_all_platforms(both, directory):
    copied = skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{both.host}/hello", f"oci:{directory}/oci:x")
    assert copied.returncode == 0, copied.stderr
    index = json.loads((directory / "oci/index.json").read_text())
    assert index["manifests"][0]["digest"] == digest_of(both.manifest("hello"))


def test_two_registries_give_the_same_index(both, new_registry):
    assert digest_of(new_registry(**BOTH).manifest("jq/hello")) == digest_of(both.manifest("hello/jq"))


def test_an_index_is_built_exported_and_planned_by_command(both, directory):
    built = json.loads(both.nixery("build", "--json", "--oci", str(directory / "oci"), "--docker-archive",
                                   str(directory / "a.tar"), "hello", **BOTH).stdout)
    assert built["mediaType"] == INDEX
    seen = skopeo("inspect", "--raw", f"oci:{directory}/oci:hello:latest")
    assert {m["platform"]["architecture"] for m in json.loads(seen.stdout)["manifests"]} == {"amd64", "arm64"}
    for architecture in ("amd64", "arm64"):
        one = skopeo("--override-arch", architecture, "inspect", f"oci:{directory}/oci:hello:latest")
        assert json.loads(one.stdout)["Architecture"] == architecture
    archived = skopeo("inspect", f"docker-archive:{directory}/a.tar")
    assert json.loads(archived.stdout)["Architecture"] == "amd64"

    planned = both.nixery("plan", "--json", "hello", **BOTH).stdout.splitlines()
    assert [json.loads(line)["system"] for line in planned] == ["x86_64-linux", "aarch64-linux"]

    both.nixery("export", str(directory / "copy"), "hello", **BOTH).check_returncode()
    copied = {path.name for path in (directory / "copy/manifests/sha256").iterdir()}
    assert {m["digest"].removeprefix("sha256:") for m in members(both, "hello").values()} <= copied


def test_changed_settings_rebuild_existing_names(new_registry):
    registry = new_registry()
    one = digest_of(registry.manifest("hello"))
    assert registry.stop_worker() == 0
    registry.start_worker(**BOTH)
    assert members(registry, "hello")["amd64"]["digest"] == one
    assert registry.get(f"/v2/hello/manifests/{one}").status == 200
    assert [event["reason"] for event in registry.events("tag dropped")] == ["it was built under other settings"]


def test_members_have_their_own_documents(both):
    for architecture, member in members(both, "hello").items():
        listed = both.get(f"/v2/hello/referrers/{member['digest']}").json["manifests"]
        types = {referrer["artifactType"] for referrer in listed}
        assert {"application/spdx+json", "application/vnd.cyclonedx+json"} <= types, architecture
