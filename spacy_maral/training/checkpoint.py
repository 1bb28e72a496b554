"""Checkpoints: written whole or not at all, checked before use, the previous one kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import Errors, MaralError, Warnings

logger = logging.getLogger("spacy")

FORMAT_VERSION = 1
KEPT = 2
TENSORS, ARRAYS, STATE, SUMS = "tensors.safetensors", "arrays.npz", "state.json", "sha256.json"


@dataclass
class Checkpoint:
    """All that a run needs to go on after `epoch` finished epochs.

    tensors: Weights, buffers and optimiser state. arrays: State of the hooks.
    state: Everything else, JSON-ready.
    """

    epoch: int
    tensors: dict[str, Tensor]
    arrays: dict[str, NDArray]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint under a temporary name, then rename it; keep the one before.

    folder (Path): Where checkpoints are kept.
    checkpoint (Checkpoint): What to keep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"epoch-{checkpoint.epoch:04d}"
    temporary = folder / f"{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()
    }
    save_file(tensors, temporary / TENSORS)
    np.savez(temporary / ARRAYS, **checkpoint.arrays)  # type: ignore[arg-type]
    state = {**checkpoint.state, "epoch": checkpoint.epoch, "format_version": FORMAT_VERSION}
    (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf8")
    sums = {name: _sha256(temporary / name) for name in (TENSORS, ARRAYS, STATE)}
    (temporary / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf8")
    for file in temporary.iterdir():
        _sync(file)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    for old in list_checkpoints(folder)[:-KEPT]:
        remove_checkpoint(old)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; a damaged one is named and passed over.

    folder (Path): Where checkpoints are kept.
    RETURNS (Checkpoint): The newest, or None if there is none at all.
    RAISES (MaralError): If there are checkpoints, but every one is damaged.
    """
    found = list_checkpoints(folder)
    for path in reversed(found):
        problem = _damage(path)
        if problem is None:
            return _read(path)
        logger.warning(Warnings.W301.format(path=path, problem=problem))
    if found:
        raise MaralError(Errors.M307.format(folder=folder))
    return None


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint; one that is deleted in part only no longer counts as a checkpoint."""
    doomed = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in folder.glob("epoch-*") if p.suffix != ".tmp" and p.is_dir())


def _damage(path: Path) -> str | None:
    """Why a checkpoint cannot be used, or None."""
    try:
        sums = json.loads((path / SUMS).read_text(encoding="utf8"))
        for name in (TENSORS, ARRAYS, STATE):
            if _sha256(path / name) != sums[name]:
                return f"{name} does not have its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / STATE).read_text(encoding="utf8"))
    if state["format_version"] > FORMAT_VERSION:
        raise MaralError(
            Errors.M308.format(path=path, found=state["format_version"], known=FORMAT_VERSION)
        )
    with np.load(path / ARRAYS, allow_pickle=False) as arrays:
        loaded = {name: arrays[name] for name in arrays.files}
    return Checkpoint(state["epoch"], load_file(path / TENSORS), loaded, state)


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf8")
    os.replace(temporary, path)
