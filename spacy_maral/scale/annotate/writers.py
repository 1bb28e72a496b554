"""Write annotated documents as JSON Lines or Parquet, the same documents as the same bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, Any, cast

from ...data.annotated import ScoredEntity
from ...data.extras import import_pyarrow
from .readers import Rejected
from .storage import remove_file, replacing

ROW_GROUP = 10_000
ROW_GROUP_CHARS = 16 << 20
DIGITS = 6


@dataclass
class Annotated:
    """A document with its entities (scores None without), the version of the model, and the first
    characters and ends of its doubtful words (None if they are not asked for)."""

    id: str
    text: str
    entities: list[ScoredEntity]
    model: str
    doubtful: list[tuple[int, int]] | None = None


Write = Callable[[Annotated], None]


def open_writer(address: str, kind: str, *, doubt: bool = False) -> AbstractContextManager[Write]:
    """Write annotated documents to a file, whole or not at all.

    address (str): The file.
    kind (str): One of `corpus_files.FORMATS`.
    doubt (bool): Whether the documents have doubtful words.
    RETURNS (AbstractContextManager): Gives the function that writes a document.
    """
    if kind == "parquet":
        return _parquet_writer(address, doubt)
    return _jsonl_writer(address)


@contextmanager
def _jsonl_writer(address: str) -> Iterator[Write]:
    with (
        replacing(address) as file,
        # neither time nor temporary name in it
        gzip.GzipFile("", "wb", 6, file, mtime=0)
        if address.endswith(".gz")
        else nullcontext(file) as stream,
    ):
        yield lambda document: _write_line(cast(IO[bytes], stream), _to_dict(document))


def _to_dict(document: Annotated) -> dict[str, Any]:
    entities = [
        {**entity._asdict(), "score": None if entity.score is None else round(entity.score, DIGITS)}
        for entity in document.entities
    ]
    found = {**vars(document), "entities": entities}
    doubtful = found.pop("doubtful")
    if doubtful is None:
        return found
    return {**found, "doubtful": [{"start": start, "end": end} for start, end in doubtful]}


def _write_line(stream: IO[bytes], data: dict[str, Any]) -> None:
    stream.write((json.dumps(data, ensure_ascii=False) + "\n").encode("utf8"))


@contextmanager
def _parquet_writer(address: str, doubt: bool) -> Iterator[Write]:
    pa, pq = import_pyarrow("The format parquet")
    entity = pa.struct(
        {"start": pa.int32(), "end": pa.int32(), "label": pa.string(), "score": pa.float32()}
    )
    columns = {
        "id": pa.string(), "text": pa.string(), "entities": pa.list_(entity), "model": pa.string(),
    }  # fmt: skip
    if doubt:
        columns["doubtful"] = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32()}))
    schema = pa.schema(columns)
    rows: list[dict[str, Any]] = []
    n_chars = 0

    def flush() -> None:
        nonlocal n_chars
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()
            n_chars = 0

    def write(document: Annotated) -> None:
        nonlocal n_chars
        rows.append(_to_dict(document))
        n_chars += len(document.text)
        if len(rows) >= ROW_GROUP or n_chars >= ROW_GROUP_CHARS:
            flush()

    with (
        replacing(address) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        yield write
        flush()


@contextmanager
def rejected_writer(address: str) -> Iterator[Callable[[Rejected], None]]:
    """Write documents that were set aside to a file of JSON Lines, which exists only if there are any.

    address (str): The file.
    YIELDS (Callable): The function that writes a document.
    """
    file: IO[bytes] | None = None
    with ExitStack() as stack:

        def write(rejected: Rejected) -> None:
            nonlocal file
            if file is None:
                file = stack.enter_context(replacing(address))
            _write_line(file, rejected.to_dict())

        yield write
    if file is None:
        # an attempt with other input or settings may have left one
        remove_file(address)
