"""src/README.md says which room knows which: what the sources include is held against it."""

import re

from registry import ROOT

SOURCES = ROOT / "src"
KNOWN_TO_ALL = {"error", "cause", "log", "text"}


def room_of(path: str) -> str:
    """"os/file.h" is of os, "error.h" of error."""
    return path.partition("/")[0].partition(".")[0]


def rooms_in(cell: str) -> list[str]:
    return [room_of(name) for name in re.findall(r"`([^`]+)`", cell)]


def table() -> list[tuple[list[str], str]]:
    """The rooms of each row, and what they know."""
    lines = [line for line in (SOURCES / "README.md").read_text().splitlines() if line.startswith("| `")]
    return [(rooms_in(cells[0]), cells[-1]) for cells in (line.strip("|").split("|") for line in lines)]


def includes() -> set[tuple[str, str, str]]:
    """Who includes what: (room, file, room)."""
    found = set()
    for file in [*SOURCES.rglob("*.cc"), *SOURCES.rglob("*.h")]:
        name = str(file.relative_to(SOURCES))
        for included in re.findall(r'#include "([^"]+)"', file.read_text()):
            found.add((room_of(name), name, room_of(included)))
    return found


def test_rooms_know_only_those_above_them_that_the_table_names():
    allowed, above = {}, set()
    for rooms, knows in table():
        named = above if "all of the above" in knows else set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", knows))) & above
        for room in rooms:
            allowed[room] = {*named, *rooms, *(KNOWN_TO_ALL & above)}
        above.update(rooms)
    seen = includes()
    assert len(seen) > 300
    assert {room for includer, _, included in seen for room in (includer, included)} - {"pch"} == set(allowed)
    assert [(file, included) for room, file, included in sorted(seen) if room != "pch" and included not in allowed[room]] == []


def test_rooms_are_not_said_to_know_more_than_they_do():
    seen = {(room, included) for room, _, included in includes()}
    for rooms, knows in table():
        if "of the above" in knows or "nobody" in knows:
            continue
        for named in re.findall(r"\w+", re.sub(r"\(.*?\)", "", knows)):
            assert any((room, named) in seen for room in rooms), (rooms, named)
