"""The layers that CONTRIBUTING.md lists: every module is in one, and imports from none below."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "spacy_maral"


def layers() -> dict[str, int]:
    """The number of each module's layer, numerics first."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    rows = text.split("\n## Layers\n")[1].split("\n## ")[0].splitlines()
    cells = [row.split("|")[2] for row in rows if re.match(r"\|[^-]", row)][1:]
    return {
        name.rstrip("/"): number
        for number, cell in enumerate(cells)
        for name in re.findall(r"`(\w+/?)`", cell)
    }


def modules() -> set[str]:
    names = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    return names | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports when it is imported itself."""
    found: set[str] = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.parse(path.read_text(encoding="utf8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {x.name for x in node.names}
    return found


def test_every_module_has_a_layer() -> None:
    assert set(layers()) == modules()


def test_no_layer_imports_from_one_below() -> None:
    layer = layers()
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if not own.startswith("__"):
            wrong += [f"{own}: {x}" for x in imported(path) if layer[x] > layer[own]]
    assert not wrong
    assert "evaluation" in imported(PACKAGE / "training" / "pipelines.py")
