"""A full disk, an unwritable state, many clients of the same image, workers that share a tree, slow readers: the registry
reports the problem, serves existing images, and recovers."""

import fcntl
import json
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

import fastcgi
from engines import check, program
from fabricated import Tree
from registry import NIXERY, wait_for


@contextmanager
def disk_of(path, size):
    """A file system of that many bytes; only root can mount one."""
    path.mkdir(exist_ok=True)
    check("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    try:
        yield lambda *options: check("mount", "-o", ",".join(["remount", *options]), str(path))
    finally:
        check("umount", "-l", str(path))


@pytest.fixture
def counted(directory):
    """A PATH on which evaluations and builds append a line to a file and then wait for the file `gate`."""
    shims = directory / "shims"
    shims.mkdir()
    for name, mark in (("nix-instantiate", "evaluation"), ("nix-store", "$*")):
        shim = shims / name
        # The worker's own probe is not counted.
        shim.write_text(f"""#!/bin/sh
            case "{name} $*" in nix-store*|*resolve.nix*) ;; *) exec {program(name, "nix-bin")} "$@" ;; esac
            echo "{mark}" >> {directory}/runs
            until [ -e {directory}/gate ]; do sleep 0.1; done
            exec {program(name, "nix-bin")} "$@"
            """)
        shim.chmod(0o755)
    (directory / "runs").touch()
    return {"PATH": f"{shims}:{os.environ['PATH']}"}, lambda: (directory / "runs").read_text().splitlines()


def test_two_hundred_clients_and_two_workers_make_one_evaluation_and_one_build(new_registry, packages, counted, directory):
    env, runs = counted
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_HOP_SECONDS="80", NIXERY_EVAL_TIMEOUT="300", **env)
    # Another host's worker, on the same directories; nginx distributes requests to both.
    other = f"{directory}/other.sock"
    conf = registry.dir / "nixery-http.conf"
    conf.write_text(conf.read_text().replace(f"server unix:{registry.socket};", f"server unix:{registry.socket}; server unix:{other};"))
    old = registry.nginx_workers()
    registry.nginx.send_signal(1)
    wait_for(lambda: not old & registry.nginx_workers(), "nginx's old workers to leave")
    log = open(directory / "other.log", "ab")
    second = subprocess.Popen([NIXERY, "serve"], env={**registry.env, "NIXERY_LISTEN": f"unix:{other}"}, stderr=log)
    try:
        wait_for(lambda: fastcgi.answers_at(other), "the other worker")
        with ThreadPoolExecutor(200) as pool:
            asked = [pool.submit(registry.manifest, "p27/p26") for _ in range(200)]
            try:
                wait_for(lambda: fastcgi.waiting_at(registry.socket) + fastcgi.waiting_at(other) == 200, "all of them to wait", 60)
            finally:
                (directory / "gate").touch()
            answers = [each.result() for each in asked]
    finally:
        second.terminate()
        second.wait(timeout=60)
        log.close()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["Docker-Content-Digest"] for answer in answers}) == 1
    assert runs().count("evaluation") == 1
    assert len([run for run in runs() if "--realise" in run and "--dry-run" not in run and "/state/probe/" not in run]) == 1, runs()
    used = (registry.dir / "access.log").read_text()
    assert other in used and str(registry.socket) in used  # both got requests


def test_a_full_tree_is_503_serves_existing_images_and_recovers(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    registry.stop_worker()
    with disk_of(registry.tree, "1m"):
        registry.start_worker()
        assert registry.manifest("p4").status == 200
        filler = registry.tree / "filler"
        with pytest.raises(OSError):
            with open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        answer = registry.manifest("p29/p28")
        assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE"), answer.body
        assert "internal error of the registry" in answer.error["message"] and int(answer.headers["Retry-After"]) > 0
        assert any("No space left on device" in event["error"] for event in registry.events("build failed"))
        assert registry.manifest("p4").status == 200
        assert not list((registry.tree / "incoming").iterdir())  # no partial file stays
        filler.unlink()
        assert registry.manifest("p29/p28").status == 200
        assert registry.nixery("verify").returncode == 0


def test_an_unwritable_state_is_503_and_built_images_are_served(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    registry.stop_worker()
    with disk_of(registry.state, "8m") as remount:
        registry.start_worker()
        assert registry.manifest("p5").status == 200
        remount("ro")
        assert registry.manifest("p5").status == 200
        answer = registry.manifest("p6")
        assert answer.status == 503 and "internal error of the registry" in answer.error["message"], answer.body
        assert any("Read-only file system" in event["error"] for event in registry.events("build failed"))
        remount("rw")
        assert registry.manifest("p6").status == 200
        registry.stop_worker()
        remount("ro")
        # A worker that starts now reports why it cannot.
        done = subprocess.run([NIXERY, "serve"], env=registry.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and str(registry.state) in done.stderr and "Read-only" in done.stderr, done.stderr


def test_slow_readers_do_not_delay_other_clients(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_THREADS="2", NIXERY_BUILDS="2")
    manifest = registry.manifest("p29")
    assert manifest.status == 200
    layer = manifest.json["layers"][0]["digest"]
    # A list of a megabyte, more than nginx buffers in memory; a worker makes it.
    for n in range(5000):
        Tree(registry.tree).add_tag(f"{'long' * 50}-{n}", "latest", manifest.headers["Docker-Content-Digest"])
    stop, begun = threading.Event(), []

    def sip(target):
        with socket.socket() as client:
            # Before it connects: otherwise the kernel would buffer a whole response on loopback.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            client.settimeout(120)
            client.connect(("127.0.0.1", registry.port))
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            begun.append(client.recv(1))
            while not stop.wait(1):
                if not client.recv(1):
                    return

    # Hits, misses and errors, more than the worker has threads. Each has some minutes to read.
    targets = [f"/v2/p29/blobs/{layer}", "/v2/p28/manifests/latest", "/v2/no-such-package/manifests/latest", "/v2/_catalog"] * 5
    sippers = [threading.Thread(target=sip, args=(target,)) for target in targets]
    for sipper in sippers:
        sipper.start()
    try:
        wait_for(lambda: len(begun) == len(targets), "each to have the beginning of its answer", 60)
        for number in range(8, 14):
            assert registry.manifest(f"p{number}", timeout=60).status == 200
    finally:
        stop.set()
        for sipper in sippers:
            sipper.join()


def test_a_clock_that_jumps_loses_nothing(new_registry, packages, directory):
    """Only the worker's clock: a preloaded library changes it."""
    source = directory / "clock.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdlib.h>\n#include <time.h>\n"
        "int clock_gettime(clockid_t id, struct timespec* now) {\n"
        "  int (*real)(clockid_t, struct timespec*) = dlsym(RTLD_NEXT, \"clock_gettime\");\n"
        "  const int done = real(id, now);\n  const char* ahead = getenv(\"CLOCK_AHEAD\");\n"
        "  if (id == CLOCK_REALTIME && ahead) now->tv_sec += atol(ahead);\n  return done;\n}\n"
    )
    check("cc", "-shared", "-fPIC", "-o", str(directory / "clock.so"), str(source), "-ldl")
    jumped = lambda seconds: {"LD_PRELOAD": str(directory / "clock.so"), "CLOCK_AHEAD": str(seconds)}
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    assert registry.manifest("p7").status == 200
    policy = ("gc", "--json", "--max-age", "30d")
    assert json.loads(registry.nixery(*policy).stdout)["images"] == []
    year = 365 * 86400
    done = json.loads(registry.nixery(*policy, **jumped(year)).stdout)
    assert done["clockJumped"] and done["images"] == []
    done = json.loads(registry.nixery(*policy).stdout)  # and back again
    assert done["clockJumped"] and done["images"] == []
    registry.stop_worker()
    registry.start_worker(**jumped(-year))
    assert registry.manifest("p8").status == 200
    assert registry.manifest("p7").status == 200
    assert registry.nixery("verify").returncode == 0


@contextmanager
def held(path):
    """Holds a lock of the registry like another process on the same state; of keys.lock, every key."""
    with open(path, "a") as file:
        (fcntl.lockf if path.name == "keys.lock" else fcntl.flock)(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def untagged(new_registry, packages):
    """A registry with one image whose tag was removed, the file of build locks, and a function that restores the tag."""
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_BUILDS="4", NIXERY_HOP_SECONDS="6")
    assert registry.manifest("p20/p21").status == 200
    tag, aside = registry.tree / "tags/p20/p21/_tags/latest", registry.dir / "tag"
    tag.rename(aside)
    return registry, registry.state / "locks/keys.lock", lambda: aside.rename(tag)


def test_sigterm_ends_a_worker_that_waits_for_another_process_build(untagged):
    registry, lock, _ = untagged
    with held(lock):
        assert registry.get("/v2/p20/p21/manifests/latest").status == 307  # its job waits for the lock
        assert registry.stop_worker() == 0
        registry.start_worker()
        assert registry.get("/v2/p20/p21/manifests/latest").status == 307
    assert registry.manifest("p20/p21").status == 200


def test_a_waiting_collection_delays_no_other_client(untagged):
    """Two spellings of one image share a job, and the second one's tag needs the tree lock, which a collection holds."""
    registry, lock, put_back = untagged

    with ThreadPoolExecutor(2) as pool, ExitStack() as collection:
        with held(lock):
            first = pool.submit(registry.manifest, "p20/p21")
            wait_for(lambda: fastcgi.waiting_at(registry.socket) == 1, "the first client to wait")
            second = pool.submit(registry.manifest, "p21/p20")
            wait_for(lambda: fastcgi.waiting_at(registry.socket) == 2, "the second to wait")
            put_back()  # the job finds it and has nothing to publish
            collection.enter_context(held(registry.state / "locks/gate.lock"))
        assert registry.get("/v2/p22/manifests/latest", timeout=30).status == 307
        collection.close()
        assert first.result().status == second.result().status == 200
    assert registry.manifest("p22").status == 200
    assert (registry.tree / "tags/p21/p20/_tags/latest").exists()
