"""Read text files: UTF-8, with or without byte order marks, with any line ends, plain or gzipped."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ..errors import Errors, MaralError


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
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for number, raw in raw_lines(cast(IO[bytes], stream)):
                yield number, decode(raw, f"{file}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise MaralError(Errors.M118.format(path=f"{file}:{number}", found=error)) from error


def raw_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Read a stream line by line, without the byte order marks that files bring with them.

    YIELDS (tuple): Line number from 1, and the line without its end and without trailing blanks.
    """
    number = 0
    for part in stream:
        # CR alone ends a line as well, but CR CR LF is one end, not two
        for line in part.rstrip(b"\r\n").split(b"\r"):
            number += 1
            yield number, line.removeprefix(codecs.BOM_UTF8).rstrip(b" \t")


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
