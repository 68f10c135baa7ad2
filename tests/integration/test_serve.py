"""How the worker is started: its own socket, a passed socket, plain CGI; and its limits."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fastcgi
from engines import program
from fabricated import Tree, digest_of
from registry import NIXERY, wait_for
from web_site import web_site


def test_a_socket_of_spawn_fcgi_is_used(new_registry):
    registry = new_registry()
    registry.stop_worker()
    pidfile = registry.dir / "spawned.pid"
    subprocess.run(
        [program("spawn-fcgi", "spawn-fcgi"), "-s", registry.socket, "-P", pidfile, "--", NIXERY, "serve"], env=registry.env, check=True
    )
    try:
        assert registry.manifest("hello").status == 200
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)


def test_a_socket_of_systemd_is_used(new_registry):
    registry = new_registry()
    registry.stop_worker()
    registry.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(registry.socket))
    listener.listen(100)
    # Like systemd: the socket as descriptor 3, and the pid of its user.
    script = f'exec 3<&{listener.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {NIXERY} serve'
    worker = subprocess.Popen(["bash", "-c", script], env=registry.env, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
    listener.close()
    try:
        assert registry.manifest("hello").status == 200
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0


def test_as_plain_cgi_it_answers_one_request_and_exits(new_registry):
    registry = new_registry()
    variables = {**registry.env, "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "REQUEST_URI": "/v2/hello/manifests/latest",
                 "NIXERY_HOP_SECONDS": "300"}  # fmt: skip
    done = subprocess.run([NIXERY], env=variables, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    head, body = done.stdout.split(b"\r\n\r\n", 1)
    assert head.startswith(b"Status: 200 OK\r\n")
    assert body == registry.manifest("hello").body
    variables["REQUEST_URI"] = "/v2/crul/manifests/latest"
    done = subprocess.run([NIXERY, "serve"], env=variables, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.stdout.startswith(b"Status: 404 Not Found\r\n") and b"did you mean" in done.stdout


def test_a_second_worker_does_not_replace_the_first_ones_socket(new_registry):
    registry = new_registry()
    done = registry.nixery("serve")
    assert done.returncode == 1 and "another worker listens" in done.stderr
    assert registry.manifest("hello").status == 200


def test_a_dead_workers_socket_is_replaced(new_registry):
    registry = new_registry()
    registry.stop_worker(signal.SIGKILL)
    registry.start_worker()
    assert registry.manifest("hello").status == 200


def test_a_socket_that_is_released_within_two_seconds_is_replaced(new_registry):
    registry = new_registry()
    registry.stop_worker()
    held = socket.socket(socket.AF_UNIX)
    held.bind(str(registry.socket))
    held.listen()
    held.settimeout(60)

    def let_go():
        pid = os.getpid()
        while pid == os.getpid():  # start_worker() connects, too
            with held.accept()[0] as visitor:
                pid, _, _ = struct.unpack("3i", visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        held.close()

    holder = threading.Thread(target=let_go)
    holder.start()
    registry.start_worker()
    holder.join()
    assert registry.manifest("hello").status == 200


def test_a_blob_removed_during_its_request_is_an_error_and_does_not_end_the_worker(new_registry):
    registry = new_registry()
    digest = Tree(registry.tree).add_blob(b"a blob")
    target, path = f"/v2/hello/blobs/{digest}", Tree(registry.tree).blob_path(digest)
    assert fastcgi.ask(registry.socket, target).endswith(b"\r\n\r\na blob")
    kept = registry.dir / "kept"
    os.link(path, kept)
    # In its own process, because the race is short.
    come_and_go = "import os, sys\nwhile True:\n os.unlink(sys.argv[1])\n os.link(sys.argv[2], sys.argv[1])"
    collector = subprocess.Popen([sys.executable, "-c", come_and_go, path, kept])
    try:
        statuses = {fastcgi.ask(registry.socket, target)[:11] for _ in range(3000)}
    finally:
        collector.kill()
        collector.wait()
    assert registry.worker.poll() is None
    assert statuses <= {b"Status: 200", b"Status: 404"}


def test_a_directory_at_a_blobs_place_is_no_blob(new_registry):
    registry = new_registry()
    digest = digest_of(b"a blob")
    Tree(registry.tree).blob_path(digest).mkdir(parents=True)
    assert fastcgi.ask(registry.socket, f"/v2/hello/blobs/{digest}").startswith(b"Status: 404")


def test_a_blob_is_503_while_descriptors_are_used_up(new_registry):
    registry = new_registry()
    descriptors = Path(f"/proc/{registry.worker.pid}/fd")
    digest = Tree(registry.tree).add_blob(b"another blob")

    def is_refused():
        # The next descriptor is taken by the connection, unless an open one is closed meanwhile. It takes the lowest free
        # one, and the blob would take the next.
        used = {int(fd.name) for fd in descriptors.iterdir()}
        limit = [number for number in range(len(used) + 2) if number not in used][1]
        resource.prlimit(registry.worker.pid, resource.RLIMIT_NOFILE, (limit, 4096))
        answer = fastcgi.ask(registry.socket, f"/v2/hello/blobs/{digest}")
        resource.prlimit(registry.worker.pid, resource.RLIMIT_NOFILE, (1024, 4096))
        assert answer.startswith(b"Status: 503") or answer.endswith(b"another blob"), answer
        return answer.startswith(b"Status: 503")

    wait_for(is_refused, "the blob to be the descriptor too many")
    assert fastcgi.ask(registry.socket, f"/v2/hello/blobs/{digest}").endswith(b"another blob")
    assert registry.worker.poll() is None


def test_a_connection_that_the_web_server_wants_to_keep_is_closed(new_registry):
    registry = new_registry()
    descriptors = lambda: len(os.listdir(f"/proc/{registry.worker.pid}/fd"))
    assert fastcgi.ask(registry.socket, "/healthz").startswith(b"Status: 200")
    before = descriptors()
    for _ in range(50):
        with fastcgi.connect(registry.socket) as connection:
            connection.sendall(fastcgi.request("/healthz", keep=True))
            assert fastcgi.answer_on(connection).startswith(b"Status: 200")
    wait_for(lambda: descriptors() <= before + 4, "the worker to close what is answered")


def test_connections_with_an_incomplete_request_occupy_no_thread(new_registry):
    registry = new_registry(NIXERY_THREADS="2")
    idle = [fastcgi.connect(registry.socket) for _ in range(8)]
    try:
        for connection, part in zip(idle, [b"", b"\1", fastcgi.request("/healthz")[:20]] * 3):
            connection.sendall(part)
        assert registry.get("/healthz").status == 200
        assert registry.stop_worker() == 0
    finally:
        for connection in idle:
            connection.close()


@pytest.fixture
def gated():
    """A registry with a build that ends when the gate opens; until then a client waits, and nginx waits slightly longer."""
    with web_site(NIXERY_THREADS="2", NIXERY_BUILDS="2", NIXERY_HOP_SECONDS="80") as registry:
        yield registry


def test_a_client_redirected_by_a_draining_worker_does_not_reach_it_again(gated):
    answers = []
    client = threading.Thread(target=lambda: answers.append(gated.get("/v2/gated/manifests/latest")))
    client.start()
    wait_for(lambda: fastcgi.waiting_at(gated.socket) == 1, "the request to wait")
    gated.worker.send_signal(signal.SIGTERM)
    client.join()
    assert answers[0].status == 307
    assert not gated.socket.exists()
    response = gated.get(answers[0].headers["Location"])
    assert (response.status, response.error["code"]) == (503, "UNAVAILABLE") and int(response.headers["Retry-After"]) > 0


def test_draining_also_stops_listening_on_a_passed_socket(gated):
    gated.stop_worker()
    pidfile = gated.dir / "spawned.pid"
    subprocess.run(
        [program("spawn-fcgi", "spawn-fcgi"), "-s", gated.socket, "-P", pidfile, "--", NIXERY, "serve"], env=gated.env, check=True
    )
    with fastcgi.connect(gated.socket) as client:
        client.sendall(fastcgi.request("/v2/gated/manifests/latest"))
        wait_for(lambda: fastcgi.waiting_at(gated.socket) == 1, "the request to wait")
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        assert fastcgi.answer_on(client).startswith(b"Status: 307")

    def is_refused():
        try:
            fastcgi.connect(gated.socket).close()
        except ConnectionRefusedError:
            return True

    # A program that is just being started has the worker's descriptors until it is executed.
    wait_for(is_refused, "nobody to listen any more")


def test_connections_without_a_request_do_not_exhaust_the_descriptors(new_registry):
    registry = new_registry()
    connections = []
    try:
        for _ in range(1500):
            connections.append(fastcgi.connect(registry.socket))
        # This waits behind all of them; nginx would not if too many were queued.
        assert fastcgi.ask(registry.socket, "/healthz").startswith(b"Status: 200")
        assert registry.manifest("hello").status == 200
        assert len(os.listdir(f"/proc/{registry.worker.pid}/fd")) < 500
    finally:
        for connection in connections:
            connection.close()
    assert registry.worker.poll() is None


def test_hundreds_of_waiting_requests_need_no_threads(gated):
    statuses = []
    clients = [threading.Thread(target=lambda: statuses.append(gated.manifest("gated").status)) for _ in range(100)]
    for client in clients:
        client.start()
    wait_for(lambda: fastcgi.waiting_at(gated.socket) == 100, "all to wait")
    threads = len(os.listdir(f"/proc/{gated.worker.pid}/task"))
    # An unrelated, cheap request is answered while they wait.
    assert gated.get("/v2/hello/blobs/sha256:" + "a" * 64).status == 404
    assert fastcgi.waiting_at(gated.socket) == 100
    gated.open_gate()
    for client in clients:
        client.join()
    assert threads < 20
    assert statuses == [200] * 100
