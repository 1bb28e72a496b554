"""Detect the data format of a file by its first lines."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from ..errors import Errors, MaralError
from .text import read_lines

SAMPLE_LINES = 500
COMMENT = re.compile(r"# +[\w.]+(?: id)?\s*=.*|# (?:newdoc|newpar)\b.*|# id [^ \t]+\s+domain=.*")
DOCUMENT_START = "-DOCSTART-"
_NO_TOKEN = re.compile(rf"{COMMENT.pattern}|{DOCUMENT_START}(?:[ \t].*)?")

_PATTERNS = {
    "multiconer": re.compile(r"[^ \t]+[ \t]_[ \t]_[ \t](?:O|[BI]-\S+)"),
    "wikiann": re.compile(r"[a-z]{2,}(?:-[a-z]+)*:[^\t]+\t(?:O|[BI]-\S+)"),
    "iob2": re.compile(r"[0-9]+\t[^\t]+\t(?:O|[BI]-\S+)(?:\t[^\t]*){0,2}"),
    "conll": re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+){0,3}[ \t]+(?:O|[BI]-[^ \t]+)"),
    "bioes": re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+)*[ \t]+(?:O|[BIESLU]-[^ \t]+)"),
}


def detect_format(path: str | Path) -> str:
    """Find the format that all of the first lines of a file have.

    Of several formats that fit, the strictest wins: MultiCoNER's empty middle columns and WikiAnn's
    language prefix over plain columns, IOB tags over BIOES tags.

    path (str | Path): The file.
    RETURNS (str): One of FORMATS.
    RAISES (MaralError): If there are no lines of words, if no format fits, or if two fit that read
        different tags.
    """
    left = list(_PATTERNS)
    numbers: list[int] = []
    widths: set[int] = set()
    lines = ((n, text) for n, text in read_lines(path) if text and not _NO_TOKEN.fullmatch(text))
    for line, text in islice(lines, SAMPLE_LINES):
        fitting = [name for name in left if _PATTERNS[name].fullmatch(text)]
        if not fitting:
            found = {"place": f"{path}:{line}", "found": text}
            if widths:
                raise MaralError(Errors.M107.format(**found, seen=" or ".join(left)))
            raise MaralError(Errors.M106.format(**found, known=", ".join(_PATTERNS)))
        left = fitting
        columns = text.split("\t")
        widths.add(len(columns))
        numbers.append(int(columns[0]) if "iob2" in left else 0)
    if not widths:
        raise MaralError(Errors.M104.format(path=path))
    # if no other format fits, the reader will report the wrong number
    steps = zip([0, *numbers], numbers, strict=False)
    counts_words = all(number in (before + 1, 1) for before, number in steps)
    if "iob2" in left and len(left) > 1 and not counts_words:
        left.remove("iob2")
    if "iob2" in left and "conll" in left and (len(numbers) < 2 or widths != {3}):
        raise MaralError(Errors.M108.format(path=path, seen="iob2 or conll"))
    return left[0]


FORMATS: tuple[str, ...] = tuple(sorted(_PATTERNS))
