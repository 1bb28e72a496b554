"""What a shard becomes: rows of JSON Lines or Parquet, the same bytes for the same rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, cast

from .extras import import_pyarrow
from .readers import Rejected
from .storage import remove_file, replacing

ROW_GROUP = 10_000
ROW_GROUP_CHARS = 16 << 20
DIGITS = 6


class Entity(NamedTuple):
    """An entity by character offsets, the end exclusive; score None if there is none."""

    start: int
    end: int
    label: str
    score: float | None


@dataclass
class Annotated:
    """A document with its entities, and the version of the model that found them."""

    id: str
    text: str
    entities: list[Entity]
    model: str


Write = Callable[[Annotated], None]


def open_writer(address: str, kind: str) -> AbstractContextManager[Write]:
    """Write annotated documents to a file, whole or not at all.

    address (str): The file.
    kind (str): One of `shards.FORMATS`.
    RETURNS (AbstractContextManager): Gives the function that takes one document after the other.
    """
    return _parquet_writer(address) if kind == "parquet" else _jsonl_writer(address)


@contextmanager
def _jsonl_writer(address: str) -> Iterator[Write]:
    with replacing(address) as file, ExitStack() as stack:
        stream = file
        if address.endswith(".gz"):
            # the same bytes at any time and under any temporary name
            stream = cast(IO[bytes], gzip.GzipFile("", "wb", 6, file, mtime=0))
            stack.callback(stream.close)
        yield lambda row: _write_line(stream, _to_dict(row))


def _to_dict(row: Annotated) -> dict[str, Any]:
    entities = [
        {**entity._asdict(), "score": None if entity.score is None else round(entity.score, DIGITS)}
        for entity in row.entities
    ]
    return {"id": row.id, "text": row.text, "entities": entities, "model": row.model}


def _write_line(stream: IO[bytes], row: dict[str, Any]) -> None:
    stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf8"))


@contextmanager
def _parquet_writer(address: str) -> Iterator[Write]:
    pa, pq = import_pyarrow("The format parquet")
    entity = pa.struct(
        {"start": pa.int32(), "end": pa.int32(), "label": pa.string(), "score": pa.float32()}
    )
    schema = pa.schema(
        {"id": pa.string(), "text": pa.string(), "entities": pa.list_(entity), "model": pa.string()}
    )
    rows: list[dict[str, Any]] = []
    n_chars = 0

    def flush() -> None:
        nonlocal n_chars
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()
            n_chars = 0

    def write(row: Annotated) -> None:
        nonlocal n_chars
        rows.append(_to_dict(row))
        n_chars += len(row.text)
        if len(rows) >= ROW_GROUP or n_chars >= ROW_GROUP_CHARS:
            flush()

    with (
        replacing(address) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        yield write
        flush()


class RejectedWriter:
    """Writes what was set aside to a file of JSON Lines, which is there only if there is any.

    address (str): The file.
    """

    def __init__(self, address: str) -> None:
        self.address, self.count = address, 0
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None

    def __call__(self, row: Rejected) -> None:
        """Write a row."""
        if self._file is None:
            self._file = self._stack.enter_context(replacing(self.address))
        self.count += 1
        _write_line(self._file, row.to_dict())

    def __enter__(self) -> RejectedWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error == (None, None, None) and not self.count:
            # one that an attempt with other input or settings has left
            remove_file(self.address)
