"""The folder of a run: its lock, its fingerprint, and its state of completion."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from spacy.tokens import Doc
from spacy.util import dict_to_dot
from thinc.api import Config

from ..data.files import (
    UNREADABLE,
    check_no_input,
    differences,
    prove_writable,
    remove_leftovers,
    sha256,
)
from ..data.layout import DIAGNOSTICS, META, RUN_FOLDER, SUMMARY
from ..errors import Errors, MaralError, Warnings
from .checkpoint import THREADS, list_checkpoints, peek_state, writing
from .corpus import digest_docs
from .interrupts import sole_run
from .processes import Ranks
from .saving import damaged_files, end_exchange, put_back
from .settings import Section

logger = logging.getLogger("spacy")

# settings that may change when a run is resumed: they do not affect its result
FREE = {"cache", "checkpoint_minutes", "logger"}


def is_finished(folder: Path, fingerprint: dict[str, Any]) -> bool:
    """Check whether the run in a folder is finished, before the work of resuming it begins.

    folder (Path): The run's folder.
    fingerprint (dict): The fingerprint that the run must have (see `fingerprint`).
    RETURNS (bool): Whether the run is finished and its pipeline complete.
    RAISES (MaralError): If the run, finished or not, has another fingerprint.
    """
    state = peek_state(folder)
    if state is None and (folder / SUMMARY).is_file():
        return _is_whole(folder, fingerprint)
    changed = [] if state is None else _changes(state["fingerprint"], fingerprint)
    if changed:
        raise MaralError(Errors.M311.format(folder=folder, changed="\n  ".join(changed)))
    return False


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Differences of two fingerprints; the number of threads may differ."""
    return differences({**old, THREADS: None}, {**new, THREADS: None})


def _is_whole(folder: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether summary and pipeline of a run that has ended are intact; a warning says what is not."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf8"))
        changed = _changes(summary["fingerprint"], fingerprint)
        damaged = damaged_files(folder.parent, summary)
    except UNREADABLE as error:
        logger.warning(Warnings.W531.format(path=path, problem=f"{type(error).__name__}: {error}"))
        return False
    if changed:
        raise MaralError(Errors.M323.format(folder=folder, changed="\n  ".join(changed)))
    if damaged:
        logger.warning(Warnings.W530.format(folder=folder, files=", ".join(damaged)))
        return False
    logger.warning(Warnings.W304.format(folder=folder))
    return True


def fingerprint(
    config: Config, sections: dict[str, Section], docs: Mapping[str, Sequence[Doc]], **files: str
) -> dict[str, Any]:
    """Identify a run by its settings and by digests of its data, so that it can be resumed.

    config (Config): The configuration.
    sections (dict): The validated sections of the configuration that the run uses.
    docs (dict): The documents by name; target documents count by their words only, unless
        `diagnose_with_gold` is set.
    files (str): Digests of other input files by name.
    RETURNS (dict): Values by setting and data name, JSON-serialisable.
    """
    used = {name: config[name] for name in ("system", "nlp", "components") if name in config}
    used.update({name: section.model_dump(exclude=FREE) for name, section in sections.items()})
    found = {f"[{name}] {k}": v for name in used for k, v in dict_to_dot(used[name]).items()}
    gold = used.get("adaptation", {}).get("diagnose_with_gold", False)
    for name, side in docs.items():
        digest = digest_docs(side, labelled=gold or name != "target")
        found[f"{name} data"] = f"{len(side):,} documents, SHA-256 {digest}"
    found.update({name: f"SHA-256 {digest}" for name, digest in files.items()})
    found[THREADS] = torch.get_num_threads()
    return json.loads(json.dumps(found, default=str))


def digest_pipeline(path: Path) -> str:
    """Compute the SHA-256 of the names and contents of a pipeline's files, without its run's."""
    sha = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and name.parts[0] != RUN_FOLDER:
            sha.update(f"{name.as_posix()}\n{sha256(file)}\n".encode())
    return sha.hexdigest()


def digest_labels(path: Path) -> str:
    """Compute the SHA-256 of a file of pseudo-labels, or refuse a file that cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise MaralError(Errors.M305.format(path=path, problem=error)) from None


@contextmanager
def run_folder(
    output: Path, resume: bool, ranks: Ranks, inputs: Iterable[str | Path] = ()
) -> Iterator[Path]:
    """Open the folder of a run; the first process locks it and removes leftovers.

    output (Path): The pipeline's folder.
    resume (bool): Whether to resume the run.
    ranks (Ranks): The processes.
    inputs (Iterable): Files and folders that the run reads.
    YIELDS (Path): The run's folder, inside the pipeline's.
    RAISES (MaralError): If the folder cannot be written, is an input or in one, another run uses it, or it
        has checkpoints and `resume` is False.
    """
    folder = output / RUN_FOLDER
    check_no_input(output, inputs)
    if ranks.is_first:
        with writing(folder):
            put_back(output)
        prove_writable(folder, folder=True)
    with sole_run(folder) if ranks.is_first else nullcontext():
        if ranks.is_first:
            if not resume and list_checkpoints(folder):
                raise MaralError(Errors.M316.format(folder=folder))
            with writing(folder):
                end_exchange(output)
                for part in (folder, folder / DIAGNOSTICS):
                    remove_leftovers(part)
                if not resume:
                    if (output / META).is_file():
                        logger.warning(Warnings.W307.format(output=output))
                    (folder / SUMMARY).unlink(missing_ok=True)
        ranks.say(None)
        yield folder
