"""The report of several training runs: their scores, curves and sentences side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ...data.files import short_names, write_file
from ..evaluate import (
    Row,
    compare_entities,
    judged_entities,
    load_pipeline,
    read_entities,
    read_gold,
    without_labels,
)
from ..metrics import EntityReport
from ..mistakes import CONTEXT
from ..tables import outside_table, score_cells
from .charts import Series, line_chart
from .figures import Figure, signed
from .grouped_bars import grouped_bars
from .run_record import RunRecord, read_run
from .sentences import N_SHOWN, Marked, mark_entities
from .svg import percent
from .templates import load_template, read_style

if TYPE_CHECKING:
    from spacy.tokens import Doc

CURVES = {
    "dev_f1": ("F1, source development set", "Entities, strict: both ends and the type."),
    "target_f1": ("F1, target", "On labelled target documents; it had no effect on the runs."),
    "noise_ratio": (
        "Noise ratio", "Share of wrong labels among spans that are entities by pseudo-label or gold."
    ),
    "noise_ratio_reliable": (
        "Noise ratio of the reliable labels", "The same of the labels that the filter keeps."
    ),
    "centroid_cosine": ("Mean cosine of two classes", "The lower, the farther apart."),
}  # fmt: skip
"""Heading and note of each curve, by its key in the log."""


@dataclass
class Compared:
    """Scores of several runs on the same labelled documents, and what they found there.

    docs: The documents. gold: Gold entities. predicted: Entities by name of the run. reports: Scores by
    name of the run.
    """

    docs: Sequence[Doc]
    gold: set[Row]
    predicted: dict[str, set[Row]] = field(default_factory=dict)
    reports: dict[str, EntityReport] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Labels of all runs and of gold, in alphabetical order."""
        return sorted({label for report in self.reports.values() for label in report.labels})


@dataclass
class Difference:
    """A sentence in which runs differ: the words, and the entities of each run and of gold by name."""

    doc: int
    right: str
    rows: list[tuple[str, Markup]]


def write_comparison(
    runs: Sequence[Path],
    output: Path,
    *,
    gold: Sequence[Path] = (),
    dev: Sequence[Path] = (),
    gpu_id: int = -1,
) -> Path:
    """Write the report of several training runs.

    runs (Sequence[Path]): Output folders of train-teacher or adapt.
    output (Path): The HTML file.
    gold (Sequence[Path]): Labelled documents (.spacy) on which to compare the pipelines, such as test
        sets.
    dev (Sequence[Path]): Labelled documents of the source language, used if `gold` is not given.
    gpu_id (int): GPU to predict with, -1 for the CPU.
    RETURNS (Path): The file.
    RAISES (MaralError): If there is no run in a folder, or a file cannot be read or written.
    """
    names = short_names([path.resolve() for path in runs])
    records = dict(zip(names, map(read_run, runs), strict=True))
    data = gold or dev
    compared = None
    if data:
        compared = compare_runs(dict(zip(names, runs, strict=True)), data, gpu_id=gpu_id)
    names_of_data = ", ".join(path.name for path in data)
    write_file(output, render_comparison(records, compared, names_of_data))
    return output


def compare_runs(runs: Mapping[str, Path], data: Sequence[Path], *, gpu_id: int = -1) -> Compared:
    """Let the pipelines of several runs predict the entities of the same documents.

    runs (Mapping[str, Path]): Folders by name.
    data (Sequence[Path]): Files of labelled documents (.spacy).
    gpu_id (int): GPU to predict with, -1 for the CPU.
    RETURNS (Compared): Scores and predictions.
    RAISES (MaralError): If the documents or a pipeline cannot be read.
    """
    docs = [doc for path in data for doc in read_gold(path)]
    gold = list(read_entities(docs))
    found = Compared(docs, set(gold))
    for name, run in runs.items():
        nlp = load_pipeline(run, gpu_id=gpu_id)
        predicted = judged_entities(list(read_entities(nlp.pipe(without_labels(nlp, docs)))), docs)
        found.predicted[name] = set(predicted)
        found.reports[name] = compare_entities(nlp, gold, predicted)
    return found


def render_comparison(
    records: Mapping[str, RunRecord], compared: Compared | None = None, data: str = ""
) -> str:
    """Render the page.

    records (Mapping[str, RunRecord]): The runs by name.
    compared (Compared): Scores and predictions on labelled documents, if there are any.
    data (str): Name of these documents.
    RETURNS (str): HTML.
    """
    functions = (curves, score_figures, score_rows, outside_rows, differences)
    template = load_template("comparison.html.jinja", functions)
    return template.render(
        names=list(records), records=records, compared=compared, data=data, style=read_style()
    )


def curves(records: Mapping[str, RunRecord]) -> list[Figure]:
    """Draw what the logs of the runs share by epoch, a line for each run."""
    figures = []
    epochs = list(range(1, 1 + max(row["epoch"] for r in records.values() for row in r.rows)))
    for key, (heading, note) in CURVES.items():
        lines = []
        for colour, (name, record) in enumerate(records.items(), start=1):
            known = {row["epoch"]: row.get(key) for row in record.rows}
            lines.append(Series(name, [known.get(epoch) for epoch in epochs], colour))
        if any(value is not None for line in lines for value in line.values):
            show = signed if key == "centroid_cosine" else percent
            chart = line_chart(f"{heading} by epoch", epochs, lines, show=show)
            figures.append(Figure(heading, chart, note))
    return figures


def score_figures(compared: Compared) -> list[Figure]:
    """Draw F1 by class, a bar for each run."""
    lines = [
        Series(name, [_f1(report, label) for label in compared.labels], colour)
        for colour, (name, report) in enumerate(compared.reports.items(), start=1)
    ]
    chart = grouped_bars("F1 by class", compared.labels, lines, show=percent)
    return [Figure("F1 by class", chart, "Strict: both ends and the type.")]


def _f1(report: EntityReport, label: str) -> float | None:
    return report.per_type[label].f1 if label in report.per_type else None


def score_rows(compared: Compared) -> tuple[list[str], list[list[str]]]:
    """Tabulate precision, recall and F1 over all classes, a row for each run."""
    rows = [score_cells(name, *report.micro) for name, report in compared.reports.items()]
    return ["", "P", "R", "F1", "gold"], rows


def outside_rows(compared: Compared) -> tuple[list[str], list[list[str]]]:
    """Tabulate what the runs miss and add against outside (see `outside_table`)."""
    header: list[str] = []
    rows: list[list[str]] = []
    for name, report in compared.reports.items():
        header, found = outside_table(report)
        rows += [[name, *row] for row in found]
    return ["run", "class", *header[1:]], rows


def differences(compared: Compared) -> list[Difference]:
    """Choose sentences in which the runs differ: first those where just one run is right.

    RETURNS (list[Difference]): At most N_SHOWN, of different documents.
    """
    numbers = {label: c for c, label in enumerate(compared.labels, start=1)}
    chosen: dict[int, tuple[bool, Row, str]] = {}
    union = set().union(*compared.predicted.values())
    for row in sorted(union):
        having = [name for name, found in compared.predicted.items() if row in found]
        if len(having) == len(compared.predicted):
            continue
        right = row in compared.gold
        words = ", ".join(having if right else [n for n in compared.predicted if n not in having])
        entry = (not right, row, words)
        chosen[row[0]] = min(chosen.get(row[0], entry), entry, key=lambda found: found[0])
    best = sorted(chosen.values())[:N_SHOWN]
    return [_difference(compared, row, words, numbers) for _, row, words in best]


def _difference(compared: Compared, row: Row, right: str, numbers: Mapping[str, int]) -> Difference:
    number, first, last, _ = row
    doc = compared.docs[number]
    begin, stop = max(0, first - CONTEXT), min(len(doc), last + 1 + CONTEXT)
    words = [token.text for token in doc[begin:stop]]

    def mark(found: set[Row]) -> Markup:
        inside: list[Any] = [
            Marked(start - begin, end - begin, label, numbers.get(label, 0), other == row)
            for other in found
            for where, start, end, label in [other]
            if where == number and begin <= start and end < stop
        ]
        return mark_entities(words, inside)

    rows = [(name, mark(found)) for name, found in compared.predicted.items()]
    return Difference(number, right, [*rows, ("gold", mark(compared.gold))])
