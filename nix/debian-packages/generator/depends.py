"""From the packages asked for to the derivations that make them: Debian's Depends without choices and cycles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from . import policy
from .archive import ArchiveError, Package

PRIORITIES = ["required", "important", "standard", "optional", "extra"]


@dataclass
class Unit:
    """What becomes one derivation: a package, or several that cannot be apart."""

    name: str
    members: list[str]
    depends: set[str] = field(default_factory=set)  # names of units


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def names_of(clause: str) -> list[str]:
    """'a (>= 1) | b:any' -> [a, b]. An archive has one version of a package, so what it demands is met."""
    return [re.split(r"[\s:(\[]", alternative.strip(), maxsplit=1)[0] for alternative in clause.split("|")]


class Resolver:
    def __init__(self, available: dict[str, Package], asked: Iterable[str]) -> None:
        self._available = available
        self._asked = set(asked)
        self._providers: dict[str, list[str]] = {}
        for package in available.values():
            for clause in filter(None, package.provides.split(",")):
                self._providers.setdefault(names_of(clause)[0], []).append(package.name)

    def depends(self, name: str) -> list[str]:
        """The packages that `name` depends on, in the order that it names them."""
        chosen = []
        for clause in filter(None, self._available[name].depends.split(",")):
            if found := self._choose(name, names_of(clause)):
                chosen.append(found)
        return list(dict.fromkeys(chosen))

    def closure(self, roots: Iterable[str]) -> dict[str, list[str]]:
        """Every package that `roots` need, with what it depends on."""
        depends: dict[str, list[str]] = {}
        waiting = list(roots)
        while waiting:
            if (name := waiting.pop()) not in depends:
                depends[name] = self.depends(name)
                waiting += depends[name]
        return depends

    def _choose(self, dependent: str, alternatives: list[str]) -> str | None:
        # One excluded alternative says that the others do the same.
        if any(matches(name, policy.EXCLUDED) for name in alternatives):
            return None
        for name in alternatives:
            if name in self._available:
                return name
            if providers := self._providers.get(name):
                return min(providers, key=self._preference)
        raise ArchiveError(f"{dependent} depends on {' | '.join(alternatives)}, which the archive does not have")

    def _preference(self, name: str) -> tuple[bool, int, str]:
        """Of those that provide a virtual package: one that was asked for, else Debian's priority, else the name."""
        priority = self._available[name].priority
        return (name not in self._asked, PRIORITIES.index(priority) if priority in PRIORITIES else 9, name)


def units(depends: dict[str, list[str]], granted: list[str]) -> dict[str, Unit]:
    """Groups packages into derivations, so that these depend on one another without cycles.

    Nix has no cycles and Debian does: libc6 and libgcc-s1 need each other. Dropping one direction would lose what the
    program needs when it runs, so the members of a cycle become one derivation, in one prefix, as Debian installs them.
    """
    together = {}
    for group in policy.TOGETHER:
        members = sorted((name for name in depends if matches(name, group)),
                         key=lambda name: (next(i for i, p in enumerate(group) if fnmatchcase(name, p)), name))
        together.update({name: members[0] for name in members})
    leader = {name: together.get(name, name) for name in depends}
    edges = contract(depends, leader)

    reachable = {name: reach(edges, name) for name in edges}
    dependents = {name: sum(name in targets for targets in edges.values()) for name in edges}
    for name in edges:
        cycle = [other for other in reachable[name] if name in reachable[other]] + [name]
        # A cycle is named after the member that most packages depend on: libc6, not libgcc-s1.
        first = min(cycle, key=lambda member: (member not in together, -dependents[member], member))
        leader.update({member: first for member, old in leader.items() if old == name})
    edges = contract(depends, leader)

    # What is taken for granted itself needs some packages, which then have to do without.
    for name in granted:
        needed = reach(edges, name) | {name}
        for other in edges.keys() - needed:
            edges[other].add(name)

    result = {name: Unit(name, [], edges[name]) for name in sorted(edges)}
    for member in sorted(depends):
        result[leader[member]].members.append(member)
    return result


def contract(depends: dict[str, list[str]], leader: dict[str, str]) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {name: set() for name in leader.values()}
    for name, targets in depends.items():
        edges[leader[name]] |= {leader[target] for target in targets} - {leader[name]}
    return edges


def reach(edges: dict[str, set[str]], start: str) -> set[str]:
    """What can be reached from `start`, without `start` unless a cycle leads back to it."""
    seen: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += edges[name]
    return seen
