"""A registry for tests: nginx with the two configuration files unchanged, a worker, a tree and a state directory."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from pathlib import Path

import fastcgi

ROOT = Path(__file__).resolve().parents[2]
NIXERY = os.environ.get("NIXERY_BIN", str(ROOT / "build/src/nixery"))

NGINX_CONF = """
user root;
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  log_format times '$request_method $request_uri $status $upstream_addr';
  access_log {dir}/access.log times;
  client_body_temp_path {dir}/temp; proxy_temp_path {dir}/temp; fastcgi_temp_path {dir}/temp;
  uwsgi_temp_path {dir}/temp; scgi_temp_path {dir}/temp;
  include {dir}/nixery-http.conf;
  server {{
    listen 127.0.0.1:{port};
    include {root}/nginx/nixery-locations.conf;
    include {root}/nginx/nixery-status.conf;
    {server}
  }}
}}
"""


# Bound, and listening nowhere: so a port is given to nobody else, whoever sets SO_REUSEADDR may listen on it, as servers
# do, and until then it refuses.
_reserved = deque(maxlen=100)


def free_port() -> int:
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    _reserved.append(reservation)
    return reservation.getsockname()[1]


def wait_for(condition, what: str, seconds: float = 60):
    """Polls until `condition()` is true; on timeout, fails with the event's name."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def nix_settings() -> dict[str, str]:
    """Settings for single-user root; a multi-user installation is used unchanged."""
    if os.path.exists("/nix/var/nix/daemon-socket/socket"):
        return {"NIX_REMOTE": "daemon"}
    return {"NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\nfilter-syscalls = false"}


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Answer:
    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> dict:
        assert self.headers["Content-Type"] == "application/json", (self.status, self.headers.items(), self.body)
        return self.json["errors"][0]


class Registry:
    server = ""  # more directives of the server {}
    retries = True  # whether nginx retries if no worker responds

    def __init__(self, directory: Path, settings: dict[str, str]):
        self.dir = directory
        self.tree = directory / "tree"
        self.state = directory / "state"
        self.port = free_port()
        self.socket = directory / "nixery.sock"
        self.process_options = {}  # of the worker: its user
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("NIXERY_", "NIX_"))},
            **nix_settings(),
            "NIXERY_TREE": str(self.tree),
            "NIXERY_STATE": str(self.state),
            "NIXERY_LISTEN": f"unix:{self.socket}",
            "NIXERY_RESOLVE_NIX": str(ROOT / "nix/resolve.nix"),
            **settings,
        }
        self.nginx = None
        self.worker = None

    # Life

    def start_nginx(self):
        conf = (ROOT / "nginx/nixery-http.conf").read_text()
        assert "/var/lib/nixery/tree" in conf and "/run/nixery/nixery.sock" in conf
        conf = conf.replace("/var/lib/nixery/tree", str(self.tree)).replace("/run/nixery/nixery.sock", str(self.socket))
        conf = conf.replace("/usr/local/share/nixery/nginx/web", str(ROOT / "nginx/web"))
        if not self.retries:
            assert conf.count("$nixery_retry { default 1; }") == 1
            conf = conf.replace("$nixery_retry { default 1; }", '$nixery_retry { default ""; }')
        (self.dir / "nixery-http.conf").write_text(conf)
        (self.dir / "nginx.conf").write_text(NGINX_CONF.format(dir=self.dir, port=self.port, root=ROOT, server=self.server))
        self.tree.mkdir(parents=True, exist_ok=True)
        self.nginx = subprocess.Popen(
            ["nginx", "-c", str(self.dir / "nginx.conf"), "-e", str(self.dir / "nginx-error.log"), "-g", "daemon off;"]
        )
        wait_for(self._nginx_answers, "nginx to answer")
        # The first nginx process answers before there is a second, and callers that wait for old ones must know both.
        wait_for(lambda: len(self.nginx_workers()) == 2, "nginx's other worker")

    def _nginx_answers(self):
        assert self.nginx.poll() is None, (self.dir / "nginx-error.log").read_text()
        try:
            return self.get("/v2/").status == 200
        except OSError:
            return False

    def start_worker(self, **settings: str):
        self.worker_log = self.dir / "worker.log"
        self.worker = subprocess.Popen(
            [NIXERY, "serve"], env={**self.env, **settings}, stderr=open(self.worker_log, "ab"), stdin=subprocess.DEVNULL,
            **self.process_options,
        )
        wait_for(self._worker_serves, "the worker to serve")

    def _worker_serves(self):
        assert self.worker.poll() is None, self.worker_log.read_text()
        return fastcgi.answers_at(self.socket)

    def stop_worker(self, how: int = signal.SIGTERM) -> int:
        if self.worker is None:
            return 0
        self.worker.send_signal(how)
        status = self.worker.wait(timeout=60)
        self.worker = None
        return status

    def stop(self):
        self.stop_worker(signal.SIGKILL)
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait(timeout=30)

    def nginx_workers(self) -> set[str]:
        pid = self.nginx.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    # Questions

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(self, method: str, target: str, headers: dict[str, str] = {}, timeout: float = 300) -> Answer:
        """Reads until nginx closes the connection: by then the request is in its log."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {**headers, "Connection": "close"}.items():
                connection.putheader(name, value)
            connection.endheaders()
            with connection.sock.dup() as rest:
                answer = Answer(connection.getresponse())
                assert rest.recv(1) == b"", "more than the answer"
            return answer
        finally:
            connection.close()

    def get(self, target: str, headers: dict[str, str] = {}, timeout: float = 300) -> Answer:
        return self.request("GET", target, headers, timeout)

    def head(self, target: str, headers: dict[str, str] = {}) -> Answer:
        return self.request("HEAD", target, headers)

    def manifest(self, name: str, tag: str = "latest", timeout: float = 300) -> Answer:
        return self._follow(f"/v2/{name}/manifests/{tag}", timeout)

    def blob(self, name: str, digest: str) -> Answer:
        return self._follow(f"/v2/{name}/blobs/{digest}", 300)

    def _follow(self, target: str, timeout: float) -> Answer:
        """Like clients: follows up to ten redirects."""
        for _ in range(11):
            answer = self.get(target, timeout=timeout)
            if answer.status != 307:
                return answer
            target = answer.headers["Location"]
        raise AssertionError("more than ten redirects")

    def pull(self, name: str) -> Answer:
        """The manifest, after checking every blob of it."""
        manifest = self.manifest(name)
        assert manifest.status == 200, manifest.body
        for link in [manifest.json["config"], *manifest.json["layers"]]:
            blob = self.blob(name, link["digest"])
            assert blob.status == 200, blob.body
            assert digest_of(blob.body) == link["digest"]
        return manifest

    def config(self, name: str) -> dict:
        manifest = self.manifest(name)
        assert manifest.status == 200, manifest.body
        return self.get(f"/v2/{name}/blobs/{manifest.json['config']['digest']}").json

    def nixery(self, *words: str, **settings: str) -> subprocess.CompletedProcess:
        return subprocess.run([NIXERY, *words], env={**self.env, **settings}, capture_output=True, text=True, timeout=600)

    def events(self, name: str) -> list[dict]:
        """The worker's log lines with the event `name`."""
        written = self.worker_log.read_bytes().rpartition(b"\n")[0]  # whole lines: the last one may be incomplete
        lines = [json.loads(line) for line in written.decode().split("\n") if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def worker_requests(self, about: str = "") -> int:
        """Number of requests with `about` in their target that nginx has passed to a worker."""
        return sum(1 for line in (self.dir / "access.log").read_text().splitlines() if str(self.socket) in line and about in line)

    def files(self) -> set[str]:
        """Of tree and state, but for those that are being written at this moment."""
        found = (path for top in (self.tree, self.state) for path in top.rglob("*") if not path.name.startswith(".tmp-"))
        return {str(path.relative_to(self.dir)) for path in found if not path.is_dir()}

    def forget(self):
        """Empties tree and state, like a new host."""
        for top in (self.tree, self.state):
            shutil.rmtree(top, ignore_errors=True)
        self.tree.mkdir()
