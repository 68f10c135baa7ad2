"""Access control: the samples in nginx/, unchanged except for paths and ports."""

import base64
from contextlib import contextmanager

import pytest

from conftest import started
from engines import check, program, skopeo
from registry import ROOT, wait_for
from token_service import TokenService


def sample(name: str, **replaced: str) -> str:
    text = (ROOT / "nginx" / name).read_text()
    for old, new in replaced.items():
        assert old in text, (name, old)
        text = text.replace(old, new)
    return text


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@contextmanager
def guarded(package_set, http: str = "", server: str = "", **settings: str):
    with started(package_set, settings) as registry:
        registry.manifest("hello"), registry.manifest("jq")  # built before access is restricted
        text = (registry.dir / "nginx.conf").read_text()
        (registry.dir / "nginx.conf").write_text(text.replace("  server {", f"  {http}\n  server {{\n    {server}", 1))
        old = registry.nginx_workers()
        registry.nginx.send_signal(1)
        wait_for(lambda: not old & registry.nginx_workers(), "nginx's old workers to leave")
        yield registry


@pytest.fixture(scope="module")
def with_passwords(package_set, tmp_path_factory):
    users = tmp_path_factory.mktemp("users") / "users"
    for user in ("alice", "eve"):
        hashed = check(program("openssl", "openssl"), "passwd", "-apr1", f"{user}'s secret").strip()
        users.write_text((users.read_text() if users.exists() else "") + f"{user}:{hashed}\n")
    for place in (users, users.parent, users.parent.parent):
        place.chmod(0o755)
    server = sample("nixery-access-basic.conf", **{"/etc/nginx/nixery/users": str(users)})
    # hello is the internal repository: a package, so that it can be built.
    rules = sample("nixery-access-rules.conf").replace("internal/", "hello/")
    with guarded(package_set, rules, server) as registry:
        yield registry


ALICE, EVE = basic("alice", "alice's secret"), basic("eve", "eve's secret")
TARGETS = ["/v2/", "/v2/jq/manifests/latest", "/v2/git/manifests/latest", "/v2/_catalog", "/v2/jq/tags/list",
           "/v2/jq/referrers/sha256:" + "0" * 64, "/v2/jq/blobs/sha256:" + "0" * 64, "/v2/nothing/here", "/v2/JQ/x"]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_password_everything_is_401(with_passwords, target):
    before = with_passwords.worker_requests()
    for headers in ({}, basic("alice", "wrong"), basic("mallory", "alice's secret"), {"Authorization": "Bearer x"}):
        for method in ("GET", "HEAD"):
            answer = with_passwords.request(method, target, headers)
            # A rule may deny the request before the password is checked.
            if headers.get("Authorization", "").startswith("Basic ") and target == "/v2/_catalog" and answer.status == 403:
                continue
            assert answer.status == 401, (headers, answer.body)
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="registry"'
            assert method == "HEAD" or answer.error["code"] == "UNAUTHORIZED"
    assert with_passwords.worker_requests() == before


def test_with_a_password_a_warm_pull_needs_no_worker(with_passwords):
    before = with_passwords.worker_requests()
    manifest = with_passwords.get("/v2/jq/manifests/latest", ALICE)
    assert manifest.status == 200
    for layer in manifest.json["layers"]:
        assert with_passwords.get(f"/v2/jq/blobs/{layer['digest']}", ALICE).status == 200
    assert with_passwords.worker_requests() == before
    assert with_passwords.get("/v2/nano/manifests/latest", ALICE).status in (200, 307)


def test_rules_deny_a_repository_in_any_spelling(with_passwords):
    path = "hello/manifests/latest"
    assert with_passwords.get(f"/v2/{path}", ALICE).status == 200
    for spelt in (path, "%68ello/manifests/latest", "hello%2fmanifests/latest", "hello/tags/list", path + "?x=/v2/jq/"):
        answer = with_passwords.get(f"/v2/{spelt}", EVE)
        assert (answer.status, answer.error["code"]) == (403, "DENIED"), spelt
    for crooked in ("/v2/jq/../hello/manifests/latest", "/v2//hello/manifests/latest", "/v2/./hello/manifests/latest", "//v2/" + path):
        assert with_passwords.get(crooked, EVE).status in (400, 403), crooked
    assert with_passwords.get("/v2/_catalog", EVE).status == 403
    assert with_passwords.get("/v2/_catalog", ALICE).status == 200
    assert with_passwords.get("/v2/jq/manifests/latest", EVE).status == 200


def test_clients_log_in_with_a_password(with_passwords, docker, podman, directory):
    image = f"{with_passwords.host}/jq"
    assert docker("pull", image).returncode != 0
    docker.check("login", "-u", "alice", "-p", "alice's secret", with_passwords.host)
    docker.check("pull", image)
    docker.check("logout", with_passwords.host)
    auth = f"--authfile={directory}/auth.json"
    assert podman("login", "--tls-verify=false", auth, "-u", "eve", "-p", "eve's secret", with_passwords.host).returncode == 0
    assert podman("pull", "--tls-verify=false", auth, image).returncode == 0
    denied = podman("pull", "--tls-verify=false", auth, f"{with_passwords.host}/hello")
    assert denied.returncode != 0 and "denied" in denied.stderr
    assert skopeo("inspect", "--tls-verify=false", "--creds", "alice:alice's secret", f"docker://{image}").returncode == 0
    assert skopeo("inspect", "--tls-verify=false", "--creds", "alice:wrong", f"docker://{image}").returncode != 0


@pytest.fixture(scope="module")
def with_tokens(package_set):
    service = TokenService({"alice": "alice's secret"}, is_public=lambda repository: repository == "jq")
    server = sample("nixery-access-token.conf", **{"127.0.0.1:5001": f"127.0.0.1:{service.port}"})
    with guarded(package_set, server=server, NIXERY_HOP_SECONDS="120") as registry:
        service.realm = f"http://{registry.host}/token"
        registry.service = service
        yield registry
    service.stop()


def token(registry, repository: str, headers: dict[str, str] = {}) -> dict[str, str]:
    answer = registry.get(f"/token?service=nixery&scope=repository:{repository}:pull", headers)
    assert answer.status == 200
    return {"Authorization": "Bearer " + answer.json["token"]}


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_token_everything_is_401(with_tokens, target):
    before = with_tokens.worker_requests()
    for headers in ({}, {"Authorization": "Bearer forged"}, ALICE):
        answer = with_tokens.get(target, headers)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"].startswith(f'Bearer realm="http://{with_tokens.host}/token",service="nixery"')
        assert with_tokens.head(target, headers).status == 401
    assert with_tokens.worker_requests() == before


def test_a_token_is_valid_for_its_repository_and_a_warm_pull_needs_no_worker(with_tokens):
    challenge = with_tokens.get("/v2/jq/manifests/latest").headers["WWW-Authenticate"]
    assert challenge.endswith('scope="repository:jq:pull"')
    before = with_tokens.worker_requests()
    mine = token(with_tokens, "jq")
    manifest = with_tokens.get("/v2/jq/manifests/latest", mine)
    assert manifest.status == 200
    assert manifest.headers["Docker-Content-Digest"]
    for layer in manifest.json["layers"]:
        assert with_tokens.get(f"/v2/jq/blobs/{layer['digest']}", mine).status == 200
    for target in ("/v2/hello/manifests/latest", "/v2/hello/tags/list", "/v2/_catalog", "/v2/x", "/v2/hello/manifests/latest?a=/v2/jq/"):
        answer = with_tokens.get(target, mine)
        assert (answer.status, answer.error["code"]) == (403, "DENIED"), target
    assert with_tokens.worker_requests() == before


def test_anonymous_tokens_are_valid_for_public_repositories(with_tokens):
    assert with_tokens.get("/v2/hello/manifests/latest", token(with_tokens, "hello")).status == 403
    assert with_tokens.get("/v2/hello/manifests/latest", token(with_tokens, "hello", ALICE)).status == 200


def test_a_miss_is_built_behind_a_token(with_tokens):
    mine = token(with_tokens, "hello/jq", ALICE)
    assert with_tokens.get("/v2/hello/jq/manifests/latest", mine).status == 200
    # The worker got the image's path, not the check's.
    assert (with_tokens.tree / "tags/hello/jq/_tags/latest").is_symlink()


def test_clients_complete_the_token_flow(with_tokens, docker, podman, directory):
    host = with_tokens.host
    docker.check("pull", f"{host}/jq")  # anonymous
    assert docker("pull", f"{host}/hello").returncode != 0
    docker.check("login", "-u", "alice", "-p", "alice's secret", host)
    docker.check("pull", f"{host}/hello")
    docker.check("logout", host)
    assert podman.pull(f"{host}/jq").returncode == 0
    assert podman.pull(f"{host}/hello").returncode != 0
    done = skopeo("copy", "--src-tls-verify=false", "--src-creds", "alice:alice's secret", f"docker://{host}/hello", f"oci:{directory}/x:x")
    assert done.returncode == 0, done.stderr


def test_misses_are_limited_and_hits_are_not(package_set):
    http = sample("nixery-limits.conf").replace("rate=2r/s", "rate=1r/m")
    server = "limit_req zone=nixery_misses burst=3 nodelay; limit_conn nixery_clients 64; limit_req_status 429; limit_conn_status 429;"
    with guarded(package_set, http, server) as registry:
        answers = [registry.get(f"/v2/unknown{n}/manifests/latest") for n in range(8)]
        assert [answer.status for answer in answers] == [404] * 4 + [429] * 4
        assert answers[-1].error["code"] == "TOOMANYREQUESTS" and int(answers[-1].headers["Retry-After"]) > 0
        assert {registry.get("/v2/jq/manifests/latest").status for _ in range(100)} == {200}
