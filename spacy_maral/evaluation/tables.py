"""Tables of scores: of one model, and of teacher and student on several test sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wasabi import Printer

from ..data.files import reading
from ..errors import Errors, MaralError
from ..model.spans import OUTSIDE
from .metrics import ERROR_KINDS, OUTSIDE_NAME, EntityReport

MISSING = "-"
# an underscore within a word is none of it
MARKUP = re.compile(r"[\\`*|\[\]~]|(?<![^\W_])_|_(?![^\W_])")
COMPARISON_HEADER = (
    "", "teacher F1", "student F1", "difference",
    "teacher F1, paper protocol", "student F1, paper protocol", "difference",
)  # fmt: skip


SELECTED = {
    "last": "the last",
    "source_dev": "the best on the source's development data",
    "target_information": "the one with the most certain and varied predictions on raw target text",
    "target_gold": "the best on the held-out target sentences",
    "dev": "the best on the development data",
    "teacher": "the one that agrees most with the teacher on held-out text",
}
"""What each value of `select` means, and of the choices of `distil`."""


def describe_saved(summary: Mapping[str, Any]) -> str:
    """The epoch that a run has saved, in words, from the run's summary."""
    return f"Saved epoch {saved_epoch(summary)}"


def saved_epoch(summary: Mapping[str, Any]) -> str:
    """The number of the epoch that a run has saved, and why this one."""
    select = str(summary.get("select", "unknown"))
    return f"{summary.get('selected_epoch', '?')}: {SELECTED.get(select, select)}"


def classes_without_labels(row: Mapping[str, Any]) -> list[str]:
    """Entity classes that no target span has as its pseudo-label after an epoch.

    row (Mapping): The epoch's row of the log.
    RETURNS (list[str]): The classes; none for a teacher, which has no pseudo-labels.
    """
    counts = row.get("pseudo_labels", {})
    return [name for name, n in counts.items() if name != OUTSIDE_NAME and not n]


def show_report(report: EntityReport, printer: Printer) -> None:
    """Print scores, confusion and errors.

    report (EntityReport): The report.
    printer (Printer): The printer.
    """
    header, rows = score_table(report)
    aligns = ("l", *("r" for _ in header[1:]))
    printer.table(rows, title="Entities (strict)", header=header, aligns=aligns, divider=True)
    names = [OUTSIDE_NAME, *report.labels]
    rows = [
        [name, *(f"{count:,}" for count in counts)]
        for name, counts in zip(names, report.confusion.tolist(), strict=True)
    ]
    title = "Gold (rows) and predicted (columns) entities with the same ends"
    aligns = ("l", *("r" for _ in names))
    printer.table(rows, title=title, header=("", *names), aligns=aligns, divider=True)
    header, rows = outside_table(report)
    aligns = ("l", *("r" for _ in header[1:]))
    printer.table(rows, title="Against outside", header=header, aligns=aligns, divider=True)
    errors = {kind.replace("_", " "): f"{getattr(report, kind):,}" for kind in ERROR_KINDS}
    printer.table(errors, title="Errors", aligns=("l", "r"))


def score_table(report: EntityReport) -> tuple[list[str], list[list[str]]]:
    """Tabulate precision, recall and F1 by label, over all labels, and by the paper's protocol.

    report (EntityReport): The report.
    RETURNS (tuple): Header and rows.
    """
    found = [*report.per_type.items(), ("all", report.micro)]
    if report.paper_protocol is not None:
        name = f"paper protocol (up to {report.max_width} words)"
        found.append((name, report.paper_protocol))
    return ["", "P", "R", "F1", "gold"], [score_cells(name, *score) for name, score in found]


def outside_table(report: EntityReport) -> tuple[list[str], list[list[str]]]:
    """Tabulate the confusion of entities with outside, by label (the paper's Table 10).

    report (EntityReport): The report.
    RETURNS (tuple): Header and rows: gold entities whose ends no prediction has, and predictions
        whose ends no gold entity has.
    """
    counts, rows = report.confusion, []
    parts = [(label, slice(c, c + 1)) for c, label in enumerate(report.labels, start=1)]
    for label, chosen in [*parts, ("all", slice(1, None))]:
        missed, gold = int(counts[chosen, OUTSIDE].sum()), int(counts[chosen].sum())
        spurious, predicted = int(counts[OUTSIDE, chosen].sum()), int(counts[:, chosen].sum())
        rows.append([
            label, f"{gold:,}", f"{missed:,}", _percent(missed / gold if gold else None),
            f"{predicted:,}", f"{spurious:,}", _percent(spurious / predicted if predicted else None),
        ])  # fmt: skip
    return ["", "gold", "entity → O", "%", "predicted", "O → entity", "%"], rows


def read_comparison(folder: Path) -> list[list[str]]:
    """Tabulate the metrics of teacher and student.

    folder (Path): Folder of files as `spacy maral evaluate -o` writes them, named teacher-SET.json
        and student-SET.json.
    RETURNS (list[list[str]]): A row for each test set, in alphabetical order: F1 in percent, in the
        order of COMPARISON_HEADER.
    RAISES (MaralError): If there are no such files, or one of them cannot be read.
    """
    found = [
        {path.stem.removeprefix(role): _f_scores(path) for path in folder.glob(f"{role}*.json")}
        for role in ("teacher-", "student-")
    ]
    if not any(found):
        raise MaralError(Errors.M404.format(folder=folder))
    rows = []
    for data in sorted(set().union(*found)):
        row = [data]
        both = (scores.get(data, (None, None)) for scores in found)
        for before, after in zip(*both, strict=True):
            known = before is not None and after is not None
            change = f"{100 * (after - before):+.2f}" if known else MISSING
            row += [_percent(before), _percent(after), change]
        rows.append(row)
    return rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown.

    header (Sequence[str]): Names of the columns.
    rows (Sequence[Sequence[str]]): Cells, plain text: what Markdown would read is escaped. All columns but the first are aligned to the right.
    RETURNS (str): The table, with a line break at the end.
    """
    rule = ["---", *("---:" for _ in header[1:])]
    cells = [map(escape_markdown, row) for row in (header, *rows)]
    cells.insert(1, map(str, rule))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def escape_markdown(text: str) -> str:
    """Escape what Markdown or HTML would read in a text, such as the label of an entity."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def score_cells(name: str, precision: float, recall: float, f1: float, support: int) -> list[str]:
    """Format a score as cells of a table: name, scores in percent, number of gold entities."""
    return [name, *map(_percent, (precision, recall, f1)), f"{support:,}"]


def _f_scores(path: Path) -> tuple[float | None, float | None]:
    """Read F1 over all gold entities and by the paper's protocol, in [0, 1], from a metrics file."""
    with reading(path, Errors.M405):
        metrics = json.loads(path.read_text(encoding="utf8"))
        paper = metrics["paper_protocol"]
        return float(metrics["micro"]["f1"]), None if paper is None else float(paper["f1"])


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.2f}"
