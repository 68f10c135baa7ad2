"""nixery doctor: a correct set-up, and one fault after another, each reported with its fix."""

import json
import os
import pwd
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import registry as registries
from conftest import running, started, temporary_directory
from engines import check
from registry import NIXERY, free_port
from test_daemon import PLAIN, Daemon
from test_private_source import SECRET

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look with the eyes of other users")

SET = '{ system, ... }: { tool = derivation { name = "tool"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo tool > $out" ]; }; }'
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture(scope="module")
def registry():
    """A registry with different users for nginx and worker, and an image in its tree."""
    with pytest.MonkeyPatch.context() as patch, temporary_directory() as packages:
        assert "user root;" in registries.NGINX_CONF
        patch.setattr(registries, "NGINX_CONF", registries.NGINX_CONF.replace("user root;", "user nobody nogroup;"))
        (packages / "default.nix").write_text(SET)
        packages.chmod(0o755)
        original = registries.Registry.start_nginx

        def start_nginx(self):
            self.dir.chmod(0o755)
            original(self)

        patch.setattr(registries.Registry, "start_nginx", start_nginx)
        with started(packages, {}) as registry:
            assert registry.manifest("tool").status == 200
            yield registry


class Report:
    def __init__(self, done: subprocess.CompletedProcess):
        self.status, self.text = done.returncode, done.stdout + done.stderr
        assert done.stdout.startswith("{"), self.text
        self.json = json.loads(done.stdout)
        assert (self.status == 0) == self.json["healthy"] == (self.json["failures"] == 0), self.text
        verdicts = [finding["verdict"] for finding in self.json["findings"]]
        assert (self.json["failures"], self.json["warnings"]) == (verdicts.count("failure"), verdicts.count("warning"))
        for finding in self.json["findings"]:
            assert set(finding) == {"name", "verdict", "seen", "fix", "command"} and finding["seen"]
            assert bool(finding["fix"]) == (finding["verdict"] != "ok"), finding
            assert finding["fix"] or not finding["command"], finding

    def of(self, verdict: str) -> dict[str, dict]:
        return {f["name"]: f for f in self.json["findings"] if f["verdict"] == verdict}

    @property
    def failures(self):
        return self.of("failure")

    def fails_only(self, *names: str) -> dict:
        """Asserts that exactly these checks failed; returns the first."""
        assert set(self.failures) == set(names), self.text
        assert self.status == 1
        return self.failures[names[0]]


def ask(registry, *words: str, within: tuple[str, ...] = (), timeout: int = 100, **settings: str) -> Report:
    words = (*within, NIXERY, "doctor", "--json", "--nginx-conf", str(registry.dir / "nginx.conf"), *words)
    return Report(subprocess.run(words, env={**registry.env, **settings}, capture_output=True, text=True, timeout=timeout))


@contextmanager
def mode(path: Path, bits: int):
    before = path.stat().st_mode & 0o7777
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def mounted(at: Path, options: str) -> tuple[str, ...]:
    """A command prefix that runs a program with an empty file system mounted at `at`, in its own mount namespace."""
    return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o {options} none "{at}" && exec "$@"', "sh")


CHECKS = {
    "resolve.nix", "settings", "user", "nix.version", "nix.store", "nix.advisories", "nix.sandbox", "nix.build-users",
    "nix.evaluation", "nix.build", "tree.locks", "state.locks", "source", "tree", "state", "tree.layout", "tree.nginx", "tree.orphans", "tree.room", "nginx.version",
    "nginx.configuration", "nginx.user", "nginx.includes", "nginx.tree", "nginx.workers", "socket", "descriptors", "worker.ready",
    "socket.nginx", "registry", "registry.worker", "clock",
}  # fmt: skip


def test_a_correct_set_up_has_no_failures_and_is_not_changed(registry):
    def everything():
        # Where a worker writes when it checks its readiness.
        probed = {registry.tree / "incoming"}
        paths = [p for top in (registry.tree, registry.state) for p in top.rglob("*")]
        return {(p, p.lstat().st_mode, 0 if p in probed else p.lstat().st_mtime_ns) for p in paths}

    before = everything()
    report = ask(registry)
    assert report.status == 0, report.text
    assert CHECKS <= {f["name"] for f in report.json["findings"]}, report.text
    assert set(report.of("warning")) <= {"nix.advisories", "nix.sandbox", "nix.build-users", "tree.room", "nix.room"}, report.text
    seen = {f["name"]: f["seen"] for f in report.json["findings"]}
    assert "nobody" in seen["nginx.user"] and "nobody" in seen["tree.nginx"]
    assert seen["registry"].startswith(f"http://127.0.0.1:{registry.port}/v2/")
    assert everything() == before


def test_text_has_colours_at_a_terminal_and_is_plain_in_a_pipe(registry):
    done = registry.nixery("doctor", "--nginx-conf", str(registry.dir / "nginx.conf"), NIXERY_TREE="/no/such/tree")
    assert done.returncode == 1 and "\033" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:2] == ["failure", "nginx.tree"]]
    assert f"nginx serves {registry.tree}, workers write into /no/such/tree" in line
    assert "fix: set $nixery_tree" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failure, ")


# The web server


def test_a_tree_that_nginx_cannot_read(registry):
    with mode(registry.dir, 0o700):
        report = ask(registry)
    finding = report.fails_only("tree.nginx", "socket.nginx", "registry.worker")
    assert finding["seen"] == f"nginx's user nobody may not enter {registry.dir}"
    assert finding["fix"].startswith(f"chmod a+x {registry.dir}")
    with mode(registry.tree / "blobs", 0o700):
        assert str(registry.tree / "blobs") in ask(registry).fails_only("tree.nginx")["seen"]
    blob = next(p for p in registry.tree.rglob("blobs/*/*/*") if p.is_file())
    blobs = [p for p in registry.tree.rglob("blobs/*/*/*") if p.is_file()]
    modes = [p.stat().st_mode & 0o7777 for p in blobs]
    assert blob in blobs and set(modes) == {0o644}
    for path in blobs:
        path.chmod(0o600)
    try:
        finding = ask(registry).fails_only("tree.nginx")
    finally:
        for path in blobs:
            path.chmod(0o644)
    assert "may not read" in finding["seen"] and "chmod -R a+rX" in finding["fix"]


def test_nginx_serves_another_tree(registry, directory):
    (directory / "tree").mkdir()
    directory.chmod(0o755)
    finding = ask(registry, NIXERY_TREE=str(directory / "tree")).fails_only("nginx.tree")
    assert str(registry.tree) in finding["seen"] and str(directory / "tree") in finding["seen"]
    assert "NIXERY_TREE" in finding["fix"]


def test_nginx_uses_another_socket(registry):
    finding = ask(registry, NIXERY_LISTEN=f"127.0.0.1:{free_port()}").fails_only("nginx.workers", "socket")
    assert str(registry.socket) in finding["seen"] and "nixery_workers" in finding["fix"]


def test_nginx_refuses_its_configuration(registry, directory):
    (directory / "nginx.conf").write_text("events { }\nhttp { frobnicate on; }\n")
    finding = ask(registry, "--nginx-conf", str(directory / "nginx.conf"), "--url", f"http://{registry.host}").fails_only("nginx.configuration")
    assert 'unknown directive "frobnicate"' in finding["seen"] and "nginx.conf:2" in finding["seen"]


@pytest.mark.parametrize("missing", ["nixery-http.conf", "nixery-locations.conf"])
def test_nginx_does_not_include_the_registrys_files(registry, directory, missing):
    text = (registry.dir / "nginx.conf").read_text()
    # Without the first file, nginx refuses the others.
    lines = [line for line in text.splitlines() if missing not in line and not ("include" in line and missing == "nixery-http.conf")]
    assert len(lines) < len(text.splitlines())
    (directory / "nginx.conf").write_text("\n".join(lines))
    report = ask(registry, "--nginx-conf", str(directory / "nginx.conf"), "--url", f"http://{registry.host}")
    if missing == "nixery-http.conf":
        finding = report.fails_only("nginx.includes")
        assert f"does not include {missing}" in finding["seen"] and f"include …/{missing}" in finding["fix"]
    else:  # nginx itself reports the missing variables
        finding = report.fails_only("nginx.configuration")
        assert 'unknown "nixery_digest" variable' in finding["seen"] and missing in finding["fix"]


def test_no_nginx_on_this_host_is_not_a_failure(registry, directory):
    for program in ("nix", "nix-store", "nix-instantiate", "git"):
        (directory / program).symlink_to(check("which", program).strip())
    # The other places where doctor looks for nginx are hidden, too.
    hidden = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /usr/sbin/nginx && exec "$@"', "sh")
    report = ask(registry, "--url", f"http://{registry.host}", within=hidden, PATH=f"{directory}:/usr/bin:/bin")
    assert report.status == 0, report.text
    assert "no nginx" in report.of("warning")["nginx.version"]["seen"]


def test_a_registry_that_does_not_respond(registry):
    finding = ask(registry, "--url", f"http://127.0.0.1:{free_port()}").fails_only("registry")
    assert "cannot get" in finding["seen"] and "start nginx" in finding["fix"]


# The worker's socket


def test_a_worker_that_died(registry):
    registry.stop_worker(9)
    try:
        assert registry.socket.exists()
        finding = ask(registry).fails_only("socket", "registry.worker")
        assert "Connection refused" in finding["seen"] and "start the worker" in finding["fix"]
        registry.socket.unlink()
        assert ask(registry).fails_only("socket", "registry.worker")["seen"] == f"there is no socket {registry.socket}"
    finally:
        registry.start_worker()
    assert ask(registry).status == 0


def test_a_worker_that_is_not_ready(registry):
    registry.stop_worker()
    registry.start_worker(NIXERY_MIN_FREE="900T")
    try:
        finding = ask(registry).fails_only("worker.ready")
        assert "tree space: " in finding["seen"] and "journalctl" in finding["fix"]
        report = ask(registry, NIXERY_MIN_FREE="900T")
        assert "less than NIXERY_MIN_FREE" in report.failures["tree.room"]["seen"]
    finally:
        registry.stop_worker()
        registry.start_worker()


def test_a_socket_that_nginx_cannot_use(registry):
    with mode(registry.socket, 0o600):
        finding = ask(registry).fails_only("socket.nginx", "registry.worker")
    assert "nginx's user nobody may not connect" in finding["seen"] and "SocketGroup=" in finding["fix"]


def test_another_program_listens_on_the_socket(registry, directory):
    with silent_server() as port:
        finding = ask(registry, "--deadline", "15s", NIXERY_LISTEN=f"127.0.0.1:{port}").fails_only("socket", "nginx.workers")
    # By either timeout: that of the check, or a second later that of all checks.
    assert f"127.0.0.1:{port} is taken by " in finding["seen"] or "no answer within 15 s" in finding["seen"]


# Nix and the source


def test_no_nix_in_path(registry, directory):
    (directory / "nginx").symlink_to(check("which", "nginx").strip())
    report = ask(registry, PATH=str(directory))
    finding = report.fails_only("nix.version", "nix.evaluation", "source")
    assert "cannot run nix-store: No such file" in finding["seen"] and "apt install nix-bin" in finding["fix"]


def test_a_nix_that_is_too_old(registry, directory):
    old = directory / "nix-store"
    old.write_text("#!/bin/sh\necho 'nix-store (Nix) 2.3.7'\n")
    old.chmod(0o755)
    directory.chmod(0o755)
    finding = ask(registry, PATH=f"{directory}:{registry.env['PATH']}").fails_only("nix.version")
    assert finding["seen"] == "Nix 2.3.7" and "2.8" in finding["fix"]


def test_an_invalid_nix_conf(registry):
    report = ask(registry, NIX_CONFIG="sandbox = perhaps")
    assert "perhaps" in report.failures["nix.evaluation"]["seen"] or "sandbox" in report.failures["nix.evaluation"]["seen"], report.text


def test_root_without_build_users(registry):
    if os.path.exists("/nix/var/nix/daemon-socket/socket"):
        pytest.skip("this machine's Nix has a daemon")
    finding = ask(registry, NIX_CONFIG="build-users-group = no-such-group\nsandbox = true").fails_only("nix.build-users")
    assert "no-such-group" in finding["seen"]
    warned = ask(registry, NIX_CONFIG="build-users-group =\nsandbox = false").of("warning")
    assert warned["nix.build-users"]["seen"] == "builds run as root" and "sandbox = false" in warned["nix.sandbox"]["seen"]


def test_a_daemon_that_responds_and_one_that_does_not(registry, directory):
    directory.chmod(0o755)
    with running(Daemon(directory, PLAIN)) as daemon:
        settings = {"NIX_REMOTE": "daemon", "NIX_DAEMON_SOCKET_PATH": str(daemon.socket)}
        report = ask(registry, **settings)
        (store,) = [f for f in report.json["findings"] if f["name"] == "nix.store"]
        version = check("nix-daemon", "--version").split()[-1]
        assert report.status == 0 and store["seen"] == f"nix-daemon {version} answers root at {daemon.socket}", report.text
        assert f"nix-daemon {version} is older than" in report.text or f"nix-daemon {version} fixes" in report.text
        daemon.socket.chmod(0o600)
        finding = ask(registry, "--user", "nobody", **settings).failures["nix.store"]
        assert "Permission denied" in finding["seen"] and "nix-users" in finding["fix"]
    finding = ask(registry, **settings).fails_only("nix.store")
    assert "Connection refused" in finding["seen"] and "nix-daemon.socket" in finding["fix"]


@pytest.mark.parametrize("contents, seen", [("{ hello = ; }", "syntax error"), ("42", "is no package set"), (None, "cannot be read")])
def test_an_invalid_package_set(registry, directory, contents, seen):
    if contents:
        (directory / "default.nix").write_text(contents)
    finding = ask(registry, NIXERY_PKGS_PATH=str(directory)).fails_only("source")
    assert seen in finding["seen"] and finding["fix"]


def test_an_invalid_repository_and_a_valid_one(registry, directory):
    repository = {"NIXERY_PKGS_PATH": "", "NIXERY_PKGS_REPO": f"file://{directory}"}
    finding = ask(registry, **repository).fails_only("source")
    assert f"file://{directory}" in finding["seen"] and "git ls-remote" in finding["fix"]
    check("git", "init", "-q", str(directory))
    check("git", "-C", str(directory), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one")
    commit = check("git", "-C", str(directory), "rev-parse", "HEAD").strip()
    (source,) = [f for f in ask(registry, **repository).json["findings"] if f["name"] == "source"]
    assert source["verdict"] == "ok" and commit in source["seen"]


@contextmanager
def silent_server():
    """Accepts connections and never sends anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        kept = []

        def accept():
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_a_source_that_never_responds_times_out_and_leaves_no_process(registry):
    with silent_server() as port:
        channel = {"NIXERY_PKGS_PATH": "", "NIXERY_CHANNEL": "nixos-unstable", "NIXERY_CHANNEL_URL": f"http://127.0.0.1:{port}/"}
        assert "no answer within 15 s" in ask(registry, "--deadline", "15s", **channel).fails_only("source")["seen"]
        repository = {"NIXERY_PKGS_PATH": "", "NIXERY_PKGS_REPO": f"http://127.0.0.1:{port}/x.git"}
        assert "no answer within 15 s" in ask(registry, "--deadline", "15s", **repository).fails_only("source")["seen"]
        registries.wait_for(lambda: subprocess.run(["pgrep", "-f", f"127.0.0.1:{port}/x.git"]).returncode == 1, "git to be gone")


def test_doctor_makes_no_store(registry):
    if os.path.exists("/nix/var/nix/daemon-socket/socket"):
        pytest.skip("this machine's Nix has a daemon")
    empty = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /nix && "$@"; status=$?; ls -A /nix >&2; exit $status', "sh")
    report = ask(registry, within=empty)
    assert report.status == 0, report.text
    (store,) = [f for f in report.json["findings"] if f["name"] == "nix.store"]
    assert "there is no store yet" in store["seen"]
    assert report.text.endswith("}\n"), "something was made in /nix"


# Directories


def test_a_state_that_cannot_be_written(registry):
    finding = ask(registry, within=mounted(registry.state, "ro")).fails_only("state")
    assert "read-only" in finding["seen"] and "remount,rw" in finding["fix"]


def test_a_tree_without_free_space(registry):
    finding = ask(registry, within=mounted(registry.tree, "size=8m,mode=755")).fails_only("tree.room")
    assert "8.4 MB" in finding["seen"] and "nixery gc" in finding["fix"]
    finding = ask(registry, within=mounted(registry.tree, "size=90%,nr_inodes=50,mode=755")).fails_only("tree.room")
    assert "inodes" in finding["seen"]


def test_a_part_of_the_tree_on_another_file_system(registry):
    finding = ask(registry, within=mounted(registry.tree / "blobs", "size=1g,mode=755")).fails_only("tree.layout")
    assert f"{registry.tree}/blobs is a file system of its own" in finding["seen"]


def test_a_state_in_the_tree(registry):
    finding = ask(registry, NIXERY_STATE=f"{registry.tree}/state").fails_only("tree.layout")
    assert "side by side" in finding["fix"]


def test_the_worker_is_another_user(registry):
    report = ask(registry, "--user", "nobody")
    for name in ("tree", "state"):
        assert "nobody may not write into" in report.failures[name]["seen"], report.text
        assert f"chown -R nobody {registry.dir}/{name}" == report.failures[name]["fix"]


@contextmanager
def belongs_to_nobody(*places: Path):
    for place in places:
        os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    try:
        yield
    finally:
        for place in places:
            os.chown(place, 0, 0)


def test_directories_whose_contents_belong_to_another_user(registry):
    every = [path for top in (registry.tree, registry.state) for path in (top, *top.rglob("*")) if not path.is_symlink()]
    with belongs_to_nobody(*every):
        assert {"tree", "state"} <= set(ask(registry, "--user", "nobody").of("ok"))
    with belongs_to_nobody(registry.tree, registry.state):
        report = ask(registry, "--user", "nobody")
    assert report.failures["tree"]["seen"] == f"nobody may not write into {registry.tree}/blobs, which belongs to root"
    assert f"nobody may not write into {registry.state}/" in report.failures["state"]["seen"]
    for name in ("tree", "state"):
        assert report.failures[name]["fix"] == f"chown -R nobody {registry.dir}/{name}"
    for foreign in (registry.tree / "incoming", registry.tree / "blobs/sha256", registry.state / "locks"):
        with belongs_to_nobody(*(path for path in every if path != foreign)):
            report = ask(registry, "--user", "nobody")
        finding = report.failures["tree" if registry.tree in foreign.parents else "state"]
        assert finding["seen"] == f"nobody may not write into {foreign}, which belongs to root", report.text
    shards = set((registry.tree / "blobs/sha256").iterdir())
    with belongs_to_nobody(*(path for path in every if path not in shards)):
        seen = ask(registry, "--user", "nobody").failures["tree"]["seen"]
    assert seen in {f"nobody may not write into {shard}, which belongs to root" for shard in shards}


def test_a_lock_of_another_user(registry):
    lock = registry.state / "locks/upkeep.lock"
    assert lock.exists()
    every = [path for path in (registry.state, *registry.state.rglob("*")) if not path.is_symlink() and path != lock]
    with belongs_to_nobody(*every):
        finding = ask(registry, "--user", "nobody").failures["state"]
    assert finding["seen"] == f"nobody may not write into {lock}, which belongs to root"
    assert finding["fix"] == f"chown -R nobody {registry.state}"


def test_users_other_than_root_get_the_checks_that_were_skipped(registry):
    with mode(registry.state, 0o755):
        report = ask(registry, within=("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"))
    assert "worker's user is root, but doctor runs as nobody" in report.of("warning")["user"]["seen"]
    assert "nobody may not write into" in report.failures["tree"]["seen"]


def test_leftovers_of_a_killed_worker(registry):
    left = registry.tree / "incoming" / "begun"
    left.write_text("half")
    os.utime(left, (1_700_000_000, 1_700_000_000))
    try:
        report = ask(registry)
    finally:
        left.unlink()
    assert report.status == 0 and "nixery gc" in report.of("warning")["tree.orphans"]["fix"]


def test_a_clock_that_was_set_back(registry):
    before = registry.state.stat()
    os.utime(registry.state, (4_000_000_000, 4_000_000_000))
    try:
        report = ask(registry)
    finally:
        os.utime(registry.state, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert report.status == 0 and str(registry.state) in report.of("warning")["clock"]["seen"]


# Settings and their files


def test_all_invalid_settings_are_reported_and_the_rest_is_checked(registry):
    report = ask(registry, NIXERY_MAX_LAYERS="lots", NIXERY_FORMAT="tar", NIXERY_RESOLVE_NIX="/no/such/file", NIXERY_MAX_LAYER="3")
    seen = [f["seen"] for f in report.json["findings"] if f["verdict"] == "failure"]
    assert len(seen) == 3, report.text
    for name in ("NIXERY_MAX_LAYERS: 'lots'", "NIXERY_FORMAT: 'tar'", "NIXERY_RESOLVE_NIX: '/no/such/file'"):
        assert any(text.startswith(name) for text in seen), report.text
    assert "did you mean NIXERY_MAX_LAYERS?" in report.of("warning")["settings.unknown"]["seen"]
    assert "registry.worker" in report.of("ok")


def test_an_unknown_setting_is_only_a_warning(registry):
    report = ask(registry, NIXERY_TREEE="/x", STORAGE_PATH="/x")
    assert report.status == 0
    unknown = [f["seen"] for f in report.json["findings"] if f["name"] == "settings.unknown"]
    assert any("NIXERY_TREEE" in text and "NIXERY_TREE?" in text for text in unknown) and any("Go Nixery" in text for text in unknown)


def test_settings_from_a_file(registry, directory):
    (directory / "nixery.env").write_text(f"# of the package\nNIXERY_PKGS_PATH='{directory}'\n\nNIXERY_MAX_LAYERS=many\n")
    report = ask(registry, "--settings", str(directory / "nixery.env"))
    assert set(report.failures) == {"settings", "source"} and str(directory) in report.failures["source"]["seen"]


def test_keys_and_tokens_are_checked_and_never_shown(registry, directory):
    check("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{directory}/good.pem")
    check("openssl", "ecparam", "-genkey", "-name", "secp384r1", "-noout", "-out", f"{directory}/other.pem")
    (directory / "token").write_text(SECRET)
    for file in directory.iterdir():
        file.chmod(0o600)
    settings = {"NIXERY_SIGNING_KEY": f"{directory}/good.pem", "NIXERY_PKGS_TOKEN_FILE": f"{directory}/token"}
    report = ask(registry, **settings)
    assert report.status == 0 and {"signing-key", "token-file"} <= set(report.of("ok"))
    for file in directory.iterdir():
        file.chmod(0o644)
    warned = ask(registry, **settings).of("warning")
    assert warned["signing-key"]["fix"] == f"chmod 600 {directory}/good.pem" and warned["token-file"]["fix"] == f"chmod 600 {directory}/token"
    finding = ask(registry, NIXERY_SIGNING_KEY=f"{directory}/other.pem").fails_only("signing-key")
    assert "P-256" in finding["seen"] and "openssl genpkey" in finding["fix"]
    with silent_server() as port:
        url = f"http://user:{SECRET}@127.0.0.1:{port}/x.git"
        reports = [report, ask(registry, "--deadline", "2s", NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=url, **settings)]
    closed = f"http://user:{SECRET}@127.0.0.1:{free_port()}/x.git"
    reports.append(ask(registry, NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=closed, NIXERY_FORMAT="x"))
    assert "source" in reports[-1].failures
    for shown in reports:
        assert SECRET not in shown.text and "PRIVATE KEY" not in shown.text


def test_files_in_settings(registry, directory):
    (directory / "popularity.json").write_text('{"tool": 3}')
    report = ask(registry, NIX_POPULARITY_URL=f"{directory}/popularity.json", NIXERY_USE_LOG=f"{directory}/use.log")
    assert report.status == 0 and "popularity" in report.of("ok")
    assert "include nixery-use.conf" in report.of("warning")["use-log"]["fix"]
    (directory / "popularity.json").write_text("[]")
    assert "popularity" in ask(registry, NIX_POPULARITY_URL=f"{directory}/popularity.json").fails_only("popularity")["seen"]
    (directory / "use.log").write_text("")
    assert "use-log" in ask(registry, NIXERY_USE_LOG=f"{directory}/use.log").of("ok")


def test_the_running_workers_groups_count(registry, directory):
    """Like systemd's SupplementaryGroups=, which gives it more groups than /etc/group."""
    directory.chmod(0o755)
    log, group = directory / "use.log", 54321
    log.write_text("")
    os.chown(log, 0, group)
    log.chmod(0o640)
    own = {"NIXERY_USE_LOG": str(log)}
    assert "may not read" in ask(registry, "--user", "nobody", **own).of("warning")["use-log"]["seen"]
    env = {**registry.env, "NIXERY_TREE": f"{directory}/tree", "NIXERY_STATE": f"{directory}/state", "NIXERY_LISTEN": f"unix:{directory}/socket/s"}
    for name in ("tree", "state", "socket"):
        (directory / name).mkdir()
        os.chown(directory / name, NOBODY.pw_uid, NOBODY.pw_gid)
    worker = subprocess.Popen([NIXERY, "serve"], env=env, user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[group], stderr=subprocess.DEVNULL)
    try:
        registries.wait_for((directory / "socket/s").exists, "the worker to listen")
        assert "use-log" in ask(registry, "--user", "nobody", **own).of("ok")
    finally:
        worker.kill()
        worker.wait()


def test_invalid_declared_images(registry, directory):
    (directory / "team.json").write_text('{"name": "team/tool", "contents": ["tool"], "colour": "blue"}')
    finding = ask(registry, NIXERY_IMAGES=str(directory)).fails_only("images")
    assert "team.json" in finding["seen"] and "colour" in finding["seen"] and "nixery images" in finding["fix"]


def test_wrong_arguments_are_status_2(registry):
    for words in (["--deadline", "0"], ["--user", "no-such-user"], ["--settings", "/no/such/file"], ["x"], ["--uri", "http://x"]):
        done = registry.nixery("doctor", *words)
        assert done.returncode == 2 and done.stdout == "", words
    assert "did you mean '--url'?" in done.stderr
