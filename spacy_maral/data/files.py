"""Write files and folders whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ..errors import Errors, MaralError

# one file, or several
Paths = str | Path | Sequence[str | Path]

TEMPORARY = ".tmp"
# bytes of a SHA-256
SEAL = 32
# seconds without a change after which nobody writes a temporary file any more
ABANDONED = 600
# of a name, what goes into the name of its temporary file, and bytes that a writable disk takes
MOST_CHARS, PROBE = 50, 4096
# of Linux: paths are relative to the working folder; two names are exchanged
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# what reading a damaged file can raise
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file or folder whole or not at all: beside its place, and moved there at the end.

    A failure leaves nothing behind. A killed process leaves a name that begins with a dot and ends
    in .tmp. Through a link, its target is replaced; a device or a pipe is written to as it is.

    path (Path): The file or folder, replaced if it exists; missing folders are made.
    durable (bool): Wait until it is on the disk, first its contents and then its name.
    YIELDS (Path): Where to write it.
    RAISES (OSError): If it cannot be written or moved.
    """
    path = Path(os.path.realpath(path))
    if _is_special(path):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        if durable:
            sync_all(temporary)
        if temporary.is_dir() and path.is_dir():
            swap_folders(temporary, path)
            remove(temporary)
        else:
            os.replace(temporary, path)
    except BaseException:
        # half a file would keep a full disk full
        with contextlib.suppress(OSError):
            remove(temporary)
        raise
    if durable:
        sync_folder(path.parent)


def swap_folders(new: Path, old: Path) -> None:
    """Let two folders of one disk take each other's place.

    Where the system cannot exchange names (see `exchange`), there is no `old` for a moment.

    new, old (Path): The folders.
    RAISES (OSError): If one of them cannot be renamed.
    """
    if exchange(new, old):
        return
    aside = _beside(old)
    os.replace(old, aside)
    os.replace(new, old)
    os.replace(aside, new)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step, so that neither is ever missing.

    Linux can do so on its own file systems (ext4, XFS, btrfs, tmpfs, overlays), but not on NFS.

    RETURNS (bool): Whether it is done; if not, nothing has changed.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other))
    return rename is not None and rename(*names, RENAME_EXCHANGE) == 0


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _beside(path: Path) -> Path:
    """A name that no other process has, on this machine or another, and that fits a file system."""
    return path.with_name(f".{path.name[:MOST_CHARS]}.{uuid.uuid4().hex[:12]}{TEMPORARY}")


def prove_writable(
    path: Path, *, folder: bool = False, inputs: Iterable[str | Path] = ()
) -> None:  # fmt: skip
    """Refuse an output that cannot be written, or would replace an input, before the work on it begins.

    path (Path): The file or folder; missing folders are made.
    folder (bool): Whether files are to be written into it.
    inputs (Iterable): Files that the work reads, and folders whose files it reads.
    RAISES (MaralError): If a small file cannot be written there, or it is an input or in a folder of
        inputs.
    """
    check_no_input(path, inputs)
    place = Path(os.path.realpath(path / "file" if folder else path))
    with writing_output(path):
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if _is_special(place):
            if not os.access(place, os.W_OK):
                raise PermissionError(errno.EACCES, "permission denied", str(path))
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(place)
        # refuses a name that is too long for the file system
        with contextlib.suppress(FileNotFoundError):
            place.stat()
        probe = _beside(place)
        try:
            probe.write_bytes(bytes(PROBE))
        finally:
            probe.unlink(missing_ok=True)


def check_no_input(path: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output that is one of the files that are read, or in a folder that is.

    RAISES (MaralError): If it is, whether or not it exists.
    """
    place = Path(os.path.realpath(path))
    for given in map(Path, inputs):
        own = Path(os.path.realpath(given))
        same = place.exists() and own.exists() and place.samefile(own)
        if same or place == own or (own.is_dir() and own in place.parents):
            raise MaralError(Errors.M544.format(path=path))


@contextlib.contextmanager
def writing_output(path: Path) -> Iterator[None]:
    """Report to the user that an output cannot be written.

    path (Path): The file or folder.
    RAISES (MaralError): For each OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise MaralError(Errors.M406.format(path=path, problem=error)) from error


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text file, whole or not at all.

    path (Path): The file; missing folders are made.
    text (str): The text.
    durable (bool): Wait until it is on the disk.
    RAISES (OSError): If it cannot be written.
    """
    with (
        replacing(path, durable=durable) as temporary,
        temporary.open("w" if _is_special(path) else "x", encoding="utf8", newline="\n") as file,
    ):
        file.write(text)


def write_file(path: Path, text: str) -> None:
    """Write a text file, whole or not at all, and report errors to the user.

    path (Path): The file; missing folders are made.
    text (str): The text.
    RAISES (MaralError): If it cannot be written.
    """
    with writing_output(path):
        write_text(path, text)


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


def remove_abandoned(path: Path) -> None:
    """Delete what killed processes have left of earlier attempts to write a file or folder.

    path (Path): The file or folder. What was changed within the last ten minutes may belong to a
        process that still writes it, and stays.
    """
    path = Path(os.path.realpath(path))
    for left in path.parent.glob(f".{escape(path.name[:MOST_CHARS])}.*{TEMPORARY}"):
        # another process may be quicker
        with contextlib.suppress(OSError):
            newest = max(p.lstat().st_mtime for p in (left, *left.rglob("*")))
            if time.time() - newest > ABANDONED:
                remove(left)


def remove_leftovers(folder: Path, *, seconds: float | None = None) -> None:
    """Delete the unfinished files of killed processes.

    folder (Path): The folder.
    seconds (float | None): Least time since a file was changed, for folders that processes are
        writing to; None deletes all.
    """
    for path in folder.glob(f"*{TEMPORARY}"):
        # another process may be quicker
        with contextlib.suppress(FileNotFoundError):
            if seconds is None or time.time() - path.stat().st_mtime > seconds:
                remove(path)


def sha256(path: Path, *, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first `size` bytes, 64 hexadecimal digits."""
    sha, left = hashlib.sha256(), path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while block := file.read(min(left, 1 << 20)):
            sha.update(block)
            left -= len(block)
    return sha.hexdigest()


def seal(path: Path) -> None:
    """Append its SHA-256 to a file."""
    digest = bytes.fromhex(sha256(path))
    with path.open("ab") as file:
        file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether a file is there and has the content that it was sealed with."""
    try:
        size = path.stat().st_size - SEAL
        with path.open("rb") as file:
            file.seek(size)
            return file.read().hex() == sha256(path, size=size)
    except (OSError, ValueError):
        return False


def digest(value: Any) -> str:
    """Fingerprint of plain values, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sync_all(path: Path) -> None:
    """Wait until a file, or a folder with its files, is on the disk."""
    if path.is_dir():
        for part in sorted(path.iterdir()):
            sync_all(part)
        sync_folder(path)
    else:
        _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
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


def listed(paths: Paths) -> list[str | Path]:
    """Turn one path, or address of a store, or several into a list."""
    return [paths] if isinstance(paths, str | Path) else list(paths)


def as_paths(paths: Paths) -> list[Path]:
    """Turn one path or several into a list of paths of this machine."""
    return [Path(path) for path in listed(paths)]


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Name files or folders by the parts of their paths from where they differ; one by its last part."""
    parts = [Path(path).parts for path in paths]
    if len(parts) == 1:
        return [parts[0][-1]]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [Path(*p[shared:]).as_posix() for p in parts]
