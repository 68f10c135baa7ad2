"""Clients and validators that Debian 12 lacks: cosign, oras, crane, the SPDX project's own library."""

import json

import pytest

from conftest import temporary_directory
from engines import check, run
from newer_debian import unpack

SPDX = "application/spdx+json"


def client(suite: str, name: str):
    @pytest.fixture(scope="module")
    def fixture():
        with temporary_directory() as directory:
            path = unpack(suite, name) / "usr/bin" / name
            yield lambda *words, **env: run(str(path), *words, env={"HOME": str(directory), **env})

    return fixture


cosign = client("trixie", "cosign")
oras = client("trixie", "oras")
crane = client("sid", "crane")


@pytest.fixture(scope="module")
def keys():
    with temporary_directory() as directory:
        check("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{directory}/key.pem")
        check("openssl", "pkey", "-in", f"{directory}/key.pem", "-pubout", "-out", f"{directory}/key.pub")
        check("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{directory}/other.pem")
        check("openssl", "pkey", "-in", f"{directory}/other.pem", "-pubout", "-out", f"{directory}/other.pub")
        yield directory


@pytest.fixture(scope="module")
def signing(new_module_registry, keys):
    return new_module_registry(
        NIXERY_SIGNING_KEY=f"{keys}/key.pem", NIXERY_SIGNING_IDENTITY="registry.example.org", NIXERY_PLATFORMS="amd64 arm64"
    )


@pytest.mark.parametrize("experimental", ["0", "1"], ids=["tag", "referrer"])
@pytest.mark.parametrize("name", ["hello", "amd64/hello"], ids=["index", "image"])
def test_cosign_verifies_the_registrys_signatures(signing, cosign, keys, name, experimental):
    digest = signing.manifest(name).headers["Docker-Content-Digest"]
    verify = ["verify", "--insecure-ignore-tlog", "--allow-http-registry"]
    if experimental == "1":
        verify += ["--experimental-oci11"]
    env = {"COSIGN_EXPERIMENTAL": experimental}
    for reference in (f"{signing.host}/{name}", f"{signing.host}/{name}@{digest}"):
        good = cosign(*verify, "--key", f"{keys}/key.pub", reference, **env)
        assert good.returncode == 0, good.stderr
        payloads = [payload["critical"] for payload in json.loads(good.stdout)]
        assert {payload["image"]["docker-manifest-digest"] for payload in payloads} == {digest}
        identities = {payload["identity"]["docker-reference"] for payload in payloads}
        if experimental == "0":
            assert identities == {f"registry.example.org/{name}"}
        else:
            # An image with several names is signed under each; cosign accepts any of these referrers.
            assert identities and identities <= {f"registry.example.org/{each}" for each in ("hello", "amd64/hello")}
        bad = cosign(*verify, "--key", f"{keys}/other.pub", reference, **env)
        assert bad.returncode != 0 and "signature" in bad.stderr


def test_cosign_verifies_every_member_of_an_index(signing, cosign, keys):
    for member in signing.manifest("hello").json["manifests"]:
        done = cosign("verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key", f"{keys}/key.pub",
                      f"{signing.host}/hello@{member['digest']}")  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_cosign_finds_no_signature_of_an_unsigned_image(registry, cosign, keys):
    registry.manifest("hello")
    done = cosign("verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key", f"{keys}/key.pub", f"{registry.host}/hello")
    assert done.returncode != 0 and "no signatures found" in done.stderr


def test_oras_discovers_and_pulls_attachments(registry, oras, directory):
    image = f"{registry.host}/hello"
    registry.manifest("hello")
    found = oras("discover", "--plain-http", "--format", "json", f"{image}:latest")
    assert found.returncode == 0, found.stderr
    types = {manifest["artifactType"]: manifest for manifest in json.loads(found.stdout)["manifests"]}
    assert {SPDX, "application/vnd.cyclonedx+json"} <= set(types)
    one = oras("discover", "--plain-http", "--format", "json", "--artifact-type", SPDX, f"{image}:latest")
    assert [m["artifactType"] for m in json.loads(one.stdout)["manifests"]] == [SPDX]

    sbom = f"{image}@{types[SPDX]['digest']}"
    manifest = json.loads(oras("manifest", "fetch", "--plain-http", sbom).stdout)
    fetched = oras("blob", "fetch", "--plain-http", "--output", str(directory / "sbom"), f"{image}@{manifest['layers'][0]['digest']}")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads((directory / "sbom").read_text())["spdxVersion"] == "SPDX-2.3"
    assert oras("repo", "tags", "--plain-http", image).stdout.split() == ["latest"]


def test_oras_copies_an_image_with_its_attachments(registry, oras, directory):
    digest = registry.manifest("hello").headers["Docker-Content-Digest"]
    done = oras("copy", "--recursive", "--from-plain-http", "--to-oci-layout", f"{registry.host}/hello:latest", f"{directory}/copy:x")
    assert done.returncode == 0, done.stderr
    blobs = {path.name for path in (directory / "copy/blobs/sha256").iterdir()}
    assert digest.removeprefix("sha256:") in blobs
    for referrer in registry.get(f"/v2/hello/referrers/{digest}").json["manifests"]:
        assert referrer["digest"].removeprefix("sha256:") in blobs


def test_crane_pulls_lists_and_validates(registry, crane, directory):
    image = f"{registry.host}/shell/curl"
    digest = registry.manifest("shell/curl").headers["Docker-Content-Digest"]
    for words in (["digest", image], ["manifest", image], ["config", image], ["validate", "--remote", image],
                  ["pull", image, str(directory / "a.tar")], ["pull", f"{image}@{digest}", str(directory / "b.tar")]):  # fmt: skip
        done = crane(words[0], "--insecure", *words[1:])
        assert done.returncode == 0, done.stderr
    assert crane("digest", "--insecure", image).stdout.strip() == digest
    assert crane("ls", "--insecure", image).stdout.split() == ["latest"]
    assert "shell/curl" in crane("catalog", "--insecure", registry.host).stdout.split()


def test_crane_chooses_a_platform(signing, crane):
    for architecture in ("arm64", "amd64"):
        done = crane("config", "--insecure", "--platform", f"linux/{architecture}", f"{signing.host}/hello")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["architecture"] == architecture


@pytest.fixture(scope="module")
def spdx_library():
    """Python path of the SPDX project's tools and their dependencies."""
    needed = ("license-expression", "boolean", "beartype", "uritools", "rdflib", "semantic-version", "ply", "xmltodict", "isodate")
    roots = (unpack("sid", "python3-spdx-tools"), unpack("trixie", *(f"python3-{name}" for name in needed)))
    return ":".join(str(root / "usr/lib/python3/dist-packages") for root in roots)


VALIDATE_SPDX = """
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
document = parse_file(sys.argv[1])
problems = validate_full_spdx_document(document, "SPDX-2.3")
print(len(document.packages), len(document.relationships))
sys.exit("\\n".join(problem.validation_message for problem in problems) or 0)
"""


@pytest.mark.parametrize("name", ["hello", "shell/git", "python3packages.requests"])
def test_the_spdx_projects_library_accepts_the_documents(registry, spdx_library, directory, name):
    digest = registry.manifest(name).headers["Docker-Content-Digest"]
    listed = registry.get(f"/v2/{name}/referrers/{digest}?artifactType={SPDX.replace('+', '%2B')}").json["manifests"]
    (layer,) = registry.get(f"/v2/{name}/manifests/{listed[0]['digest']}").json["layers"]
    (directory / "sbom.spdx.json").write_bytes(registry.get(f"/v2/{name}/blobs/{layer['digest']}").body)
    done = run("/usr/bin/python3", "-c", VALIDATE_SPDX, str(directory / "sbom.spdx.json"), env={"PYTHONPATH": spdx_library})
    assert done.returncode == 0, done.stderr
    packages, relationships = map(int, done.stdout.split())
    assert packages > 3 and relationships > packages

    broken = json.loads((directory / "sbom.spdx.json").read_text())
    broken["packages"][1]["SPDXID"] = "no id"
    (directory / "sbom.spdx.json").write_text(json.dumps(broken))
    assert run("/usr/bin/python3", "-c", VALIDATE_SPDX, str(directory / "sbom.spdx.json"), env={"PYTHONPATH": spdx_library}).returncode != 0
