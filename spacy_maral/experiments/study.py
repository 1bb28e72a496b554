"""How well criteria that need no gold labels of the target rank epochs and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..evaluation.tables import MISSING, markdown_table
from ..training.settings import SELECTION
from .results import Mean, Result, grouped, pair_of

WITHOUT_GOLD = {name: key for name, key in SELECTION.items() if name != "target_gold"}
CRITERIA = {
    **WITHOUT_GOLD,
    "target_agreement": "target_agreement",
    "target_density": "target_density",
}
"""Key of an epoch's row for each criterion: those of `select` without gold, and those of `StudySignals`."""

TRUTH = "target_f1"
FEWEST = 5
"""Minimum of runs for a rank correlation over settings."""


def study_table(results: Sequence[Result]) -> str:
    """Rank correlation of each criterion with the target's F1 over epochs, and the F1 that it loses.

    results (Sequence[Result]): The results, with their epochs.
    RETURNS (str): A Markdown table with an introduction, empty if no result has the target's F1 of
        its epochs.
    """
    studied = [r for r in results if r["epochs"] and all(TRUTH in epoch for epoch in r["epochs"])]
    if not studied:
        return ""
    pairs, rows = list(grouped(studied, pair_of)), []
    for criterion, key in CRITERIA.items():
        ranked = [
            (pair_of(r), rank_epochs(r["epochs"], key))
            for r in studied
            if all(key in epoch for epoch in r["epochs"])
        ]
        cells = _cells(pairs, ranked, lambda own: Mean.of(r for r, _ in own).show("+.2f", scale=1))
        rows.append([criterion, *cells, Mean.of(lost for _, (_, lost) in ranked).show()])
    n_epochs = sum(len(r["epochs"]) for r in studied)
    return (
        "Spearman's rank correlation of selection criteria with the F1 on the target's test set over "
        f"the epochs of a run, mean over {len(studied)} runs ({n_epochs} epochs), and the F1 points "
        "by which the chosen epoch falls short of the run's best.\n\n"
        + markdown_table(["select", *pairs, "all", "F1 lost"], rows)
    )


def settings_table(compared: Sequence[tuple[Result, Result]]) -> str:
    """How well each criterion tells which settings are better on the target.

    The table leaves out runs that differ in teacher, target text or number format, which change the
    criteria too.

    compared (Sequence[tuple]): The result of `against_plain`.
    RETURNS (str): A Markdown table with an introduction, empty if there are fewer than FEWEST runs.
    """
    runs = [
        (pair_of(own), _saved_epoch(own), _saved_epoch(base), own["f1"] - base["f1"])
        for own, base in compared
        if _is_comparable(own, base)
    ]
    pairs, rows = list(dict.fromkeys(pair for pair, *_ in runs)), []
    for criterion, key in CRITERIA.items():
        # the number of the saved epoch says nothing about settings
        if criterion == "last":
            continue
        changes = [
            (pair, (own[key] - base[key], gain))
            for pair, own, base, gain in runs
            if key in own and key in base
        ]
        if len(changes) < FEWEST:
            continue
        cells = _cells(pairs, changes, _correlation)
        for higher in (True, False):
            gain = Mean.of(y for _, (x, y) in changes if (x > 0) is higher)
            cells.append(f"{gain.show('+.2f')} ({gain.n})" if gain.n else MISSING)
        rows.append([criterion, *cells])
    if not rows:
        return ""
    header = ["criterion", *pairs, "all", "F1 where it is higher", "where it is not"]
    return (
        "Each run with changed settings of the student against the run of the unchanged configuration "
        "with the same pair, seed, teacher, target text and number format: Spearman's rank correlation "
        "between the change of a criterion, at the saved epoch, and the change of the F1 on the "
        "target's test set; then the mean change of F1, in points, of the runs in which the criterion "
        "is higher and of the other runs, with the number of runs.\n\n"
        + markdown_table(header, rows)
    )


def rank_epochs(epochs: Sequence[dict[str, Any]], key: str) -> tuple[float | None, float]:
    """Compare a criterion with the target's F1 over the epochs of one run.

    epochs (Sequence[dict]): The epochs, with the criterion under `key`.
    key (str): The criterion.
    RETURNS (tuple): Spearman's rank correlation, or None where it is undefined; and the best
        epoch's F1 minus that of the epoch with the highest criterion (the latest of equals).
    """
    values, truth = (np.array([epoch[k] for epoch in epochs], dtype=float) for k in (key, TRUTH))
    chosen = len(values) - 1 - int(values[::-1].argmax())
    return spearman(values, truth), float(truth.max() - truth[chosen])


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Spearman's rank correlation; equal values share their mean rank.

    a (ArrayLike): Values, shape (n,).
    b (ArrayLike): Values, shape (n,).
    RETURNS (float): In [-1, 1], or None if all values of a side are equal.
    """
    x, y = (_ranks(np.asarray(values, dtype=float)) for values in (a, b))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def _cells(
    pairs: Sequence[str], values: Sequence[tuple[str, Any]], show: Callable[[list[Any]], str]
) -> list[str]:
    """One cell for each pair, from the values of this pair, and one from all values."""
    return [show([v for of, v in values if pair in (None, of)]) for pair in [*pairs, None]]


def _correlation(changes: list[tuple[float, float]]) -> str:
    rho = spearman(*zip(*changes, strict=True)) if len(changes) >= FEWEST else None
    return MISSING if rho is None else f"{rho:+.2f}"


def _is_comparable(own: Result, base: Result) -> bool:
    """Whether two runs differ in nothing but settings of the student."""
    same = ("teacher_overrides", "precision_format", "sizes", "translate", "target_gold")
    return own["settings"] != base["settings"] and all(
        own.get(name) == base.get(name) for name in same
    )


def _saved_epoch(result: Result) -> dict[str, Any]:
    """The epoch whose weights were saved, empty if it is unknown."""
    saved = [epoch for epoch in result["epochs"] if epoch["epoch"] == result["selected_epoch"]]
    return saved[-1] if saved else {}
