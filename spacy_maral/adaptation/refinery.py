"""The refinery: global (vMF) and local (nearest neighbours) guidance for unreliable labels."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from ..model.spans import OUTSIDE, UNKNOWN

QUERY_BATCH = 8192
# maximum number of rows of a bank with exact search; larger banks use inverted lists
EXACT_ROWS = 1 << 16
# with these settings, the search has a recall@200 of 0.99 on features of a trained student
# (docs/performance.md)
PROBES, CENTRE_ROUNDS, ROWS_PER_CENTRE = 16, 6, 64


@dataclass
class Bank:
    """Features with gold or pseudo-labels, among which neighbours are searched.

    features: Shape (n, q). classes: Shape (n,). spans: Target span of each row, -1 for a source
    span, shape (n,).
    """

    features: NDArray[np.float32]
    classes: NDArray[np.int64]
    spans: NDArray[np.int64]


def bank_share(counts: NDArray[np.integer], outside_rate: float, most: int) -> float:
    """Share of the wanted spans of a corpus for which the bank has room.

    counts (NDArray): Number of spans of each class, shape (K,).
    outside_rate (float): Share of the outside spans that are wanted; all entities are wanted.
    most (int): Maximum number of rows.
    RETURNS (float): In [0, 1]; 1 if the bank has room for all wanted spans.
    """
    wanted = outside_rate * counts[OUTSIDE] + counts.sum() - counts[OUTSIDE]
    return float(min(1.0, most / max(1.0, wanted)))


def sample_bank(
    classes: NDArray[np.integer],
    outside_rate: float,
    draws: NDArray[np.floating],
    share: float = 1.0,
) -> NDArray[np.int64]:
    """Choose the spans of a corpus for the bank: all entities, and a share of the outside spans.

    classes (NDArray): Labels of all spans, shape (n,); those of the class UNKNOWN are not chosen.
    outside_rate (float): Share of the outside spans that are kept.
    draws (NDArray): A random number in [0, 1) for each span, shape (n,).
    share (float): Factor on both shares where the room is limited (see `bank_share`).
    RETURNS (NDArray[np.int64]): Chosen spans, ascending.
    """
    wanted = np.where(classes == OUTSIDE, outside_rate * share, share)
    return np.flatnonzero((draws < wanted) & (classes != UNKNOWN))


def build_index(
    features: NDArray[np.float32], *, exact_rows: int | None = None
) -> faiss.IndexFlatIP | faiss.IndexIVFFlat:
    """Make an index that finds the nearest features by inner product.

    The search is exact for up to exact_rows rows. For more rows, the index assigns the rows to the
    lists of 2 * sqrt(n) centres, and searches the lists whose centres are nearest to the query.

    features (NDArray): Shape (n, q).
    exact_rows (int): Maximum number of rows of an exact search; EXACT_ROWS by default.
    RETURNS (IndexFlatIP | IndexIVFFlat): The index.
    """
    n, dim = features.shape
    flat = faiss.IndexFlatIP(dim)
    if n <= (EXACT_ROWS if exact_rows is None else exact_rows):
        flat.add(features)
        return flat
    index = faiss.IndexIVFFlat(flat, dim, int(2 * n**0.5), faiss.METRIC_INNER_PRODUCT)
    index.nprobe = PROBES
    index.cp.niter, index.cp.max_points_per_centroid = CENTRE_ROUNDS, ROWS_PER_CENTRE
    index.train(features)
    index.add(features)
    return index


def neighbour_classes(
    bank: Bank, features: NDArray[np.floating], spans: NDArray[np.int64], *, k: int, n_classes: int
) -> NDArray[np.float32]:
    """Share of each class among the k nearest neighbours (Eq. 10), by inner product.

    The search is exact in banks of up to EXACT_ROWS rows (see `build_index`). A span is not its own
    neighbour. If the bank has fewer than k other rows, all of them count.

    bank (Bank): The bank to search.
    features (NDArray): Features of the queries, shape (n, q).
    spans (NDArray[np.int64]): Target span of each query, shape (n,).
    k (int): Number of neighbours.
    n_classes (int): K.
    RETURNS (NDArray[np.float32]): Shares, rows sum to 1 (to 0 without neighbours), shape (n, K).
    """
    shares = np.zeros((len(features), n_classes), dtype=np.float32)
    if not len(bank.classes):
        return shares
    index = build_index(bank.features)
    wanted = min(k + 1, len(bank.classes))
    for i in range(0, len(features), QUERY_BATCH):
        rows = slice(i, i + QUERY_BATCH)
        _, found = index.search(np.ascontiguousarray(features[rows], dtype=np.float32), wanted)
        others = (found >= 0) & (bank.spans[found] != spans[rows, None])
        others &= others.cumsum(1) <= k
        row = np.repeat(np.arange(len(found)), others.sum(1))
        flat = row * n_classes + bank.classes[found[others]]
        counts = np.bincount(flat, minlength=len(found) * n_classes).reshape(-1, n_classes)
        shares[rows] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def above_mean(
    values: NDArray[np.floating], means: NDArray[np.floating] | None = None
) -> NDArray[np.bool_]:
    """Find the classes whose value for a span is above a mean (Eq. 10).

    values (NDArray): Value of each class for each span, rho or a share of neighbours, shape (n, K).
    means (NDArray): Mean of each class over the spans with its label, shape (K,), as in the paper
        (see `class_means`); None for the mean of each span over the classes.
    RETURNS (NDArray[np.bool_]): Whether each value is above its mean, shape (n, K).
    """
    return values > (values.mean(1, keepdims=True) if means is None else means)


def class_means(values: NDArray[np.floating], classes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean value of each class over the spans that have it as their label (Eq. 10).

    values (NDArray): Value of each class for each span, shape (n, K).
    classes (NDArray): Label of each span, UNKNOWN for spans that do not count, shape (n,).
    RETURNS (NDArray[np.float64]): Shape (K,); infinite for a class without a span, which is then
        above no mean.
    """
    n_classes = values.shape[1]
    rows = np.flatnonzero(classes != UNKNOWN)
    classes = classes[rows]
    own = values[rows, classes].astype(np.float64)
    counts = np.bincount(classes, minlength=n_classes)
    sums = np.bincount(classes, weights=own, minlength=n_classes)
    return np.divide(sums, counts, out=np.full(n_classes, np.inf), where=counts > 0)


def sample_classes(
    classes: NDArray[np.integer], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw some spans of each class.

    classes (NDArray): Label of each span, UNKNOWN for spans that are not drawn, shape (n,).
    most (int): Maximum number of spans of a class.
    rng (np.random.Generator): Draws the spans of larger classes.
    RETURNS (NDArray[np.int64]): Chosen spans, ascending.
    """
    members = (np.flatnonzero(classes == c) for c in np.unique(classes[classes != UNKNOWN]))
    drawn = (rng.permutation(spans)[:most] for spans in members)
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *drawn]))


def refine(
    probabilities: NDArray[np.floating],
    *,
    alpha: float,
    global_guidance: NDArray[np.bool_ | np.floating] | None,
    local_guidance: NDArray[np.bool_ | np.floating] | None,
    names_guidance: NDArray[np.bool_ | np.floating] | None = None,
) -> NDArray[np.float32]:
    """Move soft labels towards the classes that the guidances allow (Eq. 11).

    d = norm(d_c + d_n + d_m), p <- norm(alpha p + (1 - alpha) d), with norm the division by the sum. Where no guidance allows a class, the label is not changed. A boolean guidance
    gives all allowed classes equal shares; with other values, the shares are proportional to the
    values.

    probabilities (NDArray): Soft labels, shape (n, K).
    alpha (float): Weight of the old labels.
    global_guidance (NDArray): d_c: whether rho of each class is above a mean, or the
        probability of each class under rho, shape (n, K); None to leave it out.
    local_guidance (NDArray): d_n: whether the share of neighbours of each class is above a mean, or
        the share itself, shape (n, K); None to leave it out.
    names_guidance (NDArray): d_m, which the paper does not have: the same of the other mentions of the
        span's string; None to leave it out.
    RETURNS (NDArray[np.float32]): New soft labels, shape (n, K).
    """
    old = _normalise(np.asarray(probabilities, dtype=np.float32))
    allowed = [g for g in (global_guidance, local_guidance, names_guidance) if g is not None]
    if not allowed:
        return old
    d = _normalise(sum(g.astype(np.float32) for g in allowed))
    new = _normalise(alpha * old + (1 - alpha) * d)
    return np.where(d.any(1, keepdims=True), new, old)


def _normalise(rows):  # type: ignore[no-untyped-def]
    total = rows.sum(1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
