"""Lists of tags, repositories and referrers, and a copy of the tree that is served without a worker."""

import hashlib
import json
import os
import re

import pytest

from engines import check, program, skopeo
from registry import Registry, wait_for

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOBODY = "sha256:" + hashlib.sha256(os.urandom(16)).hexdigest()


@pytest.fixture(scope="module")
def hello(registry) -> str:
    """The digest of a built image."""
    return registry.manifest("hello").headers["Docker-Content-Digest"]


def link_tag(registry: Registry, name: str, tag: str, digest: str):
    tags = registry.tree / "tags" / name / "_tags"
    tags.mkdir(parents=True, exist_ok=True)
    (tags / tag).symlink_to("../" * (name.count("/") + 3) + f"manifests/sha256/{digest.removeprefix('sha256:')}")


def pages(registry: Registry, target: str, key: str) -> list[list[str]]:
    """Follows the Link headers, like clients."""
    lists = []
    while target:
        answer = registry.get(target)
        assert answer.status == 200, answer.body
        lists.append(answer.json[key])
        link = answer.headers["Link"]
        assert link is None or (found := re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)), link
        target = found[1] if link else None
        assert len(lists) < 1000
    return lists


def add_blob(registry: Registry, content: bytes) -> dict:
    hex = hashlib.sha256(content).hexdigest()
    path = registry.tree / "blobs/sha256" / hex[:2] / hex
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"digest": f"sha256:{hex}", "size": len(content)}


def add_referrer(registry: Registry, subject: str, content: bytes, artifact_type: str) -> dict:
    """Writes a referrer like a worker (src/tree/referrers.h). Returns its descriptor."""
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", **add_blob(registry, b"{}")},
        "layers": [{"mediaType": artifact_type, **add_blob(registry, content)}],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    }).encode()  # fmt: skip
    hex = hashlib.sha256(manifest).hexdigest()
    directory = registry.tree / "manifests/sha256" / hex
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.oci-manifest").write_bytes(manifest)

    descriptor = {"mediaType": MANIFEST, "digest": f"sha256:{hex}", "size": len(manifest), "artifactType": artifact_type}
    lists = registry.tree / "referrers/sha256" / subject.removeprefix("sha256:")
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{hex}.json").write_text(json.dumps(descriptor))
    members = sorted((json.loads(file.read_text()) for file in lists.glob("*.json")), key=lambda m: (m["artifactType"], m["digest"]))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": members}
    (lists / "index.oci-index").write_text(json.dumps(index, separators=(",", ":")))
    return descriptor


# Lists


def test_tags_are_listed_once_an_image_is_built(registry, hello):
    answer = registry.get("/v2/hello/tags/list")
    assert (answer.status, answer.json) == (200, {"name": "hello", "tags": ["latest"]})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.headers["Link"] is None
    assert registry.get("/v2/hello/tags/list?ns=example.org").body == answer.body


def test_head_of_a_list_is_get_without_the_body(registry, hello):
    for target in ("/v2/hello/tags/list", "/v2/_catalog", f"/v2/hello/referrers/{hello}", f"/v2/hello/referrers/{NOBODY}?artifactType=x"):
        get, head = registry.get(target), registry.head(target)
        assert (head.status, head.body) == (200, b""), target
        for headers in (get.headers, head.headers):
            del headers["Date"], headers["Connection"], headers["X-Request-Id"]
        assert dict(head.headers) == dict(get.headers), target
        assert int(head.headers["Content-Length"]) == len(get.body)


def test_lists_are_read_only(registry, hello):
    for target in ("/v2/hello/tags/list", "/v2/_catalog", f"/v2/hello/referrers/{hello}"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = registry.request(method, target)
            assert (answer.status, answer.error["code"], answer.headers["Allow"]) == (405, "UNSUPPORTED", "GET, HEAD"), (method, target)


def test_a_list_builds_nothing(registry, hello):
    before = registry.files()
    answer = registry.get("/v2/curl/git/tags/list")
    assert (answer.status, answer.error["code"]) == (404, "NAME_UNKNOWN")
    assert registry.get(f"/v2/curl/git/referrers/{NOBODY}").status == 200
    assert registry.files() == before


def test_a_malformed_name_is_400(registry):
    for name in ("Hello", "_x", "a--", "hello/-"):
        answer = registry.get(f"/v2/{name}/tags/list")
        assert (answer.status, answer.error["code"]) == (400, "NAME_INVALID"), name


def test_many_tags_come_in_pages(registry, hello):
    tags = [f"v{n}" for n in range(250)] + ["A", "_", "a.b", "a-b"]
    for tag in tags:
        link_tag(registry, "many/tags", tag, hello)
    tags.sort()
    target = "/v2/many/tags/tags/list"
    assert pages(registry, target, "tags") == [tags]
    for size in (1, 100, 253, 254, 255):
        lists = pages(registry, f"{target}?n={size}", "tags")
        assert [tag for page in lists for tag in page] == tags
        assert all(len(page) == size for page in lists[:-1]) and 0 < len(lists[-1]) <= size
    assert registry.get(f"{target}?n=0").json == {"name": "many/tags", "tags": []}
    assert registry.get(f"{target}?n=0").headers["Link"] is None
    assert registry.get(f"{target}?n=3&last=v10").json["tags"] == ["v100", "v101", "v102"]
    assert registry.get(f"{target}?n=2&last=v1000").json["tags"] == ["v101", "v102"]
    assert registry.get(f"{target}?last=zzz").json["tags"] == []


def test_an_invalid_page_size_is_400(registry, hello):
    for query in ("n=-1", "n=", "n=x", "n=%zz", "n=1.5"):
        for target in ("/v2/hello/tags/list", "/v2/_catalog"):
            answer = registry.get(f"{target}?{query}")
            assert (answer.status, answer.error["code"]) == (400, "UNSUPPORTED"), (target, query)


def test_the_catalog_lists_built_images_in_pages(registry, hello):
    for n in range(120):
        link_tag(registry, f"catalog/r{n}", "latest", hello)
    all_listed = lambda: pages(registry, "/v2/_catalog", "repositories")[0]
    expected = {"hello", *(f"catalog/r{n}" for n in range(120))}
    # A list is cached for fifty times its duration, which may be minutes on a slow machine.
    wait_for(lambda: expected <= set(all_listed()), "the worker to notice the change", 300)
    listed = all_listed()
    assert listed == sorted(listed)
    assert sum(pages(registry, "/v2/_catalog?n=50", "repositories"), []) == listed
    assert registry.get("/v2/_catalog?n=0").json == {"repositories": []}
    assert registry.get("/v2/_catalog?n=1&last=catalog/r119").json == {"repositories": ["catalog/r12"]}


def test_dangling_links_are_not_listed(registry, hello):
    link_tag(registry, "nowhere", "latest", NOBODY)
    assert registry.get("/v2/nowhere/tags/list").status == 404
    assert "nowhere" not in registry.get("/v2/_catalog").json["repositories"]


def test_the_catalog_can_be_disabled(new_registry):
    answer = new_registry(NIXERY_CATALOG="0").get("/v2/_catalog")
    assert (answer.status, answer.error["code"]) == (404, "UNSUPPORTED")


def test_skopeo_lists_and_inspects(registry, hello):
    seen = skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/hello")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["Tags"] == ["latest"]
    seen = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/hello")
    assert seen.returncode == 0, seen.stderr
    assert (json.loads(seen.stdout)["Digest"], json.loads(seen.stdout)["RepoTags"]) == (hello, ["latest"])


# Referrers


def test_a_digest_without_referrers_has_an_empty_list(registry):
    for digest in (NOBODY, "sha512:" + "0" * 128):
        answer = registry.get(f"/v2/hello/referrers/{digest}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX), digest
        assert answer.json == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        assert answer.headers["OCI-Filters-Applied"] is None
        filtered = registry.get(f"/v2/hello/referrers/{digest}?artifactType=application/spdx%2Bjson")
        assert (filtered.body, filtered.headers["OCI-Filters-Applied"]) == (answer.body, "artifactType")


def test_a_malformed_digest_is_400(registry):
    for digest in ("sha256:", "sha256:12", "sha256:" + "A" * 64, "sha256:" + "0" * 65, "latest", "md5:" + "0" * 32):
        answer = registry.get(f"/v2/hello/referrers/{digest}")
        assert (answer.status, answer.error["code"]) == (400, "DIGEST_INVALID"), digest


def test_referrers_are_listed_without_a_worker_and_filtered_by_one(registry, hello):
    subject = "sha256:" + hashlib.sha256(os.urandom(16)).hexdigest()
    spdx = add_referrer(registry, subject, b"spdx", "application/spdx+json")
    other = add_referrer(registry, subject, b"other", "application/other")
    answer = registry.get(f"/v2/any/name/referrers/{subject}?ns=example.org")
    assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
    assert answer.json["manifests"] == [other, spdx]
    assert answer.headers["OCI-Filters-Applied"] is None
    assert registry.worker_requests(subject) == 0

    for artifact_type, expected in (("application/spdx%2Bjson", [spdx]), ("application/spdx+json", [spdx]), ("application/none", [])):
        answer = registry.get(f"/v2/any/name/referrers/{subject}?artifactType={artifact_type}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
        assert (answer.json["manifests"], answer.headers["OCI-Filters-Applied"]) == (expected, "artifactType")


def test_the_fallback_tag_answers_the_list_of_referrers_and_never_builds(registry, hello):
    tag = hello.replace(":", "-")
    answer = registry.get(f"/v2/hello/manifests/{tag}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
    assert answer.body == registry.get(f"/v2/hello/referrers/{hello}").body
    assert answer.headers["Docker-Content-Digest"] == "sha256:" + hashlib.sha256(answer.body).hexdigest()
    built = len(registry.events("image built"))
    for missing in (NOBODY.replace(":", "-"), tag + ".sig", tag + ".att", tag + ".sbom"):
        answer = registry.get(f"/v2/hello/manifests/{missing}")
        assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN"), missing
    assert len(registry.events("image built")) == built


# A static copy


@pytest.fixture
def static_host(directory):
    """Only nginx: nothing listens on the workers' socket."""
    host = Registry(directory, {})
    try:
        host.start_nginx()
        yield host
    finally:
        host.stop()


def test_an_exported_tree_serves_pulls_with_no_worker(registry, static_host, docker, podman):
    digest = registry.manifest("shell/curl").headers["Docker-Content-Digest"]
    spdx = add_referrer(registry, digest, b"sbom of curl", "application/spdx+json")
    done = registry.nixery("export", "--json", str(static_host.tree), "shell/curl", "hello:latest")
    assert done.returncode == 0, done.stderr
    exported = json.loads(done.stdout)
    assert exported["images"][0] == {"reference": "shell/curl:latest", "digest": digest}
    assert (exported["tags"], exported["addedBytes"]) == (2, exported["bytes"])

    image = f"{static_host.host}/shell/curl"
    assert "curl" in docker.run_image(image, "curl", "--version")
    assert podman.pull(image).returncode == 0
    assert static_host.get(f"/v2/shell/curl/referrers/{digest}").json["manifests"].count(spdx) == 1
    assert static_host.get(f"/v2/shell/curl/manifests/{spdx['digest']}").status == 200
    assert static_host.get(f"/v2/shell/curl/referrers/{NOBODY}").json["manifests"] == []
    assert static_host.get("/v2/git/manifests/latest").status == 503


def test_an_exported_image_is_complete(registry, static_host, directory):
    registry.manifest("hello")
    assert registry.nixery("export", str(static_host.tree), "hello").returncode == 0
    copied = skopeo("copy", "--src-tls-verify=false", f"docker://{static_host.host}/hello", f"oci:{directory}/oci:x")
    assert copied.returncode == 0, copied.stderr
    check(program("umoci", "umoci"), "unpack", "--image", f"{directory}/oci:x", str(directory / "bundle"))


def test_exporting_again_adds_only_what_is_new(registry, directory):
    for name in ("hello", "shell/curl"):
        registry.manifest(name)
    copy = directory / "copy"
    export = lambda *names: json.loads(registry.nixery("export", "--json", str(copy), *names).stdout)
    first = export("hello")
    files = {path: path.lstat().st_ino for path in copy.rglob("*")}
    assert export("hello")["addedBytes"] == 0
    assert {path: path.lstat().st_ino for path in copy.rglob("*")} == files
    both = export("hello", "shell/curl")
    assert both["addedBytes"] == both["bytes"] - first["bytes"]
    assert {path.name for path in copy.iterdir()} <= {"blobs", "manifests", "tags", "referrers"}


def test_an_export_of_a_missing_image_names_the_fix_and_writes_nothing(registry, hello, directory):
    done = registry.nixery("export", str(directory / "copy"), "hello", "never.built:v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "never.built:v1 is not in the tree: run `nixery build never.built:v1` first" in done.stderr
    assert not (directory / "copy").exists()


def test_an_export_without_images_is_status_2(registry, directory):
    for words in ([], [str(directory)], ["--what", str(directory), "hello"]):
        done = registry.nixery("export", *words)
        assert done.returncode == 2 and "usage: nixery export" in done.stderr, words
