"""Name memories as bytes: one safetensors block with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ..errors import Errors, MaralError
from .names import NameMemory

NAMES = "names"
"""Name of the file in the folder of the component."""
FORMAT_VERSION = 1
HEADER = "spacy_maral_names"
MAX_HEADER = 1 << 20
TYPES = {"keys": np.uint64, "sums": np.float32, "mentions": np.uint32}


def names_to_bytes(memory: NameMemory, labels: Sequence[str]) -> bytes:
    """Write a memory, rounded to the types of `NameMemory.compact`.

    memory (NameMemory): The memory.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    RETURNS (bytes): One safetensors block.
    """
    small = memory.compact()
    arrays = {name: np.ascontiguousarray(getattr(small, name)) for name in TYPES}
    parts = {"labels": list(labels), "sha256": _digest(arrays, labels)}
    header = json.dumps({"version": FORMAT_VERSION, **parts}, sort_keys=True)
    return save_arrays(arrays, metadata={HEADER: header})


def names_from_bytes(data: bytes, labels: Sequence[str]) -> NameMemory:
    """Read a memory.

    data (bytes): The block that `names_to_bytes` returned.
    labels (Sequence[str]): Entity labels that the memory must have.
    RETURNS (NameMemory): The memory.
    RAISES (MaralError): If the block is damaged, of a newer format, or for other labels.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][HEADER])
        version, found = header["version"], header["labels"]
        if version > FORMAT_VERSION:
            raise MaralError(Errors.M501.format(found=version, known=FORMAT_VERSION))
        arrays = load_arrays(data)
        if header["sha256"] != _digest(arrays, found):
            raise ValueError("it does not have its checksum")
    except MaralError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        # a damaged block fails in the header or in the arrays
        raise MaralError(Errors.M502.format(problem=error)) from error
    if found != list(labels):
        raise MaralError(Errors.M503.format(found=", ".join(found), labels=", ".join(labels)))
    return NameMemory(**{name: arrays[name] for name in TYPES})


def is_memory(path: Path) -> bool:
    """Whether a file looks like a saved memory, by its header."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return size <= path.stat().st_size and HEADER.encode() in file.read(min(size, MAX_HEADER))


def count_names(path: Path) -> int:
    """Number of strings in a saved memory, from the file's header.

    RAISES (ValueError): If the file is damaged.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError("it is damaged or cut off")
        header = json.loads(file.read(size))
    (n,) = header["keys"]["shape"]
    return int(n)


def _digest(arrays: dict[str, NDArray], labels: Sequence[str]) -> str:
    """SHA-256 of the labels, and of the arrays with their types and shapes."""
    kinds = [(name, str(array.dtype), array.shape) for name, array in sorted(arrays.items())]
    sha = hashlib.sha256(json.dumps([list(labels), kinds]).encode())
    for _, array in sorted(arrays.items()):
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
