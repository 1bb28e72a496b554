"""A cache of files for data computed once per text: arrays, and tables too large for memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.files import digest, replacing
from ..errors import Errors, MaralError, Warnings
from .checkpoint import writing

logger = logging.getLogger("spacy")

# part of every key: raise it when the cached data change their meaning
VERSION = 1

Arrays = dict[str, NDArray]


class Cache:
    """A folder of files, each named by a digest of everything that its content depends on.

    The cache makes a file that is missing or incomplete. All files can be deleted while no
    training is running.

    folder (Path): The folder; the cache creates it with the first file.
    limit (float): Maximum disk space for tables of rows, in GiB.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit
        self.taken = 0

    def arrays(self, key: dict[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Read arrays from the cache, or make and keep them.

        key (dict): Everything that the arrays depend on, JSON-serialisable.
        make (Callable): Function that makes the arrays.
        RETURNS (dict): The arrays by name.
        RAISES (MaralError): If the arrays cannot be written.
        """
        path = self.folder / f"{digest({**key, 'version': VERSION})}.npz"
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            # the file is missing, or numpy or zipfile finds it damaged
            arrays = make()
        with writing(self.folder), replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return arrays

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
            needed = (self.taken + size) / 2**30
            logger.warning(Warnings.W303.format(needed=needed, limit=self.limit))
            return None
        self.taken += size
        whole = {**key, "dtype": str(dtype), "shape": shape, "version": VERSION}
        path = self.folder / f"{digest(whole)}.rows"
        if not path.is_file() or path.stat().st_size != size:
            with writing(self.folder), replacing(path) as temporary, temporary.open("wb") as file:
                file.truncate(size)
                for starts, stops, rows in make():
                    write_rows(file, starts, stops, rows)
        return Rows(path, shape[1], dtype)


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


def write_rows(file: BinaryIO, starts: Iterable[int], stops: Iterable[int], rows: Tensor) -> None:
    """Write a tensor's rows to the ranges [start, stop) of a file, one range after the other."""
    data = rows.contiguous().cpu().view(torch.uint8).numpy()
    at = 0
    for start, stop in zip(starts, stops, strict=True):
        file.seek(int(start) * data.shape[1])
        file.write(data[at : at + int(stop - start)].data)
        at += int(stop - start)
