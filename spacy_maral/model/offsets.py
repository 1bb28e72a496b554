"""Offsets: numbers that are added to the scores of the entity classes before the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors, MaralError
from .spans import OUTSIDE, UNKNOWN, decode

MOST = 1e4
"""Greatest size of an offset: the greatest difference of scores that a decision tells apart."""

LEAST_F1 = 0.2
TRIED = np.arange(-4, 4.125, 0.125)
"""Offsets at which entities are counted."""
FEW_ENTITIES = 50
"""Number of gold entities that weigh as much as the offset without them."""

Offset = float | Mapping[str, float]


def check_offset(offset: Any) -> None:
    """Refuse what is neither a number nor a number for each of some labels.

    offset (Any): An offset.
    RAISES (MaralError): If it is no such thing, or a number is not finite or above 10,000 in size.
    """
    for value in offset.values() if isinstance(offset, Mapping) else (offset,):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > MOST:
            raise MaralError(Errors.M520.format(offset=offset, most=MOST))


def class_offsets(offset: Offset, labels: Sequence[str]) -> NDArray[np.float32]:
    """The number that is added to the scores of each class; outside keeps its score.

    offset (float | Mapping[str, float]): A number for all labels, or numbers by label; labels that
        are not named have 0.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    RETURNS (NDArray[np.float32]): Shape (K,), outside first.
    RAISES (MaralError): If a label does not exist, or the offset is out of its range.
    """
    check_offset(offset)
    if not isinstance(offset, Mapping):
        return np.array([0.0, *[offset] * len(labels)], dtype=np.float32)
    if unknown := sorted(map(str, offset.keys() - set(labels))):
        raise MaralError(Errors.M521.format(unknown=", ".join(unknown), labels=", ".join(labels)))
    return np.array([0.0, *(offset.get(label, 0.0) for label in labels)], dtype=np.float32)


def best_f1_offset(f1: float) -> float:
    """The offset with the best expected F1, for scores that are calibrated log probabilities.

    The best threshold of a probability is half of the best F1 that can be had (Lipton, Elkan and
    Narayanaswamy 2014), not one half: log((2 - F1) / F1).

    f1 (float): The F1 that can be had, in [0, 1]; values below 0.2 count as 0.2.
    RETURNS (float): The offset, from 0 to log(9).
    """
    known = max(f1, LEAST_F1)
    return math.log((2 - known) / known)


def balanced_offset(
    scores: NDArray[np.floating],
    words: tuple[NDArray[np.int64], NDArray[np.int64]],
    gold: NDArray[np.integer],
    n_gold: int,
    start: float,
) -> float:
    """The offset at which a model finds as many entities as there are, on few labelled sentences.

    There precision and recall are equal, and F1 is highest or nearly so. The number of entities says more
    in few sentences than their F1 does. The fewer they are, the less the offset moves from its start.

    scores (NDArray): Class scores of all candidate spans without an offset, shape (n, K).
    words (tuple): First and last word of each candidate, numbered over all sentences.
    gold (NDArray[np.integer]): Gold class of each candidate, -1 where it is unknown, shape (n,).
    n_gold (int): Number of gold entities; longer ones than all candidates count, too.
    start (float): Offset that is taken without gold.
    RETURNS (float): Start + n / (n + 50) * (balanced offset - start), with n = `n_gold`.
    """
    found = np.empty(len(TRIED), dtype=np.int64)
    for i, offset in enumerate(TRIED):
        shifted = scores.copy()
        shifted[:, OUTSIDE + 1 :] += offset
        kept, _, _ = decode(shifted, *words)
        found[i] = (gold[kept] != UNKNOWN).sum()
    # of offsets with the same number, the one nearest to the start
    apart = np.abs(found - n_gold)
    best = TRIED[np.lexsort((np.abs(TRIED - start), apart))[0]]
    return float(start + n_gold / (n_gold + FEW_ENTITIES) * (best - start))
