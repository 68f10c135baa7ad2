"""nginx and a tree, no worker: no path or link gives access to anything but the tree's own blobs and manifests."""

import pytest

import raw
from fabricated import digest_of, nginx_alone

SECRET = b"the secret outside"


@pytest.fixture(scope="module")
def served():
    with nginx_alone() as served:
        served.files_of.add_busybox("hello")
        (served.dir / "secret").write_bytes(SECRET)
        yield served


def has_nothing(response, statuses) -> bool:
    """A JSON error without any content of the file."""
    return (
        response.status in statuses
        and SECRET not in response.body
        and b"root:" not in response.body
        and response.headers["Content-Type"] == "application/json"
        and b'"errors"' in response.body
    )


def test_a_blob_that_is_a_link_is_denied(served):
    digest = digest_of(b"a blob that is a link")
    path = served.files_of.blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(served.dir / "secret")
    for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-3"}):
        answer = served.get(f"/v2/hello/blobs/{digest}", headers)
        assert (answer.status, answer.error["code"]) == (403, "DENIED")


def test_a_directory_of_blobs_that_is_a_link_is_not_followed(served):
    content = b"a blob in a linked directory"
    hex = digest_of(content).removeprefix("sha256:")
    (served.dir / "outside-blobs").mkdir()
    (served.dir / "outside-blobs" / hex).write_bytes(SECRET)
    served.files_of.blob_path(digest_of(content)).parent.symlink_to(served.dir / "outside-blobs")
    answer = served.get(f"/v2/hello/blobs/sha256:{hex}")
    assert answer.status in (403, 503) and SECRET not in answer.body


def test_a_manifest_that_is_a_link_is_denied_by_digest_and_by_tag(served):
    digest = digest_of(b"a manifest that is a link")
    directory = served.files_of.manifest_directory(digest)
    directory.mkdir(parents=True)
    for extension in ("oci-manifest", "oci-index", "docker-list"):
        link = directory / f"manifest.{extension}"
        link.symlink_to(served.dir / "secret")
        served.files_of.add_tag("linked", "latest", digest)
        for reference in (digest, "latest"):
            answer = served.get(f"/v2/linked/manifests/{reference}")
            assert (answer.status, answer.error["code"]) == (403, "DENIED")
        link.unlink()


def test_a_manifests_directory_that_is_a_link_is_not_followed(served):
    digest = digest_of(b"a manifest directory that is a link")
    outside = served.dir / "outside-manifest"
    outside.mkdir()
    (outside / "manifest.oci-manifest").write_bytes(SECRET)
    served.files_of.manifest_directory(digest).symlink_to(outside)
    served.files_of.add_tag("linked", "directory", digest)
    for reference in (digest, "directory"):
        answer = served.get(f"/v2/linked/manifests/{reference}")
        assert answer.status in (403, 503) and SECRET not in answer.body, reference


def test_a_tag_with_a_target_outside_the_tree_is_a_miss(served):
    hex = digest_of(b"outside").removeprefix("sha256:")
    outside = served.dir / "manifests/sha256" / hex
    outside.mkdir(parents=True)
    (outside / "manifest.oci-manifest").write_bytes(SECRET)
    targets = {"absolute": str(outside), "relative": f"../../../../manifests/sha256/{hex}", "etc": "/etc", "up": "../../../..",
               "file": str(served.dir / "secret"), "itself": "itself", "root": "/", "state": "../../../incoming"}  # fmt: skip
    for tag, target in targets.items():
        served.files_of.link_tag("planted", tag, target)
        answer = served.get(f"/v2/planted/manifests/{tag}")
        assert answer.status == 503, tag  # a miss without a worker
        assert SECRET not in answer.body


def test_a_tag_with_the_same_digest_elsewhere_gives_the_trees_own_manifest(served):
    """The most that a link into another tree can do."""
    content = b'{"schemaVersion":2}'
    digest = served.files_of.add_manifest(content)
    elsewhere = served.dir / "elsewhere/manifests/sha256" / digest.removeprefix("sha256:")
    elsewhere.mkdir(parents=True)
    (elsewhere / "manifest.oci-manifest").write_bytes(SECRET)
    served.files_of.link_tag("planted", "twin", str(elsewhere))
    answer = served.get("/v2/planted/manifests/twin")
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Docker-Content-Digest"] == digest


def test_a_repository_that_is_a_link_is_a_miss(served):
    outside = served.dir / "outside-tags/_tags/latest"
    outside.mkdir(parents=True)
    (outside / "manifest.oci-manifest").write_bytes(SECRET)
    (served.tree / "tags/stolen").symlink_to(served.dir / "outside-tags")
    answer = served.get("/v2/stolen/manifests/latest")
    assert answer.status == 503 and SECRET not in answer.body


def test_a_tree_below_a_link_is_served(served):
    """/var/lib/nixery may be a link to a larger disk."""
    with nginx_alone() as other:
        digest = other.files_of.add_busybox("hello")
        other.tree.rename(other.dir / "large-disk")
        other.tree.symlink_to("large-disk")
        for reference in ("latest", digest):
            assert other.get(f"/v2/hello/manifests/{reference}").status == 200


WALKS = [
    "/v2/../secret", "/v2/../../secret", "/v2/../../../../../../etc/passwd", "/v2/hello/../../secret", "/v2/./hello/manifests/latest",
    "/v2/hello/blobs/../../../../secret", "/v2/hello/manifests/../../../../secret", "/v2/hello/manifests/..", "/v2/hello/manifests/../latest",
    "/v2/hello/manifests/.", "/v2/..", "/v2/.", "/v2/%2e%2e/secret", "/v2/%2e%2e%2fsecret", "/v2/..%2f..%2fetc/passwd", "/v2/.%2e/secret",
    "/v2/%2e./etc/passwd", "/v2/hello/blobs/%2e%2e/%2e%2e/x", "/v2//hello/manifests/latest", "/v2/hello//manifests/latest",
    "/v2/hello/manifests//latest", "/v2/hello%2f%2fmanifests/latest", "//v2/hello/manifests/latest", "///v2/", "/x/../v2/hello/manifests/latest",
    "/v2//../v2/hello/manifests/latest", "/v2/hello/manifests/latest/..", "/v2/hello/manifests/latest/.", "/v2/#/../secret",
    "/v2/hello/manifests/latest#x",
]  # fmt: skip


@pytest.mark.parametrize("target", WALKS)
def test_an_unnormalized_path_is_400_even_if_its_target_exists(served, target):
    assert has_nothing(raw.get(served.port, target), {400})


OUTSIDE_THE_GRAMMAR = [
    "/v2/..;/secret", "/v2/..;/..;/etc/passwd", "/v2/..%5c..%5csecret", "/v2/..\\..\\secret", "/v2/hello/manifests/..%3b", "/v2/incoming",
    "/v2/incoming/x", "/v2/.hidden/manifests/latest", "/v2/hello/manifests/.hidden", "/v2/hello/manifests/-x", "/v2/Hello/manifests/latest",
    "/v2/hello/blobs/.hidden", "/v2/hello/blobs/", "/v2/hello/manifests/", "/v2/hello/", "/v2/hello/_tags/latest", "/v2/_tags/manifests/latest",
    "/v2/tags/hello/_tags/latest/manifest.oci-manifest", "/v2/blobs/sha256", "/v2/hello-/manifests/latest", "/v2/-hello/manifests/latest",
    "/v2/a..b/manifests/latest", "/v2/a___b/manifests/latest", "/v2/a._b/manifests/latest", "/v2/a-.b/manifests/latest",
    "/v2/hello/manifests/" + "x" * 129, "/v2/hello/blobs/sha256:" + "A" * 64, "/v2/hello/blobs/sha256:" + "a" * 63,
    "/v2/hello/blobs/sha256:" + "a" * 65, "/v2/hello/blobs/sha512:" + "a" * 128, "/v2/hello/manifests/sha256:" + "g" * 64,
    "/v2/hello/manifests/latest/", "/v2/hello/manifests/latest/manifest.oci-manifest", "/v2/hello/manifests/latest%0a",
    "/v2/hello/manifests/latest%20", "/v2/hello%0a/manifests/latest", "/v2/h%C3%A9llo/manifests/latest", "/v2/%ff/manifests/latest",
    "/v2/$nixery_tree/manifests/latest", "/v2/%24document_root/manifests/latest", "/v2/hello/manifests/${latest}", "/v2hello", "/v2/~root",
]  # fmt: skip


@pytest.mark.parametrize("target", OUTSIDE_THE_GRAMMAR)
def test_malformed_names_are_never_looked_up_in_the_tree(served, target):
    response = raw.get(served.port, target)
    if target == "/v2hello":
        assert response.status == 404  # not ours
    else:
        assert has_nothing(response, {503})  # only a worker could report the error


TREES_OWN = ["/incoming/x", "/blobs/sha256/", "/tags/", "/manifests/", "/.nixery-error/404", "/secret", "/.git/config"]


@pytest.mark.parametrize("target", TREES_OWN)
def test_the_trees_paths_are_not_served(served, target):
    (served.tree / "incoming").mkdir(exist_ok=True)
    (served.tree / "incoming/x").write_bytes(SECRET)
    response = raw.get(served.port, target)
    assert response.status == 404 and SECRET not in response.body


def test_none_of_these_requests_crashes_nginx(served):
    before = served.nginx_workers()
    for target in WALKS + OUTSIDE_THE_GRAMMAR + TREES_OWN:
        raw.get(served.port, target)
    assert served.nginx_workers() == before and len(before) == 2
    # Also covers earlier requests, if it runs after the other tests.
    assert "exited on signal" not in served.error_log()
    assert "[emerg]" not in served.error_log() and "[alert]" not in served.error_log()
