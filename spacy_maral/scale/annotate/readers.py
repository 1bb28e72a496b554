"""Documents of a shard, one at a time; what is no document is set aside, never dropped."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, cast

from ...data.jsonl import parse_row, row_text
from ...data.text import BYTE_ORDER_MARK, decode
from ...errors import Errors, MaralError
from .corpus_files import JSONL, PARQUET, kind_of
from .extras import import_pyarrow
from .storage import open_read

PARQUET_ROWS = 1024


class Document(NamedTuple):
    """A text with its id, and its line or row in the shard, from 1."""

    id: str
    text: str
    line: int


class Rejected(NamedTuple):
    """What could not be annotated: its id and line, why not, and the whole of it.

    text is the document's text, or the line where it stands; what is not UTF-8 is under base64.
    """

    id: str
    line: int
    reason: str
    text: str | None = None
    base64: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The row, without what is not there."""
        return {key: value for key, value in self._asdict().items() if value is not None}


class ShardReader:
    """Read a shard, in its order, without ever holding it.

    A .txt file has a document a line, and blank lines are none; a .jsonl file has objects, a
    .parquet file rows. A document without an id of its own gets the shard's name and its line.

    address (str): The shard.
    name (str): Its name.
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id.
    """

    def __init__(self, address: str, name: str, *, text_field: str, id_field: str) -> None:
        self.address, self.name = address, name
        self.text_field, self.id_field = text_field, id_field
        self.position = 0
        """Bytes of the shard that are behind us, as stored."""

    def __iter__(self) -> Generator[Document | Rejected, None, None]:
        """YIELDS (Document | Rejected): All documents, and what should have been one.

        RAISES (MaralError): If the shard as a whole is damaged or has no texts.
        """
        with _reading(self.address), open_read(self.address) as file:
            yield from self._rows(file) if kind_of(self.address) == PARQUET else self._lines(file)

    def _lines(self, file: IO[bytes]) -> Iterator[Document | Rejected]:
        is_json = kind_of(self.address) == JSONL
        packed = self.address.endswith(".gz")
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb") if packed else file)
        for number, data in enumerate(stream, start=1):
            self.position = file.tell()
            raw = data.removeprefix(BYTE_ORDER_MARK) if number == 1 else data
            raw = raw.rstrip(b" \t\r\n")
            if raw:
                yield self._from_json(raw, number) if is_json else self._from_text(raw, number)

    def _from_text(self, raw: bytes, number: int) -> Document | Rejected:
        try:
            return Document(self._id(number), decode(raw, self._place(number)), number)
        except MaralError as error:
            return set_aside(self._id(number), number, error, raw)

    def _from_json(self, raw: bytes, number: int) -> Document | Rejected:
        place = self._place(number)
        try:
            row = parse_row(decode(raw, place), place)
            given = self._given_id(row.get(self.id_field), number)
            return Document(given, self._text(row, place), number)
        except MaralError as error:
            return set_aside(self._id(number), number, error, raw)

    def _rows(self, file: IO[bytes]) -> Iterator[Document | Rejected]:
        pa, pq = import_pyarrow("A .parquet file")
        table = pq.ParquetFile(file)
        columns = [
            name for name in (self.text_field, self.id_field) if name in table.schema_arrow.names
        ]
        self._check_columns(pa, table.schema_arrow)
        size, number = file.seek(0, 2), 0
        for batch in table.iter_batches(PARQUET_ROWS, columns=columns):
            texts = _as_bytes(pa, batch.column(self.text_field))
            ids = [None] * len(texts)
            if self.id_field in columns:
                ids = batch.column(self.id_field).to_pylist()
            for raw, given in zip(texts, ids, strict=True):
                number += 1
                self.position = size * number // table.metadata.num_rows
                yield self._from_row(raw, given, number)

    def _from_row(self, raw: bytes | None, given: Any, number: int) -> Document | Rejected:
        place = self._place(number)
        try:
            name = self._given_id(given, number)
            if raw is None:
                raise MaralError(Errors.M142.format(place=place, found="nothing (null)"))
            return Document(name, decode(raw, place), number)
        except MaralError as error:
            return set_aside(self._id(number), number, error, raw or b"")

    def _check_columns(self, pa: Any, schema: Any) -> None:
        """RAISES (MaralError): If there is no column of texts."""
        if self.text_field in schema.names:
            kind = schema.field(self.text_field).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                return
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise MaralError(
            Errors.M472.format(address=self.address, field=self.text_field, found=found)
        )

    def _text(self, row: dict[str, Any], place: str) -> str:
        if self.text_field == "text":
            return row_text(row, place)
        if self.text_field not in row:
            found = f"the keys {', '.join(row)}; no '{self.text_field}'"
            raise MaralError(Errors.M142.format(place=place, found=found))
        return row_text({"text": row[self.text_field]}, place)

    def _given_id(self, given: Any, number: int) -> str:
        """The id of a document.

        RAISES (MaralError): If it is neither text nor a number.
        """
        if given is None:
            return self._id(number)
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise MaralError(Errors.M473.format(place=self._place(number), found=repr(given)[:80]))
        name = str(given)
        try:
            name.encode("utf8")
        except UnicodeEncodeError as error:
            place, found = self._place(number), repr(given)[:80]
            raise MaralError(Errors.M473.format(place=place, found=found)) from error
        return name

    def _id(self, number: int) -> str:
        return f"{self.name}:{number}"

    def _place(self, number: int) -> str:
        return f"{self.address}:{number}"


def set_aside(name: str, line: int, reason: Exception | str, raw: bytes | str) -> Rejected:
    """Keep what could not be annotated.

    name (str): Its id.
    line (int): Its line.
    reason (Exception | str): Why not.
    raw (bytes | str): The whole of it.
    RETURNS (Rejected): Ready to be written, whatever it is.
    """
    found = str(reason) if isinstance(reason, MaralError | str) else _describe(reason)
    found = found.encode("utf8", errors="backslashreplace").decode("utf8")
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf8")
        text.encode("utf8")
        return Rejected(name, line, found, text=text)
    except UnicodeError:
        data = raw.encode("utf8", errors="surrogatepass") if isinstance(raw, str) else raw
        return Rejected(name, line, found, base64=base64.b64encode(data).decode("ascii"))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _as_bytes(pa: Any, column: Any) -> list[bytes | None]:
    """A column of texts, not looked at yet: writers do not all see to it that they are UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    large = pa.types.is_large_string(column.type)
    found: list[bytes | None] = column.cast(pa.large_binary() if large else pa.binary()).to_pylist()
    return found


@contextmanager
def _reading(address: str) -> Iterator[None]:
    """Turn damage to a shard into an error that names it."""
    try:
        yield
    except (MaralError, FileNotFoundError):
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise MaralError(Errors.M482.format(address=address, problem=_describe(error))) from error
