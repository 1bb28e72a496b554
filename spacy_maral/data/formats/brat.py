"""brat: a .txt file with a sentence a line, and a .ann file with the entities' offsets."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from ...errors import Errors, MaralError
from ..annotated import (
    MISALIGNED,
    AnnotatedText,
    ScoredEntity,
    read_entity,
    read_tokens,
    to_sentence,
)  # fmt: skip
from ..sentences import ReadSettings, Sentence, join_words, spaces_of
from ..text import check_file, decode
from ..tokens import Splitter
from .text_rows import NO_ENTITY

ANN, TXT, WORDS = ".ann", ".txt", ".tok"
_TEXT_BOUND = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")


def list_annotated(path: Path) -> list[Path]:
    """RETURNS (list[Path]): The .ann files of a folder and those below it, or the file."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() == ANN)


def beside_ann(file: Path, ending: str) -> Path:
    """The file beside a .ann file, whose ending may be in capitals."""
    small, large = file.with_suffix(ending), file.with_suffix(ending.upper())
    return large if large.exists() and not small.exists() else small


def read_brat(path: Path, format: str, reading: ReadSettings) -> Iterator[Sentence]:
    """Read the lines of .txt files, with the entities of the .ann files beside them.

    Relations, events and attributes are counted and left out. A .tok file beside them, as `export`
    writes it, has the words of each line, with blanks between.

    path (Path): A .ann file, or a folder of them.
    format (str): Not used.
    reading (ReadSettings): How it is read.
    YIELDS (Sentence): The lines that hold more than white space.
    RAISES (MaralError): If a file is missing, or entities do not fit the text.
    """
    empty, splitter = True, None
    for file in list_annotated(path):
        source, words = beside_ann(file, TXT), beside_ann(file, WORDS)
        text = _read(source)
        lines = text.split("\n")
        tokens = _read(words).split("\n") if words.exists() else None
        starts = list(accumulate((len(line) + 1 for line in lines[:-1]), initial=0))
        inside: list[list[ScoredEntity]] = [[] for _ in lines]
        for entity in _entities(file, text, reading) if reading.labelled else ():
            number = bisect_right(starts, entity.start) - 1
            start, end = entity.start - starts[number], entity.end - starts[number]
            inside[number].append(entity._replace(start=start, end=end))
        for number, (line, entities) in enumerate(zip(lines, inside, strict=True)):
            if not line.strip():
                continue
            empty = False
            annotated = AnnotatedText(line, entities, f"{source}:{number + 1}")
            if tokens is not None and number < len(tokens):
                annotated.offsets = read_tokens(tokens[number].split(" "), line, annotated.place)
            splitter = splitter or Splitter(reading.lang, split=False, segmenter=reading.segmenter)
            yield to_sentence(annotated, splitter, reading)
    if empty and not reading.report.n_problems:
        raise MaralError(Errors.M104.format(path=path))
    reading.report.check(path)


def write_brat(path: Path, format: str, sentences: Iterable[Sentence], lang: str) -> None:
    """Write sentences as lines of a .txt file, entities to the .ann file, words to the .tok file.

    path (Path): The .ann file.
    format (str): Not used.
    sentences (Iterable[Sentence]): The sentences.
    lang (str): Language code.
    """
    start, number = 0, 1
    with (
        path.with_suffix(TXT).open("w", encoding="utf8", newline="\n") as texts,
        path.with_suffix(WORDS).open("w", encoding="utf8", newline="\n") as words,
        path.open("w", encoding="utf8", newline="\n") as annotations,
    ):
        for sentence in sentences:
            text, offsets = join_words(sentence.words, spaces_of(sentence, lang))
            texts.write(f"{text}\n")
            words.write(" ".join(sentence.words) + "\n")
            for entity in sentence.entities:
                first, last = offsets[entity.start][0], offsets[entity.end][1]
                found = f"{entity.label} {start + first} {start + last}\t{text[first:last]}"
                annotations.write(f"T{number}\t{found}\n")
                number += 1
            start += len(text) + 1


def belong_together(path: Path) -> bool:
    """Whether a .ann file and the files beside it are of one text, as `write_brat` leaves them.

    The .tok file has the words of each line of the .txt file, and these hold the .ann file's entities.
    """
    others = path.with_suffix(TXT), path.with_suffix(WORDS)
    if not all(file.is_file() for file in (path, *others)):
        return False
    reading = ReadSettings(misaligned="drop")
    try:
        text, words = map(_read, others)
        list(_entities(path, text, reading))
    except MaralError:
        return False
    lines = [["".join(line.split()) for line in one.split("\n")] for one in (text, words)]
    return lines[0] == lines[1] and not reading.report.n_problems


def _read(path: Path) -> str:
    """The text of a file: offsets count CRLF as two characters, so that nothing in it is changed."""
    return decode(check_file(path).read_bytes(), str(path))


def _entities(file: Path, text: str, reading: ReadSettings) -> Iterator[ScoredEntity]:
    """The entities of a .ann file; those that are none of the text are problems."""
    for number, line in enumerate(_read(file).split("\n"), start=1):
        place, line = f"{file}:{number}", line.rstrip("\r")
        if line[:1] in "REAMN#*" and line.strip():
            reading.report.repair(NO_ENTITY, place, line)
        elif line.strip():
            try:
                yield from _entity(line, text, place, reading)
            except MaralError as error:
                reading.report.problem(error)


def _entity(line: str, text: str, place: str, reading: ReadSettings) -> Iterator[ScoredEntity]:
    """The entity of a line, or none if it is left out."""
    match = _TEXT_BOUND.fullmatch(line)
    if match is None:
        raise MaralError(Errors.M164.format(place=place, found=line))
    ends = [int(end) for end in re.findall(r"\d+", match[2])]
    start, end = ends[0], ends[-1]
    gaps = "".join(text[a:b] for a, b in zip(ends[1:-1:2], ends[2::2], strict=True))
    problem = ""
    if "\n" in text[start:end].strip():
        problem = "it goes over the end of a line"
    elif gaps.strip() and reading.misaligned == "refuse":
        problem = "it has parts; --misaligned drop or expand takes it"
    elif match[3] is not None and match[3].split() != " ".join(_parts(text, ends)).split():
        problem = f"the text has {text[start:end]!r} there"
    if problem:
        raise MaralError(Errors.M145.format(place=place, found=line, problem=problem))
    if gaps.strip():
        reading.report.repair(MISALIGNED[reading.misaligned], place, line)
    if not gaps.strip() or reading.misaligned == "expand":
        yield read_entity([start, end, match[1]], text, place, reading)


def _parts(text: str, ends: list[int]) -> Iterator[str]:
    """The parts of an entity, of which a discontinuous one has several."""
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        yield text[start:end]
