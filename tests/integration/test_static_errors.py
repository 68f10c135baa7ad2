"""nginx, no worker: every error under /v2/ has a body of the distribution-spec, including nginx's own errors."""

import http.client
import json
import socket

import pytest

import raw
from fabricated import nginx_alone

SPECIFIED = {"BLOB_UNKNOWN", "DENIED", "DIGEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "TOOMANYREQUESTS",
             "UNAUTHORIZED", "UNSUPPORTED"}  # fmt: skip
USUAL = {"UNAVAILABLE", "UNKNOWN", "RANGE_INVALID"}  # of the reference implementation


@pytest.fixture(scope="module")
def served():
    with nginx_alone() as served:
        served.files_of.add_busybox("hello")
        yield served


def error_of(response, status: int) -> dict:
    """Checks the requirements of every error and returns the error of the body."""
    assert response.status == status, (response.status, response.body[:300])
    headers = response.headers
    assert headers.get_all("Content-Type") == ["application/json"]
    assert headers.get_all("Docker-Distribution-API-Version") == ["registry/2.0"]
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_all("Cache-Control") == ["no-store"]
    assert headers["ETag"] is None and headers["Docker-Content-Digest"] is None
    assert int(headers["Content-Length"]) == len(response.body)
    (error,) = json.loads(response.body)["errors"]
    assert error["code"] in SPECIFIED | USUAL
    assert len(error["message"]) > 10 and "detail" in error
    return error


@pytest.mark.parametrize("target", ["/v2/%zz", "/v2/%", "/v2/%0", "/v2/hello%00/manifests/latest", "/v2/../..", "/v2/%2e%2e/%2e%2e/x", "/../v2/",
                                    "/v2/a\x01b", "/v2/a\x7fb", "/v2/a b"])  # fmt: skip
def test_a_malformed_target_is_400(served, target):
    assert error_of(raw.get(served.port, target), 400)


@pytest.mark.parametrize("request_bytes", [
    b"GET /v2/ HTTP/1.1\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    b"GET /v2/ HTTP/x.y\r\nHost: a\r\n\r\n", b"get /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n",
    b"{}\r\n\r\n", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
])  # fmt: skip
def test_a_request_that_is_not_http_is_400(served, request_bytes):
    assert error_of(raw.exchange(served.port, request_bytes), 400)


def test_an_unknown_version_of_http_is_505(served):
    assert error_of(raw.exchange(served.port, b"GET /v2/ HTTP/3.0\r\nHost: a\r\n\r\n"), 505)["code"] == "UNSUPPORTED"


def test_an_unknown_transfer_encoding_is_501(served):
    assert error_of(raw.get(served.port, "/v2/hello/manifests/latest", "Transfer-Encoding: br"), 501)["code"] == "UNSUPPORTED"


@pytest.mark.parametrize("size", [8_200, 33_000, 1_000_000])
def test_an_address_too_long_for_nginx_is_414(served, size):
    assert error_of(raw.get(served.port, "/v2/" + "a/" * (size // 2) + "manifests/latest"), 414)["code"] == "NAME_INVALID"


@pytest.mark.parametrize("lines", [["X-Long: " + "x" * 20_000], [f"X-{n}: {'x' * 1000}" for n in range(60)]])
def test_headers_too_long_for_nginx_are_400(served, lines):
    error_of(raw.get(served.port, "/v2/hello/manifests/latest", *lines), 400)


def test_an_unsupported_condition_is_412(served):
    for condition in ({"If-Match": '"other"'}, {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}):
        answer = served.get("/v2/hello/manifests/latest", condition)
        assert (answer.status, answer.headers["Content-Type"], answer.error["code"]) == (412, "application/json", "UNSUPPORTED")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "TRACE", "BREW"])
@pytest.mark.parametrize("target", ["/v2/", "/v2", "/v2/hello/manifests/latest", "/v2/hello/blobs/uploads/", "/v2/hello/blobs/sha256:" + "a" * 64,
                                    "/v2/hello/blobs/uploads/?mount=sha256:x&from=y", "/v2/_catalog", "/v2/Odd%20Name/x"])  # fmt: skip
def test_every_writing_method_is_405(served, method, target):
    response = raw.get(served.port, target, method=method)
    assert error_of(response, 405)["code"] == "UNSUPPORTED"
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("framing", ["Content-Length: 100000000000", "Transfer-Encoding: chunked"])
def test_an_upload_is_refused_before_its_body_is_sent(served, framing):
    head = f"PUT /v2/hello/blobs/uploads/1?digest=x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 405"  # no "100 Continue" first
        response = http.client.HTTPResponse(connection, method="PUT")
        response.begin()
        response.body = response.read()
    assert error_of(response, 405)["code"] == "UNSUPPORTED"


def test_a_get_with_a_large_body_is_413_and_a_small_one_is_ignored(served):
    for target in ("/v2/absent/manifests/latest", "/v2/hello/manifests/latest", "/v2/", "/v2/_catalog"):
        assert error_of(raw.get(served.port, target, "Content-Length: 100000"), 413)["code"] == "SIZE_INVALID"
    response = raw.exchange(served.port, b"GET /v2/hello/manifests/latest HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    assert response.status == 200


def test_a_miss_without_a_worker_is_503_with_retry_after(served):
    for target in ("/v2/absent/manifests/latest", "/v2/absent/blobs/sha256:" + "a" * 64, "/v2/absent/manifests/sha256:" + "a" * 64,
                   "/v2/hello/tags/list", "/v2/_catalog", "/v2/hello/referrers/sha256:x", "/v2/x", "/v2/x/y/z"):  # fmt: skip
        response = raw.get(served.port, target)
        error = error_of(response, 503)
        assert error["code"] == "UNAVAILABLE" and "no worker" in error["message"] and "still be pulled" in error["message"]
        assert int(response.headers["Retry-After"]) > 0
        assert len(error["detail"]["request"]) == 32


def test_errors_to_head_have_the_headers_and_no_body(served):
    for target, status in (("/v2/absent/manifests/latest", 503), ("/v2//x", 400), ("/v2/%zz", 400)):
        answer = served.head(target)
        assert (answer.status, answer.body) == (status, b"")
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Content-Length"]) > 0


def test_the_connection_survives_errors_of_a_request(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.connect()
    first = connection.sock
    for method, target, status in (("GET", "/v2//x", 400), ("GET", "/v2/absent/manifests/latest", 503), ("DELETE", "/v2/hello/manifests/latest", 405),
                                   ("GET", "/v2/hello/manifests/latest", 200)):  # fmt: skip
        connection.request(method, target)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    assert connection.sock is first


def endless_names(length: int) -> list[str]:
    units = ["a/", "a", "a-", "-", "a.", "a__", "manifests/", "blobs/", "manifests/a/", "blobs/manifests/", "a/manifests/latest/", "a_a.a-a/"]
    return [("a" + unit * (length // len(unit)))[:length] + end for unit in units for end in ("a", "-", "_")] + ["/".join(f"p{n}" for n in range(300))]


@pytest.mark.parametrize("rest", ["manifests/latest", "manifests/late$t", "manifests/sha256:" + "a" * 64, "blobs/sha256:" + "a" * 64, "blobs/x", "nothing"])
def test_names_that_provoke_backtracking_are_matched_at_once(served, rest):
    for name in endless_names(7_800):
        error_of(raw.get(served.port, f"/v2/{name}/{rest}"), 503)
    assert "pcre2_match() failed" not in served.error_log()


def test_an_address_too_long_for_fastcgi_is_414_even_if_nginx_allows_it():
    with nginx_alone() as served:
        served.add_directives(
            server="large_client_header_buffers 4 2m; location = /probe { return 204; }", until=lambda: served.get("/probe").status == 204
        )
        for name in endless_names(1_000_000):
            if len(name) > 8_000:
                assert error_of(raw.get(served.port, f"/v2/{name}/manifests/latest"), 414)["code"] == "NAME_INVALID"
        assert "[alert]" not in served.error_log()


def test_access_is_checked_before_anything_is_served_or_forwarded():
    with nginx_alone() as served:
        served.files_of.add_busybox("hello")
        (served.dir / "users").write_text("user:{PLAIN}secret\n")
        served.add_directives(
            server=f'auth_basic "registry"; auth_basic_user_file {served.dir}/users;', until=lambda: served.get("/v2/").status == 401
        )
        for target in ("/v2/", "/v2", "/v2/hello/manifests/latest", "/v2/absent/manifests/latest", "/v2/_catalog"):
            for method in ("GET", "HEAD"):
                answer = served.request(method, target, {"If-None-Match": "*"})
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == 'Basic realm="registry"'
                assert method == "HEAD" or answer.error["code"] == "UNAUTHORIZED"
        login = {"Authorization": "Basic dXNlcjpzZWNyZXQ="}
        assert served.get("/v2/", login).body == b"{}"
        assert served.get("/v2/hello/manifests/latest", login).status == 200


def test_an_operators_limits_and_denials_are_errors_in_json():
    with nginx_alone() as served:
        served.files_of.add_busybox("hello")
        served.add_directives(
            http="limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;",
            server="limit_req zone=one; location = /probe { limit_req zone=one burst=9; return 204; }",
            until=lambda: served.get("/probe").status == 204,
        )
        answers = [served.get("/v2/hello/manifests/latest") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 429, 429, 429]
        assert answers[1].error["code"] == "TOOMANYREQUESTS" and int(answers[1].headers["Retry-After"]) > 0
    with nginx_alone() as served:
        served.add_directives(server="deny all;", until=lambda: served.get("/v2/").status == 403)
        for target in ("/v2/", "/v2/hello/manifests/latest", "/v2/_catalog"):
            assert served.get(target).error["code"] == "DENIED"
