"""Read the documents of a shard one at a time; set aside, and never drop, what is no document."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import IO, Any, NamedTuple, cast

from ...data.extras import import_pyarrow
from ...data.rows import check_object, parse_json, row_text
from ...data.text import EMPTY, SHOWN, LongLine, decode, raw_lines
from ...errors import Errors, MaralError
from .corpus_files import JSONL, PARQUET, kind_of
from .storage import describe, open_read

PARQUET_ROWS = 1024
MOST_BYTES = 16 << 20
"""Bytes of the longest line or text that is kept; longer ones are set aside."""


class Document(NamedTuple):
    """A text with its id, and the number of its line or row in the shard, from 1."""

    id: str
    text: str
    line: int


class Rejected(NamedTuple):
    """A document that was set aside: its id and line, the reason, and all of its content.

    text is the document's text, or the whole line, or the start of one that is too long; base64 replaces it where it is not UTF-8.
    """

    id: str
    line: int
    reason: str
    text: str | None = None
    base64: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields that are set."""
        return {key: value for key, value in self._asdict().items() if value is not None}


class ShardReader:
    """Read a shard in its order, without ever holding all of it.

    A .txt file has one document a line, blank lines aside; a .jsonl file has objects, a .parquet
    file rows. The id of a document without one is the shard's name and the line.

    address (str): The shard.
    name (str): Its name.
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id.
    """

    def __init__(self, address: str, name: str, *, text_field: str, id_field: str) -> None:
        self.address, self.name = address, name
        self.text_field, self.id_field = text_field, id_field
        self.position = 0
        """Bytes of the shard, as stored, that have been read."""

    def __iter__(self) -> Generator[Document | Rejected, None, None]:
        """YIELDS (Document | Rejected): All documents, and what should have been one.

        RAISES (MaralError): If the shard as a whole is damaged or has no texts.
        """
        try:
            with open_read(self.address) as file:
                is_table = kind_of(self.address) == PARQUET
                yield from self._rows(file) if is_table else self._lines(file)
        except (MaralError, FileNotFoundError):
            raise
        except (OSError, EOFError, zlib.error, ValueError) as error:
            found = {"address": self.address, "problem": describe(error)}
            raise MaralError(Errors.M482.format(**found)) from error

    def _lines(self, file: IO[bytes]) -> Iterator[Document | Rejected]:
        packed = self.address.lower().endswith(".gz")
        if packed and not file.read(1):
            raise EOFError(EMPTY)
        file.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb") if packed else file)
        for number, raw in raw_lines(stream, MOST_BYTES):
            self.position = file.tell()
            if raw:
                yield self._document(number, raw)

    def _rows(self, file: IO[bytes]) -> Iterator[Document | Rejected]:
        pa, pq = import_pyarrow("A .parquet file")
        table = pq.ParquetFile(file)
        self._check_columns(pa, table.schema_arrow)
        names = [n for n in (self.text_field, self.id_field) if n in table.schema_arrow.names]
        size, number = file.seek(0, 2), 0
        for batch in table.iter_batches(PARQUET_ROWS, columns=names):
            texts = batch.column(self.text_field)
            if pa.types.is_dictionary(texts.type):
                texts = texts.dictionary_decode()
            ids = batch.column(self.id_field) if self.id_field in names else pa.nulls(len(texts))
            # as bytes: not all writers check that texts are UTF-8
            pairs = zip(texts.cast(pa.large_binary()).to_pylist(), ids.to_pylist(), strict=True)
            for raw, given in pairs:
                number += 1
                self.position = size * number // table.metadata.num_rows
                yield self._document(number, raw, given)

    def _document(
        self, number: int, raw: bytes | LongLine | None, given: Any = None
    ) -> Document | Rejected:
        """A document from a line, or from a row's text and id."""
        place, default = f"{self.address}:{number}", f"{self.name}:{number}"
        if isinstance(raw, bytes) and len(raw) > MOST_BYTES:
            raw = LongLine(raw[:SHOWN], len(raw))
        if isinstance(raw, LongLine):
            found = {"size": raw.size / 2**20, "most": MOST_BYTES >> 20}
            error = MaralError(Errors.M531.format(place=place, **found))
            return set_aside(default, number, error, raw.start.decode("utf8", "ignore"))
        try:
            if raw is None:
                raise MaralError(Errors.M142.format(place=place, found="nothing (null)"))
            text = decode(raw, place)
            if kind_of(self.address) == JSONL:
                parsed = check_object(parse_json(text, place), place)
                given, text = parsed.get(self.id_field), row_text(parsed, place, self.text_field)
            return Document(default if given is None else _id(given, place), text, number)
        except MaralError as error:
            return set_aside(default, number, error, raw or b"")

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


def _id(given: Any, place: str) -> str:
    """The id of a document.

    RAISES (MaralError): If it is neither text nor a number.
    """
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        with suppress(UnicodeEncodeError):
            return str(given).encode("utf8").decode("utf8")
    raise MaralError(Errors.M473.format(place=place, found=repr(given)[:80]))


def set_aside(name: str, line: int, reason: Exception, raw: bytes | str) -> Rejected:
    """Set aside a document that cannot be annotated.

    name (str): Its id.
    line (int): Its line.
    reason (Exception): Why it cannot be annotated.
    raw (bytes | str): Its content.
    RETURNS (Rejected): The document, in a form that can be written.
    """
    found = describe(reason).encode("utf8", errors="backslashreplace").decode("utf8")
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf8")
        text.encode("utf8")
        return Rejected(name, line, found, text=text)
    except UnicodeError:
        data = raw.encode("utf8", errors="surrogatepass") if isinstance(raw, str) else raw
        return Rejected(name, line, found, base64=base64.b64encode(data).decode("ascii"))
