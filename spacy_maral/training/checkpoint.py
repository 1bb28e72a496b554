"""Checkpoints: written atomically, verified before use, with the previous one kept."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..data.files import remove_folder, replacing, sha256
from ..errors import Errors, MaralError, Warnings

logger = logging.getLogger("spacy")

FORMAT_VERSION = 2
KEPT = 2
TENSORS, ARRAYS, STATE, SUMS = "tensors.safetensors", "arrays.npz", "state.json", "sha256.json"
BEST = "best.safetensors"
# of a fingerprint: what may differ, with a warning
THREADS = "threads"
PARTS = (TENSORS, ARRAYS, STATE)
NAME = re.compile(r"epoch-(\d{4,})(?:-step-(\d{7,}))?")


@dataclass
class Checkpoint:
    """The state that a run needs to resume after `epoch` epochs and `step` steps of the next.

    tensors: Weights, buffers and optimiser state. arrays: State of the hooks. state: Everything
    else, JSON-serialisable. best: File with the weights of the best epoch, which
    `save_checkpoint` copies, or None.
    """

    epoch: int
    tensors: dict[str, Tensor]
    arrays: dict[str, NDArray]
    state: dict[str, Any]
    step: int = 0
    best: Path | None = None

    @property
    def name(self) -> str:
        return f"epoch-{self.epoch:04d}" + (f"-step-{self.step:07d}" if self.step else "")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint atomically, and delete older ones except the previous one.

    folder (Path): Folder of all checkpoints.
    checkpoint (Checkpoint): The checkpoint.
    RETURNS (Path): The checkpoint's own folder.
    RAISES (OSError, SafetensorError): If it cannot be written; earlier checkpoints stay unchanged.
    """
    final = folder / checkpoint.name
    with replacing(final, durable=True) as temporary:
        temporary.mkdir()
        _write(temporary, checkpoint)
    found = list_checkpoints(folder)
    place = found.index(final)
    # `load_checkpoint` skipped the newer ones as damaged
    for other in [*found[: max(0, place + 1 - KEPT)], *found[place + 1 :]]:
        remove_folder(other)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's files and their checksums."""
    save_tensors(folder / TENSORS, checkpoint.tensors)
    with (folder / ARRAYS).open("wb") as file:
        np.savez(file, **checkpoint.arrays)  # type: ignore[arg-type]
    state = {
        **checkpoint.state,
        "epoch": checkpoint.epoch, "step": checkpoint.step, "format_version": FORMAT_VERSION,
    }  # fmt: skip
    (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf8")
    names = list(PARTS)
    if checkpoint.best is not None:
        names.append(BEST)
        # a copy, not a link: damage to one file must not affect the other
        shutil.copyfile(checkpoint.best, folder / BEST)
    sums = {name: sha256(folder / name) for name in names}
    (folder / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf8")


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors by name, from any device, to a file.

    RAISES (OSError, SafetensorError): If the file could not be written completely.
    """
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    # opening compares the file's length with its header: `save_file` may miss a late write error
    with safe_open(path, framework="pt"):
        pass


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest intact checkpoint; log a warning for each damaged one and skip it.

    folder (Path): Folder of all checkpoints.
    RETURNS (Checkpoint): The newest intact checkpoint, or None if the folder has no checkpoint.
    RAISES (MaralError): If all checkpoints are damaged, or one has another format version.
    """
    found = list_checkpoints(folder)
    for path in reversed(found):
        problem = _damage(path)
        if problem is None:
            try:
                return _read(path)
            except MaralError:
                raise
            except Exception as error:
                # zipfile, json and safetensors raise different exceptions
                problem = f"{type(error).__name__}: {error}"
        logger.warning(Warnings.W301.format(path=path, problem=problem))
    if found:
        raise MaralError(Errors.M307.format(folder=folder))
    return None


def peek_state(folder: Path) -> dict[str, Any] | None:
    """Read the state of the newest readable checkpoint without its tensors; None without any."""
    for path in reversed(list_checkpoints(folder)):
        if _damage(path, only=STATE) is None:
            with contextlib.suppress(TypeError, ValueError, KeyError, RecursionError):
                return _read_state(path)
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """List the completely written checkpoints in a folder, oldest first."""
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("epoch-*")]
    places = [
        (int(match[1]), int(match[2] or 0), path)
        for match, path in found
        if match and path.is_dir()
    ]
    return [path for _, _, path in sorted(places)]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a write error into a message that names the last checkpoint and the remedy.

    path (Path): The file or folder to write; checkpoints are in this folder or beside this file.
    RAISES (MaralError): If writing fails, for example because the disk is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        newest = describe_newest(path if path.is_dir() else path.parent)
        raise MaralError(Errors.M322.format(path=path, problem=error, checkpoint=newest)) from error


def describe_newest(folder: Path) -> str:
    """Describe the newest checkpoint in words, for the end of a message."""
    found = list_checkpoints(folder)
    return f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"


def _damage(path: Path, only: str | None = None) -> str | None:
    """Describe the damage to a checkpoint, or to one of its files only; None if it is intact."""
    try:
        sums = json.loads((path / SUMS).read_text(encoding="utf8"))
        for name in [only] if only else {*PARTS, *sums}:
            if sha256(path / name) != sums[name]:
                return f"{name} does not have its checksum"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _read_state(path: Path) -> dict[str, Any]:
    state = json.loads((path / STATE).read_text(encoding="utf8"))
    found = state["format_version"]
    for key in ("format_version", "epoch", "step"):
        if type(state[key]) is not int or state[key] < 0:
            raise TypeError(f"{key} is {state[key]!r}")
    if found != FORMAT_VERSION:
        message = Errors.M308 if found > FORMAT_VERSION else Errors.M320
        raise MaralError(message.format(path=path, found=found, known=FORMAT_VERSION))
    return state


def _read(path: Path) -> Checkpoint:
    state = _read_state(path)
    with np.load(path / ARRAYS, allow_pickle=False) as arrays:
        loaded = {name: arrays[name] for name in arrays.files}
    best = path / BEST if (path / BEST).is_file() else None
    tensors = load_file(path / TENSORS)
    return Checkpoint(state["epoch"], tensors, loaded, state, state["step"], best)
