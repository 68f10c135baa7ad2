"""The Debian package in detail: shells, man and apt, and whether its sandbox hinders a worker.

Without process 1, so that a worker can be traced from its first call; test_package.py uses all of systemd."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from conftest import temporary_directory
from engines import check, program, run
from newer_debian import KEYRING, archive
from registry import ROOT, Registry, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a Debian of its own to install into")

# The worker's score of `systemd-analyze security`, in tenths; it must not get worse unnoticed.
EXPOSURE = 11

# A package that needs only a shell to build.
PACKAGE_SET = """{ system, ... }: {
  hello = derivation {
    name = "hello-1.0"; inherit system; builder = "/bin/sh";
    args = [ "-c" "PATH=/usr/bin:/bin; mkdir -p $out/bin; echo 'echo Hello from the package' > $out/bin/hello; chmod +x $out/bin/hello" ];
  };
}
"""


@pytest.fixture(scope="module")
def files(package):
    """The package's unpacked files."""
    with temporary_directory() as directory:
        check("dpkg-deb", "-x", str(package), str(directory))
        yield directory


def listens(name: Path) -> bool:
    """Whether a process listens at the socket. Does not connect, because the first connection would start the service."""
    return any(line.split()[3] == "00010000" and line.endswith(f" {name}") for line in Path("/proc/net/unix").read_text().splitlines())


class Debian:
    """A small Debian with the package. It has no process 1, so the test reads the units and applies them itself."""

    def __init__(self, directory: Path, package: Path):
        self.root = directory / "root"
        self.processes = []
        suite = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), flags=re.M).group(1)
        # Like a user: apt installs dependencies and recommendations.
        check(
            program("mmdebstrap", "mmdebstrap"), "--mode=root", "--variant=minbase", f"--customize-hook=copy-in {package} /root",
            f"--chrooted-customize-hook=apt-get install -y -o APT::Install-Recommends=true /root/{package.name}",
            suite, str(self.root), f"deb [signed-by={KEYRING}] {archive()} {suite} main", timeout=1800,
        )  # fmt: skip
        directory.chmod(0o755)

    def words(self, *words: str, proc: str = "rw") -> list[str]:
        """A command prefix for programs in that Debian, with mounts that end with the process. The prefix executes the program, so the process id is known."""
        script = f'mount -t proc -o {proc} proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, str(self.root), *words]

    def check(self, *words: str, **kwargs) -> str:
        return check(*self.words(*words, **kwargs))

    def start(self, words: list[str], env: dict[str, str] = {}) -> subprocess.Popen:
        log = self.root.parent / f"log-{len(self.processes)}"
        process = subprocess.Popen(
            words, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env}, stdin=subprocess.DEVNULL, stdout=open(log, "wb"),
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        process.log = log
        self.processes.append(process)
        return process

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def unit(self, name: str) -> dict[str, list[str]]:
        """A unit's settings; repeated ones are lists of several values."""
        settings = {}
        for line in (self.root / "lib/systemd/system" / name).read_text().splitlines():
            key, found, value = line.partition("=")
            if found and not line.startswith("#"):
                settings.setdefault(key, []).append(value)
        return settings

    def proc_of_worker(self) -> str:
        """The options of its /proc."""
        unit = self.unit("nixery.service")
        hidden = "hidepid=invisible" if unit.get("ProtectProc") == ["invisible"] else "rw"
        return hidden + (",subset=pid" if unit.get("ProcSubset") == ["pid"] else "")

    def id_of(self, database: str, name: str) -> int:
        for line in (self.root / "etc" / database).read_text().splitlines():
            if line.split(":")[0] == name:
                return int(line.split(":")[2])
        raise AssertionError(f"{name} is not in {database}")


@pytest.fixture(scope="module")
def debian(package):
    with temporary_directory() as directory:
        debian = Debian(directory, package)
        try:
            yield debian
        finally:
            debian.stop()


class Installed(Registry):
    """The registry in that Debian: its own site, unit, user and socket. Clients run outside."""

    def __init__(self, debian: Debian):
        super().__init__(debian.root.parent, {})
        self.debian = debian
        self.worker_trace = debian.root.parent / "trace"
        self.socket = debian.root / "run/nixery/nixery.sock"

    def configure(self):
        service = self.debian.unit("nixery.service")
        (place,) = service["EnvironmentFile"]
        (self.debian.root / "srv/set").mkdir()
        (self.debian.root / "srv/set/default.nix").write_text(PACKAGE_SET)
        settings = self.debian.root / place.lstrip("-/")
        assert "#NIXERY_PKGS_PATH=" in settings.read_text()
        settings.write_text(settings.read_text() + "\nNIXERY_PKGS_PATH=/srv/set\n")

        nginx = self.debian.root / "etc/nginx"
        site = (nginx / "sites-available/nixery").read_text()
        assert "listen 127.0.0.1:8080;" in site
        (nginx / "sites-available/nixery").write_text(site.replace("127.0.0.1:8080", self.host))
        (nginx / "sites-enabled/default").unlink()
        (nginx / "sites-enabled/nixery").symlink_to("../sites-available/nixery")

    def start_nix_daemon(self):
        self.debian.check("systemd-tmpfiles", "--create", "--prefix=/nix")
        # A nested machine may not support namespaces for builds.
        settings = {"NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters ="}
        daemon = self.debian.start(self.debian.words("nix-daemon"), settings)
        place = self.debian.root / "nix/var/nix/daemon-socket/socket"

        def is_there():
            assert daemon.poll() is None, daemon.log.read_text()
            with socket.socket(socket.AF_UNIX) as connection:
                return connection.connect_ex(str(place)) == 0

        wait_for(is_there, "nix-daemon to listen")

    def start_nginx(self):
        self.debian.check("nginx", "-t")
        self.nginx = self.debian.start(self.debian.words("nginx", "-g", "daemon off;"))
        wait_for(self.answers, "nginx to answer")

    def answers(self):
        assert self.nginx.poll() is None, self.nginx.log.read_text()
        try:
            return self.get("/v2/").status == 200
        except OSError:
            return False

    def start_worker(self):
        """Applies the two units like systemd, as far as a single process allows."""
        service, listen = self.debian.unit("nixery.service"), self.debian.unit("nixery.socket")
        env = dict(word.split("=", 1) for line in service["Environment"] for word in line.split())
        for line in (self.debian.root / service["EnvironmentFile"][0].lstrip("-/")).read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                env[name] = value
        (user,), (group,) = service["User"], service["Group"]
        self.debian.check("systemd-tmpfiles", "--create", "--prefix=/run/nixery", "--prefix=/var/lib/nixery")
        as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        traced = [program("strace", "strace"), "-f", "-D", "-qq", "-e", "signal=none", "-o", str(self.worker_trace)]
        listening = [program("systemd-socket-activate", "systemd"), "-l", str(self.socket), *(f"-E{name}" for name in env)]
        worker = self.debian.words(*as_user, *service["ExecStart"][0].split(), proc=self.debian.proc_of_worker())
        self.worker = self.debian.start([*listening, *traced, *worker], env)
        wait_for(lambda: listens(self.socket), "the socket")
        owner = self.debian.id_of("passwd", listen["SocketUser"][0]), self.debian.id_of("group", listen["SocketGroup"][0])
        os.chown(self.socket, *owner)
        self.socket.chmod(int(listen["SocketMode"][0], 8))


@pytest.fixture(scope="module")
def installed(debian):
    installed = Installed(debian)
    installed.configure()
    installed.start_nix_daemon()
    installed.start_nginx()
    installed.start_worker()
    return installed


def layer_files(registry: Registry, manifest: dict) -> dict[str, bytes]:
    found = {}
    for layer in manifest["layers"]:
        blob = registry.get(f"/v2/hello/blobs/{layer['digest']}")
        assert blob.status == 200
        with tarfile.open(fileobj=io.BytesIO(blob.body)) as tar:
            found |= {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    return found


# The package's contents


def test_every_nginx_snippet_is_installed_with_the_path_of_the_page(files):
    places = files / "usr/share/nixery/nginx"
    assert {path.name for path in places.glob("*.conf")} == {path.name for path in (ROOT / "nginx").glob("*.conf")}
    (page,) = re.findall(r"^map \S+ \$nixery_web \{ default (\S+); \}", (places / "nixery-http.conf").read_text(), flags=re.M)
    assert (files / page.lstrip("/") / "index.html").is_file(), page


def test_it_depends_on_the_workers_programs_and_recommends_nginx(package):
    depends, recommends = (check("dpkg-deb", "-f", str(package), field) for field in ("Depends", "Recommends"))
    for name in ("nix-bin", "git", "ca-certificates", "libfcgi0ldbl", "libarchive13", "libcurl4"):
        assert re.search(rf"\b{name}\b", depends), name
    assert "nginx" in recommends


def test_the_operators_changes_are_not_overwritten(package, directory):
    check("dpkg-deb", "-e", str(package), str(directory))
    conffiles = (directory / "conffiles").read_text().split()
    assert "/etc/nginx/sites-available/nixery" in conffiles
    assert any(name.startswith("/etc/nixery/") for name in conffiles)


def test_systemd_accepts_the_units_and_their_sandbox_stays_strict(files):
    units = [str(files / f"lib/systemd/system/nixery.{kind}") for kind in ("service", "socket")]
    # The only complaint is about the program's path, which the package will install.
    result = run(program("systemd-analyze", "systemd"), "verify", "--man=no", *units)
    problems = [line for line in result.stderr.splitlines() if "nixery" in line and "is not executable" not in line]
    assert problems == []
    result = run(program("systemd-analyze", "systemd"), "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", units[0])
    assert result.returncode == 0, result.stdout


def test_the_manual_has_every_command_option_and_setting(files):
    page = files / "usr/share/man/man1/nixery.1.gz"
    shown = run(program("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", str(page), env={"MANWIDTH": "200", "LC_ALL": "C.UTF-8"})
    assert shown.returncode == 0 and shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout)
    env = {"NIXERY_RESOLVE_NIX": str(ROOT / "nix/resolve.nix")}
    nixery = str(files / "usr/bin/nixery")
    for name in commands(nixery):
        assert f"nixery {name}" in text or name == "help", name
        for option in options(nixery, name):
            assert option in text, (name, option)
    for name, setting in json.loads(check(nixery, "config", "--json", env=env)).items():
        assert name in text and setting["description"][1:40].rstrip() in re.sub(r"\s+", " ", text), name


def commands(nixery: str) -> list[str]:
    found = re.findall(r"^  nixery (\S+)", check(nixery, "help"), flags=re.M)
    assert {"serve", "build", "config", "help"} <= set(found)
    return found


def options(nixery: str, command: str) -> set[str]:
    return set() if command == "help" else set(re.findall(r"--[a-z-]+", check(nixery, "help", command).split("\n\n")[0]))


def test_shells_complete_every_command_and_option(files):
    nixery = str(files / "usr/bin/nixery")
    bash, fish = files / "usr/share/bash-completion/completions/nixery", files / "usr/share/fish/vendor_completions.d/nixery.fish"

    def by_bash(*words: str) -> set[str]:
        script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nixery; printf "%s\\n" "${COMPREPLY[@]}"'
        return set(check("bash", "-c", script, str(bash), *words).split())

    def by_fish(line: str) -> set[str]:
        result = check(program("fish", "fish"), "--no-config", "-c", f"source {fish}; complete -C '{line}'")
        return {line.split("\t")[0] for line in result.splitlines()}

    assert options(nixery, "build") == {"--json", "--settings", "--oci", "--docker-archive"}
    zsh = files / "usr/share/zsh/vendor-completions/_nixery"
    check(program("zsh", "zsh"), "-n", str(zsh))
    assert zsh.read_text().startswith("#compdef nixery\n")
    for name in commands(nixery):
        assert name in by_bash("nixery", "") and name in by_fish("nixery "), name
        assert f"'{name}:" in zsh.read_text()
        of_command = options(nixery, name)
        assert of_command <= by_bash("nixery", name, "--"), name
        assert of_command <= by_fish(f"nixery {name} --"), name
        of_zsh = re.search(rf"^ *{name}\)\n(.*?) ;;", zsh.read_text(), flags=re.M | re.S)
        assert not of_command or of_command <= set(re.findall(r"'\*?(--[a-z-]+)\[", of_zsh.group(1))), name


# The package at work


def test_the_installation_makes_the_user_and_the_directories(debian):
    user, group = debian.id_of("passwd", "nixery"), debian.id_of("group", "nixery")
    (home,) = [line.split(":")[5] for line in (debian.root / "etc/passwd").read_text().splitlines() if line.startswith("nixery:")]
    assert home == "/var/lib/nixery"
    debian.check("systemd-tmpfiles", "--create", "--prefix=/var/lib/nixery")
    for name, mode in (("tree", 0o755), ("state", 0o700)):
        found = (debian.root / "var/lib/nixery" / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (user, group, mode), name
    for unit in ("sockets.target.wants/nixery.socket", "multi-user.target.wants/nixery.service"):
        assert (debian.root / "etc/systemd/system" / unit).is_symlink(), unit


def test_an_image_is_pulled_from_the_installed_registry(installed):
    pulled = installed.manifest("hello")
    assert pulled.status == 200, (pulled.body, installed.worker.log.read_text())
    (script,) = [text for name, text in layer_files(installed, pulled.json).items() if name.endswith("-hello-1.0/bin/hello")]
    assert script == b"echo Hello from the package\n"

    status = Path(f"/proc/{installed.worker.pid}/status").read_text()
    user = installed.debian.id_of("passwd", "nixery")
    assert re.search(r"^Uid:\s+(.*)", status, flags=re.M).group(1).split() == [str(user)] * 4
    assert int(re.search(r"^CapBnd:\s+(\w+)", status, flags=re.M).group(1), 16) == 0
    assert str(installed.debian.id_of("group", "nix-users")) in re.search(r"^Groups:\s*(.*)", status, flags=re.M).group(1).split()


def test_nginx_can_read_the_tree_and_nobody_else_the_state(installed):
    assert installed.manifest("hello").status == 200
    as_nginx = ["setpriv", "--reuid=www-data", "--regid=www-data", "--init-groups"]
    installed.debian.check(*as_nginx, "test", "-r", "/var/lib/nixery/tree/tags/hello/_tags/latest/manifest.oci-manifest")
    installed.debian.check(*as_nginx, "test", "!", "-r", "/var/lib/nixery/state")
    installed.debian.check(*as_nginx, "test", "-w", "/run/nixery/nixery.sock")
    installed.debian.check("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "test", "!", "-w", "/run/nixery/nixery.sock")


def test_the_worker_and_its_children_call_nothing_that_the_sandbox_denies(installed):
    assert installed.manifest("hello").status == 200
    used, children = {}, set()
    begun = False
    for line in installed.worker_trace.read_text(errors="replace").splitlines():
        begun = begun or 'execve("/usr/bin/nixery"' in line
        call = re.match(r"\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", line)  # the last line may be incomplete
        if begun and call and not re.match(r"\d+ +[+-]", line):
            used.setdefault(call.group(1), line)
            if run_program := re.match(r'\d+ +execve\("([^"]*)"', line):
                children.add(os.path.basename(run_program.group(1)))
    assert {"nixery", "nix-instantiate", "nix-store"} <= children
    denied = set(used) - allowed_calls(installed.debian.unit("nixery.service"))
    assert not denied, [used[name] for name in denied]

    trace = installed.worker_trace.read_text(errors="replace").split('execve("/usr/bin/nixery"', 1)[1]
    for forbidden, why in (
        (r"mmap\(.*PROT_WRITE\|PROT_EXEC", "MemoryDenyWriteExecute"), (r"mprotect\(.*PROT_WRITE\|PROT_EXEC", "MemoryDenyWriteExecute"),
        (r"(?:clone3?|unshare)\(.*CLONE_NEW", "RestrictNamespaces"), (r"personality\((?!0xffffffff)", "LockPersonality"),
        (r"socket\(AF_(?!UNIX|INET6?\b|NETLINK)", "RestrictAddressFamilies"),
    ):  # fmt: skip
        found = re.search(f".*{forbidden}.*", trace)
        assert not found, (why, found.group())


def allowed_calls(unit: dict[str, list[str]]) -> set[str]:
    """Like systemd reads SystemCallFilter=: the first line allows, ~ removes, a later line adds."""
    groups, name = {}, ""
    for line in check(program("systemd-analyze", "systemd"), "syscall-filter").splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            groups[name] = set()
        elif line.startswith(" ") and not word.startswith("#") and word:
            groups[name].add(word)

    def expand(word: str) -> set[str]:
        return set().union(*(expand(part) for part in groups[word])) if word.startswith("@") else {word}

    allowed = set(expand("@default"))
    for line in unit["SystemCallFilter"]:
        named = set().union(*(expand(word) for word in line.lstrip("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    # System calls with different names in strace and systemd.
    return allowed | ({"fstatat64", "newfstatat", "pread64", "pwrite64"} if "read" in allowed else set())


def test_nix_prints_no_warnings_in_the_sandbox(installed):
    """A child's standard error ends up in build logs and responses."""
    as_worker = ["setpriv", "--reuid=nixery", "--regid=nixery", "--init-groups", "--no-new-privs", "env", "HOME=/var/lib/nixery", "NIX_REMOTE=daemon"]
    words = installed.debian.words(*as_worker, "nix-instantiate", "--eval", "--expr", "1 + 1", proc=installed.debian.proc_of_worker())
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_built_images_are_served_without_the_worker(installed):
    """The last test that needs the worker."""
    assert installed.manifest("hello").status == 200
    installed.worker.terminate()
    assert installed.worker.wait(timeout=60) == 0
    assert installed.manifest("hello").status == 200
    missing = installed.manifest("absent")
    assert (missing.status, missing.headers["Retry-After"] is not None) == (503, True)


def test_removing_the_package_keeps_built_images(installed):
    root = installed.debian.root
    enabled = root / "etc/nginx/sites-enabled"
    (enabled / "registry").symlink_to("/etc/nginx/sites-available/nixery")
    (enabled / "default").symlink_to("../sites-available/default")
    for how in ("--remove", "--purge"):
        installed.debian.check("dpkg", how, "nixery")
        # nginx would not start with a site that includes removed files. The other sites are not the package's.
        assert [link.name for link in enabled.iterdir()] == ["default"]
        installed.debian.check("nginx", "-t")
    assert not (root / "usr/bin/nixery").exists() and not (root / "etc/nginx/sites-available/nixery").exists()
    assert (root / "var/lib/nixery/tree/tags/hello/_tags/latest").is_symlink()
