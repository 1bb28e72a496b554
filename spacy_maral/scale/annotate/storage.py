"""Files by address: a path here, or that of any file system that fsspec knows, as s3://bucket/key."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.core import url_to_fs

from ...data.files import TEMPORARY
from ...errors import Errors, MaralError

# where file systems keep what changes when a file does
VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


class FileInfo(NamedTuple):
    """A file: address, size in bytes, and what changes when it is written anew ("" if unknown)."""

    address: str
    size: int
    version: str


def is_remote(address: str) -> bool:
    """Whether an address is not simply a path here."""
    return "://" in address and not address.startswith("file://")


def local_path(address: str) -> Path:
    """The path of an address that is not remote."""
    return Path(address.removeprefix("file://"))


def join(address: str, *parts: str) -> str:
    """An address below another; the parts have slashes."""
    return "/".join([address.rstrip("/"), *parts])


def absolute(address: str) -> str:
    """An address that means the same in another process here."""
    return address if is_remote(address) else Path(os.path.abspath(local_path(address))).as_posix()


def open_filesystem(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Find the file system of an address.

    address (str): The address.
    RETURNS (tuple): The file system, and the path within it.
    RAISES (MaralError): If no installed package knows such addresses, or it cannot be reached.
    """
    try:
        return url_to_fs(address)
    except Exception as error:
        # the packages of file systems report wrong settings each in its own way
        problem = f"{type(error).__name__}: {str(error).rstrip('.')}"
        raise MaralError(Errors.M465.format(address=address, problem=problem)) from error


def list_files(address: str) -> list[FileInfo]:
    """Find files, with their sizes.

    address (str): A file, a folder (all files below it), or a pattern with *.
    RETURNS (list[FileInfo]): In the order of their addresses; none if nothing is there.
    """
    fs, path = open_filesystem(address)
    # what was written since by another process counts
    fs.invalidate_cache()
    if has_magic(address):
        found = fs.glob(path, detail=True)
    elif fs.isfile(path):
        found = {path: fs.info(path)}
    else:
        found = fs.find(path, detail=True) if fs.exists(path) else {}
    # addresses may say more than paths do, such as the name of a server
    base = fixed_part(address)
    skipped = len(fs._strip_protocol(base).rstrip("/"))
    files = [
        FileInfo(base.rstrip("/") + name[skipped:], int(info.get("size") or 0), _version(info))
        for name, info in found.items()
        if info.get("type") == "file"
    ]
    return sorted(files)


def fixed_part(address: str) -> str:
    """The folder that the files of a pattern are below; any other address as it is."""
    while has_magic(address):
        address = address.rpartition("/")[0]
    return address


def has_magic(address: str) -> bool:
    """Whether an address is a pattern."""
    return any(char in address for char in "*?[")


def exists(address: str) -> bool:
    """Whether there is a file or folder."""
    fs, path = open_filesystem(address)
    return bool(fs.exists(path))


def open_read(address: str) -> IO[bytes]:
    """Open a file to be read."""
    fs, path = open_filesystem(address)
    return fs.open(path, "rb")


@contextlib.contextmanager
def replacing(address: str) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: beside its place, and moved there when all went well.

    Several processes may write the same file: the last one to end has it.

    address (str): Where it goes; missing folders are made, and what was there is replaced.
    YIELDS (IO[bytes]): Where to write.
    RAISES (OSError): If it cannot be written or moved.
    """
    fs, path = open_filesystem(address)
    folder, _, name = path.rpartition("/")
    # process numbers repeat on other machines
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}{TEMPORARY}"
    if folder:
        fs.makedirs(folder, exist_ok=True)
    try:
        with fs.open(temporary, "wb") as file:
            yield file
            if not is_remote(address):
                file.flush()
                os.fsync(file.fileno())
        if is_remote(address):
            fs.mv(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException:
        # what is left of it would keep a full disk full
        with contextlib.suppress(OSError):
            fs.rm_file(temporary)
        raise


def remove_file(address: str) -> None:
    """Delete a file, if it is there."""
    fs, path = open_filesystem(address)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def write_json(address: str, data: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(address) as file:
        file.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode("utf8"))


def read_json(addresses: list[str]) -> dict[str, Any]:
    """Read JSON files, all at once where the file system can.

    addresses (list[str]): Files of one file system.
    RETURNS (dict): Their contents by address; what is missing or damaged is left out.
    """
    if not addresses:
        return {}
    fs, _ = open_filesystem(addresses[0])
    paths = {fs._strip_protocol(address): address for address in addresses}
    found = {}
    for path, data in fs.cat(list(paths), on_error="omit").items():
        with contextlib.suppress(ValueError):
            found[paths[path]] = json.loads(data)
    return found


def _version(info: dict[str, Any]) -> str:
    return next((str(info[key]) for key in VERSION_KEYS if info.get(key) is not None), "")
