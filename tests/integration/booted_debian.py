"""A throw-away Debian 12 with systemd as its first process, in its own namespaces: for tests of installed services."""

import subprocess
from pathlib import Path

from engines import check, program, run
from registry import wait_for

MIRROR = "http://deb.debian.org/debian"

BOOT = r"""
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
cd "$root"
pivot_root . mnt
umount -l /mnt
exec chroot . env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=multi-user.target
"""


class BootedDebian:
    """Needs root; the network is the machine's own."""

    def __init__(self, directory: Path):
        self.root = directory / "root"
        self.log = directory / "boot.log"
        self.process = None
        self.group = None
        self.directory = directory
        check(program("debootstrap", "debootstrap"), "--variant=minbase", "--include=systemd,systemd-sysv,ca-certificates", "bookworm",
              str(self.root), MIRROR, timeout=900)

    def install(self, *packages: Path | str):
        """Installs packages with their dependencies; starts no service."""
        refuse = self.root / "usr/sbin/policy-rc.d"
        refuse.write_text("#!/bin/sh\nexit 101\n")
        refuse.chmod(0o755)
        words = []
        for package in packages:
            if isinstance(package, Path):
                (self.root / "root" / package.name).write_bytes(package.read_bytes())
                package = f"/root/{package.name}"
            words.append(package)
        check("chroot", str(self.root), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends",
              *words, timeout=900)
        refuse.unlink()

    def boot(self):
        # systemd needs its own control-group tree.
        mounted = next(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2")
        self.group = Path(mounted) / f"nixery-test-{self.directory.name}"
        self.group.mkdir()
        enter = f'echo $$ > "{self.group}/cgroup.procs" && exec unshare -m -p -f -u -i -C --kill-child sh -c "$1" - "$2"'
        self.process = subprocess.Popen(["sh", "-c", enter, "-", BOOT, str(self.root)], stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        wait_for(self._is_up, "systemd to be up", 180)

    def _is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        return self("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        # Until then its root is the machine's, where another systemd might respond.
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return subprocess.CompletedProcess(words, 1, "", "not there yet")
        # Without the tests' environment, whose settings would be taken for the machine's.
        return run("nsenter", "-t", children[0], "-m", "-p", "-u", "-i", "-C", "-r", "-w", "--",
                   "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", *words, timeout=300)

    def check(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}\n{self('journalctl', '--no-pager', '-n', '60').stdout}"
        return done.stdout

    def stop(self):
        if self.process:
            self.process.kill()  # and with it, the first process of the namespace and all others
            self.process.wait(timeout=60)
        if self.group:
            wait_for(self._group_is_gone, "its processes to end")

    def _group_is_gone(self):
        groups = [self.group, *(group for group in self.group.rglob("*") if group.is_dir())]
        try:
            for group in sorted(groups, reverse=True):
                group.rmdir()
            return True
        except OSError:  # a process has not ended yet
            return False
