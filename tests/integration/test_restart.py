"""A worker is restarted while images are pulled: with its own socket, and with one that is passed to it."""

import signal
import socket
import subprocess
import threading
import time

import pytest

import fastcgi
from registry import NIXERY, wait_for
from web_site import web_site

# Ten images that need a package which builds until the gate is opened; five clients pull each of them.
IMAGES = [f"gated/{name}" for name in ("zlib", "openssl", "curl", "libcurl", "curlie", "git", "jq", "coreutils", "moreutils", "nano")]
CLIENTS_EACH = 5


@pytest.fixture
def site():
    with web_site(NIXERY_BUILDS="4") as site:
        yield site


class Pulls:
    """Clients that pull slow images at the same time, and others that pull small ones until stopped."""

    def __init__(self, site):
        self.site, self.answers, self.small = site, [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._pull, args=[name]) for name in IMAGES * CLIENTS_EACH]
        self.threads.append(threading.Thread(target=self._pull_small))
        for thread in self.threads:
            thread.start()
        wait_for(lambda: fastcgi.waiting_at(site.socket) >= len(IMAGES) * CLIENTS_EACH, "all slow pulls to wait")

    def _pull(self, name):
        self.answers.append(self.site.manifest(name))

    def _pull_small(self):
        """Names that were not pulled before, each of which needs a worker."""
        for number in range(10_000):
            if self.stopping.is_set():
                return
            self.small.append(self.site.get(f"/v2/jq/manifests/sha256:{number:064x}").status)
            time.sleep(0.05)

    def end(self):
        self.stopping.set()
        self.site.open_gate()
        for thread in self.threads:
            thread.join()
        return [answer.status for answer in self.answers]


def test_pulls_survive_a_restart_of_a_worker_with_its_own_socket(site):
    pulls = Pulls(site)
    assert site.stop_worker() == 0
    site.start_worker()
    assert pulls.end() == [200] * len(IMAGES) * CLIENTS_EACH, {answer.body for answer in pulls.answers}
    assert set(pulls.small) == {404}


def test_pulls_survive_a_restart_whose_new_worker_starts_while_the_old_one_drains(site):
    pulls = Pulls(site)
    old = site.worker
    old.send_signal(signal.SIGTERM)
    wait_for(lambda: b'"draining"' in site.worker_log.read_bytes(), "the old worker to begin its end")
    site.start_worker()
    assert old.wait(timeout=60) == 0
    assert pulls.end() == [200] * len(IMAGES) * CLIENTS_EACH, {answer.body for answer in pulls.answers}
    assert set(pulls.small) == {404}
    assert site.get("/readyz").status == 200


def test_pulls_survive_a_killed_worker(site):
    pulls = Pulls(site)
    site.stop_worker(signal.SIGKILL)
    site.start_worker()
    assert pulls.end() == [200] * len(IMAGES) * CLIENTS_EACH, {answer.body for answer in pulls.answers}
    assert set(pulls.small) == {404}


def test_pulls_survive_a_restart_with_a_socket_of_systemd(site):
    site.stop_worker()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(site.socket))
    listener.listen(1024)
    # Like systemd: the socket as descriptor 3, and the pid of its user.
    script = f'exec 3<&{listener.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {NIXERY} serve'

    def start():
        log = open(site.dir / "worker.log", "ab")
        return subprocess.Popen(["bash", "-c", script], env=site.env, pass_fds=[listener.fileno()], stderr=log)

    worker = start()
    try:
        pulls = Pulls(site)
        worker.terminate()
        assert worker.wait(timeout=60) == 0
        worker = start()
        assert pulls.end() == [200] * len(IMAGES) * CLIENTS_EACH, {answer.body for answer in pulls.answers}
        assert set(pulls.small) == {404}
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0
        listener.close()
