"""Which data format a file has, from its first lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..errors import Errors, MaralError
from .text import read_lines

SAMPLE_LINES = 500
COMMENT = re.compile(r"# +[\w.]+(?: id)?\s*=.*|# (?:newdoc|newpar)\b.*|# id [^ \t]+\s+domain=.*")
DOCUMENT_START = "-DOCSTART-"
_NO_TOKEN = re.compile(rf"{COMMENT.pattern}|{DOCUMENT_START}(?:[ \t].*)?")

_WIKIANN = re.compile(r"[a-z]{2,}(?:-[a-z]+)*:[^\t]+\t(?:O|[BI]-\S+)")
_UNER = re.compile(r"[0-9]+\t[^\t]+\t(?:O|[BI]-\S+)(?:\t[^\t]*){0,2}")
_MULTICONER = re.compile(r"[^ \t]+[ \t]_[ \t]_[ \t](?:O|[BI]-\S+)")
_CONLL = re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+){0,3}[ \t]+(?:O|[BI]-[^ \t]+)")
_BIOES = re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+)*[ \t]+(?:O|[BIESLU]-[^ \t]+)")
_PATTERNS = {
    "multiconer": _MULTICONER,
    "wikiann": _WIKIANN,
    "iob2": _UNER,
    "conll": _CONLL,
    "bioes": _BIOES,
}


def detect_format(path: str | Path) -> str:
    """Find the format that all of the first lines of a file have.

    Where several fit, the one that asks for more wins: MultiCoNER's empty middle columns and
    WikiAnn's language prefix over plain columns, IOB tags over BIOES tags.

    path (str | Path): The file.
    RETURNS (str): One of FORMATS.
    RAISES (MaralError): If there is no line to look at, if no format fits, or if two fit that would
        read different tags.
    """
    left = list(_PATTERNS)
    numbers: list[int] = []
    widths: set[int] = set()
    for line, text in islice(_token_lines(path), SAMPLE_LINES):
        fitting = [name for name in left if _PATTERNS[name].fullmatch(text)]
        if not fitting:
            raise _unknown(f"{path}:{line}", text, left if widths else [])
        left = fitting
        columns = text.split("\t")
        widths.add(len(columns))
        numbers.append(int(columns[0]) if "iob2" in left else 0)
    if not widths:
        raise MaralError(Errors.M104.format(path=path))
    # where nothing else fits, the reader says which number is wrong
    if "iob2" in left and len(left) > 1 and not _is_numbering(numbers):
        left.remove("iob2")
    if "iob2" in left and "conll" in left and (len(numbers) < 2 or widths != {3}):
        raise MaralError(Errors.M108.format(path=path, seen="iob2 or conll"))
    return left[0]


def _token_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    def holds_token(line: tuple[int, str]) -> bool:
        text = line[1]
        return bool(text) and not _NO_TOKEN.fullmatch(text)

    return filter(holds_token, read_lines(path))


def _is_numbering(numbers: list[int]) -> bool:
    """Whether word numbers run 1, 2, 3 ... from the start, again and again."""
    steps = zip([0, *numbers], numbers, strict=False)
    return all(number in (before + 1, 1) for before, number in steps)


def _unknown(place: str, text: str, seen: list[str]) -> MaralError:
    if seen:
        return MaralError(Errors.M107.format(place=place, found=text, seen=" or ".join(seen)))
    return MaralError(Errors.M106.format(place=place, found=text, known=", ".join(_PATTERNS)))


FORMATS: tuple[str, ...] = tuple(sorted(_PATTERNS))
