"""Hostile names and requests: a JSON error, and nothing is evaluated or written."""

import pytest

import raw

LONG = "/".join(f"p{i}" for i in range(300))
LONG_BUT_ALLOWED = "a." * 100 + "a"  # names no package

NAMES = [
    "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", ".git", "hello/..", "hello/../../x", "hello//jq",
    "hello%00", "hello%0a", "hello%0d%0aX-Evil:1", "hello%22", "hello'", "%24%7bhello%7d", "$%7bbuiltins.currentSystem%7d",
    "hello;id", "hello%7cid", "hello%20jq", "`id`", "hello%5c", "hello$", "h%C3%A9llo", "%ff%fe", "hello*", "~root", "-hello", "hello-",
    "_tags", "hello/_tags/latest", "hello\"", "<script>", "%zz", "%", LONG, "a" * 256, LONG_BUT_ALLOWED,
]  # fmt: skip


def is_clean_error(response) -> bool:
    return response.status in (400, 404, 414) and response.headers["Content-Type"] == "application/json" and b'"errors"' in response.body


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_an_error_without_side_effects(registry, name):
    before = registry.files()
    response = raw.get(registry.port, f"/v2/{name}/manifests/latest")
    if response.headers["Content-Type"] == "text/html":
        # Outside of /v2 after normalization: the rest of the server has nothing there.
        assert ".." in name or "%2e" in name
        assert response.status == 404
    else:
        assert is_clean_error(response), (response.status, response.body[:200])
    assert b"root:" not in response.body
    # One of them matches the grammar and may be looked up.
    written = {f for f in registry.files() - before if not f.startswith(("state/locks", "state/logs", "state/sources", "state/attributes"))}
    assert written == set()


@pytest.mark.parametrize("tag", ["..", ".hidden", "-x", "a" * 129, "%00", "a%2fb", "$(id)", "latest%0a", "latest%20", "@sha256"])
def test_a_hostile_tag_is_an_error_without_side_effects(registry, tag):
    before = registry.files()
    response = raw.get(registry.port, f"/v2/hello/manifests/{tag}")
    assert is_clean_error(response) or (".." in tag and response.status == 404), (response.status, response.body[:200])
    assert registry.files() == before


def test_malformed_names_are_never_evaluated(new_registry, counted_evaluations):
    settings, evaluations = counted_evaluations
    registry = new_registry(**settings)
    for name in NAMES:
        if name != LONG_BUT_ALLOWED:
            raw.get(registry.port, f"/v2/{name}/manifests/latest")
    assert evaluations() == 0
    raw.get(registry.port, f"/v2/{LONG_BUT_ALLOWED}/manifests/latest")
    assert evaluations() == 1


@pytest.mark.parametrize("size", [8_000, 100_000, 1_000_000])
def test_an_endless_request_line_is_an_error_in_json(registry, size):
    response = raw.get(registry.port, f"/v2/{'a' * size}/manifests/latest")
    assert response.status in (400, 414)
    assert b'"errors"' in response.body


def test_an_endless_header_is_an_error_in_json(registry):
    answer = registry.get("/v2/", {"X-Long": "x" * 20_000})
    assert answer.status == 400
    assert b'"errors"' in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("target", ["/v2/", "/v2/hello/manifests/latest", "/v2/hello/blobs/uploads/", "/v2/hello/blobs/sha256:" + "a" * 64])
def test_pushes_and_deletes_are_refused_as_unsupported(registry, method, target):
    answer = registry.request(method, target)
    assert (answer.status, answer.error["code"]) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_an_attribute_that_looks_like_code_is_only_a_name(new_registry, directory):
    (directory / "default.nix").write_text("{ ... }: { }")
    registry = new_registry(NIXERY_PKGS_PATH=str(directory))
    assert registry.manifest("builtins.currenttime").error["message"].startswith("no package 'builtins.currenttime'")


def test_evaluation_reads_no_files_outside_its_source_and_uses_no_network(new_registry, directory):
    canary = directory / "canary"
    canary.write_text("secret")
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text(
        f'{{ ... }}: {{ reads = builtins.readFile "{canary}"; looks = import /etc/passwd; up = builtins.readFile ../canary; '
        'env = if builtins.getEnv "PATH" == "" then throw "no environment" else throw "environment seen"; '
        'fetches = builtins.fetchurl "http://127.0.0.1:1/x"; }'
    )
    registry = new_registry(NIXERY_PKGS_PATH=str(directory / "set"))
    for name in ("reads", "looks", "up", "fetches"):
        answer = registry.manifest(name)
        assert answer.status == 422, (name, answer.body)
        assert "restricted" in answer.error["message"] or "forbidden" in answer.error["message"], answer.error
        assert "secret" not in answer.body.decode()
    assert "no environment" in registry.manifest("env").error["message"]
