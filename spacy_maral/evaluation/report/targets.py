"""Figures of a run with several targets, such as languages: a line for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..metrics import OUTSIDE_NAME
from .charts import Series
from .figures import Figure, draw_by_epoch
from .run_record import RunRecord
from .svg import percent


def target_figures(record: RunRecord) -> list[Figure]:
    """Draw number, reliable share and noise of each target's entity labels, by epoch.

    record (RunRecord): The run.
    RETURNS (list[Figure]): The figures; none for a run with one target.
    """
    rows = record.rows
    if not all("targets" in row for row in rows):
        return []
    names = list(rows[-1]["targets"])

    def lines(value: Callable[[Mapping[str, Any]], float | None]) -> list[Series]:
        return [
            Series(name, [value(row["targets"][name]) for row in rows], colour)
            for colour, name in enumerate(names, start=1)
        ]

    figures = [
        draw_by_epoch(
            record, "Entity labels by target", lines(entity_labels),
            "Pseudo-labels that are no outside. A target without any is learnt from the source alone.",
        ),
        draw_by_epoch(
            record, "Reliable share by target", lines(reliable_share),
            "Share of the entity labels that the filter keeps for the next epoch.",
            show=percent, y_range=(0, 1.02),
        ),
    ]  # fmt: skip
    if all("noise_ratio" in part for row in rows for part in row["targets"].values()):
        noise = lines(lambda part: part["noise_ratio"])
        note = "Share of wrong labels among spans that are entities by pseudo-label or by gold."
        figures.append(draw_by_epoch(record, "Noise ratio by target", noise, note, show=percent))
    return figures


def entity_labels(part: Mapping[str, Any]) -> int:
    """Number of a target's pseudo-labels that are entities."""
    return sum(n for name, n in part["pseudo_labels"].items() if name != OUTSIDE_NAME)


def reliable_share(part: Mapping[str, Any]) -> float | None:
    """Share of a target's entity labels that are reliable; None without any."""
    total = entity_labels(part)
    kept = sum(
        n * (part["reliable"][name] or 0.0)
        for name, n in part["pseudo_labels"].items()
        if name != OUTSIDE_NAME
    )
    return kept / total if total else None
