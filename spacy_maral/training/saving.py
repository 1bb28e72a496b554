"""The trained pipeline in its folder: written durably, put in place in one step, and checked."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from spacy.language import Language

from ..data.files import (
    check_no_input,
    exchange,
    prove_writable,
    remove,
    replacing,
    sha256,
    sync_all,
    sync_folder,
    write_text,
    writing_output,
)
from ..data.layout import CONFIG, META, RUN_FOLDER, SUMMARY
from ..errors import Errors, MaralError
from .checkpoint import list_checkpoints
from .interrupts import sole_run

# what may be edited later
EDITABLE = {CONFIG, META}
PARTS = {*EDITABLE, "tokenizer", "vocab"}


def write_pipeline(nlp: Language, temporary: Path, output: Path) -> dict[str, str]:
    """Write a pipeline to a folder that may contain other files, and wait until it is on the disk.

    A pipeline that is there already is exchanged for the new one in one step. Where the system
    cannot do so, the parts are replaced one by one: meta.json, without which a folder does not load,
    is deleted first and moved into place last.

    nlp (Language): The pipeline.
    temporary (Path): Folder for the first copy, on the same disk.
    output (Path): The folder.
    RETURNS (dict): SHA-256 of each file by name.
    RAISES (OSError): If it cannot be written.
    """
    shutil.rmtree(temporary, ignore_errors=True)
    nlp.to_disk(temporary)
    sync_all(temporary)
    sums = digest_files(temporary)
    if not ((output / META).is_file() and _exchange(temporary, output)):
        (output / META).unlink(missing_ok=True)
        for part in sorted(temporary.iterdir(), key=lambda p: p.name == META):
            replace(part, output / part.name)
        temporary.rmdir()
    sync_folder(output)
    return sums


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a pipeline by name, without those of its run."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in names.items() if name.split("/")[0] != RUN_FOLDER}


def note_files(folder: Path) -> None:
    """Let the summary of a pipeline's run, if it has one, say that its files are as they are now.

    folder (Path): The pipeline's folder, with files that another command has changed.
    RAISES (OSError): If the summary cannot be written.
    """
    path = folder / RUN_FOLDER / SUMMARY
    with suppress(FileNotFoundError, ValueError):
        summary = json.loads(path.read_text(encoding="utf8"))
        if "files" in summary:
            text = json.dumps({**summary, "files": digest_files(folder)}, indent=1) + "\n"
            write_text(path, text)


def check_place(model: Path, output: Path) -> None:
    """Make sure that the folder for a changed pipeline can be written, and is free or its own.

    RAISES (MaralError): If it cannot be written, or holds anything else.
    """
    if _is_own(model, output):
        prove_writable(output, folder=True)
        return
    check_no_input(output, [model])
    prove_writable(output.parent, folder=True)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        problem = "there is something else already"
        raise MaralError(Errors.M406.format(path=output, problem=problem))


def save_copy(nlp: Language, output: Path) -> None:
    """Save a changed pipeline, in its own folder or with what else is there in another one.

    nlp (Language): The pipeline, loaded from a folder.
    output (Path): The folder (see `check_place`).
    RAISES (MaralError): If it cannot be written.
    """
    source = Path(str(nlp.path))
    with writing_output(output):
        if _is_own(source, output):
            write_pipeline(nlp, output / ".changed.tmp", output)
            note_files(output)
            return
        with replacing(output, durable=True) as folder:
            nlp.to_disk(folder)
            for part in source.iterdir():
                if part.is_dir() and not (folder / part.name).exists():
                    shutil.copytree(part, folder / part.name, copy_function=shutil.copyfile)
                elif part.is_file() and not (folder / part.name).exists():
                    shutil.copyfile(part, folder / part.name)
            note_files(folder)


def _is_own(model: Path, output: Path) -> bool:
    """Whether a folder is that of a pipeline, by whatever path."""
    return model.exists() and output.exists() and output.samefile(model)


def _exchange(temporary: Path, output: Path) -> bool:
    """Put a pipeline in the place of another one in one step; keep what else is in the folder."""
    old = _aside(output)
    try:
        remove(old)
        os.replace(temporary, old)
    except OSError:
        # the folder above is another disk, or not to be written
        return False
    if not exchange(old, Path(os.path.realpath(output))):
        os.replace(old, temporary)
        return False
    _keep_the_rest(output)
    sync_folder(old.parent)
    return True


def _aside(output: Path) -> Path:
    """Where a pipeline waits to be exchanged, and then waits to be deleted."""
    path = Path(os.path.realpath(output))
    return path.with_name(f".{path.name}.replaced")


def _keep_the_rest(output: Path) -> None:
    """Move what is no part of a pipeline back to its folder, the run first, and delete the pipeline."""
    old = _aside(output)
    parts = {*PARTS, *_components(old)}
    for path in sorted(old.iterdir(), key=lambda p: p.name != RUN_FOLDER):
        place = output / path.name
        if path.name == RUN_FOLDER or not (path.name in parts or place.exists()):
            os.replace(path, place)
    remove(old)


def _components(folder: Path) -> list[str]:
    with suppress(OSError, ValueError, AttributeError):
        meta = json.loads((folder / META).read_text(encoding="utf8"))
        return [str(name) for name in meta.get("components", ())]
    return []


def put_back(output: Path) -> None:
    """Put the folder of a run back that was killed while its pipeline took its place.

    output (Path): The pipeline's folder.
    RAISES (MaralError): If the run still goes on.
    """
    folder, place = _aside(output) / RUN_FOLDER, output / RUN_FOLDER
    if not folder.is_dir():
        return
    with sole_run(folder):
        if not (list_checkpoints(place) or (place / SUMMARY).is_file()):
            remove(place)
            os.replace(folder, place)


def end_exchange(output: Path) -> None:
    """Finish what a killed run has left of an exchange; the run's folder must be locked."""
    if _aside(output).is_dir():
        _keep_the_rest(output)


def replace(part: Path, destination: Path) -> None:
    """Move a file or folder, replacing an older one at the destination."""
    if destination.is_dir():
        shutil.rmtree(destination)
    part.replace(destination)


def damaged_files(output: Path, summary: dict[str, Any]) -> list[str]:
    """Find the files of a finished run's pipeline that are missing or have changed.

    Configuration and meta.json may be edited; they need only be there.

    output (Path): The pipeline's folder.
    summary (dict): The run's summary; those of development versions of 0.1 name no files.
    RETURNS (list[str]): Their names.
    """
    sums = summary.get("files", {META: ""})
    found = []
    for name, digest in sums.items():
        path = output / name
        if not path.is_file() or (name not in EDITABLE and sha256(path) != digest):
            found.append(name)
    return found
