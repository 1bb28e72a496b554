"""The commands train-teacher, pseudo-label and adapt."""

from __future__ import annotations

from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._util import (
    CODE,
    GPU_ID,
    VERBOSE,
    WITH_OVERRIDES,
    app,
    prepare,
    read_overrides,
    reported,
)

CONFIG = Arg(..., help="Path to config file", exists=True, dir_okay=False)
SOURCE = Opt(
    ..., "--source", "-s", exists=True, dir_okay=False,
    help="Labelled training data of the source language (.spacy)",
)  # fmt: skip
DEV = Opt(
    ..., "--dev", "-d", exists=True, dir_okay=False,
    help="Labelled development data of the source language (.spacy)",
)  # fmt: skip
OUTPUT_DIR = Opt(..., "--output", "-o", file_okay=False, help="Directory for the trained pipeline")
RESUME = Opt(False, "--resume", "-r", help="Go on from the last checkpoint, if there is one")


@app.command("train-teacher", context_settings=WITH_OVERRIDES)
def train_teacher_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: Path = SOURCE,
    dev: Path = DEV,
    output: Path = OUTPUT_DIR,
    resume: bool = RESUME,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Train a teacher on labelled text of the source language, by the section
    [teacher] of the config file. To override settings in the config, you can
    pass them as command line options: for instance, --teacher.epochs 3
    overrides the value of "epochs" in the block "[teacher]".
    """
    overrides = read_overrides(ctx.args)
    prepare(code, verbose)
    from ..training import train_teacher

    with reported("train the teacher"):
        path = train_teacher(
            config_path,
            source=source,
            dev=dev,
            output=output,
            overrides=overrides,
            resume=resume,
            gpu_id=gpu_id,
        )
    msg.good("Saved teacher to output directory", path)


@app.command("pseudo-label")
def pseudo_label_cli(
    model: Path = Arg(..., help="Directory of the teacher", exists=True, file_okay=False),
    target: Path = Arg(
        ...,
        help="Text of the target language (.spacy); entities in it are not used",
        exists=True,
        dir_okay=False,
    ),
    output: Path = Opt(..., "--output", "-o", help="File for the labels (.npz)", dir_okay=False),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Let a teacher label text of the target language. The output file has the
    probabilities of all classes for every candidate span, for the adapt command.
    """
    prepare(code, verbose)
    from ..training import pseudo_label

    with reported("label the text"):
        path = pseudo_label(model, target, output, gpu_id=gpu_id)
    msg.good("Saved pseudo-labels", path)


@app.command("adapt", context_settings=WITH_OVERRIDES)
def adapt_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    teacher: Path = Opt(
        ..., "--teacher", "-t", help="Directory of the teacher", exists=True, file_okay=False
    ),
    source: Path = SOURCE,
    target: Path = Opt(
        ...,
        "--target",
        "-T",
        help="Text of the target language (.spacy); entities in it are not used",
        exists=True,
        dir_okay=False,
    ),
    dev: Path = DEV,
    output: Path = OUTPUT_DIR,
    labels: Path | None = Opt(
        None,
        "--labels",
        "-L",
        help="Pseudo-labels of the target text; without, the teacher makes them",
        exists=True,
        dir_okay=False,
    ),
    diagnosis: Path | None = Opt(
        None,
        "--diagnosis",
        help="Labelled target data (.spacy) to score in the log after every epoch, for studies",
        exists=True,
        dir_okay=False,
    ),
    resume: bool = RESUME,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Adapt a student to the target language with labelled source text and
    pseudo-labels that are filtered and refined while it learns, by the
    sections [student] and [adaptation] of the config file. To override
    settings in the config, you can pass them as command line options: for
    instance, --student.epochs 3 overrides the value of "epochs" in the block
    "[student]".
    """
    overrides = read_overrides(ctx.args)
    prepare(code, verbose)
    from ..training import adapt

    with reported("adapt the student"):
        path = adapt(
            config_path,
            teacher=teacher,
            source=source,
            target=target,
            dev=dev,
            output=output,
            labels=labels,
            diagnosis=diagnosis,
            overrides=overrides,
            resume=resume,
            gpu_id=gpu_id,
        )
    msg.good("Saved student to output directory", path)
