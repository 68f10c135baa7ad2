"""Garbage collections and builds wait for each other briefly, and a stop request ends every wait for a lock."""

import fcntl
import json
import signal
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import fastcgi
from package_sets import THIRTY_PACKAGES, write_package_set
from registry import wait_for

HELD_PACKAGES = THIRTY_PACKAGES + """// rec {
  held = derivation {
    name = "held-SALT"; system = builtins.currentSystem; builder = "/bin/sh";
    args = [ "-c" "PATH=/bin:/usr/bin; mkdir $out; echo held-layer > $out/text" ];
  };
}
"""


@contextmanager
def held(lock: Path, kind: str):
    """Holds the lock like another process: the whole file, exclusively. `kind`: flock or fcntl."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a+b") as file:
        if kind == "flock":
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            fcntl.fcntl(file, fcntl.F_OFD_SETLKW, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
        yield


@pytest.mark.parametrize("name, kind", [("gate", "flock"), ("tree", "flock"), ("keys", "fcntl")])
def test_sigterm_ends_a_worker_whose_build_waits_for_a_lock(new_registry, packages, name, kind):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    with held(registry.state / f"locks/{name}.lock", kind), ThreadPoolExecutor(1) as pool:
        pool.submit(registry.get, "/v2/p3/manifests/latest")
        wait_for(lambda: fastcgi.waiting_at(registry.socket) == 1, "the request to wait")
        registry.worker.send_signal(signal.SIGTERM)
        # The lock's own time limit is two minutes.
        assert registry.worker.wait(timeout=60) == 0
        assert registry.events("draining") and not registry.events("image built")
        registry.start_worker()
    assert registry.pull("p3").status == 200


def test_slow_layers_delay_neither_a_collection_nor_other_builds(new_registry, directory):
    library, hold = directory / "held_compressor.so", directory / "hold"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("held_compressor.c"), "-ldl"], check=True)
    packages = write_package_set(directory / "packages", HELD_PACKAGES)
    registry = new_registry(NIXERY_PKGS_PATH=str(packages))
    registry.stop_worker()
    hold.touch()
    registry.start_worker(LD_PRELOAD=str(library), HELD_COMPRESSOR=str(hold))
    build = lambda: json.loads(fastcgi.ask(registry.socket, "/api/build/held").split(b"\r\n\r\n", 1)[1])
    layering = lambda: build().get("phase") == "layering"
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(registry.pull, "held")
        try:
            wait_for(layering, "the image's layers to be made")
            for number in range(3):
                collected = registry.nixery("gc", "--max-age", "0s", "--grace", "0s")
                assert collected.returncode == 0, collected.stderr
                assert registry.pull(f"p{number}").status == 200
            assert not slow.done() and layering()
        finally:
            hold.unlink()
        assert slow.result().status == 200
