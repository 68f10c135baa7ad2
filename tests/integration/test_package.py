"""The Debian package: installed into a throw-away Debian, started by systemd, used for pulls."""

import json
import os
import re

import pytest

from booted_debian import BootedDebian
from conftest import running, temporary_directory
from engines import check, program, run
from registry import free_port, wait_for

PACKAGES = """
{ system, ... }:
{
  hello = derivation {
    name = "hello-from-systemd-1"; inherit system;
    builder = "/bin/sh"; args = [ "-c" "PATH=/bin:/usr/bin; mkdir -p $out/bin; cp /bin/busybox $out/bin/busybox; ln -s busybox $out/bin/echo" ];
  };
  by-hand = derivation { name = "by-hand-1"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo by hand > $out" ]; };
  spy = derivation { name = builtins.readFile "/etc/hostname"; inherit system; builder = "/bin/sh"; };
}
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a system in namespaces")


@pytest.fixture(scope="module")
def debian(package):
    """Debian with the package installed; nothing is enabled or started by hand."""
    with temporary_directory() as directory, running(BootedDebian(directory)) as debian:
        debian.install(package, "nginx-light", "curl", "busybox-static")
        debian.port = free_port()
        packages = debian.root / "srv/packages"
        packages.mkdir()
        (packages / "default.nix").write_text(PACKAGES)
        with open(debian.root / "etc/nixery/nixery.env", "a") as settings:
            settings.write("NIXERY_PKGS_PATH=/srv/packages\n")
        # Builders' sandboxes need mounts that the tests' sandbox may not allow.
        with open(debian.root / "etc/nix/nix.conf", "a") as settings:
            settings.write("\nsandbox = false\nsubstituters =\n")
        site = debian.root / "etc/nginx/sites-available/nixery"
        text = site.read_text()
        assert "listen 127.0.0.1:8080;" in text
        site.write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{debian.port}"))
        (debian.root / "etc/nginx/sites-enabled/default").unlink()
        # No device can be made here; the rest of the unit's sandbox is active.
        drop_in = debian.root / "etc/systemd/system/nixery.service.d"
        drop_in.mkdir()
        (drop_in / "container.conf").write_text("[Service]\nPrivateDevices=no\n")
        debian.boot()
        yield debian


def test_lintian_reports_nothing(package):
    done = run(program("lintian", "lintian"), "--fail-on", "error,warning", "--allow-root", str(package))
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


def test_the_package_has_its_files(package):
    files = check("dpkg-deb", "--contents", str(package))
    for path in ("/usr/bin/nixery", "/lib/systemd/system/nixery.service", "/lib/systemd/system/nixery.socket", "/usr/lib/sysusers.d/nixery.conf",
                 "/usr/lib/tmpfiles.d/nixery.conf", "/etc/nginx/sites-available/nixery", "/etc/nixery/nixery.env", "/usr/share/man/man1/nixery.1.gz",
                 "/usr/share/bash-completion/completions/nixery", "/usr/share/zsh/vendor-completions/_nixery",
                 "/usr/share/fish/vendor_completions.d/nixery.fish", "/usr/share/nixery/nginx/nixery-locations.conf", "/usr/share/nixery/resolve.nix"):
        assert f" .{path}\n" in files, path
    assert "sites-enabled" not in files


def test_the_units_give_a_worker_few_permissions(package, directory):
    check("dpkg-deb", "--extract", str(package), str(directory))
    unit = directory / "lib/systemd/system/nixery.service"
    said = check("systemd-analyze", "security", "--offline=true", str(unit))
    score = float(re.search(r"Overall exposure level for nixery.service: ([0-9.]+)", said)[1])
    assert score <= 1.5, said


def test_installed_and_started_it_builds_and_serves(debian):
    debian.check("systemctl", "start", "nixery.socket", "nginx")
    (debian.root / "etc/nginx/sites-enabled/nixery").symlink_to("../sites-available/nixery")
    debian.check("systemctl", "reload", "nginx")
    manifest = json.loads(debian.check("curl", "-sSfL", "--retry", "5", "--retry-all-errors", f"http://127.0.0.1:{debian.port}/v2/hello/manifests/latest"))
    digest = manifest["layers"][0]["digest"]
    debian.check("curl", "-sSf", "-o", "/root/layer", f"http://127.0.0.1:{debian.port}/v2/hello/blobs/{digest}")
    assert debian.check("sha256sum", "/root/layer").split()[0] == digest.removeprefix("sha256:")
    assert debian.check("systemctl", "is-active", "nixery.service") == "active\n"
    worker = debian.check("systemctl", "show", "-p", "MainPID", "--value", "nixery.service").strip()
    assert debian.check("stat", "-c", "%U", f"/proc/{worker}") == "nixery\n"
    # The journal reads the worker's output asynchronously.
    wait_for(lambda: '"event":"image built"' in debian.check("journalctl", "--no-pager", "-u", "nixery", "-p", "info..info"), "the journal", 60)
    # nginx can read the tree, and only the worker the state.
    assert debian.check("stat", "-c", "%a %U", "/var/lib/nixery/tree", "/var/lib/nixery/state") == "755 nixery\n700 nixery\n"
    # The sandbox does not hide its own metrics.
    ready = lambda: json.loads(debian.check("curl", "-sS", f"http://127.0.0.1:{debian.port}/readyz"))["ready"] is True
    wait_for(ready, "the worker's checks", 60)  # within 3 s, or they are reported as pending
    page = debian.check("curl", "-sSf", f"http://127.0.0.1:{debian.port}/metrics")
    assert 'nixery_worker_info{listener="systemd"} 1' in page
    for name in ("process_resident_memory_bytes", "process_open_fds", 'nixery_disk_free_bytes{directory="state"}'):
        assert float(re.search(f"^{re.escape(name)} (.*)$", page, flags=re.M)[1]) > 0, name
    # Built images are served without it.
    debian.check("systemctl", "stop", "nixery.service", "nixery.socket")
    debian.check("curl", "-sSf", f"http://127.0.0.1:{debian.port}/v2/hello/manifests/latest")
    debian.check("systemctl", "start", "nixery.socket")


def test_doctor_accepts_the_packages_set_up_and_finds_damage(debian):
    words = ("nixery", "doctor", "--json", "--settings", "/etc/nixery/nixery.env", "--deadline", "120s")
    debian.check("systemctl", "start", "nixery.service")
    report = json.loads(debian.check(*words))
    seen = {finding["name"]: finding for finding in report["findings"]}
    assert report["healthy"] and report["failures"] == 0, report
    # systemd may not have begun the program yet.
    assert re.fullmatch("assuming that the worker runs as nixery, as (process [0-9]+ does|nixery.service says)", seen["user"]["seen"])
    assert seen["nix.store"]["seen"].startswith("nix-daemon ") and "answers nixery at" in seen["nix.store"]["seen"]
    assert {name for name, f in seen.items() if f["verdict"] == "ok"} >= {"tree", "state", "tree.nginx", "socket", "socket.nginx", "registry.worker", "use-log",
                                                                           "nginx.tree", "nginx.workers", "source"}  # fmt: skip
    assert "www-data" in seen["nginx.user"]["seen"]
    debian.check("chmod", "o-x", "/var/lib/nixery")
    try:
        said = debian.check("sh", "-c", " ".join(words[:2] + words[3:]) + "; echo status $?")
    finally:
        debian.check("chmod", "o+x", "/var/lib/nixery")
    assert "nginx's user www-data may not enter /var/lib/nixery" in said and "chmod a+x /var/lib/nixery" in said and said.endswith("status 1\n"), said


def test_doctor_says_what_the_unit_needs_for_directories_that_were_moved(debian):
    """Root makes them for it; the sandbox of the unit would refuse them regardless of their owner."""
    settings = debian.root / "etc/nixery/nixery.env"
    before = settings.read_text()
    words = ("nixery", "doctor", "--json", "--settings", "/etc/nixery/nixery.env", "--deadline", "120s")
    # It ends with status 1, as nginx serves the old tree.
    look = lambda: {finding["name"]: finding for finding in json.loads(debian(*words).stdout)["findings"]}
    debian.check("systemctl", "stop", "nixery.service")
    settings.write_text(before + "\nNIXERY_TREE=/srv/moved/tree\nNIXERY_STATE=/srv/moved/state\n")
    try:
        debian.check("mkdir", "-p", "/srv/moved/tree", "/srv/moved/state")
        seen = look()
        assert seen["user"]["seen"] == "assuming that the worker runs as nixery, as nixery.service says"
        for name in ("tree.unit", "state.unit"):
            assert "ProtectSystem=strict" in seen[name]["seen"] and "ReadWritePaths=" in seen[name]["fix"], seen[name]
            debian.check("sh", "-c", seen[name]["command"])
        debian.check("systemctl", "start", "nixery.service")
        seen = look()
        assert {seen[name]["verdict"] for name in ("unit", "tree", "state", "tree.locks", "state.locks", "worker.ready")} == {"ok"}, seen
    finally:
        settings.write_text(before)
        for name in ("tree", "state"):
            (debian.root / f"etc/systemd/system/nixery.service.d/{name}.conf").unlink(missing_ok=True)
        debian.check("systemctl", "daemon-reload")
        debian.check("systemctl", "restart", "nixery.socket", "nixery.service")


@pytest.mark.parametrize("stop, started, command", [
    ("systemctl stop nginx", "nginx.service", "systemctl restart nginx.service"),
    ("systemctl stop nixery.socket nixery.service", "nixery.socket", "systemctl restart nixery.socket nixery.service"),
    ("systemctl stop nix-daemon.socket nix-daemon.service", "nix-daemon.socket", "systemctl restart nix-daemon.socket"),
    ("gpasswd -d nixery nix-users && systemctl restart nixery.service", "nixery.service",
     "usermod -aG nix-users nixery && systemctl restart nixery.service"),
], ids=["nginx", "worker", "nix-daemon", "group"])  # fmt: skip
def test_doctors_commands_start_what_does_not_run(debian, stop, started, command):
    """Each command is run as it is printed, and afterwards the whole set-up is in order."""
    words = ("nixery", "doctor", "--json", "--settings", "/etc/nixery/nixery.env", "--deadline", "120s")
    look = lambda: json.loads(debian(*words).stdout)
    debian.check("systemctl", "start", "nixery.service")
    assert look()["healthy"]
    debian.check("sh", "-c", stop)
    try:
        report = look()
        assert not report["healthy"]
        printed = {finding["command"] for finding in report["findings"] if finding["verdict"] != "ok" and finding.get("command")}
        assert command in printed, report
        debian.check("sh", "-c", command)
        assert debian.check("systemctl", "is-active", started) == "active\n"
        debian.check("systemctl", "start", "nixery.service")
        wait_for(lambda: look()["healthy"], "the set-up to be in order", 120)
    finally:
        debian("usermod", "-aG", "nix-users", "nixery")
        debian.check("systemctl", "start", "nginx", "nix-daemon.socket", "nixery.socket", "nixery.service")


def test_an_evaluation_reads_no_files_of_the_machine(debian):
    answer = debian.check("curl", "-sSL", "-w", "%{http_code}", f"http://127.0.0.1:{debian.port}/v2/spy/manifests/latest")
    assert answer.endswith("422") and "access to absolute path" in answer, answer


def test_files_that_root_makes_by_hand_belong_to_the_worker(debian):
    """As in the README, after a rotation of nginx's log, which then belongs to the group adm."""
    settings = ("--settings", "/etc/nixery/nixery.env")
    # Also with a strict umask and from root's home directory.
    strictly = ("sh", "-c", 'umask 077; cd /root; exec nixery "$@"', "-")
    debian.check("systemctl", "start", "nixery.service")
    debian.check("chmod", "600", "/etc/nixery/nixery.env")
    debian.check("chown", "www-data:adm", "/var/log/nginx/nixery-use.log")
    debian.check("chmod", "640", "/var/log/nginx/nixery-use.log")
    debian.check("systemctl", "stop", "nixery.service", "nixery.socket")
    try:
        assert json.loads(debian.check(*strictly, "gc", *settings, "--json", "--dry-run"))["images"] == []
        assert json.loads(debian.check(*strictly, "build", *settings, "--json", "by-hand"))["layers"] >= 1
        assert "no problems found" in debian.check(*strictly, "verify", *settings)
        foreign = "find /var/lib/nixery ! -user nixery; find /var/lib/nixery/tree ! -type l ! -perm -o+r"
        assert debian.check("sh", "-c", foreign) == ""
    finally:
        debian.check("chmod", "644", "/etc/nixery/nixery.env")
        debian.check("systemctl", "start", "nixery.socket", "nixery.service")
    as_worker = ("setpriv", "--reuid=nixery", "--regid=nixery", "--init-groups", "nixery")
    assert json.loads(debian.check(*as_worker, "gc", *settings, "--json"))["images"] == []
    assert json.loads(debian.check("curl", "-sSf", f"http://127.0.0.1:{debian.port}/v2/by-hand/manifests/latest"))["layers"]


def test_a_settings_file_means_the_same_by_hand_and_to_systemd(debian):
    (debian.root / "root/said.env").write_text(
        "# of all kinds \\\nNIXERY_HOPS=1\nNIXERY_GC_KEEP=team/* \\\n  base\n NIXERY_BLOCKED = 'a* b*' \nNIXERY_BUILDER_ID=\"https://a/\\\\b\"\n"
        "NIXERY_SIGNING_IDENTITY=a\\ 'b' \"c\" # d\nexport NIXERY_HOP_SECONDS=7\n; NIXERY_THREADS=9\nno line\nNIXERY_ALLOWED_BRANCHES='x\ny' \"z\\\nw\"\n"
        'NIXERY_CHANNEL_URL="https://c/$d\\e\\"f"g\nNIXERY_GC_GRACE=\n'
    )  # fmt: skip
    (debian.root / "etc/systemd/system/said.service").write_text(
        "[Service]\nType=oneshot\nEnvironmentFile=/root/said.env\nExecStart=/usr/bin/nixery config --json\nStandardOutput=file:/root/said.json\n"
    )
    debian.check("systemctl", "daemon-reload")
    debian.check("systemctl", "start", "said.service")
    by_systemd = json.loads((debian.root / "root/said.json").read_text())
    by_hand = json.loads(debian.check("nixery", "config", "--json", "--settings", "/root/said.env"))
    assert by_hand == by_systemd
    given = {name for name, setting in by_hand.items() if setting["origin"] == "environment"}
    assert {"NIXERY_GC_KEEP", "NIXERY_BLOCKED", "NIXERY_BUILDER_ID", "NIXERY_SIGNING_IDENTITY", "NIXERY_ALLOWED_BRANCHES", "NIXERY_CHANNEL_URL"} <= given


def test_completions_and_the_manual_have_every_command_and_setting(debian):
    commands = re.findall(r"^  nixery (\S+)", debian.check("nixery", "help"), flags=re.M)
    assert {"serve", "build", "gc", "verify"} <= set(commands)
    manual = (debian.check("zcat", "/usr/share/man/man1/nixery.1.gz") if (debian.root / "usr/share/man/man1/nixery.1.gz").exists() else "").replace("\\-", "-")
    for shell in ("bash-completion/completions/nixery", "zsh/vendor-completions/_nixery", "fish/vendor_completions.d/nixery.fish"):
        text = (debian.root / "usr/share" / shell).read_text()
        for command in commands:
            assert command in text, (shell, command)
        assert "dry-run" in text
    for row in re.findall(r"^\| `(NIX\w+)`", debian.check("nixery", "config", "--markdown"), flags=re.M):
        assert f".B {row}\n" in manual, row
    completed = debian.check("bash", "-c", ". /usr/share/bash-completion/completions/nixery; COMP_WORDS=(nixery gc --d); COMP_CWORD=2; _nixery; echo ${COMPREPLY[@]}")
    assert completed == "--dry-run\n"
