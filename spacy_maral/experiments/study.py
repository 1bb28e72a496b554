"""How well criteria that need no target gold rank the epochs of a run, and settings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..evaluation.tables import MISSING, markdown_table
from ..training.settings import ON_TARGET, SELECTION

Result = dict[str, Any]
TRUTH = "target_f1"
FEWEST = 5
"""Runs that a rank correlation over settings is of, at least."""


def study_table(results: Sequence[Result]) -> str:
    """Rank correlation of each criterion with the target's F1, and what choosing by it costs.

    results (Sequence[dict]): Results of runs, with their epochs.
    RETURNS (str): A table in Markdown with a line before it, or nothing if no run has epochs with
        the target's F1.
    """
    studied = [r for r in results if r["epochs"] and all(TRUTH in row for row in r["epochs"])]
    if not studied:
        return ""
    pairs = list(dict.fromkeys(map(pair_of, studied)))
    rows = []
    for criterion, key in SELECTION.items():
        usable = [r for r in studied if all(key in row for row in r["epochs"])]
        cells = []
        for pair in [*pairs, None]:
            own = [r for r in usable if pair in (None, pair_of(r))]
            found = [rank_epochs(r["epochs"], key) for r in own]
            correlations = [rho for rho, _ in found if rho is not None]
            cells.append(f"{mean(correlations):+.2f}" if correlations else MISSING)
            if pair is None:
                cells.append(f"{100 * mean(lost for _, lost in found):.2f}" if found else MISSING)
        rows.append([criterion, *cells])
    n_epochs = sum(len(r["epochs"]) for r in studied)
    table = markdown_table(["select", *pairs, "all", "F1 lost"], rows)
    return (
        "Spearman's rank correlation of selection criteria with the F1 on the target's test set over "
        f"the epochs of a run, mean over {len(studied)} runs ({n_epochs} epochs), and the F1 points "
        "by which the chosen epoch falls short of the run's best.\n\n" + table
    )


def settings_table(compared: Sequence[tuple[Result, Result]]) -> str:
    """How well each criterion tells which settings are better on the target.

    Two runs are compared if they have the same teacher, target text and number format, since the
    criteria depend on these too.

    compared (Sequence[tuple]): Results of runs with other settings, each with that of the
        configuration as it is on the same pair with the same seed.
    RETURNS (str): A table in Markdown with a line before it, or nothing if fewer than FEWEST runs
        can be compared.
    """
    runs = [
        (pair_of(own), _saved(own), _saved(base), own["f1"] - base["f1"])
        for own, base in compared
        if _is_comparable(own, base)
    ]
    pairs = list(dict.fromkeys(pair for pair, *_ in runs))
    rows = []
    for criterion in ("source_dev", *ON_TARGET):
        key = SELECTION[criterion]
        known = [
            (pair, own[key] - base[key], gain)
            for pair, own, base, gain in runs
            if key in own and key in base
        ]
        if len(known) < FEWEST:
            continue
        cells = []
        for pair in [*pairs, None]:
            both = [(x, y) for of, x, y in known if pair in (None, of)]
            rho = spearman(*zip(*both, strict=True)) if len(both) >= FEWEST else None
            cells.append(MISSING if rho is None else f"{rho:+.2f}")
        for higher in (True, False):
            gains = [y for _, x, y in known if (x > 0) is higher]
            cells.append(f"{100 * mean(gains):+.2f} ({len(gains)})" if gains else MISSING)
        rows.append([criterion, *cells])
    if not rows:
        return ""
    header = ["criterion", *pairs, "all", "F1 where it is higher", "where it is not"]
    return (
        "Each run with another setting of the student against that of the configuration as it is, "
        "with the same pair, seed, teacher, target text and number format: Spearman's rank "
        "correlation of the change of a criterion, at the epoch that is saved, with the change of the "
        "F1 on the target's test set; and the mean change of F1, in points, of the runs in which the "
        "criterion is higher and of the others, with their number.\n\n"
        + markdown_table(header, rows)
    )


def rank_epochs(rows: Sequence[dict[str, Any]], key: str) -> tuple[float | None, float]:
    """Compare a criterion with the target's F1 over the epochs of one run.

    rows (Sequence[dict]): The epochs, with the criterion under `key`.
    key (str): The criterion.
    RETURNS (tuple): Spearman's rank correlation, None where it is not defined; and what the best
        epoch's F1 is above that of the epoch with the highest criterion (of equals, the latest).
    """
    values = np.array([row[key] for row in rows], dtype=float)
    truth = np.array([row[TRUTH] for row in rows], dtype=float)
    chosen = len(values) - 1 - int(values[::-1].argmax())
    return spearman(values, truth), float(truth.max() - truth[chosen])


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Spearman's rank correlation; equal values share their mean rank.

    a (ArrayLike): Values, shape (n,).
    b (ArrayLike): Values, shape (n,).
    RETURNS (float): In [-1, 1], or None if one side has no two different values.
    """
    x, y = (_ranks(np.asarray(values, dtype=float)) for values in (a, b))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def pair_of(result: Result) -> str:
    return f"{result['dataset']} {result['source']}→{result['target']}"


def _is_comparable(own: Result, base: Result) -> bool:
    """Whether settings of the student are all that two runs differ in."""
    same = ("teacher_overrides", "precision_format", "sizes")
    return own["settings"] != base["settings"] and all(own[name] == base[name] for name in same)


def _saved(result: Result) -> dict[str, Any]:
    """The row of the epoch that was saved, empty if it is not known."""
    rows = [row for row in result["epochs"] if row["epoch"] == result["selected_epoch"]]
    return rows[-1] if rows else {}


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[place]
