"""Which way imports point: each folder from those before it, at the top of a file or inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "spacy_maral"
# folders on one floor know nothing of each other
FLOORS = [
    {"errors"}, {"model"}, {"data"}, {"evaluation"}, {"training"},
    {"adaptation", "scale", "experiments"}, {"cli"},
]  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# what knows nothing of spaCy
NUMERIC = (
    "model.bessel", "model.geometry", "model.losses", "model.names", "model.name_files", "model.offsets",
    "model.span_model", "model.spans", "model.vmf", "adaptation.dawid_skene",
)  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Modules of the package that a module imports, wherever in its file."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                full = ".".join([*base, alias.name])
                found.add(full if full in MODULES else ".".join(base))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            assert not any(n and n.split(".")[0] == "spacy_maral" for n in names), (
                f"{path}: absolute"
            )
    return found


IMPORTS = {name: imports_of(name) for name in MODULES}
INNER = [name for name in MODULES if name not in ("", "__main__")]


def test_the_package_has_the_rooms_that_the_contributing_page_names():
    found = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert found == {*FLOOR, "py"}
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf8")
    assert all(f"`{room}/`" in page or f"`{room}.py`" in page for room in FLOOR)


@pytest.mark.parametrize("name", INNER)
def test_no_import_runs_upward(name):
    room = name.split(".")[0]
    for other in IMPORTS[name]:
        there = other.split(".")[0]
        assert there == room or FLOOR[there] < FLOOR[room], f"{name} imports {other}"


def test_no_import_runs_in_a_circle():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path, name])
        if name not in done:
            for other in IMPORTS[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in INNER:
        visit(name, ())


@pytest.mark.parametrize("name", [n for n, p in MODULES.items() if p.name == "__init__.py"])
def test_faces_import_nothing_when_they_are_imported(name):
    if name == "cli":
        return
    tree = ast.parse(MODULES[name].read_text(encoding="utf8"))
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("name", NUMERIC)
def test_numeric_files_know_nothing_of_spacy(name):
    waiting, seen = [name], set()
    while waiting:
        one = waiting.pop()
        seen.add(one)
        text = MODULES[one].read_text(encoding="utf8")
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"spacy", "thinc", "spacy_transformers"}
        waiting += IMPORTS[one] - seen
