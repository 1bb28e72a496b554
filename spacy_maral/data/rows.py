"""Rows of data: JSON Lines, a JSON file, Parquet, and datasets of Hugging Face."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import Errors, MaralError
from .annotated import short
from .extras import import_extra, import_pyarrow
from .sentences import ReadReport
from .text import read_lines, unique_keys

HUB = "hf://"
PARQUET, JSON = ".parquet", ".json"
DATASET_FILES = ("dataset_info.json", "dataset_dict.json")
BATCH_ROWS = 1000


def open_rows(
    path: str | Path, *, split: str = "train", report: ReadReport | None = None
) -> Iterator[tuple[str, Any]]:
    """Read rows of any kind of file; numbers get their names where the file has them.

    path (str | Path): A file of JSON Lines or JSON, gzipped if its name ends in .gz; a .parquet file;
        a folder that `datasets` has saved; or "hf://OWNER/NAME" or "hf://OWNER/NAME:SUBSET" for a
        dataset of the hub.
    split (str): Part of a dataset in several parts.
    report (ReadReport | None): Gets the lines that are no JSON, instead of an error at the first.
    YIELDS (tuple): Place as file:line or file: row, and row.
    RAISES (MaralError): If the file cannot be read.
    """
    if str(path).startswith(HUB) or Path(path).is_dir():
        return _dataset(str(path), split)
    if is_parquet(Path(path)):
        return _parquet(Path(path))
    return json_rows(path, report)


def json_rows(path: str | Path, report: ReadReport | None = None) -> Iterator[tuple[str, Any]]:
    """Read the values of a file of JSON Lines, or of a JSON file with one list or one object.

    path (str | Path): The file, gzipped if its name ends in .gz.
    report (ReadReport | None): Gets the lines that are no JSON, instead of an error at the first.
    YIELDS (tuple): Place as file:line, and value.
    RAISES (MaralError): Without a report, at the first line that is no JSON.
    """
    lines = ((number, line) for number, line in read_lines(path) if line)
    first = next(lines, None)
    if first is None:
        return
    if not _is_row(first[1], path):
        yield from _json_values(path, report)
        return
    for number, line in chain([first], lines):
        place = f"{path}:{number}"
        try:
            for row in _unwrapped(parse_json(line, place)):
                yield place, row
        except MaralError as error:
            if report is None:
                raise
            report.problem(error)


def is_json(path: str | Path) -> bool:
    """Whether a file holds JSON: by its name, or its first line."""
    if str(path).lower().removesuffix(".gz").endswith((JSON, ".jsonl")):
        return True
    first = next((line for _, line in read_lines(path) if line), "")
    if first in ("[", "{", "[[", "[{"):
        return True
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return False


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parse_json(line: str, place: str) -> Any:
    """Read a line of JSON.

    RAISES (MaralError): If it is no JSON.
    """
    try:
        return json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise MaralError(Errors.M140.format(place=place, problem=error)) from error


def check_object(row: Any, place: str) -> dict[str, Any]:
    """Make sure that a row is an object.

    RAISES (MaralError): If it is not.
    """
    if not isinstance(row, dict):
        raise MaralError(Errors.M141.format(place=place, found=short(row)))
    return row


def row_text(row: dict[str, Any], place: str, key: str = "text") -> str:
    """The text of an object.

    RAISES (MaralError): If the key is missing, or its value is no text.
    """
    text = row.get(key)
    if not isinstance(text, str):
        found = short(text) if key in row else f"the keys {', '.join(map(str, row))}; no '{key}'"
        raise MaralError(Errors.M142.format(place=place, found=found))
    return check_text(text, place)


def check_text(text: str, place: str) -> str:
    """Refuse characters that cannot be written as UTF-8, and NUL.

    RAISES (MaralError): If there are any.
    """
    for char in text:
        if char == "\0" or unicodedata.category(char) == "Cs":
            found = f"U+{ord(char):04X} at position {text.index(char) + 1}"
            raise MaralError(Errors.M143.format(place=place, found=found))
    return text


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write rows.

    path (Path): The file: one list if its name ends in .json, Parquet if in .parquet, or JSON Lines.
    rows (Iterable): The rows.
    """
    if path.suffix.lower() == PARQUET:
        pa, pq = import_pyarrow("The format parquet")
        listed = list(rows)
        # the table has the columns of its first row
        keys = dict.fromkeys(key for row in listed for key in row)
        pq.write_table(pa.Table.from_pylist([{**keys, **row} for row in listed]), path)
        return
    before, between, after = (
        ("[\n", ",\n", "\n]\n") if path.suffix.lower() == JSON else ("", "\n", "\n")
    )
    with path.open("w", encoding="utf8", newline="\n") as file:
        for number, row in enumerate(rows):
            file.write(between if number else before)
            file.write(json.dumps(row, ensure_ascii=False))
        file.write(after)


def _is_row(line: str, path: str | Path) -> bool:
    """Whether the first line of a file is a row of its own, and not the begin of a list."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        # a broken row, unless more than this line belongs to it
        return not (
            line.startswith("[")
            or line == "{"
            or str(path).lower().removesuffix(".gz").endswith(JSON)
        )
    return not isinstance(value, list) or (bool(value) and isinstance(value[0], str))


def _json_values(path: str | Path, report: ReadReport | None) -> Iterator[tuple[str, Any]]:
    """The values of a list, or of the list "annotations" of an object; or the object itself."""
    text = "\n".join(line for _, line in read_lines(path))
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    line, counted, place = 1, 0, _skip(text, 0)
    is_list = text.startswith("[", place)
    place = _skip(text, place + is_list)
    try:
        while place < len(text) and not (is_list and text.startswith("]", place)):
            line, counted = line + text.count("\n", counted, place), place
            value, place = decoder.raw_decode(text, place)
            for row in [value] if is_list else _unwrapped(value):
                yield f"{path}:{line}", row
            place = _skip(text, place, ",")
        if is_list and text[place:].strip() != "]":
            raise ValueError("the list does not end where the file does")
    except (ValueError, RecursionError) as error:
        problem = MaralError(Errors.M140.format(place=f"{path}:{line}", problem=error))
        if report is None:
            raise problem from error
        report.problem(problem)


def _skip(text: str, place: int, also: str = "") -> int:
    """The place of the next character that is no white space of JSON, and not a given one."""
    while text[place : place + 1] and text[place] in " \t\r\n" + also:
        place += 1
    return place


def _unwrapped(value: Any) -> list[Any]:
    """The rows of an object that holds them as its "annotations"; or the object as the only row."""
    inner = value.get("annotations") if isinstance(value, dict) else None
    is_wrapper = isinstance(inner, list) and not {"data", "text"} & value.keys()
    return inner if is_wrapper and inner is not None else [value]


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a Parquet file, with the names that `datasets` has written into it."""
    pa, pq = import_pyarrow("A .parquet file")
    number = 0
    try:
        table = pq.ParquetFile(path)
        features = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = {}
        for key, feature in features.get("info", {}).get("features", {}).items():
            inner = feature.get("feature") if isinstance(feature, dict) else None
            if isinstance(inner, dict) and isinstance(inner.get("names"), list):
                names[key] = inner["names"]
        for batch in table.iter_batches(BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", _named(row, names)
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        found = {"path": f"{path}: row {number + 1}", "found": error}
        raise MaralError(Errors.M118.format(**found)) from error


def _dataset(path: str, split: str) -> Iterator[tuple[str, Any]]:
    """A dataset that `datasets` has saved in a folder, or one of the hub."""
    datasets = import_extra("datasets", "A Hugging Face dataset", "datasets")
    try:
        if path.startswith(HUB):
            name, _, subset = path.removeprefix(HUB).partition(":")
            loaded = datasets.load_dataset(name, subset or None)
        else:
            loaded = datasets.load_from_disk(path)
    except Exception as error:
        # the library raises errors of any kind
        raise MaralError(Errors.M166.format(path=path, problem=error)) from error
    if isinstance(loaded, dict):
        if split not in loaded:
            found = {"found": ", ".join(loaded), "split": split}
            raise MaralError(Errors.M165.format(path=path, **found))
        loaded = loaded[split]
    inner = {key: getattr(feature, "feature", None) for key, feature in loaded.features.items()}
    names = {
        key: list(value.names) for key, value in inner.items() if value and hasattr(value, "names")
    }
    for number, row in enumerate(loaded, start=1):
        yield f"{path}: row {number}", _named(row, names)


def _named(row: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """A row with names instead of numbers; a number without a name stays one."""
    for key, known in names.items():
        if isinstance(values := row.get(key), list):
            row[key] = [
                known[value] if type(value) is int and 0 <= value < len(known) else value
                for value in values
            ]
    return row
