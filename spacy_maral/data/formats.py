"""Readers for labelled sentences: CoNLL-2002/2003, WikiAnn, MultiCoNER, Universal NER and BIOES."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import Errors, MaralError, Warnings
from .detection import COMMENT, DOCUMENT_START, FORMATS, detect_format
from .labels import OUTSIDE_TAG, LabelMap, load_label_map
from .tags import Entity, decode_bioes, decode_iob
from .text import check_file, read_lines

REPAIR_IOB1 = "I- read as B- (IOB1)"
REPAIR_NFC = "word brought to Unicode NFC"
REPAIR_TEXT = "# text that its words do not follow, left out"

_MULTICONER_HEADER = re.compile(r"# id ([^ \t]+)(?:\s+domain=(\S+))?")
_FIELD = re.compile(r"# *([\w.]+) *= *(.*)")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*|simple")
_BLANKS = re.compile(r"[ \t]+")


@dataclass
class Sentence:
    """A sentence and its entities.

    words (list[str]): The words, in Unicode NFC.
    entities (list[Entity]): First word, last word (inclusive) and label of each, in text order.
    spaces (list[bool] | None): Whether a space follows each word, where the file tells.
    lang (str): The language that the file names, or "".
    sent_id (str): The name that the file gives the sentence, or "".
    line (int): Its first line in the file, or 0.
    labelled (bool): False if nobody has said where entities are; then `entities` is empty.
    repairs (Counter): What had to be repaired, and how often.
    dropped (Counter): Entities that the label map left out, by their old label.
    """

    words: list[str]
    entities: list[Entity] = field(default_factory=list)
    spaces: list[bool] | None = None
    lang: str = ""
    sent_id: str = ""
    line: int = 0
    labelled: bool = True
    repairs: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


class _Row(NamedTuple):
    word: str
    tag: str
    line: int


@dataclass
class _Block:
    """The lines of one sentence as they stand in the file."""

    rows: list[_Row] = field(default_factory=list)
    header: str = ""
    place: str = ""
    text: str | None = None
    lang: str = ""


def read_sentences(
    path: str | Path, format: str = "auto", *, label_map: str | Path | LabelMap | None = None
) -> Iterator[Sentence]:
    """Read the sentences of a file one by one.

    Words are brought to Unicode NFC; their number never changes. In the format conll an I- tag that
    continues nothing begins an entity (IOB1) and is counted in `Sentence.repairs`; in wikiann,
    multiconer and iob2, which are IOB2 by definition, it is an error.

    path (str | Path): The file: UTF-8, LF or CRLF, gzipped if its name ends in .gz.
    format (str): One of FORMATS, or "auto" to tell it from the first lines.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    YIELDS (Sentence): The sentences in the order of the file.
    RAISES (MaralError): At the first line that breaks the format; names file, line and remedy.
    """
    file = check_file(path)
    if format not in (*FORMATS, "auto"):
        raise MaralError(Errors.M105.format(found=format, known=", ".join((*FORMATS, "auto"))))
    labels = load_label_map(label_map)
    return _Reader(file, detect_format(file) if format == "auto" else format, labels).read()


class _Reader:
    """Reads one file; counts over all its sentences what tells IOB1 from IOB2."""

    def __init__(self, path: Path, format: str, label_map: LabelMap | None) -> None:
        self.path = path
        self.format = format
        self.label_map = label_map
        self.n_columns = 0
        self.begin = 0
        self.inside_lines: list[int] = []

    def read(self) -> Iterator[Sentence]:
        empty = True
        for block in self.blocks():
            empty = False
            yield self.sentence(block)
        if empty:
            raise MaralError(Errors.M104.format(path=self.path))
        if self.begin and self.inside_lines:
            message = Warnings.W101.format(
                path=self.path,
                inside=len(self.inside_lines),
                line=self.inside_lines[0],
                begin=self.begin,
            )
            warnings.warn(message, stacklevel=2)

    def blocks(self) -> Iterator[_Block]:
        block = _Block()
        for number, text in read_lines(self.path):
            place = f"{self.path}:{number}"
            if self.is_header(text) and not self.has_name(text):
                continue
            if (not text or self.is_boundary(text)) and block.rows:
                yield block
                block = _Block()
            if self.is_header(text):
                self.read_header(block, text, place)
            elif text and not self.is_document_start(text):
                word, tag, lang = self.columns(text, place, len(block.rows))
                if not word:
                    raise MaralError(Errors.M111.format(place=place, text=text))
                block.lang = block.lang or lang
                block.rows.append(_Row(word, tag, number))
        if block.header and not block.rows:
            raise MaralError(Errors.M122.format(place=block.place, found=block.header))
        if block.rows:
            yield block

    def is_header(self, text: str) -> bool:
        if not text.startswith("#") or self.format == "wikiann":
            return False
        if self.format == "multiconer":
            return _MULTICONER_HEADER.fullmatch(text) is not None
        return self.format == "iob2" or COMMENT.fullmatch(text) is not None

    def has_name(self, text: str) -> bool:
        """Whether a header line tells something about the sentence that follows it."""
        match = _FIELD.fullmatch(text)
        return self.format == "multiconer" or (
            match is not None and match[1] in ("sent_id", "text")
        )

    def is_boundary(self, text: str) -> bool:
        return self.is_document_start(text) or self.is_header(text)

    def is_document_start(self, text: str) -> bool:
        return self.format in ("conll", "bioes") and _BLANKS.split(text)[0] == DOCUMENT_START

    def read_header(self, block: _Block, text: str, place: str) -> None:
        match = _MULTICONER_HEADER.fullmatch(text) or _FIELD.fullmatch(text)
        if match is None:
            return
        if self.format != "multiconer" and match[1] == "text":
            block.text = match[2]
            return
        if block.header:
            raise MaralError(Errors.M122.format(place=block.place, found=block.header))
        if self.format == "multiconer":
            block.lang = match[2] if _LANGUAGE.fullmatch(match[2] or "") else ""
        block.header = match[1] if self.format == "multiconer" else match[2]
        block.place = place

    def columns(self, text: str, place: str, index: int) -> tuple[str, str, str]:
        """Split a line into word, tag and language."""
        if self.format == "wikiann":
            columns = self.split(text, "\t", place, 2, 2)
            lang, colon, word = columns[0].partition(":")
            if not colon or not _LANGUAGE.fullmatch(lang):
                raise MaralError(Errors.M121.format(place=place, found=columns[0]))
            return word, columns[1], lang
        if self.format == "iob2":
            columns = self.split(text, "\t", place, 3, 5)
            if columns[0] != str(index + 1):
                found = Errors.M120.format(place=place, expected=index + 1, found=columns[0])
                raise MaralError(found)
            return columns[1], columns[2], ""
        if self.format == "multiconer":
            columns = self.split(text, r"[ \t]", place, 4, 4)
            if columns[1:3] != ["_", "_"]:
                raise MaralError(Errors.M126.format(place=place, text=text))
            return columns[0], columns[3], ""
        most = 5 if self.format == "conll" else None
        columns = self.split(text, _BLANKS, place, self.n_columns or 2, self.n_columns or most)
        self.n_columns = len(columns)
        return columns[0], columns[-1], ""

    def split(
        self, text: str, separator: str | re.Pattern[str], place: str, least: int, most: int | None
    ) -> list[str]:
        columns = re.split(separator, text)
        if len(columns) < least or (most is not None and len(columns) > most):
            message = Errors.M109 if len(columns) < least else Errors.M110
            expected = str(least) if least == most else f"{least} to {most or 'any number'}"
            if self.n_columns:
                expected += ", as in the lines before"
            found = {"found": len(columns), "expected": expected, "text": text}
            raise MaralError(message.format(place=place, format=self.format, **found))
        return columns

    def sentence(self, block: _Block) -> Sentence:
        rows = block.rows
        words = [unicodedata.normalize("NFC", row.word) for row in rows]
        sentence = Sentence(words, lang=block.lang, sent_id=block.header, line=rows[0].line)
        changed = sum(word != row.word for word, row in zip(words, rows, strict=True))
        if changed:
            sentence.repairs[REPAIR_NFC] = changed
        if block.text is not None:
            sentence.spaces = align_spaces(words, unicodedata.normalize("NFC", block.text))
            if sentence.spaces is None:
                sentence.repairs[REPAIR_TEXT] = 1
        places = [f"{self.path}:{row.line}" for row in rows]
        sentence.entities = self.entities(sentence, rows, places)
        map_labels(sentence, self.label_map, places)
        return sentence

    def entities(
        self, sentence: Sentence, rows: Sequence[_Row], places: Sequence[str]
    ) -> list[Entity]:
        tags = [row.tag for row in rows]
        if self.format == "bioes":
            return decode_bioes(tags, places, format=self.format)
        found = decode_iob(tags, places, format=self.format, strict=self.format != "conll")
        if found.inside:
            sentence.repairs[REPAIR_IOB1] = len(found.inside)
            self.inside_lines += [rows[i].line for i in found.inside]
        self.begin += len(found.begin)
        return found.entities


def map_labels(sentence: Sentence, label_map: LabelMap | None, places: Sequence[str]) -> None:
    """Give the entities of a sentence their new labels, in place.

    sentence (Sentence): The sentence.
    label_map (LabelMap | None): New label of each label, None to leave its entities out; or no map.
    places (Sequence[str]): Where each word stands, for messages.
    RAISES (MaralError): If the map lacks a label, or a label has the name of the outside class.
    """
    kept = []
    for entity in sentence.entities:
        label: str | None = entity.label
        if label_map is not None:
            if entity.label not in label_map:
                known = ", ".join(label_map)
                place = places[entity.start]
                raise MaralError(Errors.M115.format(place=place, found=label, known=known))
            label = label_map[entity.label]
        if label is None:
            sentence.dropped[entity.label] += 1
        elif label == OUTSIDE_TAG:
            raise MaralError(Errors.M116.format(place=places[entity.start], found=label))
        else:
            kept.append(entity._replace(label=label))
    sentence.entities = kept


def align_spaces(words: Sequence[str], text: str) -> list[bool] | None:
    """Find out which words of a text are followed by a space.

    words (Sequence[str]): The words.
    text (str): The text that they come from.
    RETURNS (list[bool] | None): For each word whether blanks follow it; False for the last one.
        None if the text is not these words in this order with nothing but blanks between.
    """
    position, spaces = 0, []
    text = text.strip()
    for word in words:
        if not text.startswith(word, position):
            return None
        position += len(word)
        after = len(text) - len(text[position:].lstrip())
        spaces.append(after > position)
        position = after
    return spaces if position == len(text) else None
