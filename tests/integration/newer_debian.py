"""Programs that Debian 12 lacks, from a later suite of the same archive; unpacked for the tests, not installed."""

import re
import subprocess
from pathlib import Path

from shared import locked, made_once


def archive() -> str:
    """The Debian mirror of this machine."""
    printed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True)
    found = [uri for uri in printed.stdout.splitlines() if re.search(r"/debian/?$", uri)]
    assert found, f"apt knows no archive of Debian's: {printed.stdout!r}"
    return found[0]


def _options(directory: Path) -> list[str]:
    return [
        "-o", f"Dir::Etc::sourcelist={directory}/sources.list", "-o", f"Dir::Etc::sourceparts={directory}/etc",
        "-o", f"Dir::Etc::preferencesparts={directory}/etc", "-o", f"Dir::State::lists={directory}/lists",
        "-o", f"Dir::State::status={directory}/status", "-o", f"Dir::Cache={directory}", "-o", "APT::Sandbox::User=root",
        "-o", "Acquire::Check-Valid-Until=false",  # a mirror may be behind
    ]  # fmt: skip


def fetch_index(suite: str, directory: Path):
    """With its own apt state, which checks the archive's keys."""
    for part in ("lists/partial", "archives/partial", "etc", "root"):
        (directory / part).mkdir(parents=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive()} {suite} main\n")
    subprocess.run(["apt-get", *_options(directory), "-q", "update"], check=True, capture_output=True)


def unpack(suite: str, *packages: str) -> Path:
    """The files of `packages` from that suite, and of their dependencies that this machine lacks."""
    directory = made_once(suite, lambda directory: fetch_index(suite, directory))
    with locked(suite):
        missing = [package for package in packages if not list(directory.glob(f"{package}_*.deb"))]
        if missing:
            subprocess.run(["apt-get", *_options(directory), "-q", "download", *missing], check=True, capture_output=True, cwd=directory)
        for package in missing:
            (deb,) = directory.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, directory / "root"], check=True)
    return directory / "root"


KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
