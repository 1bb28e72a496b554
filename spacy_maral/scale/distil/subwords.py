"""A table of character n-grams whose means give words the vectors that they are wanted to have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

RIDGE = 0.03
"""Weight of the penalty on the rows of the table."""
ROUNDS, TOLERANCE = 80, 1e-3
"""Most steps of the conjugate gradient, and the residual, as a share of the first one, that ends it."""


def principal_components(
    vectors: NDArray[np.floating], weights: NDArray[np.floating], dim: int
) -> NDArray[np.float64]:
    """Reduce vectors to their principal components.

    vectors (NDArray): Shape (n, h).
    weights (NDArray): Weight of each vector in mean and covariance, positive, shape (n,).
    dim (int): Number of components, at most h.
    RETURNS (NDArray[np.float64]): Shape (n, dim), centred, with a standard deviation of 1 over all numbers;
        0 if all vectors are equal.
    """
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    covariance = (centred * weights[:, None]).T @ centred / weights.sum()
    # in ascending order of the variance
    found = centred.astype(np.float64) @ np.linalg.eigh(covariance)[1][:, ::-1][:, :dim]
    return found / (found.std() or 1.0)


def mean_of_rows(rows: list[NDArray[np.int64]], n_rows: int) -> csr_matrix:
    """The matrix that takes a table to the means of some of its rows.

    rows (list[NDArray]): Numbers of the rows of each word, with repeats, none empty.
    n_rows (int): Rows of the table.
    RETURNS (csr_matrix): Shape (len(rows), n_rows); each row sums to 1.
    """
    sizes = np.array([len(own) for own in rows])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    values = np.repeat(1.0 / sizes, sizes)
    shape = (len(rows), n_rows)
    return csr_matrix((values, np.concatenate(rows), starts), shape=shape)


def fit_table(
    means: csr_matrix, wanted: NDArray[np.floating], weights: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Find the table whose means are as near as possible to the wanted vectors.

    Minimises the sum of weights times squared distances, plus `RIDGE` times the sum of the squares of the
    table, by conjugate gradients with a diagonal preconditioner, for all columns at once.

    means (csr_matrix): Takes the table to the vectors of n words (see `mean_of_rows`), shape (n, n_rows).
    wanted (NDArray): The vectors, shape (n, dim).
    weights (NDArray): Weight of each word, shape (n,).
    RETURNS (NDArray[np.float32]): The table, shape (n_rows, dim).
    """
    scaled = means.multiply(np.sqrt(weights)[:, None]).tocsr()
    back = scaled.T.tocsr()
    diagonal = np.asarray(scaled.multiply(scaled).sum(0)).reshape(-1, 1) + RIDGE
    residual = back @ (np.sqrt(weights)[:, None] * wanted)
    table, direction = np.zeros_like(residual), residual / diagonal
    size = (residual * direction).sum(0)
    first = np.linalg.norm(residual)
    for _ in range(ROUNDS):
        if np.linalg.norm(residual) <= TOLERANCE * first:
            break
        image = back @ (scaled @ direction) + RIDGE * direction
        step = size / np.maximum((direction * image).sum(0), np.finfo(float).tiny)
        table += step * direction
        residual -= step * image
        nearer = residual / diagonal
        before, size = size, (residual * nearer).sum(0)
        direction = nearer + size / np.maximum(before, np.finfo(float).tiny) * direction
    return table.astype(np.float32)
