"""Pulls: how images are built and served, and that built images need no worker."""

import hashlib
import re
import signal
import threading
from pathlib import Path

from registry import wait_for


def test_docker_runs_a_program_from_an_image_that_did_not_exist(registry, docker):
    said = docker.run_image(f"{registry.host}/shell/curl", "curl", "--version")
    assert said.startswith("curl ")


def test_every_byte_served_matches_its_digest_and_size(registry):
    manifest = registry.manifest("shell/curl")
    assert manifest.headers["Docker-Content-Digest"] == "sha256:" + hashlib.sha256(manifest.body).hexdigest()
    for descriptor in [manifest.json["config"], *manifest.json["layers"]]:
        blob = registry.get(f"/v2/shell/curl/blobs/{descriptor['digest']}")
        assert "sha256:" + hashlib.sha256(blob.body).hexdigest() == descriptor["digest"]
        assert len(blob.body) == descriptor["size"] == int(blob.headers["Content-Length"])


def test_a_warm_pull_by_tag_needs_no_worker(new_registry, docker):
    registry = new_registry()
    image = f"{registry.host}/hello"
    docker.check("pull", image)
    docker.check("rmi", image)
    registry.stop_worker()
    before = registry.worker_requests()
    docker.check("pull", image)
    assert "Hello, world" in docker.run_image(image, "hello")
    assert registry.worker_requests() == before


def test_the_order_of_names_does_not_matter(registry):
    one, other = registry.manifest("jq/hello"), registry.manifest("hello/jq")
    assert one.status == other.status == 200
    assert one.headers["Docker-Content-Digest"] == other.headers["Docker-Content-Digest"]
    assert one.body == other.body


def test_similar_names_are_different_images(registry):
    digests = {registry.manifest(name).headers["Docker-Content-Digest"] for name in ("jq", "hello", "jq/hello", "arm64/hello")}
    assert len(digests) == 4


def test_arm64_images_have_the_platform_and_arm64_programs(registry, directory):
    config = registry.config("arm64/hello")
    assert (config["architecture"], config["variant"]) == ("arm64", "v8")
    assert registry.config("hello")["architecture"] == "amd64"
    registry.nixery("build", "--oci", str(directory / "oci"), "arm64/hello").check_returncode()
    from engines import check, program

    check(program("umoci", "umoci"), "unpack", "--image", f"{directory}/oci:arm64/hello:latest", str(directory / "bundle"))
    machine = {
        path.read_bytes()[18:20]
        for path in (directory / "bundle/rootfs/nix/store").glob("*-hello-*/bin/hello")
    }
    assert machine == {b"\xb7\x00"}  # EM_AARCH64


def test_names_are_found_in_any_case_and_in_nested_sets(registry):
    labels = registry.config("python3packages.requests")["config"]["Labels"]
    assert labels["io.nixery.packages"].startswith("python3Packages.requests=")
    assert registry.config("bashinteractive")["config"]["Labels"]["io.nixery.packages"].startswith("bashInteractive=")


def test_the_root_file_system_has_what_programs_expect(registry, docker):
    def run(script):
        return docker.run_image(f"{registry.host}/shell/curl", "sh", "-c", script).strip()

    assert run("stat -c %a /tmp /var/tmp /root") == "1777\n1777\n700"
    assert run("cd /tmp && touch x && echo done") == "done"
    assert run("/usr/bin/env echo found") == "found"
    assert run("id -un; id -un nobody") == "root\nnobody"
    assert "hosts:" in run("cat /etc/nsswitch.conf")
    assert "BEGIN CERTIFICATE" in run('head -c 2000 "$SSL_CERT_FILE"')


def test_an_image_with_shell_starts_bash_and_others_their_main_program(registry):
    assert registry.config("shell/curl")["config"]["Cmd"] == ["bash"]
    assert registry.config("hello")["config"]["Cmd"] == ["hello"]


def test_the_config_is_complete_and_reproducible(registry):
    config = registry.config("hello")
    assert config["created"] == "1970-01-01T00:00:01Z"
    assert any(entry.startswith("PATH=/bin:") for entry in config["config"]["Env"])
    assert config["config"]["Labels"]["org.opencontainers.image.revision"].startswith("sha256:")
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == len(registry.manifest("hello").json["layers"])


def test_two_hosts_give_the_same_digests(registry, new_registry):
    other = new_registry()
    for name in ("shell/curl", "hello", "zstd/hello", "arm64/hello"):
        one, two = registry.manifest(name), other.manifest(name)
        assert one.status == 200 and one.body == two.body, name


def test_a_restarted_worker_gives_the_same_digest(new_registry):
    registry = new_registry()
    before = registry.manifest("hello").headers["Docker-Content-Digest"]
    registry.stop_worker()
    registry.forget()
    registry.start_worker()
    assert registry.manifest("hello").headers["Docker-Content-Digest"] == before


def test_existing_paths_are_layered_while_others_are_built(new_registry, slow_set, directory):
    gate, file = directory / "gate", Path(slow_set) / "test-packages.nix"
    text = file.read_text()
    assert text.count("sleep ${toString seconds} #") == 1
    file.write_text(text.replace("sleep ${toString seconds} #", f"for i in $(seq 1200); do [ -e {gate} ] && break; sleep 0.1; done; [ -e {gate} ] || exit #"))
    registry = new_registry(NIXERY_PKGS_PATH=slow_set, NIXERY_HOP_SECONDS="1")
    registry.nixery("build", "git").check_returncode()  # puts git into the store
    registry.forget()
    assert registry.get("/v2/git/slow.s20/manifests/latest").status == 307
    layers = lambda: {path.name for path in (registry.tree / "blobs").rglob("*") if path.is_file()}
    wait_for(lambda: len(layers()) >= 5, "the first layers", 90)
    early = layers()
    assert not list((registry.tree / "manifests").rglob("manifest.*")), "it did not wait for the gate"
    gate.touch()
    wait_for(lambda: registry.get("/v2/git/slow.s20/manifests/latest").status == 200, "the image")
    final = {layer["digest"].removeprefix("sha256:") for layer in registry.manifest("git/slow.s20").json["layers"]}
    assert early <= final, "every early layer is one of the image's"


def test_two_hundred_clients_of_one_image_cause_one_build(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    answers = []

    def pull():
        answers.append(registry.manifest("slow.s5"))

    clients = [threading.Thread(target=pull) for _ in range(200)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    # A request that looked just before the image existed may have tried again and found it.
    assert [event["found"] for event in registry.events("image built")].count("no") == 1


def test_two_workers_on_one_tree_build_an_image_once(new_registry, slow_set):
    one = new_registry(NIXERY_PKGS_PATH=slow_set)
    other = new_registry(NIXERY_PKGS_PATH=slow_set, NIXERY_TREE=str(one.tree), NIXERY_STATE=str(one.state))
    other.tree = one.tree
    answers = []
    clients = [threading.Thread(target=lambda r=r: answers.append(r.manifest("slow.s5"))) for r in (one, other) for _ in range(5)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len({answer.body for answer in answers}) == 1
    # The second holder of the lock found the tag and realised nothing.
    logs = list((one.state / "logs").glob("*.log"))
    assert len(logs) == 1 and len(re.findall("building '[^']*-slow-", logs[0].read_text())) == 1


def test_the_docker_format_can_be_set(new_registry, docker):
    registry = new_registry(NIXERY_FORMAT="docker")
    manifest = registry.manifest("hello")
    assert manifest.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.json["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert "Hello" in docker.run_image(f"{registry.host}/hello", "hello")
    assert registry.manifest("zstd/hello").status == 400


def test_an_evicted_blob_is_rebuilt_to_the_same_digest(new_registry):
    registry = new_registry()
    digests = [layer["digest"] for layer in registry.manifest("hello").json["layers"]]
    for digest in digests:
        hex = digest.removeprefix("sha256:")
        (registry.tree / "blobs/sha256" / hex[:2] / hex).unlink()
    for digest in digests:
        target = f"/v2/hello/blobs/{digest}"
        answer = registry.get(target)
        if answer.status == 307:
            answer = registry.get(answer.headers["Location"])
        assert answer.status == 200
        assert "sha256:" + hashlib.sha256(answer.body).hexdigest() == digest


def test_a_moving_tag_is_dropped_when_its_source_has_moved(new_registry, directory):
    (directory / "default.nix").write_text('{ system, ... }: { x = throw "one"; }')
    registry = new_registry(NIXERY_PKGS_PATH=str(directory), NIXERY_REFRESH_SECONDS="1", NIXERY_FAILURE_SECONDS="0")

    def write(version):
        (directory / "default.nix").write_text(
            '{ system, ... }: { x = derivation { name = "x-' + version + '"; inherit system; builder = "/bin/sh"; '
            'args = [ "-c" "echo ' + version + ' > $out" ]; } // { version = "' + version + '"; }; }'
        )

    write("1")
    first = registry.manifest("x")
    assert first.status == 200, first.body
    write("2")
    wait_for(lambda: not (registry.tree / "tags/x/_tags/latest").is_symlink(), "the tag to be dropped")
    second = registry.manifest("x")
    assert second.json["annotations"]["org.opencontainers.image.version"] == "2"
    assert first.headers["Docker-Content-Digest"] != second.headers["Docker-Content-Digest"]


def test_readers_never_see_a_partial_tag_or_manifest_during_replacement(new_registry):
    registry = new_registry()
    registry.manifest("hello")
    over, seen, wrong = threading.Event(), set(), []

    def read():
        while not over.is_set():
            answer = registry.get("/v2/hello/manifests/latest")
            digest = "sha256:" + hashlib.sha256(answer.body).hexdigest()
            seen.add(digest)
            if answer.status != 200 or answer.headers["Docker-Content-Digest"] != digest:
                wrong.append((answer.status, answer.headers["Docker-Content-Digest"], digest))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for encoding in ["gzip-balanced", "gzip-fast"] * 5:
        registry.nixery("build", "hello", NIXERY_ENCODING=encoding).check_returncode()
    over.set()
    for reader in readers:
        reader.join()
    assert len(seen) == 2 and wrong == []


def test_a_build_survives_its_client(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    try:
        registry.get("/v2/slow.s5/manifests/latest", timeout=1)
        raise AssertionError("not slow")
    except OSError:
        pass
    wait_for(lambda: (registry.tree / "tags/slow.s5/_tags/latest").is_symlink(), "the build to be published")


def test_sigterm_drains_and_the_next_worker_resumes(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set, NIXERY_HOP_SECONDS="60")
    answers = []
    client = threading.Thread(target=lambda: answers.append(registry.get("/v2/slow.s30/manifests/latest")))
    client.start()
    wait_for(lambda: list((registry.state / "logs").glob("*.log")), "the build to begin")
    assert registry.stop_worker(signal.SIGTERM) == 0
    client.join()
    assert answers[0].status == 307
    assert not list(registry.tree.rglob("slow*"))
    registry.start_worker()
    assert registry.manifest("slow.s5").status == 200
