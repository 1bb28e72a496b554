"""The commands of `python -m spacy maral`: they parse, call a plain function and show its result."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from spacy.cli._util import Arg, Opt, parse_config_overrides, show_validation_error
from spacy.cli._util import app as spacy_app
from wasabi import Printer, msg

from .errors import MaralError

HELP = """Cross-lingual named entity recognition: train a teacher on one language, let it
label raw text of others, and adapt a student to them.
"""
WITH_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(name="maral", help=HELP, no_args_is_help=True, rich_markup_mode=None)
spacy_app.add_typer(app, name="maral")


class Format(str, Enum):
    """Data formats, as in `data.FORMATS`."""

    auto = "auto"
    conll = "conll"
    wikiann = "wikiann"
    multiconer = "multiconer"
    iob2 = "iob2"
    bioes = "bioes"


CONFIG = Arg(..., help="Path to config file", exists=True, dir_okay=False)
DATA = Arg(..., help="File of labelled sentences", exists=True, dir_okay=False)
FORMAT = Opt(Format.auto, "--format", "-f", help="Format of the file")
LANG = Opt("xx", "--lang", "-l", help="Language code, xx for several or unknown ones")
LABEL_MAP = Opt(
    None, "--label-map", "-m",
    help="'coarse' (MultiCoNER's fine types to six), or a JSON or TOML file of old and new labels",
)  # fmt: skip
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
GPU_ID = Opt(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU")


@contextmanager
def reported(task: str) -> Iterator[None]:
    """Turn errors that the user can put right into a message on stderr and exit status 1.

    task (str): What cannot be done then, as in "convert the data".
    """
    try:
        yield
    except MaralError as error:
        # The message is not wrapped: paths in it can be copied.
        typer.echo(Printer(no_print=True).fail(f"Cannot {task}"), err=True)
        typer.echo(str(error), err=True)
        sys.exit(1)


def read_overrides(args: list[str]) -> dict[str, Any]:
    """Read settings of the config file from the command line, as `spacy train` does.

    args (list[str]): What no option of the command took, such as ["--teacher.epochs", "3"].
    RETURNS (dict): Values by "section.key".
    RAISES (typer.BadParameter): If an option names no section.
    """
    for arg in args:
        name = arg.partition("=")[0]
        # spaCy's own error for this is not one of those that every release of Typer reports.
        if name.startswith("--") and "." not in name:
            raise typer.BadParameter(f"There is no option {name}.")
    return parse_config_overrides(args)


@app.command("convert")
def convert_cli(
    input_path: Path = DATA,
    output_path: Path = Arg(..., help="File to write (.spacy)", dir_okay=False),
    format: Format = FORMAT,
    lang: str = LANG,
    label_map: str | None = LABEL_MAP,
    unlabelled: bool = Opt(
        False, "--unlabelled", "-u", help="Leave the entities out: raw text to adapt to"
    ),
) -> None:
    """
    Convert labelled sentences to spaCy's binary format, one document a
    sentence. What does not follow the format is refused with its line, or
    repaired where a convention allows it, and then counted below.
    """
    from .data import convert

    with reported("convert the data"), warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        report = convert(
            input_path,
            output_path,
            format=format.value,
            lang=lang,
            label_map=label_map,
            unlabelled=unlabelled,
        )
    msg.good(f"{report.sentences:,} sentences, {report.tokens:,} tokens", report.output)
    for note in notes:
        msg.warn(str(note.message))
    _show_counts("Entities", report.entities)
    _show_counts("Repaired", report.repairs)
    _show_counts("Left out by the label map", report.dropped)
    if unlabelled:
        msg.info(f"Labels left out: {report.stripped:,} entities")
    if report.duplicates:
        msg.warn(f"{report.duplicates:,} sentences repeat the words of an earlier one (kept)")


@app.command("stats")
def stats_cli(
    path: Path = Arg(
        ..., help="File of labelled sentences, or .spacy file", exists=True, dir_okay=False
    ),
    format: Format = FORMAT,
    lang: str = LANG,
    max_width: int = Opt(4, "--max-width", "-w", min=1, help="Longest candidate span, in words"),
    label_map: str | None = LABEL_MAP,
    as_json: bool = Opt(False, "--json", "-j", help="Print JSON only"),
) -> None:
    """
    Count sentences, candidate spans and entities. Entities that are longer
    than the longest candidate span count for their class; the spans outside
    entities are all candidates less all entities.
    """
    from .data import stats

    with reported("count the spans"):
        statistics = stats(
            path, format=format.value, lang=lang, max_width=max_width, label_map=label_map
        )
    result = statistics.to_dict()
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    msg.table(
        {"sentences": f"{statistics.sentences:,}", "tokens": f"{statistics.tokens:,}"},
        title=str(path),
        aligns=("l", "r"),
    )
    _show_counts(f"Spans of up to {max_width} words", result["spans"])
    _show_counts(f"Entities of more than {max_width} words", statistics.wider)
    _show_counts("Repaired", statistics.repairs)
    _show_counts("Left out by the label map", statistics.dropped)
    if statistics.unlabelled:
        msg.warn(
            f"{statistics.unlabelled:,} sentences have no labels: no span of theirs is counted"
        )


@app.command("train-teacher", context_settings=WITH_OVERRIDES)
def train_teacher_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: Path = SOURCE,
    dev: Path = DEV,
    output: Path = OUTPUT_DIR,
    resume: bool = RESUME,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Train a teacher on labelled text of the source language, by the section
    [teacher] of the config file. To override settings in the config, you can
    pass them as command line options: for instance, --teacher.epochs 3
    overrides the value of "epochs" in the block "[teacher]".
    """
    overrides = read_overrides(ctx.args)
    from .training import train_teacher

    with reported("train the teacher"), show_validation_error(config_path, hint_fill=False):
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
    gpu_id: int = GPU_ID,
) -> None:
    """
    Let a teacher label text of the target language. The output file has the
    probabilities of all classes for every candidate span, for the adapt command.
    """
    from .training import pseudo_label

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
    resume: bool = RESUME,
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
    from .training import adapt

    with reported("adapt the student"), show_validation_error(config_path, hint_fill=False):
        path = adapt(
            config_path,
            teacher=teacher,
            source=source,
            target=target,
            dev=dev,
            output=output,
            labels=labels,
            overrides=overrides,
            resume=resume,
            gpu_id=gpu_id,
        )
    msg.good("Saved student to output directory", path)


@app.command("evaluate")
def evaluate_cli(
    model: str = Arg(..., help="Model name or path"),
    data_path: Path = Arg(..., help="Labelled data (.spacy)", exists=True, dir_okay=False),
    output: Path | None = Opt(
        None, "--output", "-o", help="Output JSON file for metrics", dir_okay=False
    ),
    max_width: int | None = Opt(
        None,
        "--max-width",
        "-w",
        min=1,
        help="Widest entity of the paper's protocol, in words; by default the model's",
    ),
    batch_size: int | None = Opt(
        None, "--batch-size", "-b", min=1, help="Documents of a batch; by default the model's"
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """
    Evaluate a trained pipeline. An entity is right if both its ends and its
    type are, and all gold entities count. Beside this, the paper's protocol
    leaves gold entities that are longer than the model's longest span out of
    the recall. The pipeline gets the words and spaces of the documents as
    they are ('spacy evaluate' tokenises their text anew, so its scores differ
    where words do). The output file has fractions, the tables percentages.
    """
    from .evaluation import evaluate_pipeline, load_pipeline
    from .reports import show_report, write_json

    with reported("evaluate the pipeline"):
        nlp = load_pipeline(model, gpu_id=gpu_id)
        result = evaluate_pipeline(nlp, data_path, batch_size=batch_size, max_width=max_width)
        if output is not None:
            write_json(output, {"model": model, "data": str(data_path), **result.to_dict()})
    show_report(result.report, msg)
    msg.text(f"{result.n_docs:,} documents, {result.words_per_second:,.0f} words/s")
    if output is not None:
        msg.good("Saved metrics", output)


@app.command("compare")
def compare_cli(
    folder: Path = Arg(
        ...,
        help="Directory of metrics: teacher-SET.json and student-SET.json",
        exists=True,
        file_okay=False,
    ),
    output: Path | None = Opt(None, "--output", "-o", help="Output Markdown file", dir_okay=False),
) -> None:
    """
    Compare teacher and student on all test sets. The table has F1 over all
    gold entities and by the paper's protocol, for every test set that the
    evaluate command has written metrics of.
    """
    from .reports import COMPARISON_HEADER, markdown_table, read_comparison, write_file

    with reported("compare the models"):
        rows = [comparison.row() for comparison in read_comparison(folder)]
        if output is not None:
            write_file(output, markdown_table(COMPARISON_HEADER, rows))
    aligns = ("l", *("r" for _ in COMPARISON_HEADER[1:]))
    msg.table(rows, header=COMPARISON_HEADER, aligns=aligns, divider=True)
    if output is not None:
        msg.good("Saved table", output)


def _show_counts(title: str, counts: dict[str, int]) -> None:
    if counts:
        table = {name: f"{count:,}" for name, count in counts.items()}
        msg.table(table, title=title, aligns=("l", "r"))
