"""Attachments of an image: SBOMs, provenance and signatures, checked by independent code.

Schemas: OCI's comes with Debian's golang-github-opencontainers-image-spec-dev, CycloneDX's with its own library from npm; if
npm cannot get it, its test is skipped. SPDX's is in neither: below is what the specification says, more strictly than the
published schema does; that one is used too if NIXERY_TEST_SCHEMAS names a directory with `spdx-schema.json` of 2.3.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import jsonschema
import pytest

from conftest import temporary_directory
from registry import Registry

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
PROVENANCE = "application/vnd.in-toto+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BUILDER = "https://registry.example.org/builder"

CYCLONEDX_LIBRARY = "@cyclonedx/cyclonedx-library@9.4.1"  # Apache-2.0
OCI_SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")


# --- a registry that signs


def make_key(directory: Path, *options: str) -> Path:
    key = directory / "signing-key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key, *options],
                   check=True, capture_output=True)  # fmt: skip
    return key


@pytest.fixture(scope="module")
def key():
    with temporary_directory() as directory:
        yield make_key(directory)


@pytest.fixture
def signing(new_registry, key) -> Registry:
    return new_registry(NIXERY_SIGNING_KEY=str(key), NIXERY_SIGNING_IDENTITY="registry.example.org", NIXERY_BUILDER_ID=BUILDER)


# --- fetching attachments


def built(registry: Registry, name: str = "hello") -> str:
    answer = registry.manifest(name)
    assert answer.status == 200, answer.body
    return answer.headers["Docker-Content-Digest"]


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def fetched(registry: Registry, kind: str, descriptor: dict, name: str = "hello") -> bytes:
    answer = registry.get(f"/v2/{name}/{kind}/{descriptor['digest']}")
    assert answer.status == 200, answer.body
    assert sha256(answer.body) == descriptor["digest"] and len(answer.body) == descriptor["size"]
    return answer.body


def referrers(registry: Registry, digest: str, artifact_type: str = "", name: str = "hello") -> list[dict]:
    query = f"?artifactType={artifact_type.replace('+', '%2B')}" if artifact_type else ""
    answer = registry.get(f"/v2/{name}/referrers/{digest}{query}")
    assert answer.status == 200, answer.body
    return answer.json["manifests"]


def document(registry: Registry, digest: str, artifact_type: str, name: str = "hello") -> dict:
    (descriptor,) = referrers(registry, digest, artifact_type, name)
    manifest = json.loads(fetched(registry, "manifests", descriptor, name))
    assert manifest["subject"]["digest"] == digest
    (layer,) = manifest["layers"]
    return json.loads(fetched(registry, "blobs", layer, name))


def no_duplicates(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), keys
    return dict(pairs)


# --- schemas


def validate(document: dict, schema: dict, others: dict[str, dict]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer versions have another resolver too
        resolver = jsonschema.RefResolver(schema.get("$id", schema.get("id", "")), schema, store=others)
        jsonschema.validators.validator_for(schema)(schema, resolver=resolver).validate(document)


@pytest.fixture(scope="module")
def cyclonedx_schemas():
    """The schema of CycloneDX 1.5, and the schemas that it refers to."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("there is no npm to get CycloneDX's schema with")
    with temporary_directory() as directory:
        try:
            packed = subprocess.run([npm, "pack", "--silent", CYCLONEDX_LIBRARY], cwd=directory, capture_output=True, text=True,
                                    timeout=120)  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm does not get {CYCLONEDX_LIBRARY} in two minutes")
        if packed.returncode != 0:
            pytest.skip(f"npm cannot get {CYCLONEDX_LIBRARY}: {packed.stderr[-500:]}")
        (archive,) = directory.glob("*.tgz")
        subprocess.run(["tar", "xzf", archive], cwd=directory, check=True)
        folder = directory / "package/res/schema"
        names = ("bom-1.5", "spdx", "jsf-0.82")
        schemas = {f"{name}.SNAPSHOT.schema.json": json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in names}
    main = schemas["bom-1.5.SNAPSHOT.schema.json"]
    base = main["$id"].rpartition("/")[0]
    return main, {f"{base}/{name}": schema for name, schema in schemas.items()}


def strict(required: dict, optional: dict = {}) -> dict:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required), "additionalProperties": False}


def many(item: dict) -> dict:
    return {"type": "array", "items": item, "minItems": 1}


def text(pattern: str = ".") -> dict:
    return {"type": "string", "pattern": pattern}


SPDX_ID = text(r"^SPDXRef-[A-Za-z0-9.-]+$")
LICENSE = text(r"^(NOASSERTION|NONE|[A-Za-z0-9.+() -]+)$")
SPDX_SCHEMA = strict(
    {
        "spdxVersion": {"const": "SPDX-2.3"},
        "dataLicense": {"const": "CC0-1.0"},
        "SPDXID": {"const": "SPDXRef-DOCUMENT"},
        "name": text(),
        "documentNamespace": text(r"^[a-z][a-z0-9+.-]*:[^#\s]+$"),
        "creationInfo": strict(
            {"created": text(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), "creators": many(text(r"^(Tool: .+-.+|Person: |Organization: )"))},
            {"licenseListVersion": text(r"^[1-9]+\.[0-9]+$")},
        ),
        "packages": many(
            strict(
                {
                    "SPDXID": SPDX_ID,
                    "name": text(),
                    "downloadLocation": text(),
                    "filesAnalyzed": {"const": False},
                    "licenseConcluded": LICENSE,
                    "licenseDeclared": LICENSE,
                    "copyrightText": text(),
                    "supplier": text(),
                    "checksums": many(strict({"algorithm": {"const": "SHA256"}, "checksumValue": text("^[0-9a-f]{64}$")})),
                    "externalRefs": many(
                        strict({
                            "referenceCategory": {"const": "PACKAGE-MANAGER"},
                            "referenceType": {"const": "purl"},
                            "referenceLocator": text(r"^pkg:(nix|oci)/[A-Za-z0-9._~%/-]+(@[A-Za-z0-9._~%-]+)?(\?[a-z_]+=[^\s#?]+)?$"),
                        })  # fmt: skip
                    ),
                },
                {
                    "versionInfo": text(),
                    "primaryPackagePurpose": {"enum": ["CONTAINER"]},
                    "packageFileName": text("^/nix/store/[^/]+$"),
                    "homepage": text(r"^https?://\S+$"),
                    "summary": text(),
                    "sourceInfo": text(),
                    "comment": text(),
                },
            )
        ),
        "relationships": many(
            strict({"spdxElementId": SPDX_ID, "relatedSpdxElement": SPDX_ID,
                    "relationshipType": {"enum": ["DESCRIBES", "CONTAINS", "DEPENDS_ON"]}})  # fmt: skip
        ),
    },
    {
        "hasExtractedLicensingInfos": many(
            strict({"licenseId": text(r"^LicenseRef-[A-Za-z0-9.-]+$"), "name": text(), "extractedText": text()})
        )
    },
)


# --- Nix's data on the same paths


def nix_store(registry: Registry, *words: str) -> list[str]:
    result = subprocess.run(["nix-store", *words], env=registry.env, capture_output=True, text=True, check=True)
    return result.stdout.split()


def nar_hash(registry: Registry, path: str) -> str:
    """In base 16, independent of Nix's output format: the path is dumped and hashed."""
    dump = subprocess.run(["nix-store", "--dump", path], env=registry.env, capture_output=True, check=True)
    return hashlib.sha256(dump.stdout).hexdigest()


# --- the tests


@pytest.fixture(scope="module")
def hello(registry) -> str:
    return built(registry)


def test_an_image_has_sboms_and_provenance_as_referrers(registry, hello):
    listed = referrers(registry, hello)
    assert sorted(entry["artifactType"] for entry in listed) == sorted([SPDX, CYCLONEDX, PROVENANCE])
    image = registry.get(f"/v2/hello/manifests/{hello}")
    for entry in listed:
        assert entry["mediaType"] == MANIFEST
        assert referrers(registry, hello, entry["artifactType"]) == [entry]
        manifest = json.loads(fetched(registry, "manifests", entry), object_pairs_hook=no_duplicates)
        assert manifest["artifactType"] == entry["artifactType"] == manifest["layers"][0]["mediaType"]
        assert manifest["annotations"] == entry["annotations"]
        assert manifest["subject"] == {"mediaType": image.headers["Content-Type"], "digest": hello, "size": len(image.body)}
        assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert fetched(registry, "blobs", manifest["config"]) == b"{}"


def test_their_manifests_follow_the_image_spec(registry, hello):
    # The schemas refer to each other by file name, from ids at two levels.
    base, files = "https://opencontainers.org/schema/", list(OCI_SCHEMAS.glob("*.json"))
    assert files, "apt-get install golang-github-opencontainers-image-spec-dev"
    schemas = {base + level + file.name: json.loads(file.read_text()) for level in ("", "image/") for file in files}
    for entry in referrers(registry, hello):
        manifest = json.loads(fetched(registry, "manifests", entry))
        validate(manifest, schemas[base + "image/image-manifest-schema.json"], schemas)


def test_the_spdx_document_is_valid_and_complete(registry, hello):
    spdx = document(registry, hello, SPDX)
    validate(spdx, SPDX_SCHEMA, {})
    ids = [package["SPDXID"] for package in spdx["packages"]]
    assert len(ids) == len(set(ids))
    for relationship in spdx["relationships"]:
        assert relationship["relatedSpdxElement"] in ids
        assert relationship["spdxElementId"] in ids + ["SPDXRef-DOCUMENT"]
    used = set(re.findall(r"LicenseRef-[A-Za-z0-9.-]+", " ".join(package["licenseDeclared"] for package in spdx["packages"])))
    assert used == {info["licenseId"] for info in spdx.get("hasExtractedLicensingInfos", [])}

    (image,) = [package for package in spdx["packages"] if package.get("primaryPackagePurpose") == "CONTAINER"]
    assert "sha256:" + image["checksums"][0]["checksumValue"] == hello
    described = [r["relatedSpdxElement"] for r in spdx["relationships"] if r["relationshipType"] == "DESCRIBES"]
    assert described == [image["SPDXID"]]


def test_the_spdx_document_satisfies_the_published_schema(registry, hello):
    schema = Path(os.environ.get("NIXERY_TEST_SCHEMAS", "/nonexistent")) / "spdx-schema.json"
    if not schema.exists():
        pytest.skip("NIXERY_TEST_SCHEMAS names no directory with spdx-schema.json")
    validate(document(registry, hello, SPDX), json.loads(schema.read_text()), {})


def test_the_sboms_match_nixs_closure(registry, hello):
    spdx = document(registry, hello, SPDX)
    packages = {package["packageFileName"]: package for package in spdx["packages"] if "packageFileName" in package}
    bom = document(registry, hello, CYCLONEDX)
    components = {component["bom-ref"]: component for component in bom["components"]}
    depends = {entry["ref"]: entry["dependsOn"] for entry in bom["dependencies"]}
    assert set(packages) == set(components) == set(depends) - {"image"}

    wanted = depends["image"]
    assert any(re.fullmatch(r"/nix/store/[a-z0-9]{32}-hello-[0-9.]+.*", path) for path in wanted), wanted
    assert set(nix_store(registry, "--query", "--requisites", *wanted)) == set(packages)
    path_of = {package["SPDXID"]: path for path, package in packages.items()}
    for path, package in packages.items():
        references = set(nix_store(registry, "--query", "--references", path)) - {path}
        assert set(depends[path]) == references
        related = [r["relatedSpdxElement"] for r in spdx["relationships"]
                   if r["spdxElementId"] == package["SPDXID"] and r["relationshipType"] == "DEPENDS_ON"]  # fmt: skip
        assert {path_of[id] for id in related} == references
        hash = nar_hash(registry, path)
        assert package["checksums"] == [{"algorithm": "SHA256", "checksumValue": hash}]
        assert components[path]["hashes"] == [{"alg": "SHA-256", "content": hash}]
        assert package["externalRefs"][0]["referenceLocator"] == components[path]["purl"]


def test_the_cyclonedx_document_satisfies_the_published_schema(registry, hello, cyclonedx_schemas):
    main, others = cyclonedx_schemas
    bom = document(registry, hello, CYCLONEDX)
    validate(bom, main, others)
    identifiers = set(others[main["$id"].rpartition("/")[0] + "/spdx.SNAPSHOT.schema.json"]["enum"])
    spdx = document(registry, hello, SPDX)
    for declared in [package["licenseDeclared"] for package in spdx["packages"]]:
        for word in re.findall(r"[A-Za-z0-9.+-]+", declared):
            known = word in identifiers or word.removesuffix("+") in identifiers
            assert known or word in ("AND", "OR", "WITH", "NOASSERTION") or word.startswith("LicenseRef-"), declared


def test_provenance_has_the_request_and_the_sources(new_registry):
    registry = new_registry(NIXERY_BUILDER_ID=BUILDER)
    digest = built(registry)
    statement = document(registry, digest, PROVENANCE)
    (descriptor,) = referrers(registry, digest, PROVENANCE)
    assert descriptor["annotations"]["in-toto.io/predicate-type"] == statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "hello", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    definition = statement["predicate"]["buildDefinition"]
    assert set(definition) == {"buildType", "externalParameters", "resolvedDependencies"}
    parameters = definition["externalParameters"]
    assert parameters["reference"] == "hello:latest" and parameters["packages"] == ["hello"]
    assert parameters["platform"].startswith("linux/")
    source, *derivations = definition["resolvedDependencies"]
    revision = registry.manifest("hello").json["annotations"]["org.opencontainers.image.revision"]
    assert source["uri"].endswith(revision) or revision in source["digest"].values()
    (hello,) = [entry for entry in derivations if entry["name"] == "hello"]
    drv = hello["uri"].removeprefix("nix:")
    assert set(hello["annotations"]["outputs"]) <= set(nix_store(registry, "--query", "--outputs", drv))
    assert statement["predicate"]["runDetails"]["builder"]["id"] == BUILDER


def documents(registry: Registry, digest: str) -> list[dict]:
    return [entry for entry in referrers(registry, digest) if entry["artifactType"] != SIGNATURE]


def test_an_image_built_on_another_host_has_the_same_documents(signing):
    digest = built(signing)
    before = documents(signing, digest)
    assert len(before) == 3
    signing.stop_worker()
    signing.forget()
    signing.start_worker()
    assert built(signing) == digest
    assert documents(signing, digest) == before
    assert len(referrers(signing, digest, SIGNATURE)) == 1


def test_attachments_are_served_without_a_worker(signing):
    digest = built(signing)
    signing.stop_worker()
    for artifact_type in (SPDX, CYCLONEDX, PROVENANCE, SIGNATURE):
        (entry,) = [entry for entry in referrers(signing, digest) if entry["artifactType"] == artifact_type]
        manifest = json.loads(fetched(signing, "manifests", entry))
        fetched(signing, "blobs", manifest["layers"][0])


def test_sboms_can_be_disabled(new_registry):
    registry = new_registry(NIXERY_SBOM="0")
    assert referrers(registry, built(registry)) == []


# --- signatures, verified without OpenSSL: SEC 1, 4.1.4, with integers

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)  # fmt: skip


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(k: int, point):
    result = None
    while k:
        if k & 1:
            result = add(result, point)
        point, k = add(point, point), k >> 1
    return result


def numbers_of(der: bytes) -> list[int]:
    assert der[0] == 0x30 and der[1] == len(der) - 2
    numbers, rest = [], der[2:]
    while rest:
        assert rest[0] == 2
        numbers.append(int.from_bytes(rest[2 : 2 + rest[1]], "big"))
        rest = rest[2 + rest[1] :]
    return numbers


def public_point(key: Path) -> tuple[int, int]:
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    assert der[-65] == 4
    return int.from_bytes(der[-64:-32], "big"), int.from_bytes(der[-32:], "big")


def verifies(key: Path, message: bytes, signature: bytes) -> bool:
    r, s = numbers_of(signature)
    assert 0 < r < N and 0 < s < N
    e, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    point = add(times(e * inverse % N, G), times(r * inverse % N, public_point(key)))
    return point is not None and point[0] % N == r


def check_signature(registry: Registry, key: Path, manifest: dict, digest: str, identity: str, name: str = "hello"):
    """Like cosign verify: the layer's bytes are signed, and they name the image."""
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == SIMPLE_SIGNING
    payload = fetched(registry, "blobs", layer, name)
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"], validate=True)
    assert verifies(key, payload, signature)
    assert not verifies(key, payload + b" ", signature)
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": identity},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    with temporary_directory() as directory:
        for file, content in (("payload", payload), ("signature", signature)):
            (directory / file).write_bytes(content)
        command = ["openssl", "dgst", "-sha256", "-prverify", key, "-signature", directory / "signature", directory / "payload"]
        assert subprocess.run(command, capture_output=True, text=True).stdout == "Verified OK\n"


def test_a_signature_is_found_by_tag_and_as_a_referrer(signing, key):
    digest = built(signing)
    tagged = signing.get(f"/v2/hello/manifests/{digest.replace(':', '-')}.sig")
    assert tagged.status == 200 and tagged.headers["Content-Type"] == MANIFEST
    manifest = tagged.json
    assert "subject" not in manifest and manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    check_signature(signing, key, manifest, digest, "registry.example.org/hello")
    config = json.loads(fetched(signing, "blobs", manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]

    (entry,) = referrers(signing, digest, SIGNATURE)
    manifest = json.loads(fetched(signing, "manifests", entry))
    assert manifest["subject"]["digest"] == digest
    check_signature(signing, key, manifest, digest, "registry.example.org/hello")


def test_a_republished_image_keeps_its_one_signature(signing, key):
    """Signing again would give another signature each time, because ECDSA's nonce is random."""
    digest = built(signing)
    tag = f"/v2/hello/manifests/{digest.replace(':', '-')}.sig"
    before, tagged = referrers(signing, digest), signing.get(tag).json
    signing.stop_worker()
    (signing.tree / "tags/hello/_tags/latest").unlink()
    signing.start_worker()
    assert built(signing) == digest
    assert (signing.tree / "tags/hello/_tags/latest").exists()
    assert referrers(signing, digest) == before
    assert signing.get(tag).json == tagged
    check_signature(signing, key, tagged, digest, "registry.example.org/hello")


def test_one_image_under_two_names_is_signed_under_both(signing, key):
    digests = {name: built(signing, name) for name in ("hello/jq", "jq/hello")}
    for name, digest in digests.items():
        tagged = signing.get(f"/v2/{name}/manifests/{digest.replace(':', '-')}.sig")
        assert tagged.status == 200, tagged.body
        check_signature(signing, key, tagged.json, digest, f"registry.example.org/{name}", name)


def test_without_a_key_nothing_is_signed(registry, hello):
    assert referrers(registry, hello, SIGNATURE) == []
    assert registry.get(f"/v2/hello/manifests/{hello.replace(':', '-')}.sig").status == 404


@pytest.mark.parametrize("options, why", [(None, "the file does not exist"), (("-aes256", "-pass", "pass:x"), "encrypted")])
def test_an_unusable_key_is_refused_at_start(registry, directory, options, why):
    key = directory / "signing-key.pem"
    if options:
        make_key(directory, *options)
    result = registry.nixery("serve", NIXERY_SIGNING_KEY=str(key), NIXERY_LISTEN=f"unix:{directory}/socket")
    assert result.returncode != 0
    assert str(key) in result.stderr and why in result.stderr
