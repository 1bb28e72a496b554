"""Read text files: UTF-8, with or without byte order marks, with any line ends, plain or gzipped."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ..errors import Errors, MaralError

# of a line: what labelled data may have in one, such as a whole JSON file, and what is kept of a longer one
MOST_BYTES, SHOWN = 256 << 20, 1000
# bytes that are read at once
BLOCK = 1 << 20
EMPTY = "it has 0 bytes, and even nothing takes 20 when it is packed"


def check_file(path: str | Path) -> Path:
    """Make sure that a path names an existing file.

    path (str | Path): The file.
    RETURNS (Path): The same path.
    RAISES (MaralError): If it does not exist, or is a folder.
    """
    file = Path(path)
    if file.is_dir():
        raise MaralError(Errors.M102.format(path=file))
    if not file.exists():
        raise MaralError(Errors.M101.format(path=file))
    return file


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Read a text file line by line.

    LF, CRLF and CR end a line; the other line ends of Unicode occur inside tokens.

    path (str | Path): The file, gzipped if its name ends in .gz.
    YIELDS (tuple): Line number from 1, and the line without its end and without trailing blanks.
    RAISES (MaralError): If the file is missing, unreadable or not UTF-8.
    """
    file = check_file(path)
    number = 0
    try:
        packed = file.suffix.lower() == ".gz"
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            if packed and not file.stat().st_size:
                raise EOFError(EMPTY)
            for number, raw in raw_lines(cast(IO[bytes], stream)):
                if isinstance(raw, LongLine):
                    place = f"{file}:{number}"
                    found = {"size": raw.size / 2**20, "most": MOST_BYTES >> 20}
                    raise MaralError(Errors.M531.format(place=place, **found))
                yield number, decode(raw, f"{file}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise MaralError(Errors.M118.format(path=f"{file}:{number}", found=error)) from error


class LongLine(NamedTuple):
    """A line that is too long to be kept: its first bytes, and how many it has."""

    start: bytes
    size: int


def raw_lines(stream: IO[bytes], most: int = MOST_BYTES) -> Iterator[tuple[int, bytes | LongLine]]:
    """Read a stream line by line, without the byte order marks that files bring with them.

    Never more than one line is held, and of a longer one than `most` only the start.

    stream (IO[bytes]): The stream.
    most (int): Bytes of the longest line that is kept.
    YIELDS (tuple): Line number from 1, and the line without its end and without trailing blanks.
    """
    number = 0
    for left_out, part in _parts(stream, most):
        # CR alone ends a line as well
        for line in part.split(b"\r"):
            number += 1
            size, left_out = left_out + len(line), 0
            if size > most:
                yield number, LongLine(line[: min(SHOWN, most)], size)
            else:
                yield number, line.removeprefix(codecs.BOM_UTF8).rstrip(b" \t")


def _parts(stream: IO[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """What is between two LF, or between two CR if there is too much of it.

    YIELDS (tuple): Bytes that are left out of the first line, and the part. CR CR LF is one end.
    """
    read, rest, left_out, kept = getattr(stream, "read1", stream.read), b"", 0, min(SHOWN, most)
    while block := read(BLOCK):
        *parts, rest = (rest + block).split(b"\n")
        for part in parts:
            yield left_out, part.rstrip(b"\r")
            left_out = 0
        if len(rest) <= most:
            continue
        # the last CR may belong to an LF that comes
        body = rest.rstrip(b"\r")
        if (cut := body.rfind(b"\r")) >= 0:
            yield left_out, body[:cut]
            rest, body, left_out = rest[cut + 1 :], body[cut + 1 :], 0
        ends = rest[len(body) :]
        if len(body) > most:
            left_out += len(body) - kept
            body = body[:kept]
        if len(ends) > most:
            yield left_out, body + ends[:-1]
            left_out, body, ends = 0, b"", b""
        rest = body + ends
    if rest:
        yield left_out, rest.rstrip(b"\r")


def decode(raw: bytes, place: str) -> str:
    """Decode a line.

    raw (bytes): The line.
    place (str): Its place as file:line, for messages.
    RETURNS (str): The text.
    RAISES (MaralError): If it is not UTF-8, or holds a NUL character.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
        raise MaralError(Errors.M103.format(place=place, found=found)) from error
    if "\0" in text:
        found = f"a NUL character at position {text.index(chr(0)) + 1} (UTF-16 or a binary file?)"
        raise MaralError(Errors.M103.format(place=place, found=found))
    return text


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, as an object_pairs_hook.

    RAISES (ValueError): If a key occurs twice: one of its values would be lost.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} occurs twice")
        found[key] = value
    return found
