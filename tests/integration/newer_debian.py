"""Programs that Debian 12 has not, out of a later suite of the same archive, unpacked for the tests and not installed."""

import re
import subprocess
from pathlib import Path


def archive() -> str:
    """Where this machine takes Debian's packages from."""
    printed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True)
    found = [uri for uri in printed.stdout.splitlines() if re.search(r"/debian/?$", uri)]
    assert found, f"apt knows no archive of Debian's: {printed.stdout!r}"
    return found[0]


def unpack(suite: str, package: str, directory: Path) -> Path:
    """Downloads `package` with an apt of its own, checked against the archive's keys. Where its files are."""
    for part in ("lists/partial", "archives/partial", "etc"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive()} {suite} main\n")
    options = [
        "-o", f"Dir::Etc::sourcelist={directory}/sources.list", "-o", f"Dir::Etc::sourceparts={directory}/etc",
        "-o", f"Dir::Etc::preferencesparts={directory}/etc", "-o", f"Dir::State::lists={directory}/lists",
        "-o", f"Dir::State::status={directory}/status", "-o", f"Dir::Cache={directory}", "-o", "APT::Sandbox::User=root",
        "-o", "Acquire::Check-Valid-Until=false",  # a mirror may be behind
    ]  # fmt: skip
    subprocess.run(["apt-get", *options, "-q", "update"], check=True, capture_output=True)
    subprocess.run(["apt-get", *options, "-q", "download", package], check=True, capture_output=True, cwd=directory)
    (deb,) = directory.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, directory / "root"], check=True)
    return directory / "root"


KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
