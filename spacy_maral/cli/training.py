"""The commands train, train-teacher and adapt."""

from __future__ import annotations

from pathlib import Path

import typer
from spacy.cli._util import Opt
from wasabi import msg

from ._options import CODE, CONFIG, DEV, FILE, FOLDER, GPU_ID, LANG, SOURCE, TARGET_TEXT, VERBOSE
from ._util import WITH_OVERRIDES, app, prepare, read_overrides, reported

TEACHER = Opt(
    None, "--teacher", "-t", **FOLDER,
    help="Directory of the teacher; needed without --labels, or if the student starts from it",
)  # fmt: skip
TARGET = Opt(..., "--target", "-T", exists=True, help=f"{TARGET_TEXT}; can be repeated")
TEXT = Opt(
    None, "--target", "-T", exists=True,
    help=f"{TARGET_TEXT}, for masked language modelling (teacher.mlm_weight); can be repeated",
)  # fmt: skip
LABELS = Opt(
    None, "--labels", "-L", **FILE, help="Pseudo-labels of the target, once or once per target"
)
TARGET_GOLD = Opt(
    None, "--target-gold", **FILE,
    help="Labelled sentences of a target language (.spacy), to train on; can be repeated",
)  # fmt: skip
DIAGNOSIS = Opt(
    None, "--diagnosis", **FILE,
    help="Labelled target data (.spacy) whose scores the log shows after every epoch, for studies",
)  # fmt: skip
OUTPUT_DIR = Opt(..., "--output", "-o", file_okay=False, help="Directory for the trained pipeline")
RESUME = Opt(False, "--resume", "-r", help="Continue from the last checkpoint, if there is one")
OVERRIDES = """To override settings in the config, pass them as command line options:
--student.epochs 3 sets "epochs" in the block "[student]"."""


@app.command("train", context_settings=WITH_OVERRIDES, epilog=OVERRIDES)
def train_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    output: Path = Opt(
        ..., "--output", "-o", file_okay=False, help="Directory for teacher, labels and student"
    ),
    source: list[Path] = Opt(
        [],
        "--source",
        "-s",
        **FILE,
        help="Labelled training data of the source language (.spacy); by default paths.train",
    ),
    dev: list[Path] = Opt(
        [],
        "--dev",
        "-d",
        **FILE,
        help="Labelled development data of the source language (.spacy); by default paths.dev",
    ),
    target: list[Path] = Opt(
        [], "--target", "-T", exists=True, help=f"{TARGET_TEXT}; by default paths.target"
    ),
    lang: list[str] = LANG,
    translate: bool = Opt(
        False, "--translate", help="Also train on the source text translated word by word"
    ),
    resume: bool = RESUME,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Train a teacher, label the target text with it, and adapt a student, as
    train-teacher, pseudo-label and adapt do one after the other. The files are
    those of the section [paths] of the config file, or those of the options,
    which can be repeated. With --translate, translate-words comes before them. The
    output directory gets teacher, labels.npz and student. To continue after an interruption, repeat the command with --resume.
    """
    overrides = read_overrides(ctx)
    prepare(code, verbose)
    from ..adaptation.train import train

    with reported("train the models"):
        path = train(
            config_path, output=output, source=source, dev=dev, target=target, lang=lang or None,
            translate=translate, overrides=overrides, resume=resume, gpu_id=gpu_id,
        )  # fmt: skip
    msg.good("Saved student to output directory", path)


@app.command("train-teacher", context_settings=WITH_OVERRIDES, epilog=OVERRIDES)
def train_teacher_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: list[Path] = SOURCE,
    dev: list[Path] = DEV,
    output: Path = OUTPUT_DIR,
    target: list[Path] = TEXT,
    lang: list[str] = LANG,
    target_gold: list[Path] = TARGET_GOLD,
    resume: bool = RESUME,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Train a teacher on labelled text of the source language. The settings are in
    the section [teacher] of the config file. With several source files, for
    instance one per language, each file has its own label prior. A few labelled
    sentences of the target language help much; they are repeated so that they
    count.
    """
    overrides = read_overrides(ctx)
    prepare(code, verbose)
    from ..training.teacher import train_teacher

    with reported("train the teacher"):
        path = train_teacher(
            config_path,
            source=source,
            dev=dev,
            output=output,
            target=target or None,
            lang=lang or None,
            target_gold=target_gold or None,
            overrides=overrides,
            resume=resume,
            gpu_id=gpu_id,
        )
    msg.good("Saved teacher to output directory", path)


@app.command("adapt", context_settings=WITH_OVERRIDES, epilog=OVERRIDES)
def adapt_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: list[Path] = SOURCE,
    target: list[Path] = TARGET,
    dev: list[Path] = DEV,
    output: Path = OUTPUT_DIR,
    teacher: Path | None = TEACHER,
    labels: list[Path] = LABELS,
    target_gold: list[Path] = TARGET_GOLD,
    diagnosis: Path | None = DIAGNOSIS,
    lang: list[str] = LANG,
    resume: bool = RESUME,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Adapt a student to the target language with labelled source text and
    pseudo-labels, which are filtered and refined during training. The settings
    are in the sections [student] and [adaptation] of the config file. With
    several targets, for instance one per language, each has its own label
    prior. Without --labels, the teacher makes the pseudo-labels first.
    """
    overrides = read_overrides(ctx)
    prepare(code, verbose)
    from ..adaptation.student import adapt
    from ..experiments.signals import StudySignals

    with reported("adapt the student"):
        path = adapt(
            config_path, source=source, target=target, dev=dev, output=output, teacher=teacher,
            labels=labels or None, target_gold=target_gold or None, diagnosis=diagnosis,
            lang=lang or None, overrides=overrides, resume=resume, gpu_id=gpu_id,
            study=StudySignals if diagnosis else None,
        )  # fmt: skip
    msg.good("Saved student to output directory", path)
