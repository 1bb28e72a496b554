"""Read labelled sentences: CoNLL-2002/2003, WikiAnn, MultiCoNER, Universal NER and BIOES."""

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
_FIELD = re.compile(r"# *(sent_id|text) *= *(.*)")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*|simple")
_BLANKS = re.compile(r"[ \t]+")
_COLUMNS: dict[str, tuple[re.Pattern[str], int, int | None]] = {
    "wikiann": (re.compile("\t"), 2, 2),
    "iob2": (re.compile("\t"), 3, 5),
    "multiconer": (re.compile("[ \t]"), 4, 4),
    "conll": (_BLANKS, 2, 5),
    "bioes": (_BLANKS, 2, None),
}
"""Separator, least and most columns of each format."""


@dataclass
class Sentence:
    """A sentence and its entities.

    words (list[str]): The words, in Unicode NFC.
    entities (list[Entity]): First word, last word (inclusive) and label of each, in text order.
    spaces (list[bool] | None): Whether a space follows each word; None where the file has no text.
    lang (str): The language that the file names, or "".
    sent_id (str): The name of the sentence in the file, or "".
    line (int): Its first line in the file, or 0.
    labelled (bool): False without annotation of entities; then `entities` is empty.
    repairs (Counter): Repairs, by kind.
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


class _Token(NamedTuple):
    word: str
    tag: str
    line: int


@dataclass
class _Block:
    """The lines of one sentence as they stand in the file."""

    tokens: list[_Token] = field(default_factory=list)
    header: str = ""
    place: str = ""
    text: str | None = None
    lang: str = ""


def read_sentences(
    path: str | Path, format: str = "auto", *, label_map: str | Path | LabelMap | None = None
) -> Iterator[Sentence]:
    """Read the sentences of a file one by one.

    Words are normalised to Unicode NFC; their number never changes. In the format conll an I- tag
    that continues no entity begins one (IOB1) and is counted in `Sentence.repairs`; in wikiann,
    multiconer and iob2, which are IOB2 by definition, it is an error.

    path (str | Path): The file: UTF-8, LF or CRLF, gzipped if its name ends in .gz.
    format (str): One of FORMATS, or "auto" to detect it from the first lines.
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
    """Reads one file, and counts the tags in it that tell IOB1 from IOB2."""

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
            found = {"inside": len(self.inside_lines), "line": self.inside_lines[0]}
            message = Warnings.W101.format(path=self.path, begin=self.begin, **found)
            warnings.warn(message, stacklevel=2)

    def blocks(self) -> Iterator[_Block]:
        block = _Block()
        for number, text in read_lines(self.path):
            place = f"{self.path}:{number}"
            is_comment, header = self.is_comment(text), self.header(text)
            if is_comment and header is None:
                continue
            starts_document = self.is_document_start(text)
            if (not text or starts_document or is_comment) and block.tokens:
                yield block
                block = _Block()
            if is_comment and header is not None:
                self.read_header(block, header, place)
            elif text and not starts_document:
                word, tag, lang = self.columns(text, place, len(block.tokens))
                if not word:
                    raise MaralError(Errors.M111.format(place=place, text=text))
                block.lang = block.lang or lang
                block.tokens.append(_Token(word, tag, number))
        if block.header and not block.tokens:
            raise MaralError(Errors.M122.format(place=block.place, found=block.header))
        if block.tokens:
            yield block

    def is_comment(self, text: str) -> bool:
        if self.format == "multiconer":
            return self.header(text) is not None
        if self.format == "iob2":
            return text.startswith("#")
        return self.format != "wikiann" and COMMENT.fullmatch(text) is not None

    def header(self, text: str) -> re.Match[str] | None:
        """The name or the text of the next sentence, if a line holds it."""
        if self.format == "multiconer":
            return _MULTICONER_HEADER.fullmatch(text)
        return _FIELD.fullmatch(text)

    def is_document_start(self, text: str) -> bool:
        return self.format in ("conll", "bioes") and _BLANKS.split(text)[0] == DOCUMENT_START

    def read_header(self, block: _Block, header: re.Match[str], place: str) -> None:
        name, value = header.groups()
        if self.format != "multiconer":
            if name == "text":
                block.text = value
                return
            name, value = value, ""
        if block.header:
            raise MaralError(Errors.M122.format(place=block.place, found=block.header))
        block.header, block.place = name, place
        block.lang = value if _LANGUAGE.fullmatch(value or "") else ""

    def columns(self, text: str, place: str, index: int) -> tuple[str, str, str]:
        """Split a line into word, tag and language."""
        separator, least, most = _COLUMNS[self.format]
        columns = re.split(separator, text)
        if self.n_columns:
            least = most = self.n_columns
        if not least <= len(columns) <= (most or len(columns)):
            message = Errors.M109 if len(columns) < least else Errors.M110
            expected = str(least) if least == most else f"{least} to {most or 'any number'}"
            if self.n_columns:
                expected += ", as in the lines before"
            found = {"found": len(columns), "expected": expected, "text": text}
            raise MaralError(message.format(place=place, format=self.format, **found))
        word, tag, lang = columns[0], columns[-1], ""
        if self.format == "wikiann":
            lang, colon, word = word.partition(":")
            if not colon or not _LANGUAGE.fullmatch(lang):
                raise MaralError(Errors.M121.format(place=place, found=columns[0]))
        elif self.format == "iob2":
            if columns[0] != str(index + 1):
                numbers = {"expected": index + 1, "found": columns[0]}
                raise MaralError(Errors.M120.format(place=place, **numbers))
            word, tag = columns[1:3]
        elif self.format == "multiconer":
            if columns[1:3] != ["_", "_"]:
                raise MaralError(Errors.M126.format(place=place, text=text))
        else:
            self.n_columns = len(columns)
        return word, tag, lang

    def sentence(self, block: _Block) -> Sentence:
        tokens = block.tokens
        words = [unicodedata.normalize("NFC", token.word) for token in tokens]
        sentence = Sentence(words, lang=block.lang, sent_id=block.header, line=tokens[0].line)
        changed = sum(word != token.word for word, token in zip(words, tokens, strict=True))
        if changed:
            sentence.repairs[REPAIR_NFC] = changed
        if block.text is not None:
            sentence.spaces = align_spaces(words, unicodedata.normalize("NFC", block.text))
            if sentence.spaces is None:
                sentence.repairs[REPAIR_TEXT] = 1
        places = [f"{self.path}:{token.line}" for token in tokens]
        tags = [token.tag for token in tokens]
        if self.format == "bioes":
            sentence.entities = decode_bioes(tags, places, format=self.format)
        else:
            found = decode_iob(tags, places, format=self.format, strict=self.format != "conll")
            sentence.entities = found.entities
            if found.inside:
                sentence.repairs[REPAIR_IOB1] = len(found.inside)
                self.inside_lines += [tokens[i].line for i in found.inside]
            self.begin += len(found.begin)
        map_labels(sentence, self.label_map, places)
        return sentence


def map_labels(sentence: Sentence, label_map: LabelMap | None, places: Sequence[str]) -> None:
    """Replace the labels of a sentence's entities, in place.

    sentence (Sentence): The sentence.
    label_map (LabelMap | None): New label of each label, None to leave its entities out; or no map.
    places (Sequence[str]): Place of each word as file:line, for messages.
    RAISES (MaralError): If the map lacks a label, or a label is that of the outside class.
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
    """Find the words of a text that a space follows.

    words (Sequence[str]): The words.
    text (str): The text that they come from.
    RETURNS (list[bool] | None): Whether blanks follow each word; False for the last one. None if the
        text is not made of these words in this order, with only blanks between.
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
