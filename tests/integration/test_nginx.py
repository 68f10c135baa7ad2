"""nginx without a worker: the tree's files with their headers, and nothing outside the tree."""

import os
import subprocess

import pytest

from registry import ROOT


@pytest.fixture(scope="module")
def image(registry):
    """Paths of a built image: by tag, by digest, and its largest layer."""
    manifest = registry.manifest("hello")
    layer = max(manifest.json["layers"], key=lambda layer: layer["size"])
    digest = manifest.headers["Docker-Content-Digest"]
    return {
        "tag": ("/v2/hello/manifests/latest", digest),
        "manifest": (f"/v2/hello/manifests/{digest}", digest),
        "blob": (f"/v2/hello/blobs/{layer['digest']}", layer["digest"]),
    }


KINDS = ["tag", "manifest", "blob"]


@pytest.mark.parametrize("kind", KINDS)
def test_headers_follow_the_specification(registry, image, kind):
    target, digest = image[kind]
    answer = registry.get(target)
    assert answer.status == 200
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["ETag"] == f'"{digest}"'
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.headers["Last-Modified"] is None
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    expected = "application/octet-stream" if kind == "blob" else "application/vnd.oci.image.manifest.v1+json"
    assert answer.headers["Content-Type"] == expected
    assert answer.headers["Cache-Control"] == ("no-cache" if kind == "tag" else "public, max-age=31536000, immutable")


@pytest.mark.parametrize("kind", KINDS)
def test_head_is_get_without_the_body(registry, image, kind):
    get, head = registry.get(image[kind][0]), registry.head(image[kind][0])
    assert (head.status, head.body) == (200, b"")
    drop = {"Date", "Connection", "X-Request-Id"}
    assert {k: v for k, v in head.headers.items() if k not in drop} == {k: v for k, v in get.headers.items() if k not in drop}


@pytest.mark.parametrize("kind", KINDS)
def test_query_strings_and_accept_change_nothing(registry, image, kind):
    target, _ = image[kind]
    assert registry.get(target + "?ns=example.org&x=%2e%2e").body == registry.get(target).body
    assert registry.get(target, {"Accept": "text/plain", "Accept-Encoding": "gzip, zstd, br"}).body == registry.get(target).body


@pytest.mark.parametrize("kind", KINDS)
def test_if_none_match_compares_the_digest(registry, image, kind):
    target, digest = image[kind]
    other = "sha256:" + "0" * 64
    for value in (f'"{digest}"', f'W/"{digest}"', f'"{other}", "{digest}"'):
        answer = registry.get(target, {"If-None-Match": value})
        assert (answer.status, answer.body) == (304, b""), value
        assert answer.headers["ETag"] == f'"{digest}"'
    for value in (f'"{other}"', digest, f'"{digest[:-1]}"', '""'):
        assert registry.get(target, {"If-None-Match": value}).status == 200, value


def test_ranges(registry, image):
    target, digest = image["blob"]
    whole = registry.get(target).body
    for spec, part in (("0-0", whole[:1]), ("5-9", whole[5:10]), ("-7", whole[-7:]), (f"{len(whole) - 3}-", whole[-3:])):
        answer = registry.get(target, {"Range": f"bytes={spec}"})
        assert (answer.status, answer.body) == (206, part)
        assert answer.headers["Docker-Content-Digest"] == digest
    assert registry.get(target, {"Range": "bytes=5-9", "If-Range": f'"{digest}"'}).status == 206
    assert registry.get(target, {"Range": "bytes=5-9", "If-Range": '"other"'}).status == 200
    answer = registry.get(target, {"Range": f"bytes={len(whole)}-"})
    assert (answer.status, answer.error["code"]) == (416, "RANGE_INVALID")


def test_the_root_of_the_api_with_and_without_slash(registry):
    for target in ("/v2/", "/v2"):
        answer = registry.get(target)
        assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"{}", "application/json")


def test_links_out_of_the_tree_are_not_served(registry, image, directory):
    (directory / "secret").write_text("secret")
    hex = "5e" + "c" * 62
    outside = directory / "manifests/sha256" / hex
    outside.mkdir(parents=True)
    (outside / "manifest.oci-manifest").write_text("secret")

    tags = registry.tree / "tags/planted/_tags"
    tags.mkdir(parents=True)
    (tags / "dir").symlink_to(directory)
    (tags / "like").symlink_to(outside)
    (tags / "etc").symlink_to("/etc")
    blob = registry.tree / "blobs/sha256/5e" / hex
    blob.parent.mkdir(exist_ok=True)
    blob.symlink_to(directory / "secret")
    manifest = registry.tree / "manifests/sha256" / hex
    manifest.mkdir()
    (manifest / "manifest.oci-manifest").symlink_to(directory / "secret")
    (tags / "inner").symlink_to(f"../../../manifests/sha256/{hex}")
    try:
        for target in [f"/v2/planted/manifests/{tag}" for tag in ("dir", "like", "etc", "inner")] + [
            f"/v2/planted/blobs/sha256:{hex}", f"/v2/planted/manifests/sha256:{hex}"]:
            answer = registry.get(target)
            assert answer.status in (403, 404), (target, answer.status)
            assert b"secret" not in answer.body
    finally:
        for link in (tags / "dir", tags / "like", tags / "etc", tags / "inner", blob, manifest / "manifest.oci-manifest"):
            os.unlink(link)
        manifest.rmdir()


def test_no_file_of_the_tree_is_reachable_by_its_path(registry):
    (registry.tree / "incoming/.tmp-x").write_text("half")
    for path in ("/incoming/.tmp-x", "/v2/incoming/.tmp-x", "/tags/", "/blobs/", "/state/", "/v2/../incoming/.tmp-x"):
        assert registry.get(path).status in (400, 404), path


def test_the_sample_site_passes_nginx_own_check(directory):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x",
         "-keyout", directory / "key", "-out", directory / "pem"],
        check=True, capture_output=True,
    )
    site = (ROOT / "nginx/nixery-site.conf").read_text()
    site = site.replace("/etc/nginx/nixery", str(ROOT / "nginx")).replace("/etc/ssl/certs/registry.example.org.pem", str(directory / "pem"))
    site = site.replace("/etc/ssl/private/registry.example.org.key", str(directory / "key"))
    (directory / "nginx.conf").write_text(f"pid {directory}/pid; error_log {directory}/log; events {{}} http {{ {site} }}")
    done = subprocess.run(["nginx", "-t", "-c", directory / "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
