"""A cache of files for data computed once per text: arrays, and tables too large for memory."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.files import SEAL, digest, is_sealed, remove_leftovers, replacing, seal
from ..errors import Errors, MaralError, Warnings
from .checkpoint import writing

logger = logging.getLogger("spacy")

# part of every key: raise it when the cached data change their meaning
VERSION = 2
UNUSED = 86_400
"""Seconds after which a file that no process has touched counts as unused."""

Arrays = dict[str, NDArray]


class _Full(Exception):
    """There is no room in the cache; the argument is the number of bytes that it would take."""


class Cache:
    """A folder of files, each named by a digest of everything that its content depends on.

    Several trainings, also on other machines, can share the folder. Each file ends in the SHA-256 of
    its content, and a damaged one is made again. Before a table is written, the oldest files that no
    training has used for a day are deleted while the folder would exceed the limit; if it still would, there is no table.

    folder (Path): The folder; the cache creates it with the first file.
    limit (float): Maximum disk space of the folder once a table is in it, in GiB.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit
        self.taken = 0
        remove_leftovers(folder, seconds=UNUSED)

    def arrays(self, key: dict[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Read arrays from the cache, or make and keep them.

        key (dict): Everything that the arrays depend on, JSON-serialisable.
        make (Callable): Function that makes the arrays.
        RETURNS (dict): The arrays by name.
        RAISES (MaralError): If the arrays cannot be written.
        """
        path = self.folder / f"{digest({**key, 'version': VERSION})}.npz"
        if self._has(path):
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        arrays = make()
        with writing(self.folder), replacing(path) as temporary:
            with temporary.open("xb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            seal(temporary)
        return arrays

    def _has(self, path: Path) -> bool:
        """Whether a file is there and intact; if so, note that it is used."""
        found = is_sealed(path)
        if found:
            note_use(path)
        return found

    def _make_room(self) -> None:
        """Delete the oldest files that no training has used for a day, as far as the limit asks.

        RAISES (_Full): If all files together exceed the limit nevertheless.
        """
        files = []
        for path in self.folder.glob("*.*"):
            # another training may delete it now
            with suppress(FileNotFoundError):
                stat = path.stat()
                files.append((stat.st_atime, stat.st_size, path))
        excess = sum(size for _, size, _ in files) - self.limit * 2**30
        for used, size, path in sorted(files):
            if excess > 0 and time.time() - used > UNUSED:
                path.unlink(missing_ok=True)
                excess -= size
        if excess > 0:
            raise _Full(excess + self.limit * 2**30)

    def rows(
        self, key: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype, make: Callable
    ) -> Rows | None:
        """Find a table that is too large for memory in the cache, or make and keep it.

        key (dict): Everything that the table depends on, JSON-serialisable.
        shape (tuple): Numbers of rows and columns.
        dtype (torch.dtype): Number format.
        make (Callable): Yields (starts, stops, rows) until the table is complete: row ranges
            [start, stop), and a tensor with their rows one range after the other.
        RETURNS (Rows): The table, or None if it would exceed the space limit.
        RAISES (MaralError): If the table cannot be written.
        """
        size = shape[0] * shape[1] * dtype.itemsize
        if self.taken + size > self.limit * 2**30:
            self._refuse(self.taken + size)
            return None
        whole = {**key, "dtype": str(dtype), "shape": shape, "version": VERSION}
        path = self.folder / f"{digest(whole)}.rows"
        if not self._has(path):
            path.unlink(missing_ok=True)
            try:
                self._write(path, size, make)
            except _Full as error:
                self._refuse(error.args[0])
                return None
        self.taken += size
        return Rows(path, shape[1], dtype)

    def _refuse(self, needed: float) -> None:
        found = {"needed": needed / 2**30, "limit": self.limit, "folder": self.folder}
        logger.warning(Warnings.W303.format(**found))

    def _write(self, path: Path, size: int, make: Callable) -> None:
        """Write a table.

        RAISES (_Full): If there is no room for it.
        """
        with writing(self.folder), replacing(path) as temporary:
            with temporary.open("xb") as file:
                # so that trainings that begin a table at the same time count it
                file.truncate(size + SEAL)
                self._make_room()
                file.truncate(size)
                for starts, stops, rows in make():
                    write_rows(file, starts, stops, rows)
            seal(temporary)


class Rows(NamedTuple):
    """A table of numbers in a file, read by ranges of rows.

    path: The file. width: Number of columns. dtype: Number format.
    """

    path: Path
    width: int
    dtype: torch.dtype

    def read(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Tensor:
        """Read the row ranges [starts[i], stops[i]).

        starts, stops (NDArray): First row of each range, and the row after its last.
        RETURNS (Tensor): The rows, one range after the other, on the CPU, shape (rows, width).
        RAISES (MaralError): If the file is missing or too short.
        """
        size = self.width * self.dtype.itemsize
        found = torch.empty(int((stops - starts).sum()), self.width, dtype=self.dtype)
        buffer, at = found.view(torch.uint8).numpy().reshape(-1).data, 0
        try:
            note_use(self.path)
            with self.path.open("rb", buffering=0) as file:
                for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                    file.seek(start * size)
                    end = at + (stop - start) * size
                    while at < end:
                        count = file.readinto(buffer[at:end])
                        if not count:
                            raise EOFError(f"it ends before row {stop}")
                        at += count
        except (OSError, EOFError) as error:
            raise MaralError(Errors.M347.format(path=self.path, problem=error)) from error
        return found


def note_use(path: Path) -> None:
    """Set the time of access of a file, as far as it may be changed: some systems never do."""
    with suppress(PermissionError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def write_rows(file: BinaryIO, starts: Iterable[int], stops: Iterable[int], rows: Tensor) -> None:
    """Write a tensor's rows to the ranges [start, stop) of a file, one range after the other."""
    data = rows.contiguous().cpu().view(torch.uint8).numpy()
    at = 0
    for start, stop in zip(starts, stops, strict=True):
        file.seek(int(start) * data.shape[1])
        file.write(data[at : at + int(stop - start)].data)
        at += int(stop - start)
