"""The component table of src/README.md says which component may include which; the sources must agree."""

import re

from registry import ROOT

SOURCES = ROOT / "src"
KNOWN_TO_ALL = {"error", "cause", "log", "text"}


def component_of(path: str) -> str:
    """"os/file.h" belongs to os, "error.h" to error."""
    return path.partition("/")[0].partition(".")[0]


def components_in(cell: str) -> list[str]:
    return [component_of(name) for name in re.findall(r"`([^`]+)`", cell)]


def table() -> list[tuple[list[str], str]]:
    """The components of each row, and what they may include."""
    text = (SOURCES / "README.md").read_text()
    of_components = text[text.index("\n| component |"):].strip().partition("\n\n")[0]
    lines = [line for line in of_components.splitlines() if line.startswith("| `")]
    return [(components_in(cells[0]), cells[-1]) for cells in (line.strip("|").split("|") for line in lines)]


def includes() -> set[tuple[str, str, str]]:
    """(component, its file, included component)."""
    found = set()
    for file in [*SOURCES.rglob("*.cc"), *SOURCES.rglob("*.h")]:
        name = str(file.relative_to(SOURCES))
        for included in re.findall(r'#include "([^"]+)"', file.read_text()):
            found.add((component_of(name), name, component_of(included)))
    return found


def test_components_include_only_those_that_the_table_allows():
    allowed, above = {}, set()
    for components, knows in table():
        named = above if "all of the above" in knows else set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", knows))) & above
        for component in components:
            allowed[component] = {*named, *components, *(KNOWN_TO_ALL & above)}
        above.update(components)
    seen = includes()
    assert len(seen) > 300
    assert {component for includer, _, included in seen for component in (includer, included)} - {"pch"} == set(allowed)
    assert [(file, included) for component, file, included in sorted(seen) if component != "pch" and included not in allowed[component]] == []


def test_the_table_allows_no_include_that_does_not_exist():
    seen = {(component, included) for component, _, included in includes()}
    for components, knows in table():
        if "of the above" in knows or "nobody" in knows:
            continue
        for named in re.findall(r"\w+", re.sub(r"\(.*?\)", "", knows)):
            assert any((component, named) in seen for component in components), (components, named)


def test_path_names_of_the_store_are_private_to_tree():
    """Neither a source nor a header that it includes, directly or not, brings them in."""
    includes_of = {}
    for component, file, _ in includes():
        includes_of[file] = {name for name in re.findall(r'#include "([^"]+)"', (SOURCES / file).read_text())}

    def reached_from(file: str) -> set[str]:
        reached, pending = set(), {file}
        while pending:
            reached |= pending
            pending = set().union(*(includes_of.get(each, set()) for each in pending)) - reached
        return reached

    private = {"tree/layout.h", "tree/directory_walk.h"}
    assert all((SOURCES / header).exists() for header in private)
    assert [file for file in includes_of if component_of(file) != "tree" and reached_from(file) & private] == []
