"""Mean scores of correct and wrong pseudo-labels by class, as bars."""

from __future__ import annotations

from typing import Any

from .charts import Series
from .figures import Figure, number
from .grouped_bars import grouped_bars


def clean_and_noisy(epoch: dict[str, Any]) -> list[Figure]:
    """Draw the mean score ρ of the correct and the wrong pseudo-labels of each class.

    epoch (dict): Diagnostics of an epoch.
    RETURNS (list[Figure]): One figure; none without gold labels of the target.
    """
    if not epoch["gold"]:
        return []
    sides = (("correct", "rho_clean_by_class", 3), ("wrong", "rho_noisy_by_class", 2))
    bars = [Series(name, epoch["gold"][key], colour) for name, key, colour in sides]
    chart = grouped_bars(
        f"Mean score by class in epoch {epoch['epoch']}", epoch["classes"], bars, show=number
    )
    note = (
        "Mean ρ of labels of each class, correct ones on the left, wrong ones on the right. The farther "
        "the two are apart, the better the filter can tell them apart."
    )
    return [Figure("Mean ρ by class and truth", chart, note)]
