"""Writes the package set: the Nix expression's fixed parts, its data and its tools."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import policy
from .archive import Architecture, Archive, ArchiveError, Package, Source, nix_version, store_name
from .deb import Contents, extract, inspect
from .depends import Resolver, Unit, matches, reach, units

# What the builder runs on, below DIR/stage0: files of amd64 packages by their name in the archive. patchelf is started
# through the loader beside it, so it needs nothing of the machine that builds.
STAGE0 = {
    "busybox-static": {"bin/busybox": "busybox"},
    "patchelf": {"usr/bin/patchelf": "patchelf"},
    "libc6": {f"lib/x86_64-linux-gnu/{name}": name for name in ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6")},
    "libgcc-s1": {"lib/x86_64-linux-gnu/libgcc_s.so.1": "libgcc_s.so.1"},
    "libstdc++6": {"usr/lib/x86_64-linux-gnu/libstdc++.so.6*": "libstdc++.so.6"},
}


@dataclass(frozen=True)
class Attribute:
    """A line of the list: under which name the set has which Debian package, and in which outputs."""

    path: str
    package: str
    outputs: tuple[str, ...]
    architectures: tuple[str, ...]


def write_stage0(archive: Archive, available: dict[str, Package], directory: Path) -> None:
    debs = archive.fetch([available[name] for name in STAGE0])
    directory.mkdir()
    for package, files in STAGE0.items():
        patterns = {pattern: name for pattern, name in files.items()}
        found = extract(debs[package], lambda path: next(
            (name for pattern, name in patterns.items() if matches(path, [pattern])), None))
        if missing := set(files.values()) - found.keys():
            raise ArchiveError(f"{package} has no {', '.join(sorted(missing))}")
        for name, data in found.items():
            (directory / name).write_bytes(data)
            (directory / name).chmod(0o755)


def describe_set(archive: Archive, available: dict[str, Package], attributes: list[Attribute],
                 fixups: Path, cache: Path) -> tuple[dict[str, Any], list[Path]]:
    """The data of one architecture's set, and the .debs that it is made of."""
    architecture = archive.architecture
    asked = {attribute.package for attribute in attributes}
    if unknown := sorted(asked - available.keys()):
        raise ArchiveError(f"the archive has no {', '.join(unknown)} for {architecture.debian}")
    granted = [name for name in policy.TAKEN_FOR_GRANTED if name in available]
    depends = Resolver(available, asked).closure([*asked, *granted])
    plan = units(depends, granted)
    unit_of = {member: unit.name for unit in plan.values() for member in unit.members}

    wanted = [available[name] for name in sorted(depends)]
    sources = archive.sources(wanted)
    debs = archive.fetch(wanted)

    outputs: dict[str, tuple[str, ...]] = {}
    names_of_unit: dict[str, list[str]] = {}
    for attribute in attributes:
        name = unit_of[attribute.package]
        outputs[name] = outputs.get(name) or attribute.outputs
        names_of_unit.setdefault(name, []).append(attribute.path.rpartition(".")[2])
    edges = {unit.name: unit.depends for unit in plan.values()}

    packages = {}
    for unit in plan.values():
        # The package that a unit is named after need not be the one that was asked for: postgresql-15 is, its
        # client, which is in the same unit, is not.
        face = unit.name if unit.name in asked else next((m for m in unit.members if m in asked), unit.name)
        contents = inspect(debs[face], face, available[face].sha256, cache) if face in asked else None
        alternatives = [f"{link}={target}".replace("{triplet}", architecture.triplet)
                        for member in unit.members for link, target in policy.ALTERNATIVES.get(member, {}).items()]
        fixup = f"{unit.name}.sh" if (fixups / f"{unit.name}.sh").is_file() else None
        scripted = any(name in policy.INTERPRETERS for name in unit.depends)
        packages[unit.name] = omit_empty({
            "pname": store_name(unit.name),
            "version": nix_version(available[unit.name].version),
            "debs": [deb(sources[member]) for member in unit.members],
            "depends": sorted(unit.depends - set(granted)) + [name for name in granted if name in unit.depends],
            # Modules need their modules' modules; programs find libraries among what they depend on directly.
            "closure": sorted(reach(edges, unit.name) - unit.depends) if scripted else [],
            "alternatives": alternatives,
            "fixup": fixup,
            "outputs": list(outputs.get(unit.name) or ["out"]),
            "meta": meta(available[face], contents, names_of_unit.get(unit.name, []), alternatives, architecture,
                         outputs.get(unit.name)),
        })
    return {
        "triplet": architecture.triplet,
        "loader": architecture.loader,
        "pageSize": architecture.page_size,
        "attributes": {attribute.path: unit_of[attribute.package] for attribute in attributes},
        "packages": packages,
    }, [debs[name] for name in sorted(depends)]


def deb(source: Source) -> dict[str, str]:
    return {"name": source.file, "url": source.url, "sha256": source.sha256}


def meta(package: Package, contents: Contents | None, names: list[str], alternatives: list[str],
         architecture: Architecture, outputs: tuple[str, ...] | None) -> dict[str, Any]:
    outputs = outputs or ("out",)
    return omit_empty({
        "description": package.description,
        "homepage": package.homepage,
        "license": contents.license if contents else "",
        "mainProgram": main_program(package.name, contents.programs, names, alternatives) if contents else "",
        "outputsToInstall": [outputs[0]] + (["man"] if "man" in outputs else []),
        "platforms": [architecture.nix],
        "priority": 5,
    })


def main_program(package: str, programs: list[str], names: list[str], alternatives: list[str]) -> str:
    """The program that is called as the package or its attribute is, or else its only one."""
    if package in policy.MAIN_PROGRAMS:
        return policy.MAIN_PROGRAMS[package]
    known = {*programs, *(link.partition("=")[0] for link in alternatives)}
    called_so = [name for name in (*names, package) if name in known]
    return called_so[0] if called_so else programs[0] if len(programs) == 1 else ""


def omit_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def register(debs: list[Path]) -> None:
    """Puts .debs into the store under the very paths that the expression's downloads have, so that none is made."""
    for start in range(0, len(debs), 200):
        batch = [str(file) for file in debs[start:start + 200]]
        result = subprocess.run(["nix-store", "--add-fixed", "sha256", *batch], capture_output=True, text=True)
        if result.returncode != 0:
            raise ArchiveError(f"nix-store --add-fixed failed:\n{result.stderr.strip()}")


def write_set(directory: Path, name: str, data: dict[str, Any]) -> None:
    (directory / "packages").mkdir(exist_ok=True)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False)
    (directory / "packages" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_fixed_parts(source: Path, directory: Path) -> None:
    for file in sorted(source.rglob("*")):
        if file.is_file():
            target = directory / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
