"""What a worker's child processes inherit and leave behind, and how a worker is started."""

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

import fastcgi
from engines import program
from registry import NIXERY, wait_for
from web_site import web_site


@pytest.fixture
def shims(directory):
    """Makes a PATH on which Nix's programs first run some lines of sh, with $@ for their arguments."""
    path = directory / "shims"
    path.mkdir()

    def make(**lines: str) -> dict[str, str]:
        for name, text in lines.items():
            name = name.replace("_", "-")
            (path / name).write_text(f'#!/bin/bash\n{text}\nexec {program(name, "nix-bin")} "$@"\n')
            (path / name).chmod(0o755)
        return {"PATH": f"{path}:{os.environ['PATH']}"}

    return make


def limits_of(pid) -> list[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max open files")).split()[3:5]


def test_nix_has_the_workers_original_limit_of_descriptors(directory, shims):
    settings = shims(nix_store=f"ulimit -Sn >>{directory}/limits", nix_instantiate=f"ulimit -Sn >>{directory}/limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with web_site(**settings) as site:
        site.stop_worker()
        site.process_options = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4000, hard))}
        (directory / "limits").unlink(missing_ok=True)
        site.start_worker()
        assert site.manifest("jq").status == 200
        assert limits_of(site.worker.pid) == ["4000", str(hard)]
        assert set((directory / "limits").read_text().split()) == {"4000"}


def test_a_worker_serves_with_descriptors_over_1023():
    """libfcgi's select() calls for accepting and lingering corrupt the stack with such descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = 1100
    with web_site(NIXERY_MAX_WAITING="100") as site:
        site.stop_worker()
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(many)] if soft > many + 200 else []
        try:
            if not held:
                pytest.skip(f"the tests may open {soft} files only")
            site.process_options = {"pass_fds": held}
            site.start_worker()
            assert site.pull("jq").status == 200
            for target in ("/v2/_catalog", "/healthz", "/v2/nosuch/manifests/latest"):
                assert fastcgi.ask(site.socket, target).startswith(b"Status: ")
            with fastcgi.connect(site.socket) as connection:
                connection.sendall(fastcgi.request("/healthz", keep=True))
                assert fastcgi.answer_on(connection).startswith(b"Status: 200")
            assert any(int(fd) > 1023 for fd in os.listdir(f"/proc/{site.worker.pid}/fd"))
            assert site.stop_worker() == 0
        finally:
            for fd in held:
                os.close(fd)


def test_an_interrupted_build_leaves_no_directory(directory):
    """Nix removes it on SIGTERM, but not on SIGKILL."""
    temporary = directory / "temporary"
    temporary.mkdir()
    with web_site(TMPDIR=str(temporary)) as site:
        with fastcgi.connect(site.socket) as client:
            client.sendall(fastcgi.request("/v2/gated/manifests/latest"))
            wait_for(lambda: list(temporary.glob("nix-build-*")) or os.path.exists("/nix/var/nix/daemon-socket/socket"), "nix to build", 120)
            assert site.stop_worker() == 0
    assert [path.name for path in temporary.rglob("*")] == []


def test_a_path_in_nixs_log_that_is_not_a_derivation_is_not_opened(directory, shims):
    fifo, endless = directory / "a.drv", directory / "b.drv"
    os.mkfifo(fifo)
    endless.symlink_to("/dev/zero")
    said = "".join(f"""echo '@nix {{"action":"start","id":{number},"level":3,"type":105,"text":"building","fields":["{path}"],"parent":0}}' >&2\n"""
                   for number, path in enumerate([fifo, endless, f"/nix/store/../..{fifo}"], 1))  # fmt: skip
    with web_site(**shims(nix_store=f'if [[ "$*" == *internal-json* ]]; then\n{said}fi')) as site:
        assert site.manifest("jq", timeout=60).status == 200


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_worker_started_with_closed_descriptors_serves(closed):
    with web_site() as site:
        site.stop_worker()
        site.worker = subprocess.Popen(["bash", "-c", f'exec {NIXERY} serve {closed}'], env=site.env)
        wait_for(lambda: fastcgi.answers_at(site.socket), "the worker to serve")
        opened = {fd: os.readlink(f"/proc/{site.worker.pid}/fd/{fd}") for fd in "012"}
        assert all(opened[fd] == "/dev/null" for fd in "012" if f"{fd}<&-" in closed or f"{fd}>&-" in closed), opened
        assert site.pull("jq").status == 200
        assert site.stop_worker() == 0


def test_closed_standard_output_is_an_error(directory):
    done = subprocess.run(["bash", "-c", f"{NIXERY} config >&-"], capture_output=True, text=True,
                          env={**os.environ, "NIXERY_PKGS_PATH": str(directory)})  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "nixery: cannot write to standard output\n")


def test_sighup_ends_neither_the_worker_nor_a_wait():
    with web_site() as site, fastcgi.connect(site.socket) as client:
        client.sendall(fastcgi.request("/v2/gated/manifests/latest"))
        wait_for(lambda: fastcgi.waiting_at(site.socket) == 1, "the request to wait")
        site.worker.send_signal(signal.SIGHUP)
        wait_for(lambda: site.events("nothing to reload"), "the worker to say that it has got the signal")
        site.open_gate()
        assert fastcgi.answer_on(client).startswith(b"Status: 200")
        assert site.stop_worker() == 0


def test_one_of_two_workers_that_start_at_the_same_time_serves_and_the_other_reports_it():
    with web_site() as site:
        site.stop_worker(signal.SIGKILL)
        assert site.socket.exists()
        workers = [subprocess.Popen([NIXERY, "serve"], env=site.env, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) for _ in range(4)]
        try:
            wait_for(lambda: sum(worker.poll() is None for worker in workers) == 1, "all but one to end")
            wait_for(lambda: fastcgi.answers_at(site.socket), "that one to serve")
            for worker in workers:
                if worker.poll() is not None:
                    assert worker.returncode == 1
                    assert f"another worker listens on {site.socket}" in worker.stderr.read()
            assert site.manifest("jq").status == 200
        finally:
            for worker in workers:
                worker.terminate()
                worker.communicate(timeout=60)
        assert not site.socket.exists()
