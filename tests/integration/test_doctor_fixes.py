"""Runs the commands of `nixery doctor` and checks that they fix the findings. Also findings outside of a registry's own
directories, too: systemd's units, programs that have taken a port, file systems without locks."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import started
from engines import check, program
from package_sets import write_package_set
from registry import ROOT, free_port, wait_for
from test_doctor import NOBODY, SET, Report, ask, mode, registry  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run what doctor says")


def follow(finding: dict):
    """Like root's shell."""
    assert finding["command"], finding
    check("sh", "-c", finding["command"])


@pytest.fixture
def own(directory):
    """A registry that a test may damage, with a built package."""
    directory.chmod(0o755)
    packages = write_package_set(directory / "packages", SET)
    packages.chmod(0o755)
    with started(packages, {}) as registry:
        registry.dir.chmod(0o755)  # the worker and nginx are other users
        assert registry.manifest("tool").status == 200
        yield registry


def test_a_tree_that_nginx_cannot_read(registry):  # noqa: F811
    for place, bits in ((registry.dir, 0o700), (registry.tree / "blobs", 0o700)):
        with mode(place, bits):
            follow(ask(registry).failures["tree.nginx"])
            assert "tree.nginx" in ask(registry).of("ok")


def test_a_blob_that_nginx_cannot_read(registry):  # noqa: F811
    blobs = [path for path in registry.tree.rglob("blobs/*/*/*") if path.is_file()]
    for path in blobs:
        path.chmod(0o600)
    follow(ask(registry).failures["tree.nginx"])
    assert "tree.nginx" in ask(registry).of("ok")
    assert {path.stat().st_mode & 0o777 for path in blobs} == {0o644}


def test_directories_of_another_user(own):
    report = ask(own, "--user", "nobody")
    for name in ("tree", "state"):
        follow(report.failures[name])
    assert {"tree", "state"} <= set(ask(own, "--user", "nobody").of("ok"))


def test_missing_directories_that_the_worker_cannot_make(own, directory):
    above = directory / "root's own, it's said"
    above.mkdir(0o755)
    moved = {"NIXERY_TREE": f"{above}/tree", "NIXERY_STATE": f"{above}/state"}
    report = ask(own, "--user", "nobody", **moved)
    for name in ("tree", "state"):
        assert "may not make it" in report.failures[name]["seen"]
        follow(report.failures[name])
    assert {"tree", "state"} <= set(ask(own, "--user", "nobody", **moved).of("ok"))


def test_directories_of_another_user_where_all_may_write(own, directory):
    moved = {"NIXERY_TREE": f"{directory}/tree", "NIXERY_STATE": f"{directory}/state"}
    for path in moved.values():
        Path(path).mkdir()
        Path(path).chmod(0o777)
    warned = ask(own, "--user", "nobody", **moved).of("warning")
    for name in ("tree", "state"):
        assert "belongs to root, not to nobody" in warned[name]["seen"]
        follow(warned[name])
    assert {"tree", "state"} <= set(ask(own, "--user", "nobody", **moved).of("ok"))


def test_a_socket_that_nginx_cannot_reach(registry):  # noqa: F811
    with mode(registry.socket.parent, 0o700):
        follow(ask(registry).failures["socket.nginx"])
        assert "socket.nginx" in ask(registry).of("ok")


def test_files_that_the_worker_may_not_read(own, directory):
    (directory / "token").write_text("secret")
    shutil.copy(ROOT / "nix/resolve.nix", directory / "resolve.nix")
    for file in ("token", "resolve.nix"):
        (directory / file).chmod(0o600)
    settings = {"NIXERY_PKGS_TOKEN_FILE": f"{directory}/token", "NIXERY_RESOLVE_NIX": f"{directory}/resolve.nix"}
    failures = ask(own, "--user", "nobody", **settings).failures
    for name in ("token-file", "resolve.nix"):
        follow(failures[name])
    assert {"token-file", "resolve.nix"} <= set(ask(own, "--user", "nobody", **settings).of("ok"))


def test_keys_and_tokens_that_others_may_read(own, directory):
    check("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{directory}/key.pem")
    (directory / "token").write_text("secret")
    settings = {"NIXERY_SIGNING_KEY": f"{directory}/key.pem", "NIXERY_PKGS_TOKEN_FILE": f"{directory}/token"}
    for file in ("key.pem", "token"):
        (directory / file).chmod(0o644)
    warned = ask(own, **settings).of("warning")
    follow(warned["signing-key"])
    follow(warned["token-file"])
    assert {"signing-key", "token-file"} <= set(ask(own, **settings).of("ok"))


def test_a_setgid_bit_that_keeps_builders_from_changing_modes(own, directory):
    volume = directory / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    settings = {"TMPDIR": str(volume), "NIX_CONFIG": own.env.get("NIX_CONFIG", "") + "\nfilter-syscalls = true\n"}
    finding = ask(own, **settings).failures["nix.build"]
    assert "setgid" in finding["seen"]
    follow(finding)
    assert "nix.build" in ask(own, **settings).of("ok")


IN_PRIVATE = """
set -e
mount --make-rprivate /
cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc
mount -t tmpfs -o size=50m none /nix
shift
exec "$@"
"""


def test_build_users_that_are_missing(own, directory):
    """In a mount namespace with its own /etc and /nix, because Nix gives its store to the group."""
    script = directory / "script"
    script.write_text(f"""
set -e
doctor() {{ {own_program()} doctor --json --nginx-conf "{own.dir}/nginx.conf" || true; }}
nix-store --init
doctor >"{directory}/before"
sh -c "$(python3 -c 'import json, sys
print(next(f["command"] for f in json.load(open(sys.argv[1]))["findings"] if f["name"] == "nix.build-users"))' "{directory}/before")"
doctor >"{directory}/after"
""")
    env = {**own.env, "NIX_CONFIG": "build-users-group = nixery-test\nsandbox = false\nsubstituters =\n"}
    subprocess.run(["unshare", "--mount", "sh", "-c", IN_PRIVATE, "sh", str(directory), "sh", str(script)], env=env, check=True, timeout=300)
    before, after = (json.loads((directory / name).read_text())["findings"] for name in ("before", "after"))
    of = lambda findings, name: next((f for f in findings if f["name"] == name), {"verdict": None})
    assert of(before, "nix.build-users")["verdict"] == "failure"
    assert of(after, "nix.build-users")["seen"] == "builds run as the 10 members of nixery-test"
    assert of(after, "nix.build")["verdict"] == "ok", after


def own_program() -> str:
    from registry import NIXERY

    return NIXERY


UNIT = """[Service]
ExecStart=/usr/bin/nixery serve
EnvironmentFile=-{directory}/nixery.env
User=nobody
StateDirectory=nixery
ProtectSystem=strict
ProtectHome=yes
"""


def test_moved_directories_outside_the_units_writable_paths(own, directory):
    """Like the Debian package's directories, with a worker that is not the owner of the new directories."""
    unit, tree, state = directory / "units", directory / "disk/tree", directory / "disk/state"
    for path in (unit, tree, state, directory / "bin"):
        path.mkdir(parents=True)
    (unit / "nixery.service").write_text(UNIT.format(directory=directory))
    (directory / "nixery.env").write_text(f"NIXERY_TREE={tree}\nNIXERY_STATE={state}\nNIXERY_LISTEN=unix:{own.socket}\n")
    systemctl = directory / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{directory}/calls\n')
    systemctl.chmod(0o755)
    with_unit = ("unshare", "--mount", "sh", "-c", f'mkdir -p /etc/systemd/system && mount --bind "{unit}" /etc/systemd/system && exec "$@"', "sh")
    env = {"PATH": f"{directory}/bin:{own.env['PATH']}"}
    look = lambda: ask(own, "--settings", f"{directory}/nixery.env", within=with_unit, **env)

    report = look()
    (user,) = [f for f in report.json["findings"] if f["name"] == "user"]
    assert user["seen"] == "assuming that the worker runs as nobody, as nixery.service says", report.text
    for name, place in (("tree", tree), ("state", state)):
        finding = report.failures[f"{name}.unit"]
        assert str(place) in finding["seen"] and "ProtectSystem=strict" in finding["seen"] and "ReadWritePaths=" in finding["fix"]
        check(*with_unit, "sh", "-c", finding["command"], env={**own.env, **env})
    assert "root can write" not in report.text
    assert (directory / "calls").read_text().splitlines()[:2] == ["daemon-reload", "restart nixery.service"]
    healed = look()
    assert {"unit", "tree", "state"} <= set(healed.of("ok")), healed.text
    assert {file.name for file in (unit / "nixery.service.d").iterdir()} == {"tree.conf", "state.conf"}
    # A home directory cannot be made writable this way.
    (directory / "nixery.env").write_text(f"NIXERY_TREE=/home/nixery/tree\nNIXERY_STATE={state}\n")
    finding = look().failures["tree.unit"]
    assert "ProtectHome=yes" in finding["seen"] and not finding["command"]


def test_the_running_workers_user_takes_precedence_over_the_owner_of_its_directories(own):
    os.chown(own.state, NOBODY.pw_uid, NOBODY.pw_gid)
    (user,) = [f for f in ask(own).json["findings"] if f["name"] == "user"]
    assert user["seen"] == f"assuming that the worker runs as root, as process {own.worker.pid} does"
    own.stop_worker()
    (user,) = [f for f in ask(own).json["findings"] if f["name"] == "user"]
    assert user["seen"] == f"assuming that the worker runs as nobody, as {own.state} belongs to that user"
    assert ask(own, "--user", "root").json["findings"]


SQUATTER = """
import socket, sys, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"220 some other service\\r\\n")
    connection.close()
"""


@pytest.fixture
def squatter():
    """Listens at a port with another protocol."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SQUATTER, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "listens\n"
    process.port, process.name = port, Path(f"/proc/{process.pid}/comm").read_text().strip()
    yield process
    process.kill()
    process.wait()


def test_the_workers_port_is_taken(own, squatter):
    finding = ask(own, NIXERY_LISTEN=f"127.0.0.1:{squatter.port}").failures["socket"]
    assert finding["seen"].startswith(f"127.0.0.1:{squatter.port} is taken by {squatter.name} (process {squatter.pid})")
    assert "NIXERY_LISTEN" in finding["fix"]


def test_nginxs_port_is_taken(own, squatter, directory):
    conf = (own.dir / "nginx.conf").read_text()
    assert f"listen 127.0.0.1:{own.port};" in conf
    (directory / "nginx.conf").write_text(conf.replace(f"listen 127.0.0.1:{own.port};", f"listen 127.0.0.1:{squatter.port};"))
    report = ask(own, "--nginx-conf", str(directory / "nginx.conf"))
    finding = report.failures["nginx.ports"]
    assert f"127.0.0.1:{squatter.port}" in finding["seen"] and f"{squatter.name} (process {squatter.pid})" in finding["seen"]
    assert "nginx.ports" not in ask(own).failures


# A file system whose locks of one kind, KIND, keep nobody out, or that has none of them (NONE).
NO_LOCKS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int answer(void) { if (!getenv("NONE")) return 0; errno = ENOLCK; return -1; }
static int is(const char *kind) { return !strcmp(getenv("KIND"), kind); }
int flock(int fd, int operation) { return is("flock") ? answer() : (int)syscall(SYS_flock, fd, operation); }
static int control(int fd, int command, void *argument) {
  return command == F_OFD_SETLK && is("byte-range") ? answer() : (int)syscall(SYS_fcntl, fd, command, argument);
}
int fcntl64(int fd, int command, ...) { va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); return control(fd, command, argument); }
int fcntl(int fd, int command, ...) { va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); return control(fd, command, argument); }
"""


@pytest.mark.parametrize("kind", ["flock", "byte-range"])
def test_a_file_system_without_working_locks(own, directory, kind):
    (directory / "no_locks.c").write_text(NO_LOCKS)
    library = directory / "no_locks.so"
    check("gcc", "-shared", "-fPIC", "-o", str(library), str(directory / "no_locks.c"))
    broken = ask(own, LD_PRELOAD=str(library), KIND=kind).failures
    for name in ("tree.locks", "state.locks"):
        assert broken[name]["seen"].startswith(f"{kind} locks") and "keep nobody out" in broken[name]["seen"] and "NFS 4" in broken[name]["fix"]
    absent = ask(own, LD_PRELOAD=str(library), KIND=kind, NONE="1").failures["state.locks"]
    assert absent["seen"].startswith(f"{kind} locks") and "No locks available" in absent["seen"]


def test_a_full_store(own, directory):
    within = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=20m none /nix && nix-store --init && { cat /dev/zero >/nix/filler 2>/dev/null; exec "$@"; }', "sh")
    report = ask(own, within=within)
    found = report.failures.get("nix.build") or report.failures["nix.store"]
    assert "No space left" in found["seen"] or "disk I/O error" in found["seen"], report.text
    assert "nix.room" in report.failures, report.text
