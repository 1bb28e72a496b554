"""All formats of labelled data: how each is read and written, and which one a file has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import Errors, MaralError
from ..annotated import WITHOUT_WORDS, AnnotatedText, KnownTexts, short, to_sentence
from ..rows import DATASET_FILES, HUB, JSON, PARQUET, is_json, is_parquet, open_rows, write_rows
from ..sentences import ReadSettings, Sentence
from ..text import check_file
from ..tokens import Splitter
from . import text_rows as text
from . import token_rows as words
from .brat import ANN, TXT, WORDS, list_annotated, read_brat, write_brat
from .columns import TABLES, read_columns, write_columns
from .detection import detect_columns, detect_scheme

AUTO = "auto"
Read = Callable[[Path, str, ReadSettings], Iterator[Sentence]]
Write = Callable[[Path, str, Iterable[Sentence], str], None]


class Row(NamedTuple):
    """A kind of rows: whether a row is one of it, how it is read, and written.

    suggest: How entities are written that nobody has seen yet; None if that makes no difference.
    """

    fits: Callable[[Any], bool]
    read: Callable[..., Sentence | AnnotatedText | str]
    write: Callable[[Sentence, str], Any]
    suggest: Callable[[Sentence, str], Any] | None = None


ROWS: Mapping[str, Row] = {
    "huggingface": Row(words.fits_huggingface, words.read_huggingface, words.write_huggingface),
    "gliner": Row(words.fits_gliner, words.read_gliner, words.write_gliner),
    "label-studio": Row(
        text.fits_label_studio, text.read_label_studio, text.write_label_studio,
        text.suggest_label_studio,
    ),
    "argilla": Row(text.fits_argilla, text.read_argilla, text.write_argilla, text.suggest_argilla),
    "spacy-annotator": Row(text.fits_annotator, text.read_annotator, text.write_annotator),
    "doccano": Row(text.fits_doccano, text.read_text, text.write_doccano),
    "spacy": Row(text.fits_spacy, text.read_text, text.write_spacy),
    "prodigy": Row(text.fits_prodigy, text.read_text, text.write_prodigy, text.suggest_prodigy),
    "jsonl": Row(text.fits_text, text.read_text, text.write_jsonl),
}  # fmt: skip
"""Kinds of rows; a row is of the first kind that it fits."""


def read_rows(path: str | Path, format: str, reading: ReadSettings) -> Iterator[Sentence]:
    """Read rows of JSON, Parquet or a dataset.

    path (str | Path): See `open_rows`.
    format (str): One of ROWS, or "auto" for the kind that each row has.
    reading (ReadSettings): How they are read.
    YIELDS (Sentence): The sentences, one for each row that is not left out.
    RAISES (MaralError): At the end, for all rows that cannot be read.
    """
    splitter: Splitter | None = None
    texts = KnownTexts()
    n_rows = n_kept = 0
    for place, found in row_contents(path, format, reading):
        n_rows += 1
        if isinstance(found, AnnotatedText):
            splitter = splitter or Splitter(reading.lang, split=False, segmenter=reading.segmenter)
            try:
                texts.add(found, reading)
                found = WITHOUT_WORDS if found.is_empty else to_sentence(found, splitter, reading)
            except MaralError as error:
                reading.report.problem(error)
        if isinstance(found, str):
            reading.report.repair(found, place)
        elif isinstance(found, Sentence):
            n_kept += 1
            yield found
    reading.report.check(path)
    if n_rows == reading.report.repairs[WITHOUT_WORDS]:
        raise MaralError(Errors.M104.format(path=path))
    if not n_kept:
        raise MaralError(Errors.M155.format(path=path, found=f"{n_rows} rows are left out"))


def row_contents(
    path: str | Path, format: str, reading: ReadSettings
) -> Iterator[tuple[str, Sentence | AnnotatedText | str]]:
    """Read what is in rows; a row that cannot be read is a problem.

    path (str | Path): See `open_rows`.
    format (str): One of ROWS, or "auto" for the kind that each row has.
    reading (ReadSettings): How they are read.
    YIELDS (tuple): Place, and sentence, or text, or why the row is left out.
    """
    for place, row in open_rows(path, split=reading.split, report=reading.report):
        try:
            yield place, _read_row(row, place, format, reading)
        except MaralError as error:
            reading.report.problem(error)


def read_texts(path: str | Path) -> Iterator[AnnotatedText]:
    """Read rows that have texts with entities by character offsets; others are problems.

    path (str | Path): See `open_rows`.
    YIELDS (AnnotatedText): The texts.
    RAISES (MaralError): At the end, for all rows that cannot be read.
    """
    reading = ReadSettings()
    empty = True
    for place, found in row_contents(path, AUTO, reading):
        empty = False
        if isinstance(found, AnnotatedText):
            yield found
        elif isinstance(found, Sentence):
            problem = MaralError(Errors.M142.format(place=place, found="words only"))
            reading.report.problem(problem)
    reading.report.check(path)
    if empty:
        raise MaralError(Errors.M104.format(path=path))


def _read_row(
    row: Any, place: str, format: str, reading: ReadSettings
) -> Sentence | AnnotatedText | str:
    if row is None:
        return text.NOT_ANNOTATED
    if format == AUTO:
        kind = next((kind for kind in ROWS.values() if kind.fits(row)), None)
    else:
        # one reader reads all kinds of texts
        own = ROWS[format]
        fits = text.fits_text(row) if own.read is text.read_text else own.fits(row)
        kind = own if fits else None
    if kind is None:
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else short(row)
        known = ", ".join(ROWS)
        raise MaralError(Errors.M162.format(place=place, keys=keys or "none", known=known))
    return kind.read(row, place, reading)


def _write_rows(path: Path, format: str, sentences: Iterable[Sentence], lang: str) -> None:
    """Write sentences as rows, in the kind of file that the name says."""
    write_rows(path, (ROWS[format].write(sentence, lang) for sentence in sentences))


def suggest_rows(path: Path, format: str, sentences: Iterable[Sentence], lang: str) -> None:
    """Write sentences as rows whose entities are suggestions, if the format has such rows."""
    kind = ROWS.get(format)
    if kind is not None and (suggest := kind.suggest) is not None:
        write_rows(path, (suggest(sentence, lang) for sentence in sentences))


class Format(NamedTuple):
    """A format of labelled data: its reader, its writer, and endings.

    endings: Those that files of other formats cannot have. beside: Those of what is written beside a file.
    """

    read: Read
    write: Write
    endings: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    **dict.fromkeys(TABLES, Format(read_columns, write_columns)),
    **dict.fromkeys(ROWS, Format(read_rows, _write_rows, (".jsonl", JSON, PARQUET))),
    "brat": Format(read_brat, write_brat, (ANN,), (TXT, WORDS)),
}
"""All formats by name."""


def read_labelled(
    path: str | Path, format: str = AUTO, reading: ReadSettings | None = None
) -> Iterator[Sentence]:
    """Read labelled sentences in any format.

    path (str | Path): The file, or a folder of brat's files or of a saved dataset, or the name of a
        dataset on the hub, "hf://OWNER/NAME".
    format (str): One of FORMATS, or "auto" to find it by the contents.
    reading (ReadSettings): How it is read; its report is filled on the way.
    RETURNS (Iterator[Sentence]): The sentences.
    RAISES (MaralError): At the end, for all that cannot be read.
    """
    reading = reading or ReadSettings()
    if format not in (*FORMATS, AUTO):
        raise MaralError(Errors.M105.format(found=format, known=", ".join((AUTO, *FORMATS))))
    if str(path).startswith(HUB):
        return read_rows(path, format, reading)
    file = Path(path)
    if file.is_dir():
        if any((file / name).is_file() for name in DATASET_FILES):
            return read_rows(file, format, reading)
        if format == "brat" or any(list_annotated(file)):
            return read_brat(file, format, reading)
    check_file(file)
    if format == AUTO and reading.columns is None:
        format, columns = detect(file)
        reading = replace(reading, columns=columns)
    elif reading.columns is not None and format not in ("conll", "bioes"):
        format = detect_scheme(file, reading.columns)
    return FORMATS.get(format, FORMATS["jsonl"]).read(file, format, reading)


def detect(path: Path) -> tuple[str, dict[str, int] | None]:
    """Find the format of a file by its contents.

    path (Path): The file.
    RETURNS (tuple): The format, "auto" for rows that each show what they are; and the columns of
        word and tag if they are not those of the format.
    RAISES (MaralError): If no format fits, or several that read different things.
    """
    if path.suffix.lower() == ANN:
        return "brat", None
    if is_parquet(path) or is_json(path):
        return AUTO, None
    return detect_columns(path)
