"""What is computed once for a text and kept in files: arrays, and rows too many for memory."""

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

# part of every key: raise it when what is kept changes its meaning
VERSION = 1

Arrays = dict[str, NDArray]


class Cache:
    """A folder of files, each named by a digest of all that its content depends on.

    A file that is missing, or not whole, is made. All of them can be deleted whenever no training
    is running.

    folder (Path): The folder; made when there is something to keep.
    limit (float): Most space that rows may take, in GiB.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit
        self.taken = 0

    def arrays(self, key: dict[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Arrays by name, read or made.

        key (dict): All that they depend on, JSON-ready.
        make (Callable): Makes them.
        RETURNS (dict): The arrays.
        RAISES (MaralError): If they cannot be written.
        """
        path = self.folder / f"{digest({**key, 'version': VERSION})}.npz"
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            # missing, or damaged in one of the ways that numpy and zip know
            arrays = make()
        with writing(self.folder), replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return arrays

    def rows(
        self, key: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype, make: Callable
    ) -> Rows | None:
        """A table too large for memory, in a file, read or made.

        key (dict): All that it depends on, JSON-ready.
        shape (tuple): Its rows and columns.
        dtype (torch.dtype): Its numbers.
        make (Callable): Gives (starts, stops, rows) until all rows are there: stretches of rows
            and what is in them, one after the other.
        RETURNS (Rows): The table, or None if there is no space for it.
        RAISES (MaralError): If it cannot be written.
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
    """Rows of numbers in a file.

    path: The file. width: Columns. dtype: Type of the numbers.
    """

    path: Path
    width: int
    dtype: torch.dtype

    def read(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Tensor:
        """Read stretches of rows.

        starts, stops (NDArray): First row of each, and the one behind its last.
        RETURNS (Tensor): The rows, one stretch after the other, on the CPU, shape (rows, width).
        RAISES (MaralError): If the file is gone, or shorter than it was.
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
    """Write stretches of rows, which stand one after the other in a tensor, to their places."""
    data = rows.contiguous().cpu().view(torch.uint8).numpy()
    at = 0
    for start, stop in zip(starts, stops, strict=True):
        file.seek(int(start) * data.shape[1])
        file.write(data[at : at + int(stop - start)].data)
        at += int(stop - start)
