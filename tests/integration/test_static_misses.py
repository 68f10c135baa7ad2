"""What nginx passes to a worker, and what it does with the response. The worker is a small fake."""

import base64
import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import raw
from fabricated import digest_of, nginx_alone
from fastcgi import Responder
from registry import ROOT, wait_for

OK = b"Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def served():
    with nginx_alone() as served:
        yield served


@pytest.fixture
def worker(served):
    with Responder(served.socket, lambda parameters: OK) as responder:
        yield responder


def test_a_hit_is_no_request_to_a_worker_and_a_miss_is_exactly_one(served, worker):
    digest = served.files_of.add_busybox("hello")
    blob = served.get(f"/v2/hello/manifests/{digest}").json["config"]["digest"]
    for target in ("/v2/", "/v2/hello/manifests/latest", f"/v2/hello/manifests/{digest}", f"/v2/hello/blobs/{blob}"):
        for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-1"}):
            served.get(target, headers)
    assert worker.requests == []
    absent = digest_of(b"absent")
    misses = ["/v2/absent/manifests/latest", f"/v2/a/manifests/{absent}", f"/v2/a/blobs/{absent}", "/v2/_catalog", "/v2/a/tags/list",
              "/v2/a/referrers/sha256:x", "/v2/Odd/manifests/latest", "/v2/a/manifests/sha256:x"]  # fmt: skip
    for number, target in enumerate(misses, 1):
        assert served.get(target, {"If-None-Match": "*"} if number % 2 else {}).status == 200
        assert len(worker.requests) == number, target
    wait_for(lambda: served.worker_requests() == len(misses), "nginx's log to say the same")


def test_a_directory_in_the_place_of_a_file_is_a_miss_and_no_redirect(served, worker):
    """As a damaged tree has it. nginx's own answer would be a redirect that may be cached for a year."""
    digest = served.files_of.add_busybox("hello")
    blob = served.get(f"/v2/hello/manifests/{digest}").json["config"]["digest"]
    (manifest,) = served.files_of.manifest_directory(digest).iterdir()
    for file in (served.files_of.blob_path(blob), manifest):
        file.unlink()
        file.mkdir()
    targets = ["/v2/hello/manifests/latest", f"/v2/hello/manifests/{digest}", f"/v2/hello/blobs/{blob}"]
    assert [served.get(target).body for target in targets] == [b"{}"] * 3
    assert len(worker.requests) == 3
    (served.tree / "referrers/sha256" / digest.removeprefix("sha256:") / "index.oci-index").mkdir(parents=True)
    answer = served.get(f"/v2/hello/referrers/{digest}")
    assert (answer.status, answer.json["manifests"]) == (200, [])


def test_a_worker_gets_all_parameters_of_the_request(served, worker):
    target = "/v2/hello%2Ejq/manifests/a%3Ab?ns=example.org&x=%2e%2e"
    lines = ["User-Agent: docker/1", "Accept: a/b", "X-Twice: 1", "Proxy: http://evil", "Authorization: Basic eDp5", "Cookie: c=1"]
    assert raw.get(served.port, target, *lines).status == 200
    parameters = dict(worker.requests[0])
    assert len(parameters) == len(worker.requests[0]), "a parameter twice"
    expected = {
        "REQUEST_METHOD": "GET", "REQUEST_URI": target, "PATH_INFO": "/v2/hello.jq/manifests/a:b", "QUERY_STRING": "ns=example.org&x=%2e%2e",
        "SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "",
        "SERVER_PORT": str(served.port), "REQUEST_SCHEME": "http", "CONTENT_LENGTH": "", "CONTENT_TYPE": "", "HTTP_HOST": "registry.test",
        "HTTP_USER_AGENT": "docker/1", "HTTP_ACCEPT": "a/b", "HTTP_X_TWICE": "1", "HTTP_PROXY": None, "HTTP_AUTHORIZATION": None, "HTTP_COOKIE": None,
    }  # fmt: skip
    assert {name: parameters.get(name) for name in expected} == expected
    assert parameters["REMOTE_PORT"].isdigit() and len(parameters["NIXERY_REQUEST_ID"]) == 32
    assert "HTTPS" not in parameters


# All kinds of requests to a worker, including those of the page and the status.
ASKED_OF_WORKERS = ["/v2/absent/manifests/latest", "/v2/_catalog", "/api/images", "/api/plan/git", "/api/events/git", "/web/compose?packages=git",
                    "/metrics", "/healthz", "/readyz"]  # fmt: skip


def test_no_request_to_a_worker_has_credentials(served, worker):
    served.add_directives(server=f"include {ROOT}/nginx/nixery-web.conf;", until=lambda: served.get("/api/images").status == 200)
    worker.requests.clear()
    for target in ASKED_OF_WORKERS:
        assert raw.get(served.port, target, "Proxy: http://evil", "Authorization: Basic eDp5", "Cookie: c=1").status == 200, target
    assert len(worker.requests) == len(ASKED_OF_WORKERS)
    for parameters in worker.requests:
        assert {dict(parameters).get(name, "") for name in ("HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_COOKIE")} == {""}, parameters


def test_connections_to_workers_are_never_kept_open(served, worker):
    served.add_directives(http="fastcgi_keep_conn on;", server=f"include {ROOT}/nginx/nixery-web.conf;",
                          until=lambda: served.get("/api/images").status == 200)  # fmt: skip
    worker.kept.clear()
    for target in ASKED_OF_WORKERS:
        assert served.get(target).status == 200, target
    assert worker.kept == [0] * len(ASKED_OF_WORKERS)


def test_the_path_is_the_same_for_every_way_to_the_worker(served, worker):
    absent = digest_of(b"absent")
    for target in ("/v2/a/manifests/latest", f"/v2/a/blobs/{absent}", f"/v2/a/manifests/{absent}", "/v2/_catalog"):
        for headers in ({}, {"If-None-Match": "*"}):
            served.get(target, headers)
            assert dict(worker.requests[-1])["PATH_INFO"] == target


def test_the_host_is_the_clients_unless_it_is_contradictory(served, worker):
    for line, host, expected in (("/v2/x", "Registry.Test:5000", "Registry.Test:5000"), ("/v2/x", "registry.test", "registry.test"),
                                 ("/v2/x", "[::1]:80", "[::1]:80"), ("http://real.test/v2/x", "fake.test", "real.test")):  # fmt: skip
        raw.exchange(served.port, f"GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert dict(worker.requests[-1])["HTTP_HOST"] == expected


def test_head_is_head_to_the_worker_too(served, worker):
    assert served.head("/v2/absent/manifests/latest").status == 200
    assert dict(worker.requests[0])["REQUEST_METHOD"] == "HEAD"


def test_the_body_of_a_get_is_not_passed_on(served, worker):
    raw.exchange(served.port, b"GET /v2/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
    assert worker.bodies == [b""]


def test_refused_requests_never_reach_a_worker(served, worker):
    for method, target in (("POST", "/v2/x/blobs/uploads/"), ("DELETE", "/v2/x/manifests/latest"), ("GET", "/v2/../x"), ("GET", "/v2/x//y"), ("GET", "/v2/%00")):
        assert raw.get(served.port, target, method=method).status in (400, 405)
    assert worker.requests == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 416, 422, 424, 429, 500, 502, 503, 504])
def test_a_workers_error_is_passed_through_unchanged(served, status):
    body = json.dumps({"errors": [{"code": "X", "message": "the worker's words\n" + "log " * 9000, "detail": None}]}).encode()
    head = f"Status: {status} Some Reason\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nRetry-After: 7\r\nX-Own: yes\r\n\r\n"
    with Responder(served.socket, lambda parameters: head.encode() + body):
        answer = served.get("/v2/absent/manifests/latest")
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Retry-After"] == "7" and answer.headers["X-Own"] == "yes"
    assert answer.headers.get_all("Cache-Control") == ["no-store"]


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"Range": "bytes=0-1"}])
@pytest.mark.parametrize("reference", ["latest", digest_of(b"absent")])
def test_a_workers_answer_keeps_its_status_and_headers(served, headers, reference):
    digest = digest_of(b"manifest")
    head = f'Status: 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: {digest}\r\nETag: "{digest}"\r\n\r\n'
    with Responder(served.socket, lambda parameters: head.encode() + b"manifest"):
        answer = served.get(f"/v2/absent/manifests/{reference}", headers)
    assert (answer.status, answer.body) == (200, b"manifest")
    assert answer.headers["ETag"] == f'"{digest}"' and answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"


def test_redirects_of_a_waiting_worker_reach_the_client(served):
    target = "/v2/slow/manifests/latest?nixery-hop=1"
    with Responder(served.socket, lambda p: f"Status: 307 Temporary Redirect\r\nLocation: {target}\r\nCache-Control: no-store\r\n\r\n{{}}".encode()):
        answer = served.get("/v2/slow/manifests/latest")
    assert answer.status == 307
    assert answer.headers["Location"].removeprefix(f"http://{served.host}").removeprefix("http://127.0.0.1") == target
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("answer", [None, b"", b"not cgi at all", b"Status: 200 OK\r\nno colon\r\n\r\n", b"Status: abc\r\n\r\n"])
def test_a_worker_that_dies_or_sends_garbage_is_503(served, answer):
    with Responder(served.socket, lambda parameters: answer):
        response = served.get("/v2/absent/manifests/latest")
    assert (response.status, response.error["code"]) == (503, "UNAVAILABLE")
    assert int(response.headers["Retry-After"]) > 0


def test_without_retries_a_failed_worker_is_tried_once_and_again_for_the_next_request(served):
    answers = iter([None, OK])
    with Responder(served.socket, lambda parameters: next(answers)) as worker:
        assert served.get("/v2/absent/manifests/latest").status == 503
        assert len(worker.requests) == 1
        assert served.get("/v2/absent/manifests/latest").status == 200


def test_a_restarted_worker_is_used_at_once(served):
    assert served.get("/v2/absent/manifests/latest").status == 503
    with Responder(served.socket, lambda parameters: OK):
        assert served.get("/v2/absent/manifests/latest").status == 200
    assert served.get("/v2/absent/manifests/latest").status == 503


@pytest.fixture
def retrying():
    """With the unchanged files, nginx retries if no worker responds."""
    with nginx_alone(retries=True) as served:
        yield served


def test_a_request_whose_worker_hangs_up_is_sent_three_times(retrying):
    answers = iter([None, None, OK])
    with Responder(retrying.socket, lambda parameters: next(answers)) as worker:
        answer = retrying.get("/v2/absent/manifests/latest?a=b", {"If-None-Match": "x"})
        assert (answer.status, answer.body) == (200, b"{}")
        assert "WWW-Authenticate" not in answer.headers
        assert len(worker.requests) == 3 and worker.requests[0] == worker.requests[1] == worker.requests[2]


def test_without_a_worker_each_kind_of_miss_is_503_after_the_retries(retrying):
    absent = digest_of(b"absent")
    targets = ["/v2/absent/manifests/latest", f"/v2/a/manifests/{absent}", f"/v2/a/blobs/{absent}", "/v2/_catalog", "/v2/a/referrers/sha256:x"]
    with ThreadPoolExecutor(len(targets)) as pool:
        for answer in pool.map(retrying.get, targets):
            assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) > 0
    assert "redirection cycle" not in retrying.error_log()


def test_another_worker_is_used_if_one_hangs_up(retrying):
    conf = retrying.dir / "nixery-http.conf"
    other = retrying.dir / "other.sock"
    conf.write_text(conf.read_text().replace(f"server unix:{retrying.socket};", f"server unix:{retrying.socket}; server unix:{other};"))
    with Responder(retrying.socket, lambda parameters: None) as failing, Responder(other, lambda parameters: OK):
        retrying.add_directives(until=lambda: retrying.get("/v2/absent/manifests/latest").status == 200)
        for _ in range(4):
            assert retrying.get("/v2/absent/manifests/latest").status == 200
        assert len(failing.requests) > 0


def test_access_rules_hold_for_retries(retrying):
    """The operator's access rules do not end a retry, and a retry does not bypass them."""
    users = retrying.dir / "users"
    users.write_text("alice:" + subprocess.check_output(["openssl", "passwd", "-apr1", "secret"], text=True))
    answers = iter([None, None, OK])
    with Responder(retrying.socket, lambda parameters: next(answers)) as worker:
        retrying.add_directives(
            server=f'auth_basic "registry"; auth_basic_user_file {users}; satisfy any; allow 127.0.0.2; deny all;',
            until=lambda: retrying.get("/v2/absent/manifests/latest").status == 401)  # fmt: skip
        assert worker.requests == []
        authorization = "Basic " + base64.b64encode(b"alice:secret").decode()
        answer = retrying.get("/v2/absent/manifests/latest", {"Authorization": authorization})
        assert answer.status == 200 and "WWW-Authenticate" not in answer.headers
        assert len(worker.requests) == 3


def test_when_a_client_leaves_nginx_hangs_up_on_the_worker(served):
    """The worker then frees the request's slot; its build continues."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(served.socket))
        served.socket.chmod(0o666)
        listener.listen()
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(b"GET /v2/slow/manifests/latest HTTP/1.1\r\nHost: a\r\n\r\n")
            worker, _ = listener.accept()
        with worker:
            worker.settimeout(60)
            while worker.recv(65536):
                pass  # reads the request, then the end of the connection, although nothing was sent
    wait_for(lambda: "/v2/slow/manifests/latest 499" in (served.dir / "access.log").read_text(), "the request to be logged as abandoned")


def test_a_large_response_of_a_worker_arrives_whole(served):
    body = bytes(range(256)) * 40_000
    with Responder(served.socket, lambda parameters: b"Status: 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + body):
        assert served.get("/v2/a/blobs/" + digest_of(b"absent")).body == body


def test_new_content_of_the_tree_is_a_hit_at_once(served, worker):
    target = "/v2/hello/manifests/latest"
    assert served.get(target).body == b"{}"
    digest = served.files_of.add_busybox("hello")
    assert served.get(target).headers["Docker-Content-Digest"] == digest
    assert len(worker.requests) == 1
