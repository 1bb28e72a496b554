"""Calibration of confidences: a temperature and a shift of the log odds for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .spans import OUTSIDE

# of the fit: how many decisions the prior of a class counts for
PRIOR_STRENGTH = 5.0
MIN_SCALE = 0.02
STEPS = 100


class Calibration(NamedTuple):
    """For each entity class, a temperature T and a shift b; calibrated log odds are x / T + b.

    Both have the shape (K - 1,). The order of confidences within a class stays, since T > 0.
    """

    temperature: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def from_lists(cls, given: dict[str, Sequence[float]]) -> Calibration:
        """Make it from the lists that `to_lists` returned."""
        return cls(*(np.asarray(given[name], dtype=np.float64) for name in cls._fields))

    def to_lists(self) -> dict[str, Any]:
        """RETURNS (dict): Lists of numbers by name, ready for JSON."""
        return {name: column.tolist() for name, column in self._asdict().items()}

    def apply(
        self, log_odds: NDArray[np.floating], classes: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Compute calibrated confidences.

        log_odds (NDArray): Log odds of entities, shape (n,).
        classes (NDArray): Their classes, from 1, shape (n,).
        RETURNS (NDArray[np.float64]): In [0, 1], shape (n,).
        """
        own = np.asarray(classes) - 1
        return sigmoid(log_odds / self.temperature[own] + self.shift[own])


def log_odds(scores: NDArray[np.floating], classes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Log odds of a class against all others together, exact where its probability is nearly 1.

    scores (NDArray): Class scores, shape (n, K).
    classes (NDArray): A class for each row, shape (n,).
    RETURNS (NDArray[np.float64]): Shape (n,).
    """
    rows = np.arange(len(scores))
    table = np.array(scores, dtype=np.float64)
    own = table[rows, classes]
    table[rows, classes] = -np.inf
    top = table.max(axis=1, initial=-np.inf)
    shifted = np.exp(table - top[:, None]).sum(axis=1)
    return own - top - np.log(shifted)


def sigmoid(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, dtype=np.float64)))


def fit_calibration(
    x: NDArray[np.floating],
    classes: NDArray[np.integer],
    correct: NDArray[np.bool_],
    n_classes: int,
) -> Calibration:
    """Fit temperatures and shifts to decisions by maximum likelihood.

    One temperature and one shift are fitted to all decisions; those of each class are then drawn to
    the common ones as by PRIOR_STRENGTH decisions, so that rare classes keep them.

    x (NDArray): Log odds of predicted entities, shape (n,).
    classes (NDArray): Their classes, from 1, shape (n,).
    correct (NDArray[np.bool_]): Whether each is correct, shape (n,).
    n_classes (int): Number of classes K, with outside.
    RETURNS (Calibration): The fit.
    """
    common = _fit(x, correct, np.array([1.0, 0.0]))
    pairs = np.array(
        [_fit(x[classes == c], correct[classes == c], common) for c in range(1, n_classes)]
    ).reshape(-1, 2)
    return Calibration(temperature=1.0 / pairs[:, 0], shift=pairs[:, 1])


def _fit(
    x: NDArray[np.floating], correct: NDArray[np.bool_], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit scale and shift of log odds by Newton's method, drawn to a prior."""
    design = np.stack([np.asarray(x, dtype=np.float64), np.ones(len(x))], axis=1)
    # the scale in units of the data, so that the prior weighs the same whatever the scores' range
    spread = np.square(design[:, 0]).mean() if len(x) else 1.0
    # the information of a decision with probability 0.11 or 0.89
    weights = PRIOR_STRENGTH * 0.1 * np.array([max(spread, 1e-6), 1.0])
    found = prior.copy()

    def loss(given: NDArray[np.float64]) -> float:
        signed = np.where(correct, 1.0, -1.0) * (design @ given)
        return float(np.logaddexp(0.0, -signed).sum() + 0.5 * weights @ np.square(given - prior))

    for _ in range(STEPS):
        p = sigmoid(design @ found)
        gradient = design.T @ (p - correct) + weights * (found - prior)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(weights)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return np.array([max(found[0], MIN_SCALE), found[1]])


def calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, n_bins: int = 10
) -> float:
    """Expected calibration error: mean distance of confidence and precision over bins of equal size.

    confidence (NDArray): Confidences of decisions, shape (n,).
    correct (NDArray[np.bool_]): Whether each is correct, shape (n,).
    n_bins (int): Number of bins.
    RETURNS (float): In [0, 1]; 0 without decisions.
    """
    if not len(confidence):
        return 0.0
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(n_bins, len(confidence)))
    gaps = [abs(float(confidence[part].mean()) - float(correct[part].mean())) for part in parts]
    return sum(gap * len(part) for gap, part in zip(gaps, parts, strict=True)) / len(confidence)


def check_calibration(given: Any, n_labels: int) -> None:
    """Check a saved calibration.

    RAISES (ValueError): If it does not have two finite numbers for each label, or T is not positive.
    """
    if given is None:
        return
    values = Calibration.from_lists(given)
    for column in values:
        if column.shape != (n_labels,) or not np.isfinite(column).all():
            raise ValueError(f"calibration is {given!r:.80}")
    if (values.temperature <= 0).any():
        raise ValueError(f"calibration is {given!r:.80}")


def calibrated(
    scores: NDArray[np.floating], classes: NDArray[np.integer], given: dict[str, Any]
) -> NDArray[np.float64]:
    """Calibrated confidences of entities, from their class scores, shape (n, K), and a saved fit."""
    assert (np.asarray(classes) != OUTSIDE).all()
    return Calibration.from_lists(given).apply(log_odds(scores, classes), classes)
