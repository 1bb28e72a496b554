"""Detect the format of a file of columns by all of its lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ...errors import Errors, MaralError
from ..text import read_lines
from .columns import BLANKS, COMMENT, DOCUMENT_START

_NO_TOKEN = re.compile(
    rf"{COMMENT.pattern}|#\s*(?:text|sent_id)\s*=.*|{DOCUMENT_START}(?:[ \t].*)?"
)
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?")
_PATTERNS = {
    "multiconer": re.compile(r"[^ \t]+[ \t]_[ \t]_[ \t](?:O|[BI]-\S+)"),
    "wikiann": re.compile(r"[a-z]{2,}(?:-[a-z]+)*:[^\t]+\t(?:O|[BI]-\S+)"),
    "iob2": re.compile(r"[0-9]+\t[^\t]+\t(?:O|[BI]-\S+)(?:\t[^\t]*)*"),
    "conll": re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+){0,3}[ \t]+(?:O|[BI]-[^ \t]+)"),
    "bioes": re.compile(r"[^ \t]+(?:[ \t]+[^ \t]+)*[ \t]+(?:O|[BIESLUM]-[^ \t]+)"),
    "conllu": re.compile(r"\d+(?:[-.]\d+)?(?:\t[^\t]+){9}"),
}
_TAB = re.compile("\t")
_BIOES = re.compile(r"[ESLUM]-.+")


class Detected(NamedTuple):
    """A format, and the columns of word and tag if they are not those of the format."""

    format: str
    columns: dict[str, int] | None = None


def detect_columns(path: str | Path) -> Detected:
    """Find the format that all lines of a file have.

    Of several formats that fit, the strictest wins: MultiCoNER's empty middle columns and WikiAnn's
    language prefix over plain columns, IOB tags over BIOES tags. If the first column counts the
    words of every sentence, the word is in the second.

    path (str | Path): The file.
    RETURNS (Detected): One of the formats of columns.
    RAISES (MaralError): If there are no lines of words, if no format fits, or if two fit that read
        different words or tags.
    """
    left, counter = list(_PATTERNS), _Counter()
    for line, text in read_lines(path):
        if not text or _NO_TOKEN.fullmatch(text):
            counter.restart()
            continue
        fitting = [name for name in left if _PATTERNS[name].fullmatch(text)]
        numbered = [name for name in left if name in ("iob2", "conllu")]
        if not fitting and text.startswith("#") and numbered:
            # any other comment
            left = numbered
            continue
        if not fitting:
            found = {"place": f"{path}:{line}", "found": text}
            if counter.n_lines:
                raise MaralError(Errors.M107.format(**found, seen=" or ".join(left)))
            raise MaralError(Errors.M106.format(**found, known=", ".join(_PATTERNS)))
        left = fitting
        counter.add(text)
    if not counter.n_lines:
        raise MaralError(Errors.M104.format(path=path))
    return _choose(path, left, counter)


def detect_scheme(path: str | Path, columns: dict[str, int]) -> str:
    """Whether the tags of a given column are those of "conll" or "bioes"."""
    for _, text in read_lines(path):
        values = (_TAB if "\t" in text else BLANKS).split(text)
        tag = columns.get("tag")
        if tag is not None and -len(values) <= tag < len(values) and _BIOES.fullmatch(values[tag]):
            return "bioes"
    return "conll"


class _Counter:
    """Whether the first columns are numbers, and count the words of each sentence from 0 or 1."""

    def __init__(self) -> None:
        self.n_lines, self.n_words = 0, 0
        self.are_numbers, self.counts, self.has_ranges = True, True, False
        self.widths: set[int] = set()
        self.first: int | None = None
        self.expected: int | None = None

    def restart(self) -> None:
        self.expected = self.first

    def add(self, line: str) -> None:
        self.n_lines += 1
        if not self.are_numbers:
            return
        column, *others = (_TAB if "\t" in line else BLANKS).split(line)
        self.widths.add(1 + len(others))
        self.are_numbers = _NUMBER.fullmatch(column) is not None
        if not column.isdecimal():
            self.has_ranges = True
            return
        self.n_words += 1
        number = int(column)
        if self.first is None:
            self.first = self.expected = number
            self.counts = number in (0, 1)
        self.counts = self.counts and number == self.expected
        self.expected = number + 1


def _choose(path: str | Path, left: list[str], counter: _Counter) -> Detected:
    """Of the formats that fit all lines, the one to read."""
    if left[0] in ("multiconer", "wikiann"):
        return Detected(left[0])
    last = next((name for name in left if name in ("conll", "bioes")), None)
    counted = counter.are_numbers and counter.counts
    if "iob2" in left and counted:
        # a tag in the last column too may be that of the entities
        if last is None or (counter.widths == {3} and counter.n_words > 1):
            return Detected("iob2")
        raise MaralError(Errors.M108.format(path=path, seen=f"iob2 or {last}"))
    if last is None:
        return Detected(left[0])
    if not counter.are_numbers or min(counter.widths) < 3 or counter.n_words < 2:
        return Detected(last)
    if not counted or counter.has_ranges:
        seen = f"words that are numbers, and words after a number ({last})"
        raise MaralError(Errors.M108.format(path=path, seen=seen))
    return Detected(last, {"word": 1, "tag": -1})
