"""What is inside a .deb."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

PROGRAM_DIRECTORIES = {"bin", "sbin", "usr/bin", "usr/sbin", "usr/games"}

# Debian's short names (of its machine-readable copyright files) for what SPDX calls otherwise.
SPDX = {
    "agpl-3": "AGPL-3.0-only", "apache": "Apache-2.0", "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl", "artistic-2": "Artistic-2.0", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "expat": "MIT", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only",
    "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later", "lgpl-2": "LGPL-2.0-only",
    "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later",
    "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later", "libpng": "Libpng", "pd": "", "public-domain": "",
    "python": "Python-2.0", "zlib": "Zlib",
}


@dataclass(frozen=True)
class Contents:
    programs: list[str]  # names of programs that a person can call
    license: str  # what the copyright file says of most files, or ""


@contextmanager
def opened(deb: Path) -> Iterator[tarfile.TarFile]:
    """The files of `deb`, to be read once and in order."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            yield tar
        process.stdout.read()  # the padding behind the end: dpkg-deb must not find its reader gone


def extract(deb: Path, wanted: Callable[[str], str | None]) -> dict[str, bytes]:
    """The regular files that `wanted` gives a name for, by that name."""
    files = {}
    with opened(deb) as tar:
        for member in tar:
            if member.isreg() and (name := wanted(member.name.removeprefix("./"))):
                stream = tar.extractfile(member)
                assert stream is not None
                files[name] = stream.read()
    return files


def inspect(deb: Path, package: str, digest: str, cache: Path) -> Contents:
    """What `deb` holds, remembered by its digest: reading it means decompressing all of it."""
    remembered = cache / "contents" / f"{digest}.json"
    if remembered.is_file():
        return Contents(**json.loads(remembered.read_text()))
    programs, copyright_file = set(), ""
    with opened(deb) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if str(path.parent) in PROGRAM_DIRECTORIES and not member.isdir():
                programs.add(path.name)
            elif str(path) == f"usr/share/doc/{package}/copyright" and member.isreg():
                stream = tar.extractfile(member)
                assert stream is not None
                copyright_file = stream.read().decode(errors="replace")
    contents = Contents(sorted(programs), license_of(copyright_file))
    remembered.parent.mkdir(exist_ok=True)
    remembered.write_text(json.dumps(asdict(contents)))
    return contents


def license_of(copyright_file: str) -> str:
    """The licence of `Files: *` in a machine-readable copyright file, as SPDX names it where SPDX does."""
    found = re.search(r"^Files:\s*\*\s*$.*?^License:[ \t]*([^\n]+)$", copyright_file, re.MULTILINE | re.DOTALL)
    if not found:
        return ""
    terms = re.split(r"\s+(and|or)\s+", found[1].strip().replace(",", ""))
    return " ".join(term.upper() if term in ("and", "or") else SPDX.get(term.lower(), term) for term in terms)
