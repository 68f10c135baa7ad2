"""Files of the tree and of the state damaged bit by bit: no wrong image is served, `nixery verify` names what matters, and
its repair leaves nothing that is refused."""

import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from registry import Registry, digest_of

SEED = int(os.environ.get("NIXERY_TEST_SEED", "1"))

NAMES = ["p6", "p6/p9", "p13"]


@pytest.fixture
def registry(new_registry, packages, directory):
    key = directory / "signing-key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True, capture_output=True)
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_SIGNING_KEY=str(key))
    registry.digests = {name: check_image(registry, name) for name in NAMES}
    return registry


def check_image(registry: Registry, name: str) -> str:
    """As an engine checks it: each digest, and the tar of each layer against the config. The manifest's digest."""
    manifest = registry.pull(name)
    digest = digest_of(manifest.body)
    assert manifest.headers["Docker-Content-Digest"] == digest
    config = registry.blob(name, manifest.json["config"]["digest"]).json
    tars = [digest_of(gzip.decompress(registry.blob(name, layer["digest"]).body)) for layer in manifest.json["layers"]]
    assert config["rootfs"]["diff_ids"] == tars, name
    assert config["architecture"] == "amd64"
    return digest


def everything_answers(registry: Registry):
    """No name, manifest, blob or list of the tree is answered with 403, 5xx or a redirect that leads nowhere."""
    for name in NAMES:
        for target in (f"manifests/{registry.digests[name]}", f"referrers/{registry.digests[name]}", "tags/list"):
            answer = registry._follow(f"/v2/{name}/{target}", 300)
            assert answer.status in (200, 404), (name, target, answer.status, answer.body)
        assert check_image(registry, name) == registry.digests[name]
        listed = registry.get(f"/v2/{name}/referrers/{registry.digests[name]}").json["manifests"]
        assert len(listed) == 4, listed  # SPDX, CycloneDX, provenance, signature
        signature = registry.manifest(name, registry.digests[name].replace(":", "-") + ".sig")
        for manifest in [signature, *(registry.manifest(name, each["digest"]) for each in listed)]:
            assert manifest.status == 200, manifest.body
            for blob in [manifest.json["config"], *manifest.json["layers"]]:
                assert digest_of(registry.blob(name, blob["digest"]).body) == blob["digest"]
    for link in (registry.tree / "tags").rglob("_tags/*"):
        name = str(link.parent.parent.relative_to(registry.tree / "tags"))
        assert registry.manifest(name, link.name).status == 200, link
    for blob in (registry.tree / "blobs/sha256").rglob("*"):
        if len(blob.name) == 64:
            assert digest_of(registry.blob(NAMES[0], f"sha256:{blob.name}").body) == f"sha256:{blob.name}"


def flip(file: Path, bit: int):
    content = bytearray(file.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    mode = file.stat().st_mode
    other = file.with_name(".flipped")  # not in place: copies of the tree may share it by hard links
    other.write_bytes(content)
    other.chmod(mode)
    other.rename(file)


def drop_tags(registry: Registry):
    """So that the next pulls come to a worker, which reads records."""
    shutil.rmtree(registry.tree / "tags")


def build_from_layers(registry: Registry):
    """Pulls images that are put together again from what is known of layers."""
    drop_tags(registry)
    shutil.rmtree(registry.state / "images", ignore_errors=True)
    shutil.rmtree(registry.tree / "manifests", ignore_errors=True)
    pull_all(registry)


def pull_all(registry: Registry):
    """From damaged records, too, a worker publishes no wrong image."""
    for name in NAMES:
        assert check_image(registry, name) == registry.digests[name]


KINDS = {
    "blobs": lambda r: [p for p in (r.tree / "blobs").rglob("*") if p.is_file()],
    "manifests": lambda r: [p for p in (r.tree / "manifests").rglob("manifest.*")],
    "referrers": lambda r: [p for p in (r.tree / "referrers").rglob("*") if p.is_file()],
    "groups": lambda r: list((r.state / "groups").iterdir()),
    "segments": lambda r: [p for p in (r.state / "segments").rglob("*") if p.is_file()],
    "images": lambda r: list((r.state / "images").iterdir()),
    "recipes": lambda r: list((r.state / "recipes").iterdir()),
    "originals": lambda r: [p for p in (r.state / "originals").rglob("*") if p.is_file()],
    "records": lambda r: [p for p in (r.state / "records").rglob("*.json")],
}
SERVED = {"blobs", "manifests", "referrers"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named_or_harmless_and_never_makes_a_wrong_image(registry, kind):
    rng = random.Random(f"{SEED} {kind}")
    named = 0
    for round in range(3):
        if kind not in SERVED:
            build_from_layers(registry)  # what a repair removed is there again
        files = sorted(KINDS[kind](registry))
        assert files
        damaged = rng.sample(files, min(len(files), 8))
        for file in damaged:
            flip(file, rng.randrange(8 * file.stat().st_size))
        found = json.loads(registry.nixery("verify", "--json").stdout)["problems"]
        named += len(found)
        if kind in SERVED:
            for file in damaged:
                hex = file.name if kind == "blobs" else file.parent.name
                is_descriptor = kind == "referrers" and file.suffix == ".json"  # the list is made from manifests
                assert is_descriptor or any(hex in problem["name"] for problem in found), (file, found)
        elif round == 0:
            drop_tags(registry)
            pull_all(registry)
        else:
            build_from_layers(registry)
        repaired = registry.nixery("verify", "--repair")
        assert repaired.returncode == 0, repaired.stdout
        everything_answers(registry)
        assert registry.nixery("verify").returncode == 0
    assert named > 0


def test_an_image_whose_config_is_not_true_is_named_and_built_again(registry, packages):
    """Earlier versions published one from a layer's record with a flipped bit."""
    manifest = registry.manifest("p6").json
    config = registry.blob("p6", manifest["config"]["digest"]).json
    real = config["rootfs"]["diff_ids"][0]
    config["rootfs"]["diff_ids"][0] = real[:-1] + ("0" if real[-1] != "0" else "1")
    content = json.dumps(config).encode()

    def put(path: Path, content: bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    hex = digest_of(content).removeprefix("sha256:")
    put(registry.tree / "blobs/sha256" / hex[:2] / hex, content)
    manifest["config"].update(digest=digest_of(content), size=len(content))
    wrong = json.dumps(manifest).encode()
    wrong_hex = digest_of(wrong).removeprefix("sha256:")
    put(registry.tree / f"manifests/sha256/{wrong_hex}/manifest.oci-manifest", wrong)
    link = registry.tree / "tags/p6/_tags/latest"
    link.unlink()
    link.symlink_to(f"../../../manifests/sha256/{wrong_hex}")
    record = registry.state / "records/p6/_tags/latest.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "manifest": f"sha256:{wrong_hex}", "checksum": None}))

    found = registry.nixery("verify")
    assert found.returncode == 1
    assert f"manifest sha256:{wrong_hex}: its config says that the diff id of" in found.stdout, found.stdout
    assert real in found.stdout
    assert registry.nixery("verify", "--repair").returncode == 0
    everything_answers(registry)


def recipes_without_checksums(registry: Registry):
    """As a version before checksums left the state."""
    for file in (registry.state / "recipes").iterdir():
        text = file.read_text()
        at = text.index(',"checksum":')
        file.write_text(text[:at] + text[text.rindex("}"):])
    for file in [*(registry.state / "groups").iterdir(), *(p for p in (registry.state / "segments").rglob("*") if p.is_file())]:
        text = file.read_text()
        at = text.index(" sum:")
        file.write_text(text[:at] + text[text.index(" end", at):])
    for file in (registry.state / "images").iterdir():
        file.write_text(file.read_text()[:64])
    for file in (registry.state / "records").rglob("*.json"):
        text = file.read_text()
        file.write_text(text[:text.index(',"checksum":')] + "}")
    shutil.rmtree(registry.state / "originals")


def test_a_tree_of_a_version_without_checksums_goes_on_and_is_verified_by_its_bytes(registry):
    recipes_without_checksums(registry)
    assert registry.nixery("verify").stdout.endswith("no problems found\n")
    shutil.rmtree(registry.tree / "tags")
    shutil.rmtree(registry.state / "images")
    inodes = lambda: {blob: blob.stat().st_ino for blob in KINDS["blobs"](registry)}
    before = inodes()
    pull_all(registry)
    assert inodes() == before  # none was made again
    # A layer's record with another diff id: neither believed nor published.
    group = next((registry.state / "groups").iterdir())
    fields = group.read_text().split()
    fields[2] = hashlib.sha256(b"other").hexdigest()
    group.write_text(" ".join(fields[:4]) + " end\n")
    assert f"index {group}: it is damaged" in registry.nixery("verify").stdout
    build_from_layers(registry)
    assert registry.nixery("verify", "--repair").returncode == 0
    everything_answers(registry)


def test_a_lost_config_comes_back_when_it_is_asked_for(registry):
    for name in NAMES:
        hex = registry.manifest(name).json["config"]["digest"].removeprefix("sha256:")
        (registry.tree / "blobs/sha256" / hex[:2] / hex).unlink()
    found = registry.nixery("verify")
    assert found.returncode == 0 and "3 blobs that are gone" in found.stdout, found.stdout
    collected = registry.nixery("gc", "--grace", "0s", "--json")
    assert collected.returncode == 0, collected.stderr
    pull_all(registry)
    everything_answers(registry)


def test_lost_documents_and_signatures_come_back_when_they_are_asked_for(registry):
    layers = {layer["digest"] for name in NAMES for layer in registry.manifest(name).json["layers"]}
    lost = [p for p in KINDS["blobs"](registry) if f"sha256:{p.name}" not in layers]
    assert len(lost) > 10
    for file in lost:
        file.unlink()
    everything_answers(registry)


def odd_things(registry: Registry) -> dict[str, tuple[Path, callable]]:
    """What lies in the wrong place, by what verify says of it."""
    manifest = registry.manifest("p6").json
    blob = lambda digest: registry.tree / "blobs/sha256" / digest[7:9] / digest[7:]
    layers = [layer["digest"] for layer in manifest["layers"]]
    directory = lambda name: registry.tree / "manifests/sha256" / registry.digests[name].removeprefix("sha256:")
    tag = lambda name: registry.tree / "tags" / name / "_tags/latest"

    def to_link(path: Path):
        other = registry.dir / f"moved-{path.name}"
        path.rename(other)
        path.symlink_to(other)

    def to_directory(path: Path):
        path.unlink()
        (path / "inside").mkdir(parents=True)

    def to_fifo(path: Path):
        path.unlink()
        os.mkfifo(path)

    def to_file(path: Path):
        shutil.rmtree(path)
        path.write_text("a file")

    def dangling(path: Path):
        path.unlink()
        path.symlink_to("../../../manifests/sha256/" + "0" * 64)

    def to_other(path: Path):
        path.unlink()
        path.symlink_to("../../../manifests/sha256/" + registry.digests["p13"].removeprefix("sha256:"))

    def misnamed(path: Path):
        (path / "manifest.oci-manifest").rename(path / "manifest.docker-list")

    def second(path: Path):
        (path / "manifest.oci-index").write_text("{}")

    def link_within(path: Path):
        to_link(path / "manifest.oci-manifest")

    def file_to_directory(path: Path):
        to_directory(path / "manifest.oci-manifest")

    def unreadable(path: Path):
        path.chmod(0o600)

    return {
        "a blob that is a link": (blob(layers[0]), to_link),
        "a blob that is a directory": (blob(layers[0]), to_directory),
        "a blob that is a FIFO": (blob(layers[0]), to_fifo),
        "a blob that the web server may not read": (blob(layers[0]), unreadable),
        "a config that is a link": (blob(manifest["config"]["digest"]), to_link),
        "a shard of blobs that is a link": (blob(layers[0]).parent, to_link),
        "a shard of blobs that is a file": (blob(layers[0]).parent, to_file),
        "a manifest's directory that is a link": (directory("p6"), to_link),
        "a manifest's directory that is a file": (directory("p6"), to_file),
        "a manifest that is a link": (directory("p6"), link_within),
        "a manifest that is a directory": (directory("p6"), file_to_directory),
        "a misnamed manifest": (directory("p6"), misnamed),
        "a second manifest": (directory("p6"), second),
        "a tag that is a directory": (tag("p6"), to_directory),
        "a tag that dangles": (tag("p6"), dangling),
        "a tag of another image": (tag("p6"), to_other),
        "tags that are a file": (tag("p6").parent, to_file),
        "a repository that is a file": (registry.tree / "tags/p13", to_file),
        "a list of referrers that is a link": (registry.tree / "referrers/sha256" / directory("p6").name / "index.oci-index", to_link),
        "lists of referrers that are lost": (registry.tree / "referrers", shutil.rmtree),
        "signatures' tags that are lost": (next(tag("p6").parent.glob("sha256-*.sig")), Path.unlink),
        "a record that is lost": (registry.state / "records/p6/_tags/latest.json", Path.unlink),
        "a record that is a directory": (registry.state / "records/p6/_tags/latest.json", to_directory),
        "records that are a file": (registry.state / "records/p6", to_file),
        "a layer's record that is a directory": (sorted((registry.state / "groups").iterdir())[0], to_directory),
    }


def test_what_lies_in_the_wrong_place_is_named_and_a_repair_leaves_nothing_that_is_refused(registry):
    for what in odd_things(registry):
        path, harm = odd_things(registry)[what]
        harm(path)
        found = registry.nixery("verify", "--json")
        assert found.returncode == 1 and json.loads(found.stdout)["problems"], what
        repaired = registry.nixery("verify", "--repair")
        assert repaired.returncode == 0, (what, repaired.stdout)
        try:
            everything_answers(registry)
        except AssertionError as error:
            raise AssertionError(f"{what}: {repaired.stdout}") from error
        after = registry.nixery("verify")
        assert after.returncode == 0, (what, after.stdout)


def test_a_damaged_store_is_the_registrys_trouble_and_not_the_packages(registry, packages):
    """A store path that is not what nix registered: the operator mends it, and the puller comes back later."""
    name = "p15"
    path = subprocess.run(["nix-build", "--no-out-link", packages, "--argstr", "system", "x86_64-linux", "-A", name],
                          env=registry.env, check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
    file = Path(path) / "numbers"
    content = file.read_bytes()
    try:
        file.chmod(0o644)
        file.write_bytes(content + 100 * b"more")
        answer = registry.manifest(name)
        assert answer.status == 503 and answer.headers["Retry-After"], answer.body
        assert answer.error["detail"]["failure"] == "corrupt"
        assert path not in answer.error["message"]
        assert any("is damaged in the store" in event["error"] for event in registry.events("build failed"))
    finally:
        file.write_bytes(content)
        file.chmod(0o444)
        os.utime(file, (1, 1))
    check_image(registry, name)
