"""The report of a training run: one HTML file that needs neither network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.files import write_file
from ...errors import Errors, MaralError, first_line, refuse_unused
from ..evaluate import evaluate_pipeline, load_pipeline
from ..metrics import EntityReport
from ..mistakes import judge
from ..tables import classes_without_labels, describe_saved, saved_epoch, score_table
from . import figures
from .class_scores import clean_and_noisy
from .colours import class_colours
from .figures import number, signed
from .overview import Scored, comparison_table, label_table, verdict
from .run_record import RunRecord, read_run, read_sample
from .sentences import doubtful_sentences, mistake_sentences
from .svg import colour_class, percent, short
from .targets import target_figures
from .templates import load_template, read_style

NO_RECORDS = (
    "The run has no diagnostics. From release 0.1 on, adapt writes them if the setting "
    "adaptation.diagnostics is true."
)
MANY_CLASSES = 5
TEACHER = "A teacher has no pseudo-labels. Only runs of adapt have this part."


def write_report(
    run: Path,
    output: Path,
    *,
    gold: Sequence[Path] = (),
    dev: Sequence[Path] = (),
    teacher: Path | None = None,
    gpu_id: int = -1,
) -> Path:
    """Write the report of a training run.

    run (Path): Output folder of train-teacher or adapt.
    output (Path): The HTML file.
    gold (Sequence[Path]): Labelled documents (.spacy) to look for mistakes in, such as a test set of
        each target language.
    dev (Sequence[Path]): Labelled documents of the source language, used if `gold` is not given.
    teacher (Path): Folder of the teacher's pipeline, to show its scores beside the student's.
    gpu_id (int): GPU to predict with, -1 for the CPU.
    RETURNS (Path): The file.
    RAISES (MaralError): If there is no run in the folder, a file cannot be read or written, or there
        is a teacher but no data to compare with it on.
    """
    data = gold or dev
    if teacher is not None and not data:
        reason = "there are no labelled data on which to compare"
        refuse_unused(["--teacher"], reason, "give them with --gold or --dev")
    record = read_run(run)
    before: list[EntityReport | None] = [None] * len(data)
    if data and teacher is not None:
        nlp = load_pipeline(teacher, gpu_id=gpu_id)
        before = [evaluate_pipeline(nlp, path).report for path in data]
    tests = []
    if data:
        nlp = load_pipeline(run, gpu_id=gpu_id)
        tests = [
            Scored(name, judge(nlp, path), scores)
            for name, path, scores in zip(file_names(data), data, before, strict=True)
        ]
    try:
        page = render_report(record, tests)
    except MaralError:
        raise
    except Exception as error:
        # damaged values fail where they are drawn, each in its own way
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise MaralError(Errors.M535.format(folder=run, problem=problem)) from error
    write_file(output, page)
    return output


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of files for people: their file names, or their paths if two file names are equal."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def render_report(record: RunRecord, tests: Sequence[Scored] = ()) -> str:
    """Render the page.

    record (RunRecord): The run.
    tests (Sequence[Scored]): Scores and mistakes of its pipeline on labelled documents.
    RETURNS (str): HTML.
    """
    sample = read_sample(record)
    filtered = [e for e in record.epochs if e["filtered"]] or record.epochs[-1:]
    template = load_template("page.html.jinja", DRAWN, plain=_plain, count="{:,}".format)
    return template.render(
        record=record,
        kind="Adaptation" if record.is_adaptation else "Teacher",
        name=record.folder.resolve().name,
        style=read_style(),
        labels=record.classes[1:],
        saved=describe_saved(record.summary) if record.summary else "",
        facts=record.facts(),
        verdict=verdict(record, tests),
        tiles=_tiles(record, tests),
        latest=filtered[-1] if filtered else None,
        earlier=filtered[:-1],
        sample=sample,
        counts=[] if sample is None else [f"{(sample['side'] == i).sum():,}" for i in (0, 1)],
        class_colours=[(name, colour_class(c)) for name, c in record.colours.items()],
        colours=class_colours(
            [*record.classes, *(x for t in tests for x in t.student.report.labels)]
        ),
        tests=tests,
        settings=_settings(record),
        large=len(record.classes) > MANY_CLASSES,
        no_records=NO_RECORDS,
        teacher=TEACHER,
        without_labels=classes_without_labels(record.selected),
    )


def _tiles(record: RunRecord, tests: Sequence[Scored]) -> list[tuple[str, str]]:
    row, facts = record.selected, record.summary
    tiles = [
        (f"{row['epoch']} of {len(record.rows)}", "saved epoch"),
        (f"{100 * record.dev_f1:.2f}", "F1, source development set"),
    ]
    tiles += [(f"{100 * test.student.report.f1:.2f}", f"F1, {test.name}") for test in tests]
    if "noise_ratio" in row:
        tiles.append((percent(row["noise_ratio"]), "noise ratio of the pseudo-labels"))
    tiles.append((signed(row["centroid_cosine"]), "mean cosine of two classes"))
    if "seconds" in facts:
        tiles.append((_duration(facts["seconds"]), "time"))
    if facts.get("peak_memory_bytes"):
        tiles.append((f"{facts['peak_memory_bytes'] / 2**30:.1f} GiB", "largest memory"))
    return tiles


def epoch_table(record: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the log: losses, scores and seconds of each epoch."""
    names = list(dict.fromkeys(name for row in record.rows for name in row["losses"]))
    header = ["epoch", *(f"loss {name}" for name in names), "dev P", "dev R", "dev F1", "seconds"]
    rows = [
        [
            str(row["epoch"]),
            *(f"{row['losses'][n]:.4f}" if n in row["losses"] else "–" for n in names),
            *(f"{100 * row[f'dev_{k}']:.2f}" for k in ("precision", "recall", "f1")),
            f"{row['seconds']:,.0f}",
        ]
        for row in record.rows
    ]
    return header, rows


def margin_table(record: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the compactness and margins of each class, in the shown epoch."""
    epoch: dict[str, Any] = record.epoch or {}
    header, columns, last = ["class"], [], ["all classes"]
    for side in ("source", "target"):
        header += [f"{side} compactness", f"{side} γ", f"{side} γ without 5 %"]
        columns += [
            epoch[side].get(key, [None] * len(record.classes))
            for key in ("compactness", "margin", "margin_low")
        ]
        last += ["", number(epoch[side].get("overall_margin")), ""]
    rows = [[name, *(number(col[c]) for col in columns)] for c, name in enumerate(record.classes)]
    return header, [*rows, last]


def _settings(record: RunRecord) -> list[tuple[str, dict[str, Any]]]:
    """Headings and facts of the run: data, circumstances, versions, settings."""
    facts = record.summary
    data = [
        (f"Data: {name}", {key: f"{value:,}" for key, value in sizes.items()})
        for name, sizes in facts.get("data", {}).items()
    ]
    run = {"saved epoch": saved_epoch(facts)} if facts else {}
    keys = ("date", "seed", "updates", "batch_tokens", "precision", "threads", "machine")
    run |= {key: facts[key] for key in keys if key in facts}
    if "seconds" in facts:
        run["seconds"] = f"{facts['seconds']:,.0f}"
    if facts.get("peak_memory_bytes"):
        run["largest memory"] = f"{facts['peak_memory_bytes'] / 2**20:,.0f} MiB"
    settings = [(f"Settings: {k}", values) for k, values in facts.get("settings", {}).items()]
    groups = [("Run", run), ("Versions", facts.get("versions", {})), *settings]
    return data + [(heading, values) for heading, values in groups if values]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value) if abs(value) >= 1e-3 or not value else f"{value:g}"
    return "none" if value is None else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


DRAWN = (
    figures.centroid_figures, figures.curve_figures, figures.error_figures,
    figures.geometry_figures, figures.label_figures, figures.map_figure, figures.score_figures,
    clean_and_noisy,
    doubtful_sentences, mistake_sentences, epoch_table, margin_table, score_table,
    comparison_table, label_table, target_figures,
)  # fmt: skip
"""The functions that the template calls for figures, tables and sentences."""
