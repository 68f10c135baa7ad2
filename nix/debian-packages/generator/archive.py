"""Debian's archive, read and fetched through apt with an apt state of our own."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


class ArchiveError(Exception):
    """The archive does not have, or does not deliver, what was asked of it."""


@dataclass(frozen=True)
class Package:
    """One stanza of a Packages index: as much of it as a set needs."""

    name: str
    version: str
    depends: str
    provides: str
    priority: str
    description: str
    homepage: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where a .deb comes from (an address, or a path within the set), and its name in the Nix store."""

    file: str
    url: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LocalDeb:
    """A package that was given as a file, and that the archive need not have."""

    package: Package
    source: Source
    file: Path


# How Debian calls an architecture, how Nix calls it, and what its programs need to be started.
@dataclass(frozen=True)
class Architecture:
    debian: str
    nix: str
    triplet: str
    loader: str
    page_size: int  # the largest its kernels use: segments that patchelf adds are aligned to it


ARCHITECTURES = {
    "amd64": Architecture("amd64", "x86_64-linux", "x86_64-linux-gnu", "ld-linux-x86-64.so.2", 4096),
    "arm64": Architecture("arm64", "aarch64-linux", "aarch64-linux-gnu", "ld-linux-aarch64.so.1", 65536),
}


def store_name(text: str) -> str:
    """`text` with what Nix does not allow in the name of a store path replaced."""
    return re.sub(r"[^A-Za-z0-9+._?=-]", "-", text)


def nix_version(version: str) -> str:
    """Debian's version without its epoch (which orders versions, and is no part of what a person calls one)."""
    return store_name(version.partition(":")[2] or version)


class Archive:
    """The archive as one architecture sees it.

    The machine's sources and proxies apply; its dpkg state, pins and other architectures do not, so the result
    depends on nothing but what the archive holds.
    """

    def __init__(self, cache: Path, architecture: Architecture) -> None:
        self.architecture = architecture
        self._debs = cache / "debs"
        self._local: dict[str, LocalDeb] = {}
        state = cache / "apt" / architecture.debian
        for directory in (self._debs, state / "state/lists/partial", state / "cache/archives/partial"):
            directory.mkdir(parents=True, exist_ok=True)
        (state / "state/status").touch()
        settings = {
            "APT::Architecture": architecture.debian,
            "APT::Architectures": architecture.debian,
            "APT::Sandbox::User": "root",  # apt's own user may not write in our cache
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::State": str(state / "state"),
            "Dir::State::status": str(state / "state/status"),
            "Dir::Cache": str(state / "cache"),
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
        }
        self._options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def update(self) -> None:
        self._apt("apt-get", "update", "-qq", "--error-on=any")

    def add(self, file: Path) -> str | None:
        """Takes the .deb `file` before what the archive has under its name, which is the answer; None if it is for
        another architecture."""
        fields = fields_of(run(["dpkg-deb", "--field", str(file)]))
        if fields["Architecture"] not in (self.architecture.debian, "all"):
            return None
        package = package_of({**fields, "SHA256": digest_of(file)})
        name = store_name(f"{package.name}_{nix_version(package.version)}_{fields['Architecture']}.deb")
        self._local[package.name] = LocalDeb(package, Source(name, f"debs/{name}", file.stat().st_size, package.sha256), file)
        return package.name

    def packages(self) -> dict[str, Package]:
        """Every package that can be had, in the one version that apt prefers."""
        packages = {}
        for stanza in self._apt("apt-cache", "dumpavail").split("\n\n"):
            fields = fields_of(stanza)
            if "Filename" in fields and "SHA256" in fields:
                packages[fields["Package"]] = package_of(fields)
        if not packages:
            raise ArchiveError(f"apt knows no packages for {self.architecture.debian}: run without --no-update")
        return packages | {name: local.package for name, local in self._local.items()}

    def local_debs(self) -> dict[str, Path]:
        """The .debs that were added, by where in a set they are to be."""
        return {local.source.url: local.file for local in self._local.values()}

    def sources(self, packages: list[Package]) -> dict[str, Source]:
        """Where the .debs of `packages` come from."""
        wanted = [f"{package.name}={package.version}" for package in packages if package.name not in self._local]
        sources = {package.name: self._local[package.name].source for package in packages if package.name in self._local}
        for line in self._apt("apt-get", "download", "--print-uris", *wanted).splitlines():
            url, file, size, digest = shlex.split(line)
            name = file.partition("_")[0]
            algorithm, _, value = digest.partition(":")
            if algorithm != "SHA256":
                raise ArchiveError(f"apt names no sha256 for {file}")
            # apt writes the ':' of an epoch as %3a in file names; Nix allows neither.
            version = file.removesuffix(".deb").split("_")[1].rpartition("%3a")[2]
            sources[name] = Source(
                file=store_name(f"{name}_{version}_{file.removesuffix('.deb').rpartition('_')[2]}.deb"),
                url=url,
                size=int(size),
                sha256=value,
            )
        if missing := [package.name for package in packages if package.name not in sources]:
            raise ArchiveError(f"apt names no address for {', '.join(missing)}")
        return sources

    def fetch(self, packages: list[Package]) -> dict[str, Path]:
        """The .debs of `packages`, fetched unless the cache has them, each with the digest that the index promises."""
        sources = self.sources(packages)
        missing = [package for package in packages
                   if package.name not in self._local and not self._is_cached(sources[package.name])]
        if missing:
            incoming = self._debs / "incoming"
            incoming.mkdir(exist_ok=True)
            for left in incoming.iterdir():
                left.unlink()
            wanted = [f"{package.name}={package.version}" for package in missing]
            self._apt("apt-get", "download", "-qq", *wanted, directory=incoming)
            arrived = {file.name.partition("_")[0]: file for file in incoming.iterdir()}
            for package in missing:
                source = sources[package.name]
                if package.name not in arrived or digest_of(arrived[package.name]) != source.sha256:
                    raise ArchiveError(f"{source.url} did not arrive, or has another digest than the index says")
                arrived[package.name].rename(self._cached(source))
        for name, local in self._local.items():
            if name in sources and not self._is_cached(local.source):
                shutil.copyfile(local.file, self._cached(local.source))  # it goes into the store under its name here
        return {name: self._cached(source) for name, source in sources.items()}

    def _cached(self, source: Source) -> Path:
        return self._debs / source.file

    def _is_cached(self, source: Source) -> bool:
        file = self._cached(source)
        return file.is_file() and file.stat().st_size == source.size and digest_of(file) == source.sha256

    def _apt(self, program: str, *arguments: str, directory: Path | None = None) -> str:
        hint = " (--no-update uses the archive's index of the last run)" if arguments[0] == "update" else ""
        return run([program, *self._options, *arguments], directory, f"{program} {arguments[0]} failed{hint}")


def run(command: list[str], directory: Path | None = None, failed: str = "") -> str:
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if result.returncode != 0:
        raise ArchiveError(f"{failed or ' '.join(command) + ' failed'}:\n{result.stderr.strip()}")
    return result.stdout


def fields_of(stanza: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))


def package_of(fields: dict[str, str]) -> Package:
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends")))),
        provides=fields.get("Provides", ""),
        priority=fields.get("Priority", "optional"),
        description=fields.get("Description", ""),
        homepage=fields.get("Homepage", ""),
        sha256=fields["SHA256"],
    )


def digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
