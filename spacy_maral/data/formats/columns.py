"""Files of columns, a word a line: CoNLL, BIOES, WikiAnn, MultiCoNER, Universal NER and CoNLL-U."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...errors import Errors, MaralError
from ..sentences import (
    REPAIR_NFC,
    REPAIR_TEXT,
    ReadSettings,
    Sentence,
    find_words,
    join_words,
    spaces_between,
    spaces_of,
)  # fmt: skip
from ..tags import Scheme, TagDecoder, encode_tags
from ..text import read_lines

COMMENT = re.compile(r"# +[\w.]+(?: id)?\s*=.*|# (?:newdoc|newpar)\b.*|# id [^ \t]+\s+domain=.*")
DOCUMENT_START = "-DOCSTART-"
BLANKS = re.compile(r"[ \t]+")
_MULTICONER_HEADER = re.compile(r"# id ([^ \t]+)(?:\s+domain=(\S+))?")
_FIELD = re.compile(r"# *(sent_id|text) *= *(.*)")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*|simple")
_RANGE = re.compile(r"\d+[-.]\d+")
_MISC_TAG = re.compile(r"(?:^|\|)(?:NER|ner|name|ne)=([^|]*)")


class Table(NamedTuple):
    """What the lines of a format are made of.

    separator: Between columns. least, most: Number of columns. word, tag: Their columns, None for a
    tag in CoNLL-U's last column. scheme: Of the tags. numbered: Whether the first column counts the
    words.
    """

    separator: re.Pattern[str]
    least: int
    most: int | None
    word: int
    tag: int | None
    scheme: Scheme
    numbered: bool = False


_TAB = re.compile("\t")
TABLES = {
    "conll": Table(BLANKS, 2, 5, 0, -1, "iob"),
    "bioes": Table(BLANKS, 2, None, 0, -1, "bioes"),
    "wikiann": Table(_TAB, 2, 2, 0, 1, "iob2"),
    "multiconer": Table(re.compile("[ \t]"), 4, 4, 0, 3, "iob2"),
    "iob2": Table(_TAB, 3, None, 1, 2, "iob2", numbered=True),
    "conllu": Table(_TAB, 10, 10, 1, None, "iob", numbered=True),
}


class _Token(NamedTuple):
    word: str
    tag: str
    line: int
    space: bool = True


@dataclass
class _Block:
    """The lines of one sentence as they stand in the file."""

    tokens: list[_Token] = field(default_factory=list)
    header: str = ""
    place: str = ""
    text: str | None = None
    lang: str = ""


def read_columns(path: Path, format: str, reading: ReadSettings) -> Iterator[Sentence]:
    """Read the sentences of a file of columns one by one.

    Words are normalised to Unicode NFC; their number never changes.

    path (Path): The file: UTF-8, gzipped if its name ends in .gz.
    format (str): One of TABLES.
    reading (ReadSettings): How it is read.
    YIELDS (Sentence): The sentences in the order of the file.
    RAISES (MaralError): At the end of the file, for all lines that break the format.
    """
    return _Reader(path, format, reading).read()


class _Reader:
    def __init__(self, path: Path, format: str, reading: ReadSettings) -> None:
        self.path, self.format, self.reading = path, format, reading
        self.table = TABLES[format]
        if reading.columns is not None:
            tag = reading.columns.get("tag")
            self.table = Table(BLANKS, 1, None, reading.columns["word"], tag, self.table.scheme)
        self.in_misc = format == "conllu"
        self.decoder = TagDecoder(format, self.table.scheme, reading)
        self.n_columns = 0
        self.first_number: int | None = None
        self.n_tagged = 0

    def read(self) -> Iterator[Sentence]:
        report, empty = self.reading.report, True
        for block in self.blocks():
            empty = False
            yield self.sentence(block)
        if self.in_misc and self.reading.labelled and not empty and not self.n_tagged:
            report.problem(MaralError(Errors.M169.format(path=self.path)))
        if empty and not report.n_problems:
            raise MaralError(Errors.M104.format(path=self.path))
        report.check(self.path)
        self.decoder.warn(self.path)

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
            try:
                if is_comment and header is not None:
                    self.read_header(block, header, place)
                elif text and not starts_document:
                    self.read_token(block, text, number)
            except MaralError as error:
                self.reading.report.problem(error)
        if block.header and not block.tokens:
            message = Errors.M122.format(place=block.place, found=block.header)
            self.reading.report.problem(MaralError(message))
        if block.tokens:
            yield block

    def is_comment(self, text: str) -> bool:
        if self.format in ("multiconer", "wikiann"):
            return self.header(text) is not None
        if self.table.numbered:
            return text.startswith("#")
        return COMMENT.fullmatch(text) is not None

    def header(self, text: str) -> re.Match[str] | None:
        """The name or the text of the next sentence, if a line holds it."""
        found = _FIELD.fullmatch(text)
        if self.format == "multiconer" and (found is None or found[1] != "text"):
            return _MULTICONER_HEADER.fullmatch(text)
        return found

    def is_document_start(self, text: str) -> bool:
        return self.format in ("conll", "bioes") and BLANKS.split(text)[0] == DOCUMENT_START

    def read_header(self, block: _Block, header: re.Match[str], place: str) -> None:
        name, value = header.groups()
        if header.re is _FIELD:
            if name == "text":
                block.text = value
                return
            name, value = value, ""
        if block.header:
            raise MaralError(Errors.M122.format(place=block.place, found=block.header))
        block.header, block.place = name, place
        block.lang = value if _LANGUAGE.fullmatch(value or "") else ""

    def read_token(self, block: _Block, text: str, number: int) -> None:
        """Read a line with a word."""
        place = f"{self.path}:{number}"
        columns = self.columns(text, place)
        if self.table.numbered and not self.counts(columns[0], place, len(block.tokens)):
            return
        word, tag, space = columns[self.table.word], "O", True
        if self.format == "wikiann":
            lang, colon, word = word.partition(":")
            if not colon or not _LANGUAGE.fullmatch(lang):
                raise MaralError(Errors.M121.format(place=place, found=columns[0]))
            block.lang = block.lang or lang
        elif self.format == "multiconer" and columns[1:3] != ["_", "_"]:
            raise MaralError(Errors.M126.format(place=place, text=text))
        if self.in_misc:
            found = _MISC_TAG.search(columns[-1])
            tag, space = (found[1] if found else "O"), "SpaceAfter=No" not in columns[-1].split("|")
            self.n_tagged += found is not None
        elif self.reading.labelled and self.table.tag is not None:
            tag = columns[self.table.tag]
        if not word:
            raise MaralError(Errors.M111.format(place=place, text=text))
        block.tokens.append(_Token(word, tag, number, space))

    def columns(self, text: str, place: str) -> list[str]:
        """Split a line, and check the number of its columns."""
        table, separator = self.table, self.table.separator
        if self.reading.columns is not None:
            separator = _TAB if "\t" in text else BLANKS
        columns = separator.split(text)
        least, most = table.least, table.most
        if self.reading.columns is not None:
            least = max(n + 1 if n >= 0 else -n for n in self.reading.columns.values())
        elif not self.reading.labelled and self.format in ("conll", "bioes"):
            least = 1
        if self.n_columns:
            least = most = self.n_columns
        if not least <= len(columns) <= (most or len(columns)):
            message = Errors.M109 if len(columns) < least else Errors.M110
            expected = str(least) if least == most else f"{least} to {most or 'any number'}"
            if self.n_columns:
                expected += ", as in the lines before"
            found = {"found": len(columns), "expected": expected, "text": text}
            raise MaralError(message.format(place=place, format=self.format, **found))
        if self.format in ("conll", "bioes") and self.reading.columns is None:
            self.n_columns = len(columns)
        return columns

    def counts(self, number: str, place: str, index: int) -> bool:
        """Check the number of a word; False for CoNLL-U's ranges and empty words, which are none."""
        if self.format == "conllu" and _RANGE.fullmatch(number):
            return False
        if self.first_number is None:
            self.first_number = 0 if number == "0" else 1
        if number != str(index + self.first_number):
            numbers = {"expected": index + self.first_number, "found": number}
            raise MaralError(Errors.M120.format(place=place, **numbers))
        return True

    def sentence(self, block: _Block) -> Sentence:
        tokens, report = block.tokens, self.reading.report
        places = [f"{self.path}:{token.line}" for token in tokens]
        words = [unicodedata.normalize("NFC", token.word) for token in tokens]
        for word, token, place in zip(words, tokens, places, strict=True):
            if word != token.word:
                report.repair(REPAIR_NFC, place, word)
        sentence = Sentence(words, lang=block.lang, sent_id=block.header, line=tokens[0].line)
        if self.in_misc and not all(token.space for token in tokens):
            sentence.spaces = [*(token.space for token in tokens[:-1]), False]
        if block.text is not None:
            text = unicodedata.normalize("NFC", block.text.strip())
            offsets = find_words(words, text)
            if offsets is None:
                report.repair(REPAIR_TEXT, places[0], text)
            else:
                sentence.spaces = spaces_between(offsets, text)
        sentence.labelled = self.reading.labelled
        if sentence.labelled:
            entities = self.decoder.decode([token.tag for token in tokens], places)
            sentence.entities = self.reading.map_labels(entities, places)
        return sentence


def write_columns(path: Path, format: str, sentences: Iterable[Sentence], lang: str) -> None:
    """Write sentences as a file of columns.

    A comment holds the text of a sentence if its spaces are not those of its language.

    path (Path): The file.
    format (str): One of TABLES.
    sentences (Iterable[Sentence]): The sentences.
    lang (str): Language code; "xx" for several languages or an unknown one.
    """
    with path.open("w", encoding="utf8", newline="\n") as file:
        for number, sentence in enumerate(sentences, start=1):
            if format == "multiconer":
                file.write(f"# id {number}\tdomain={lang}\n")
            spaces = spaces_of(sentence, lang)
            if spaces != spaces_of(Sentence(sentence.words), lang):
                file.write(f"# text = {join_words(sentence.words, spaces)[0]}\n")
            scheme = TABLES[format].scheme
            tags = encode_tags(
                len(spaces), sentence.entities, "bioes" if scheme == "bioes" else "iob2"
            )
            for row in zip(range(1, len(spaces) + 1), sentence.words, tags, spaces, strict=True):
                file.write(_line(format, lang, *row) + "\n")
            file.write("\n")


def _line(format: str, lang: str, number: int, word: str, tag: str, space: bool) -> str:
    """A word as a line."""
    if format == "wikiann":
        return f"{lang}:{word}\t{tag}"
    if format == "multiconer":
        return f"{word} _ _ {tag}"
    if format == "iob2":
        return f"{number}\t{word}\t{tag}\t-\t-"
    if format == "conllu":
        misc = f"NER={tag}" if space else f"NER={tag}|SpaceAfter=No"
        return "\t".join((str(number), word, *["_"] * 7, misc))
    return f"{word} {tag}"
