"""Figures of what a pipeline gets wrong: confusion with outside, kinds of errors, F1 by label."""

from __future__ import annotations

from ...model.spans import OUTSIDE
from ..metrics import OUTSIDE_NAME, EntityReport
from .charts import bar_chart, heat_map
from .figures import Figure
from .svg import percent

KINDS = {
    "boundary": "wrong ends",
    "boundary_and_type": "wrong ends and type",
    "wrong_type": "wrong type",
    "spurious": "no entity there",
    "missed": "missed",
}


def error_figures(report: EntityReport) -> list[Figure]:
    """Confusion with outside, errors by kind, and F1 by label.

    report (EntityReport): The report.
    RETURNS (list[Figure]): The figures.
    """
    names = [OUTSIDE_NAME, *report.labels]
    counts = report.confusion.tolist()
    totals = [max(sum(row), 1) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    cells = [list(row) for row in counts]
    cells[OUTSIDE][OUTSIDE] = None
    confusion = heat_map(
        "Gold and predicted entities with the same ends", names, names, cells,
        strengths=shares, show=lambda count: f"{count:,.0f}",
        axes=("gold", "predicted"),
    )  # fmt: skip
    kinds = bar_chart(
        "Errors by kind", list(KINDS.values()), [getattr(report, kind) for kind in KINDS],
        colours=[2, 2, 2, 2, 1], show=lambda count: f"{count:,.0f}",
    )  # fmt: skip
    scores = [report.per_type[label].f1 for label in report.labels]
    by_label = bar_chart(
        "F1 by label", report.labels, scores,
        colours=list(range(1, len(scores) + 1)), show=percent,
    )  # fmt: skip
    outside = f"{OUTSIDE_NAME} stands for no entity with these ends; colours are shares of a row."
    total = sum(getattr(report, kind) for kind in ("boundary", "boundary_and_type"))
    return [
        Figure("Confusion", confusion, outside),
        Figure("Kinds of errors", kinds, f"{total:,} predictions have wrong ends."),
        Figure("F1 by label", by_label, "Strict: both ends and the type."),
    ]
