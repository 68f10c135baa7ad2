"""nginx and a tree, no worker: built content is served with the headers that clients and caches need."""

import email.utils

import pytest

import raw
from fabricated import EXTENSIONS, OCI_MANIFEST, digest_of, nginx_alone

IMMUTABLE = "public, max-age=31536000, immutable"
BLOB = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def served():
    with nginx_alone() as served:
        yield served


@pytest.fixture(scope="module")
def address(served):
    return fill(served)


def fill(served):
    """kind -> path, digest and bytes."""
    tree = served.files_of
    manifest = b'{"schemaVersion":2,"mediaType":"%s"}' % OCI_MANIFEST.encode()
    blob, digest = tree.add_blob(BLOB), tree.add_manifest(manifest)
    tree.add_tag("shell/curl", "latest", digest)
    return {
        "blob": (f"/v2/shell/curl/blobs/{blob}", blob, BLOB),
        "manifest": (f"/v2/shell/curl/manifests/{digest}", digest, manifest),
        "tag": ("/v2/shell/curl/manifests/latest", digest, manifest),
    }


every_kind = pytest.mark.parametrize("kind", ["blob", "manifest", "tag"])


def test_the_base_of_the_api_answers_with_and_without_a_slash(served):
    for target in ("/v2/", "/v2", "/v2/?ns=example.org", "/v2?x"):
        answer = served.get(target)
        assert (answer.status, answer.body) == (200, b"{}"), target
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert served.head(target).headers["Content-Length"] == "2"


@every_kind
def test_headers_have_media_type_digest_and_cache_control(served, address, kind):
    target, digest, content = address[kind]
    answer = served.get(target)
    assert (answer.status, answer.body) == (200, content)
    expected = {
        "Content-Type": "application/octet-stream" if kind == "blob" else OCI_MANIFEST,
        "Content-Length": str(len(content)),
        "Docker-Content-Digest": digest,
        "Docker-Distribution-API-Version": "registry/2.0",
        "ETag": f'"{digest}"',
        "Cache-Control": "no-cache" if kind == "tag" else IMMUTABLE,
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "Last-Modified": None,
        "Content-Encoding": None,
        "Vary": None,
    }
    assert {name: answer.headers[name] for name in expected} == expected
    for name in expected:
        assert len(answer.headers.get_all(name, [])) <= 1, f"{name} more than once"


@pytest.mark.parametrize("media_type", EXTENSIONS)
def test_a_manifests_media_type_comes_from_its_extension(served, media_type):
    digest = served.files_of.add_manifest(b'{"mediaType":"%s"}' % media_type.encode() + b" ", media_type)
    served.files_of.add_tag("types", EXTENSIONS[media_type], digest)
    for reference in (digest, EXTENSIONS[media_type]):
        answer = served.get(f"/v2/types/manifests/{reference}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
        assert answer.headers["Docker-Content-Digest"] == digest


@every_kind
def test_head_is_get_without_the_body(served, address, kind):
    get, head = served.get(address[kind][0]), served.head(address[kind][0])
    assert (head.status, head.body) == (200, b"")
    for headers in (get.headers, head.headers):
        del headers["Date"], headers["X-Request-Id"]
    assert head.headers.items() == get.headers.items()


@every_kind
def test_query_and_accept_change_nothing(served, address, kind):
    target, digest, content = address[kind]
    for query in ("?ns=example.org", "?", "?ns=a%2f..%2fb&x=//..//", "?nixery-hop=3"):
        answer = served.get(target + query)
        assert (answer.status, answer.headers["Docker-Content-Digest"], answer.body) == (200, digest, content), query
    for accept in ("text/html", "application/json", "application/vnd.docker.distribution.manifest.v1+json"):
        assert served.get(target, {"Accept": accept, "Accept-Encoding": "gzip, br, zstd"}).body == content


@every_kind
def test_if_none_match_is_304_for_this_digest_and_no_other(served, address, kind):
    target, digest, content = address[kind]
    other = "sha256:" + "0" * 64
    same = [f'"{digest}"', f'W/"{digest}"', f'"{other}", "{digest}"', f'"{digest}","{other}"', f'"x" , W/"{digest}"  ,"y"', "*",
            f'"a, b", "{digest}"', ", ".join([f'"{other}"'] * 90 + [f'"{digest}"'])]  # fmt: skip
    for value in same:
        for method in ("GET", "HEAD"):
            answer = served.request(method, target, {"If-None-Match": value})
            assert (answer.status, answer.body) == (304, b""), value
            assert answer.headers["ETag"] == f'"{digest}"'
            assert answer.headers["Docker-Content-Digest"] == digest
            assert answer.headers["Cache-Control"] == ("no-cache" if kind == "tag" else IMMUTABLE)
            # A 304 with a length must have that of the 200.
            assert answer.headers["Content-Length"] in (None, str(len(content)))
    different = [f'"{other}"', digest, f'"{digest[:-1]}"', f'"{digest}0"', f'"x{digest}"', '""', "", f'"\\"{digest}"x', "**", '"*"',
                 f'"{digest}', f'"{digest.removeprefix("sha256:")}"', f'"{digest.upper()}"', f'w/"{digest}"',
                 f'"{other}" "{digest}"', f'"{digest}"x', f'x"{digest}"']  # fmt: skip
    for value in different:
        answer = served.get(target, {"If-None-Match": value})
        assert (answer.status, answer.body) == (200, content), value


def test_if_none_match_never_gives_304_for_missing_content(served):
    absent = digest_of(b"never written")
    for target in (f"/v2/a/blobs/{absent}", f"/v2/a/manifests/{absent}", "/v2/a/manifests/absent", "/v2/a/tags/list"):
        for value in ("*", f'"{absent}"', f'W/"{absent}"'):
            assert served.get(target, {"If-None-Match": value}).status == 503, (target, value)  # there is no worker


@every_kind
def test_dates_are_ignored_because_a_tag_may_move_within_a_second(served, address, kind):
    target, _, content = address[kind]
    for date in (email.utils.formatdate(usegmt=True), "Sun, 06 Nov 2050 08:49:37 GMT"):
        assert served.get(target, {"If-Modified-Since": date}).body == content


@every_kind
def test_ranges_are_206_and_416_beyond_the_end(served, address, kind):
    target, digest, content = address[kind]
    size = len(content)
    for spec, part in (("0-0", content[:1]), ("5-9", content[5:10]), ("-7", content[-7:]), (f"{size - 3}-", content[-3:]), ("9-99999999", content[9:])):
        answer = served.get(target, {"Range": f"bytes={spec}"})
        assert (answer.status, answer.body) == (206, part), spec
        assert answer.headers["Content-Range"].endswith(f"/{size}")
        assert (answer.headers["Docker-Content-Digest"], answer.headers["ETag"]) == (digest, f'"{digest}"')
    for headers in ({"If-Range": '"other"'}, {"If-Range": "Sun, 06 Nov 2050 08:49:37 GMT"}):
        assert served.get(target, {"Range": "bytes=5-9", **headers}).status == 200
    assert served.get(target, {"Range": "bytes=5-9", "If-Range": f'"{digest}"'}).status == 206
    assert served.get(target, {"Range": "lines=1-2"}).status == 200
    assert served.get(target, {"Range": "bytes=5-9", "If-None-Match": "*"}).status == 304

    for method in ("GET", "HEAD"):
        answer = served.request(method, target, {"Range": f"bytes={size}-"})
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
        assert answer.headers["Content-Type"] == "application/json"
        assert "no-store" in ", ".join(answer.headers.get_all("Cache-Control"))
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers.get_all("Docker-Distribution-API-Version") == ["registry/2.0"]
        assert method == "HEAD" or answer.error["code"] == "RANGE_INVALID"


def test_several_ranges_of_a_blob_at_once(served, address):
    target, _, content = address["blob"]
    answer = served.get(target, {"Range": "bytes=0-1,100-103"})
    assert answer.status == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert b"\r\n\r\n" + content[100:104] + b"\r\n" in answer.body


def test_a_moved_tag_is_served_at_once(served):
    tree = served.files_of
    for content in (b"{}", b"[]", b"{}", b"[ ]"):
        digest = tree.add_manifest(content)
        tree.add_tag("moving", "latest", digest)
        answer = served.get("/v2/moving/manifests/latest")
        assert (answer.headers["Docker-Content-Digest"], answer.body) == (digest, content)


def test_a_tag_of_every_allowed_shape_is_found(served, address):
    _, digest, content = address["manifest"]
    deep = "/".join(f"p{n}" for n in range(40))
    for name in ("a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c", "manifests", "blobs", "a/manifests/b", "a/blobs/manifests",
                 "manifests/manifests", "a/tags/list", deep):  # fmt: skip
        for tag in ("latest", "A", "_x", "v1.2-3_4", "manifests", "blobs", "x" * 128):
            served.files_of.add_tag(name, tag, digest)
            answer = served.get(f"/v2/{name}/manifests/{tag}")
            assert (answer.status, answer.body) == (200, content), (name, tag)
        assert served.get(f"/v2/{name}/manifests/{digest}").status == 200


def test_an_escaped_path_is_equivalent(served, address):
    target, digest, content = address["manifest"]
    for escaped in (target.replace(":", "%3A"), target.replace(":", "%3a"), target.replace("shell", "%73hell")):
        assert served.get(escaped).body == content


def test_absolute_request_targets_are_understood(served, address):
    target, _, content = address["tag"]
    assert raw.get(served.port, f"http://registry.test{target}").body == content


def test_a_tag_without_its_manifest_is_a_miss(served):
    served.files_of.add_tag("dangling", "latest", digest_of(b"gone"))
    assert served.get("/v2/dangling/manifests/latest").error["code"] == "UNAVAILABLE"


@pytest.fixture
def served_with_an_operators_settings():
    with nginx_alone() as served:
        served.add_directives(
            http="gzip on; gzip_types *; gzip_min_length 1; charset utf-8; charset_types *; etag on; expires 1h; "
            "open_file_cache max=100; open_file_cache_valid 1h; open_file_cache_errors on; default_type text/html; "
            "add_header X-Mine yes; disable_symlinks on; fastcgi_intercept_errors on; merge_slashes off;",
            server="error_page 404 502 503 /mine.html; location ~ latest { return 200 mine; } location = /probe { return 204; }",
            until=lambda: served.get("/probe").status == 204,
        )
        yield served


def test_the_operators_settings_do_not_affect_the_registry(served_with_an_operators_settings):
    served = served_with_an_operators_settings
    address = fill(served)
    for kind in address:
        test_headers_have_media_type_digest_and_cache_control(served, address, kind)
        assert served.get(address[kind][0], {"Accept-Encoding": "gzip"}).headers["Content-Encoding"] is None
    assert served.get("/v2/absent/manifests/latest").error["code"] == "UNAVAILABLE"
    test_a_moved_tag_is_served_at_once(served)


def test_hits_log_no_errors(served, address):
    before = len(served.error_log())
    for target, _, _ in address.values():
        assert served.get(target).status == 200
    assert served.get("/v2/nobody/has/asked/manifests/before").status == 503
    new = [line for line in served.error_log()[before:].splitlines() if "connect() to" not in line]
    assert new == []
