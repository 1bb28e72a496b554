"""The whole training by one call: a teacher, its pseudo-labels, and a student."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.config import read_config
from ..data.files import Paths, as_paths, check_no_input
from ..data.languages import MULTIPLE_LANGUAGES
from ..data.layout import RUN_FOLDER, SUMMARY
from ..errors import Errors, MaralError
from ..training.checkpoint import list_checkpoints
from ..training.inputs import check_targets, languages_of
from ..training.logging import check_logger
from ..training.settings import read_languages, read_section
from ..training.teacher import train_teacher
from .label_target import pseudo_label
from .student import adapt
from .translation import translate_words

TEACHER, LABELS, STUDENT = "teacher", "labels.npz", "student"


def train(
    config_path: str | Path,
    *,
    output: str | Path,
    source: Paths | None = None,
    dev: Paths | None = None,
    target: Paths | None = None,
    lang: str | Sequence[str] | None = None,
    translate: bool = False,
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    gpu_id: int = -1,
) -> Path:
    """Train a teacher, label the target with it, and adapt a student.

    EXAMPLE: train("maral.cfg", source="train.spacy", dev="dev.spacy", target="de.spacy",
        output="german")

    config_path (str | Path): The configuration.
    output (str | Path): Folder for the teacher (teacher), its pseudo-labels (labels.npz) and the
        trained pipeline (student).
    source (Paths | None): Labelled training documents of the source language (.spacy); by default
        paths.train of the configuration.
    dev (Paths | None): Labelled development documents of the source language (.spacy); by default
        paths.dev.
    target (Paths | None): Documents of the target language, or raw text; by default paths.target.
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each target; by
        default the target in the section [languages].
    translate (bool): Whether both are also trained on the source documents translated word by word
        into the language of each target (see `translate_words`), which are written to the folder, too
        (translated-1.spacy and so on).
    overrides (dict): Settings that replace those of the configuration.
    resume (bool): Continue where an earlier call with the same arguments was stopped.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Path): The folder of the student.
    RAISES (MaralError): If a path is missing, there are several processes, or the configuration or
        the data cannot be used.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise MaralError(Errors.M562)
    output = Path(output)
    config = read_config(config_path, overrides)
    paths = config.get("paths", {})
    given = {"train": source or None, "dev": dev or None, "target": target or None}
    found = {name: path or paths.get(name) for name, path in given.items()}
    missing = [name for name, path in found.items() if not path]
    if missing:
        options = {"train": "--source", "dev": "--dev", "target": "--target"}
        raise MaralError(
            Errors.M561.format(
                missing=", ".join(f"paths.{name}" for name in missing),
                options=", ".join(options[name] for name in missing),
                path=config_path,
            )
        )
    if lang is None and (code := read_languages(config).target) != MULTIPLE_LANGUAGES:
        lang = code
    # found now, not after the training of the teacher, which checks its own
    targets = as_paths(found["target"])
    check_no_input(output, targets)
    check_targets(targets, lang)
    check_logger(read_section(config, "student"))
    shared: dict[str, Any] = {
        "source": found["train"], "dev": found["dev"], "overrides": overrides, "resume": resume,
        "gpu_id": gpu_id,
    }  # fmt: skip
    if translate:
        if not resume and list_checkpoints(output / TEACHER / RUN_FOLDER):
            raise MaralError(Errors.M316.format(folder=output / TEACHER / RUN_FOLDER))
        shared["source"] = [
            *as_paths(found["train"]),
            *translated(config_path, found["train"], found["target"], lang, output, shared),
        ]
    raw: dict[str, Any] = {}
    if read_section(config, "teacher").mlm_weight:
        raw = {"target": found["target"], "lang": lang}
    teacher = train_teacher(config_path, output=output / TEACHER, **raw, **shared)
    labels = output / LABELS
    # the file is whole or not there; an older one is of another teacher
    if not (resume and labels.is_file() and is_newer(labels, teacher / RUN_FOLDER / SUMMARY)):
        pseudo_label(teacher, found["target"], labels, lang=lang, gpu_id=gpu_id)
    return adapt(
        config_path, target=found["target"], lang=lang, teacher=teacher, labels=labels,
        output=output / STUDENT, **shared,
    )  # fmt: skip


def translated(
    config_path: str | Path,
    source: Paths,
    target: Paths,
    lang: str | Sequence[str] | None,
    output: Path,
    shared: dict[str, Any],
) -> list[Path]:
    """Translate the source into the language of each target, unless that is done.

    shared (dict): Arguments of all steps.
    RETURNS (list[Path]): The files.
    """
    targets = as_paths(target)
    langs = languages_of(lang, len(targets))
    files = [output / f"translated-{number}.spacy" for number in range(1, len(targets) + 1)]
    for path, own, code in zip(files, targets, langs, strict=True):
        # a file is whole or not there, and the fingerprint of a run that has begun names its text
        if not (shared["resume"] and path.is_file() and has_begun(output / TEACHER / RUN_FOLDER)):
            translate_words(
                config_path, source, own, path, lang=code, overrides=shared["overrides"],
                gpu_id=shared["gpu_id"],
            )  # fmt: skip
    return files


def is_newer(path: Path, other: Path) -> bool:
    """Whether a file was not written before another one."""
    return path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def has_begun(folder: Path) -> bool:
    """Whether a run has a checkpoint or is finished."""
    return bool(list_checkpoints(folder)) or (folder / SUMMARY).is_file()
