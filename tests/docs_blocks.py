"""What the documentation holds: fenced blocks, commands, links, anchors. Command lines are parsed
by the real Typer apps, with functions that do nothing behind them."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer
from spacy.cli import app as spacy_app
from spacy.cli._util import parse_config_overrides
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
FENCE = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<lang>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
SHELL = ("bash", "console", "sh", "shell", "")


class Block(NamedTuple):
    """A fenced block. file: What it is to be written to, or ""."""

    lang: str
    text: str
    file: str


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf8")
    return [Block(m["lang"], m["text"], m["file"] or "") for m in FENCE.finditer(text)]


def command_lines(block: Block) -> Iterator[str]:
    """Commands of a shell block: without prompts and comments, continued lines as one."""
    if block.lang not in SHELL:
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        line = line.removeprefix("$ ").strip()
        if line and not line.startswith("#"):
            yield line


def words_of(line: str) -> list[str]:
    """A command line as a shell divides it, without settings of the environment before it."""
    words = shlex.split(line.replace("\\", "/"), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.S):
        words.pop(0)
    return words


def spacy_words(line: str) -> list[str] | None:
    """The words after `python -m spacy`, or None for other commands; `torchrun -m spacy_maral`
    takes those after `python -m spacy maral`."""
    words = words_of(line)
    if words[:1] == ["torchrun"] and "spacy_maral" in words:
        return ["maral", *words[words.index("spacy_maral") + 1 :]]
    if len(words) > 3 and Path(words[0]).name.startswith("python"):
        return words[3:] if words[1:3] == ["-m", "spacy"] else None
    return None


class Parsed(NamedTuple):
    """A command that could be parsed. overrides: Settings that no option took."""

    name: str
    values: dict[str, Any]
    overrides: dict[str, Any]


def parse(words: list[str]) -> Parsed:
    """Parse a command line of spaCy or of ours; fails with what Typer says if it cannot be."""
    found: list[Parsed] = []
    result = CliRunner().invoke(_parser(found.append), words)
    assert result.exit_code == 0 and len(found) == 1, f"{' '.join(words)}\n{result.output}"
    return found[0]


def _parser(take: Any) -> typer.Typer:
    return _without_work(spacy_app, take, "")


def _without_work(app: typer.Typer, take: Any, path: str) -> typer.Typer:
    """An app with the same commands and options, whose files need not exist."""
    bare = typer.Typer(add_completion=False)
    bare.callback()(lambda: None)
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        command = _without_effect(info.callback, f"{path}{name}", take)
        bare.command(name, context_settings=info.context_settings)(command)
    for group in app.registered_groups:
        inner = group.typer_instance
        assert inner is not None
        name = group.name if isinstance(group.name, str) else inner.info.name
        if isinstance(name, str):
            bare.add_typer(_without_work(inner, take, f"{path}{name} "), name=name)
    return bare


def _without_effect(function: Any, name: str, take: Any) -> Any:
    @functools.wraps(function)
    def command(**values: Any) -> None:
        # not every release of Typer makes its contexts of the class typer.Context
        free = [v.args for v in values.values() if hasattr(v, "allow_extra_args")]
        take(Parsed(name, values, parse_config_overrides(free[0]) if free else {}))

    signature = inspect.signature(function)
    accepted = []
    for parameter in signature.parameters.values():
        info = copy.copy(parameter.default)
        if hasattr(info, "exists"):
            info.exists = False
        accepted.append(parameter.replace(default=info))
    command.__signature__ = signature.replace(parameters=accepted)  # type: ignore[attr-defined]
    return command


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


def links(path: Path) -> list[str]:
    """Targets of links and pictures that lead to files of the repository."""
    text = without_blocks(path.read_text(encoding="utf8"))
    found = re.findall(r"\]\(([^()\s]+)\)", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """Names that GitHub gives the headings of a page."""
    names: set[str] = set()
    for line in without_blocks(path.read_text(encoding="utf8")).splitlines():
        if heading := re.match(r"#+ +(.*?) *$", line):
            slug = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            number = sum(name == slug or name.startswith(f"{slug}--") for name in names)
            names.add(slug if not number else f"{slug}-{number}")
    return names
