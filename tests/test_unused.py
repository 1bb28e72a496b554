"""What nothing uses is found: codes of messages, extras, and public names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spacy_maral.errors import Errors, Warnings

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "examples" / "README.md"]
DOCS = "\n".join(path.read_text(encoding="utf8") for path in PAGES)
ENTRIES = [name for group in PROJECT["entry-points"].values() for name in group.values()]


class Source:
    """A module's tree, and what it takes from others: modules, and names out of modules."""

    def __init__(self, name: str, text: str, *, package: bool = False) -> None:
        self.name, self.text, self.tree = name, text, ast.parse(text)
        self.taken: set[tuple[str, str]] = set()
        self.modules: set[str] = set()
        self.attributes: set[str] = set()
        here = name.split(".") if package else name.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self.modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = here[: len(here) - node.level + 1] if node.level else []
                home = ".".join([*base, *([node.module] if node.module else [])])
                self.taken |= {(home, alias.name) for alias in node.names}
                self.modules |= {f"{home}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Attribute):
                self.attributes.add(node.attr)
            elif isinstance(node, ast.Constant) and str(node.value).startswith("from spacy_maral"):
                # the code of another process
                self.taken |= Source(name, str(node.value)).taken

    def uses(self, module: str, name: str) -> bool:
        """Whether it imports a name of another module, or reads it as an attribute."""
        return (module, name) in self.taken or (module in self.modules and name in self.attributes)

    def public(self) -> Iterator[tuple[str, ast.stmt]]:
        """Functions, classes and constants at the top without a leading underscore."""
        for node in self.tree.body:
            names: list[str] = []
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                # the command line and spaCy's registries take what they decorate
                if not any(
                    isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute)
                    for d in node.decorator_list
                ):
                    names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [
                    part.id for t in targets for part in ast.walk(t) if isinstance(part, ast.Name)
                ]
            yield from ((name, node) for name in names if not name.startswith("_"))

    def uses_its_own(self, name: str, definition: ast.stmt) -> bool:
        return (self.name, name) in self.taken or any(
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == name
            for statement in self.tree.body
            if statement is not definition
            for node in ast.walk(statement)
        )


def dead_names(package: list[Source], users: list[Source], entries: list[str]) -> list[str]:
    """Public names of a package that neither its modules, nor users, nor entry points use."""
    found = []
    for source in package:
        others = [user for user in (*package, *users) if user is not source]
        found += [
            f"{source.name}:{name}"
            for name, definition in source.public()
            if f"{source.name}:{name}" not in entries
            and not source.uses_its_own(name, definition)
            and not any(user.uses(source.name, name) for user in others)
        ]
    return found


def read_folder(folder: Path) -> list[Source]:
    sources = []
    for path in sorted(folder.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        sources.append(Source(name, path.read_text(encoding="utf8"), package=package))
    return sources


PACKAGE = read_folder(ROOT / "spacy_maral")
USERS = [s for name in ("benchmarks", "tools", "examples") for s in read_folder(ROOT / name)]
PYTHON = re.findall(r"^```python\n(.*?)^```", DOCS, re.M | re.S)
USERS += [Source("docs", block) for block in PYTHON]
FACES = {s.name: s for s in PACKAGE if re.search(r"^__all__ = ", s.text, re.M)}


@pytest.mark.parametrize("kind", [Errors, Warnings])
def test_every_code_is_said_by_the_package(kind):
    codes = {name for name in vars(kind) if not name.startswith("_")}
    said = {
        node.attr
        for source in PACKAGE
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == kind.__name__
    }
    assert said == codes


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_every_extra_is_named_by_a_page_or_imported(extra):
    texts = [DOCS, *((ROOT / name).read_text("utf8") for name in ("Makefile", "CONTRIBUTING.md"))]
    named = re.search(rf"(spacy-maral|\.)\[{extra}\]", "".join(texts))
    packages = {
        re.split(r"\W", requirement.replace("-", "_"))[0]
        for requirement in PROJECT["optional-dependencies"][extra]
    }
    imported = {m.split(".")[0] for s in (*PACKAGE, *USERS) for m in s.modules}
    assert named or packages & imported


@pytest.mark.parametrize("face", [name for name in FACES if name != "spacy_maral.cli"])
def test_every_name_of_a_face_is_documented_or_used(face):
    dunder = next(
        node.value
        for node in FACES[face].tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    for name in ast.literal_eval(dunder):
        others = [s for s in (*PACKAGE, *USERS) if s.name != face]
        used = any(source.uses(face, name) for source in others)
        assert used or re.search(rf"\b{name}\b", DOCS), name


def test_no_public_name_is_dead():
    assert not dead_names(PACKAGE, USERS, ENTRIES)


def test_a_dead_name_is_found():
    text = "LIMIT = 1\ndef used(): return LIMIT\ndef dead(): return dead()\nclass Entry: pass"
    package = [Source("p.m", text), Source("p.n", "from .m import used\nx = used()")]
    users = [Source("tool", "from p import n\nn.x")]
    assert dead_names(package, users, ["p.m:Entry"]) == ["p.m:dead"]
    assert dead_names(package, [], ["p.m:Entry"]) == ["p.m:dead", "p.n:x"]
