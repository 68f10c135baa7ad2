"""A private repository of packages, with a token and with an ssh key: it works, and the secret is never shown."""

import asyncio
import base64
import functools
import http.server
import secrets
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

import asyncssh
import pytest

from engines import check
from registry import free_port, wait_for
from test_sources import SET, git

SECRET = f"tOkEn-{secrets.token_hex(8)}@that-nobody-may-see"  # unique to this run: other runs may have theirs in process arguments
ENCODED = quote(SECRET)


# A fixed-output derivation can request the worker's environment variables and print them into a public log.
NOSY = """  nosy = derivation { name = "nosy"; inherit system; builder = "/bin/sh"; impureEnvVars = [ "NIXERY_PKGS_REPO" "GIT_CONFIG_VALUE_0" ];
    outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "x";
    args = [ "-c" "echo read: $NIXERY_PKGS_REPO $GIT_CONFIG_VALUE_0; exit 1" ]; };
}
"""


@pytest.fixture
def repository(directory):
    origin = directory / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    (origin / "default.nix").write_text(SET.replace("VERSION", "secretive").rstrip().removesuffix("}") + NOSY)
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "one")
    check("git", "clone", "-q", "--bare", str(origin), str(directory / "packages.git"))
    git(directory / "packages.git", "update-server-info")
    return directory / "packages.git"


class PrivateFiles(http.server.SimpleHTTPRequestHandler):
    """A repository over git's dumb protocol, protected by the password."""

    agents = set()  # of the requests
    accepted = ["Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode() for user in ("reader", "x-access-token")]

    def do_GET(self):
        self.agents.add(self.headers["User-Agent"])
        if self.headers.get("Authorization") in self.accepted:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def http_url(directory, repository):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(PrivateFiles, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/packages.git"
    server.shutdown()


class Watch:
    """Continuously checks the arguments of all processes, and the environment of nix's."""

    def __init__(self, secret: str):
        self.secret, self.seen, self.looks, self.over = secret.encode(), [], 0, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.over.wait(0.002):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    arguments = (process / "cmdline").read_bytes()
                    if self.secret in arguments:
                        self.seen.append(arguments)
                    if arguments.startswith(b"nix") and self.secret in (process / "environ").read_bytes():
                        self.seen.append(b"environment of " + arguments)
                except OSError:
                    pass

    def has_looked(self):
        wait_for(lambda: self.looks > 20, "many looks")  # a slow machine may not have checked them yet

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def assert_nowhere(registry, secret: str, *outputs: str):
    encoded = base64.b64encode(f"reader:{secret}".encode()).decode()
    for needle in (secret, encoded):
        for output in outputs:
            assert needle not in output
        found = subprocess.run(["grep", "-rlaF", needle, str(registry.tree), str(registry.state), str(registry.dir / "access.log"),
                                str(registry.dir / "nginx-error.log"), str(registry.worker_log)], capture_output=True, text=True)  # fmt: skip
        assert found.stdout == ""


@pytest.mark.parametrize("given", ["url", "url, encoded", "url, token alone", "file with a name", "file", "file, and a name in the url"])
def test_a_token_gives_access_and_is_never_shown(new_registry, directory, http_url, given):
    settings = {"NIXERY_PKGS_PATH": "", "NIXERY_PKGS_REPO": f"http://{http_url}"}
    in_url = {"url": f"reader:{SECRET}", "url, encoded": f"r%65ader:{ENCODED}", "url, token alone": ENCODED, "file, and a name in the url": "git"}
    if given in in_url:
        settings["NIXERY_PKGS_REPO"] = f"http://{in_url[given]}@{http_url}"
    if given.startswith("file"):
        (directory / "token").write_text(f"reader:{SECRET}\n" if given == "file with a name" else f"{SECRET}\n")
        (directory / "token").chmod(0o600)
        settings["NIXERY_PKGS_TOKEN_FILE"] = str(directory / "token")
    with Watch(SECRET) as watch:
        registry = new_registry(**settings)
        image = registry.manifest("tool")
        assert image.status == 200, image.body
        missing, nosy = registry.manifest("tool", "nowhere"), registry.manifest("nosy")
        assert (missing.status, nosy.status) == (404, 424)
        assert "read:" in nosy.error["message"]
        watch.has_looked()
    assert watch.seen == []
    labels = registry.config("tool")["config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == f"http://{http_url}"
    printed = registry.nixery("config", **settings)
    assert printed.returncode == 0
    referrers = registry.get(f"/v2/tool/referrers/{image.headers['Docker-Content-Digest']}")
    for needle in (SECRET, ENCODED):
        assert_nowhere(registry, needle, printed.stdout, printed.stderr, image.body.decode(), missing.body.decode(), nosy.body.decode(),
                       referrers.body.decode())


def test_gits_settings_in_the_environment_are_kept_with_a_token(new_registry, http_url):
    PrivateFiles.agents.clear()
    environment = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "core.abbrev", "GIT_CONFIG_VALUE_0": "12",
                   "GIT_CONFIG_KEY_1": "http.userAgent", "GIT_CONFIG_VALUE_1": "of the operator"}  # fmt: skip
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"http://reader:{SECRET}@{http_url}", **environment)
    assert registry.manifest("tool").status == 200
    assert PrivateFiles.agents == {"of the operator"}


def test_a_wrong_token_is_a_transient_failure_that_does_not_show_it(new_registry, http_url):
    wrong = "wrong-" + SECRET
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"http://reader:{wrong}@{http_url}")
    answer = registry.manifest("tool")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")
    assert_nowhere(registry, wrong, answer.body.decode())


def test_an_unreadable_or_unused_token_file_is_refused_at_start(new_registry, directory):
    registry = new_registry()
    (directory / "empty").touch()
    for settings in ({"NIXERY_PKGS_TOKEN_FILE": "/nowhere/token"}, {"NIXERY_PKGS_TOKEN_FILE": str(directory / "empty")}):
        done = registry.nixery("config", NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO="https://git.example.org/x", **settings)
        assert done.returncode == 1 and "NIXERY_PKGS_TOKEN_FILE" in done.stderr


@pytest.fixture
def ssh_server(directory, repository):
    """An ssh server that lets one key read this repository."""
    for name in ("host", "client", "stranger"):
        check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{name}")

    async def serve_git(process):
        assert process.command and process.command.startswith("git-upload-pack "), process.command
        upload = await asyncio.create_subprocess_exec("git-upload-pack", str(repository), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        await process.redirect(stdin=upload.stdin, stdout=upload.stdout)
        process.exit(await upload.wait())

    port, loop = free_port(), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def listen():
        return await asyncssh.listen("127.0.0.1", port, reuse_address=True, server_host_keys=[f"{directory}/host"], encoding=None,
                                     authorized_client_keys=f"{directory}/client.pub", process_factory=serve_git)  # fmt: skip

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    yield f"ssh://git@127.0.0.1:{port}/packages.git"
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)


def ssh_with(directory, key: str) -> str:
    return f"ssh -F none -i {directory}/{key} -o IdentitiesOnly=yes -o UserKnownHostsFile={directory}/known_hosts -o BatchMode=yes"


def test_an_ssh_key_gives_access_and_is_never_shown(new_registry, directory, ssh_server):
    key = "".join((directory / "client").read_text().splitlines()[1:3])
    with Watch(key) as watch:
        registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=ssh_server, GIT_SSH_COMMAND=ssh_with(directory, "client"))
        image = registry.manifest("tool")
        assert image.status == 200, image.body
        watch.has_looked()
    assert watch.seen == []
    assert_nowhere(registry, key, image.body.decode())


def test_another_ssh_key_gives_no_access(new_registry, directory, ssh_server):
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=ssh_server, GIT_SSH_COMMAND=ssh_with(directory, "stranger"))
    assert registry.manifest("tool").status == 503
