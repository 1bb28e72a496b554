"""Offsets: numbers that are added to the scores of the entity classes before the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors, MaralError

MOST = 1e4
"""Greatest size of an offset: the greatest difference of scores that a decision tells apart."""

LEAST_F1 = 0.2

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
