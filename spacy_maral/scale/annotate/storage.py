"""Files by address: a local path, or an address of a file system that fsspec knows (s3://...)."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from fnmatch import fnmatch
from glob import escape, glob, has_magic
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ...data import files
from ...errors import Errors, MaralError

VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""Keys under which file systems keep what changes when a file is written anew."""
UNFINISHED = f".*{files.TEMPORARY}"
"""Names of files that killed processes leave."""


class FileInfo(NamedTuple):
    """A file: its address, its size in bytes, and a version that changes with it ("" if unknown)."""

    address: str
    size: int
    version: str


def describe(error: Exception) -> str:
    """RETURNS (str): The message of a MaralError; class and message of any other, in one line."""
    if isinstance(error, MaralError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def is_remote(address: str) -> bool:
    """Whether an address is no local path."""
    return "://" in address and not address.startswith("file://")


def local_path(address: str) -> Path:
    """The path of an address that is not remote."""
    return Path(address.removeprefix("file://"))


def join(address: str, *parts: str) -> str:
    """An address below another; the parts have slashes."""
    return "/".join([address.rstrip("/"), *parts])


def absolute(address: str) -> str:
    """An address that means the same in another process on this machine."""
    return address if is_remote(address) else Path(os.path.abspath(local_path(address))).as_posix()


def open_filesystem(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Find the file system of an address.

    address (str): The address.
    RETURNS (tuple): The file system, and the path within it.
    RAISES (MaralError): If no installed package knows such addresses, or it cannot be reached.
    """
    if not is_remote(address):
        # the name of a file is no chain of file systems
        return LocalFileSystem(), str(local_path(address))
    try:
        return url_to_fs(address)
    except Exception as error:
        # each file system reports wrong settings in its own way
        problem = describe(error).rstrip(".")
        raise MaralError(Errors.M465.format(address=address, problem=problem)) from error


def list_files(address: str) -> list[FileInfo]:
    """Find files, with their sizes.

    Links are followed. The name of a local file or folder is never a pattern.

    address (str): A file, a folder (all files below it), or a pattern with *.
    RETURNS (list[FileInfo]): The files in the order of their addresses; empty if there are none.
        A link to nothing is among them.
    """
    if not is_remote(address):
        base = fixed_part(address)
        rest = local_path(address).as_posix()[len(base) :]
        found = _files_below(base) if not rest else glob(escape(base) + rest, recursive=True)
        return [_describe_file(path) for path in sorted(found) if not os.path.isdir(path)]
    fs, path = open_filesystem(address)
    # another process may have written files since
    fs.invalidate_cache()
    found = (fs.find if fs.isdir(path) else fs.glob)(path, detail=True)
    # an address may hold more than its path, such as the name of a server
    base = fixed_part(address)
    skipped = len(fs._strip_protocol(base).rstrip("/"))
    return sorted(
        FileInfo(base.rstrip("/") + name[skipped:], int(info.get("size") or 0), _version(info))
        for name, info in found.items()
        if info.get("type") == "file"
    )


def _files_below(path: str) -> Iterator[str]:
    """A file, or the files below a folder and below those that it links to, each folder once."""
    if not os.path.isdir(path):
        yield from [path] if os.path.lexists(path) else []
        return
    seen = {os.path.realpath(path)}
    for folder, names, inside in os.walk(path, followlinks=True):
        yield from (join(folder, name) for name in inside)
        real = {name: os.path.realpath(join(folder, name)) for name in sorted(names)}
        names[:] = [name for name, place in real.items() if place not in seen]
        seen.update(real.values())


def _describe_file(path: str) -> FileInfo:
    try:
        stat = os.stat(path)
    except OSError:
        return FileInfo(path, 0, "")
    return FileInfo(path, stat.st_size, str(stat.st_mtime))


def _version(info: dict[str, Any]) -> str:
    return next((str(info[key]) for key in VERSION_KEYS if info.get(key) is not None), "")


def fixed_part(address: str) -> str:
    """The folder above all files of a pattern; any other address as it is.

    The fixed part of a local address is all that there is on the disk.
    """
    if not is_remote(address):
        path = local_path(address)
        while not os.path.lexists(path) and path != path.parent:
            path = path.parent
        return path.as_posix()
    while has_magic(address):
        address = address.rpartition("/")[0]
    return address


def is_folder(address: str) -> bool:
    """Whether there is a folder."""
    fs, path = open_filesystem(address)
    return bool(fs.isdir(path))


def open_read(address: str) -> IO[bytes]:
    """Open a file for reading."""
    fs, path = open_filesystem(address)
    return fs.open(path, "rb")


@contextlib.contextmanager
def replacing(address: str) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: beside its place, and moved there at the end.

    Several processes may write the same file: the last one to end replaces the others' files.

    address (str): The file, replaced if it exists; missing folders are made.
    YIELDS (IO[bytes]): Where to write.
    RAISES (OSError): If it cannot be written or moved.
    """
    if not is_remote(address):
        with (
            files.replacing(local_path(address), durable=True) as temporary,
            temporary.open("wb" if temporary.exists() else "xb") as file,
        ):
            yield file
        return
    fs, remote = open_filesystem(address)
    folder, _, name = remote.rpartition("/")
    beside = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}{files.TEMPORARY}"
    if folder:
        fs.makedirs(folder, exist_ok=True)
    try:
        with fs.open(beside, "wb") as file:
            yield file
        fs.mv(beside, remote)
    except BaseException:
        with contextlib.suppress(OSError):
            fs.rm_file(beside)
        raise


def remove_files(folder: str, names: str = "*") -> None:
    """Delete the files below a folder whose names match a pattern."""
    for file in list_files(folder):
        if fnmatch(file.address.rpartition("/")[2], names):
            remove_file(file.address)


def remove_file(address: str) -> None:
    """Delete a file, if it is there."""
    fs, path = open_filesystem(address)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def write_json(address: str, data: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(address) as file:
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        # what is no UTF-8 in the name of a file becomes an escape of JSON
        file.write(text.encode("utf8", "backslashreplace"))


def read_json(addresses: list[str]) -> dict[str, Any]:
    """Read JSON files, all at once where the file system can.

    addresses (list[str]): Files of one file system.
    RETURNS (dict): Their contents by address, without files that are missing or damaged.
    """
    if not addresses:
        return {}
    found = {}
    if not is_remote(addresses[0]):
        for address in addresses:
            with contextlib.suppress(OSError, ValueError):
                found[address] = json.loads(local_path(address).read_bytes())
        return found
    fs, _ = open_filesystem(addresses[0])
    paths = {fs._strip_protocol(address): address for address in addresses}
    for path, data in fs.cat(list(paths), on_error="omit").items():
        with contextlib.suppress(ValueError):
            found[paths[path]] = json.loads(data)
    return found
