"""Geometry of the classes on the sphere: their separation and their compactness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def centroid_cosine(directions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosines between the mean directions of all classes.

    directions (NDArray): Mean directions, shape (K, q).
    RETURNS (NDArray): Shape (K, K). Theorem 1's optimum is -1 / (K - 1) off the diagonal.
    """
    rows = np.asarray(directions, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def mean_off_diagonal(table: NDArray[np.floating]) -> float:
    """Mean of the entries off the diagonal of a square table; 0 for one class."""
    size = len(table)
    return float((table.sum() - np.trace(table)) / max(1, size * (size - 1)))


def compactness(
    z: NDArray[np.floating], classes: NDArray[np.integer], directions: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Mean cosine between the spans of a class and its mean direction.

    z (NDArray): Span features, shape (n, q), unit norm.
    classes (NDArray): Their classes, shape (n,).
    directions (NDArray): Mean directions, shape (K, q), unit norm.
    RETURNS (NDArray): Shape (K,); nan for a class without spans. The optimum is 1.
    """
    cosines = np.einsum("nq,nq->n", z, directions[classes], dtype=np.float64)
    counts = np.bincount(classes, minlength=len(directions))
    sums = np.bincount(classes, weights=cosines, minlength=len(directions))
    return np.divide(sums, counts, out=np.full(len(directions), np.nan), where=counts > 0)


def span_margins(
    z: NDArray[np.floating], classes: NDArray[np.integer], directions: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Margin mu_y.z - max_{c != y} mu_c.z of each span.

    z (NDArray): Span features, shape (n, q), unit norm.
    classes (NDArray): Their classes y, shape (n,).
    directions (NDArray): Mean directions of at least two classes, shape (K, q), unit norm.
    RETURNS (NDArray[np.float64]): Shape (n,), in [-2, 2]; negative for a span nearer another class.
    """
    cosines = np.asarray(z, dtype=np.float64) @ np.asarray(directions, dtype=np.float64).T
    rows = np.arange(len(classes))
    own = cosines[rows, classes]
    cosines[rows, classes] = -np.inf
    return own - cosines.max(axis=1)


def class_quantiles(
    values: NDArray[np.floating], classes: NDArray[np.integer], n_classes: int, share: float
) -> NDArray[np.float64]:
    """Quantile of the values of each class, such as the margin that 95 % of its spans exceed.

    values (NDArray): Value of each span, shape (n,).
    classes (NDArray): Their classes, shape (n,).
    n_classes (int): K.
    share (float): Share of the spans below the quantile, in [0, 1].
    RETURNS (NDArray[np.float64]): Shape (K,), interpolated linearly; nan for a class without spans.
    """
    found = np.full(n_classes, np.nan)
    for c in np.unique(classes):
        found[c] = np.quantile(np.asarray(values, dtype=np.float64)[classes == c], share)
    return found
