"""Write files and folders whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ..errors import Errors, MaralError

TEMPORARY = ".tmp"
# what reading a damaged file can raise
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False, writer: str = "") -> Iterator[Path]:
    """Write a file or folder whole or not at all: beside its place, and moved there at the end.

    A failure leaves nothing behind. A killed process leaves a name that begins with a dot and ends
    in .tmp.

    path (Path): The file or folder, replaced if it exists; missing folders are made.
    durable (bool): Wait until it is on the disk, first its contents and then its name.
    writer (str): Tells apart those who write the same file; by default the number of the process.
    YIELDS (Path): Where to write it.
    RAISES (OSError): If it cannot be written or moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{writer or os.getpid()}{TEMPORARY}")
    remove(temporary)
    try:
        yield temporary
        if durable:
            _sync_all(temporary)
        if temporary.is_dir() and path.is_dir():
            remove_folder(path)
        os.replace(temporary, path)
    except BaseException:
        # half a file would keep a full disk full
        with contextlib.suppress(OSError):
            remove(temporary)
        raise
    if durable:
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    path (Path): The file; missing folders are made.
    text (str): The text.
    RAISES (OSError): If it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf8", newline="\n")


def write_file(path: Path, text: str) -> None:
    """Write a text file, whole or not at all, and report errors to the user.

    path (Path): The file; missing folders are made.
    text (str): The text.
    RAISES (MaralError): If it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise MaralError(Errors.M406.format(path=path, problem=error)) from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all, and report errors to the user.

    path (Path): The file; missing folders are made.
    data (dict): The content.
    RAISES (MaralError): If it cannot be written.
    """
    write_file(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def reading(path: Path, message: str) -> Iterator[None]:
    """Report to the user that a file cannot be read, or lacks a part that the block looks for.

    path (Path): The file.
    message (str): Text of the error, with places for path and problem.
    RAISES (MaralError): For each error of the block that a damaged file can cause.
    """
    try:
        yield
    except UNREADABLE as error:
        problem = f"there is no {error} in it" if isinstance(error, KeyError) else error
        raise MaralError(message.format(path=path, problem=problem)) from error


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Delete a folder, renamed first: a folder that is deleted in part never keeps its name."""
    doomed = path.with_name(f".{path.name}.old{TEMPORARY}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Delete the unfinished files of killed processes; no process may be writing to the folder."""
    for path in folder.glob(f"*{TEMPORARY}"):
        remove(path)


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def digest(value: Any) -> str:
    """Fingerprint of plain values, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_all(path: Path) -> None:
    """Wait until a file, or a folder with its files, is on the disk."""
    if path.is_dir():
        for part in sorted(path.iterdir()):
            _sync_all(part)
        _sync_folder(path)
    else:
        _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on the disk, where the system supports it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines such as "[student] epochs: 3 is now 4", one for each difference of two fingerprints."""
    before, now = (
        {key: json.dumps(value, ensure_ascii=False) for key, value in side.items()}
        for side in (old, new)
    )
    return [
        f"{key}: {before.get(key, 'not set')} is now {now.get(key, 'not set')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
