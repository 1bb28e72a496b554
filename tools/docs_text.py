"""Docstrings, types and tables as Markdown: see build_docs.py."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spacy_maral.training.settings import Section

NOTE = "<!-- Written by tools/build_docs.py from the code. Do not edit. -->\n"
COMMAND = "python -m spacy maral"
ROW = re.compile(r"^(\*{0,2}\w+) \((.+?)\): (.*)$")


class Docstring(NamedTuple):
    """A docstring in its parts; rows are name, type and text of the parameters."""

    text: str
    rows: list[tuple[str, str, str]]
    example: str
    returns: str
    raises: str


def read_docstring(thing: Any) -> Docstring:
    """Take the docstring of a function or class apart."""
    paragraphs, rows, ends = [], [], {"RETURNS": "", "RAISES": "", "EXAMPLE": ""}
    for block in (inspect.getdoc(thing) or "").split("\n\n"):
        items: list[str] = []
        starts = re.compile(r"^(\*{0,2}\w+ \(.+?\): |RETURNS |RAISES |EXAMPLE:)")
        for line in block.splitlines():
            if starts.match(line) or not items:
                items.append(line.strip())
            else:
                items[-1] += " " + line.strip()
        if not any(ROW.match(item) or starts.match(item) for item in items):
            paragraphs.append(block.replace("\n", " "))
            continue
        for item in items:
            name = item.split(" ")[0].rstrip(":")
            if name in ends:
                ends[name] = item.removeprefix(name).lstrip(": ")
            elif found := ROW.match(item):
                rows.append(typing.cast(tuple[str, str, str], found.groups()))
            else:
                paragraphs.append(item)
    text = "\n\n".join(paragraphs)
    return Docstring(text, rows, ends["EXAMPLE"], ends["RETURNS"], ends["RAISES"])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped by whoever makes them, pipes here."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def plain(text: str) -> str:
    """Text that Markdown does not take for anything else."""
    return re.sub(r"([*<])", r"\\\1", " ".join(text.split()))


def shown(value: Any) -> str:
    """A default as it stands in a configuration."""
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return shown(value.value)
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def type_name(hint: Any) -> str:
    """A type as one reads it: choices, "text", "number", "path"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(arg) for arg in args if arg is not type(None))
    if origin is list:
        return f"list of {type_name(args[0])}"
    if origin is dict:
        return "block"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.value}`" for member in hint)
    if isinstance(hint, type) and issubclass(hint, Section):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    names = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def first_sentence(thing: Any) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0]
