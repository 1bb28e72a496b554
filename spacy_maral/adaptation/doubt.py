"""Which sentences to annotate: those with the most doubtful names that no other has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.spans import resolve_overlaps

LEVELS = (0.1, 0.01, 0.001)
"""Least doubts that count, one after the other: a sentence has many spans of little doubt, which would
add up, but a model may be surer than it should be. Below the last, a span is certain."""


class Doubtful(NamedTuple):
    """Candidate spans of which a model is not certain: their numbers and doubts, shape (n,) each."""

    spans: NDArray[np.int64]
    doubts: NDArray[np.float64]


class Choice(NamedTuple):
    """Numbers of the chosen sentences in the order of choice, and how many are chosen by doubt.

    The others, at the end, are drawn at random.
    """

    sentences: NDArray[np.int64]
    n_doubtful: int


def find_doubtful(
    probabilities: NDArray[np.floating], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Doubtful:
    """Find the spans that may be entities that the model missed, or of another class than it says.

    The doubt of a span is 1 - max p. Of spans that share words, those with the highest sum of doubts
    without overlaps count, so that a name and its parts do not count twice.

    probabilities (NDArray): Class probabilities, shape (n_spans, K).
    starts, ends (NDArray): First and last words, ends inclusive, numbered over all documents.
    """
    if not len(probabilities):
        return Doubtful(np.zeros(0, dtype=np.int64), np.zeros(0))
    doubts = 1 - probabilities.max(1).astype(np.float64)
    found = np.flatnonzero(doubts >= LEVELS[-1])
    kept = found[resolve_overlaps(starts[found], ends[found], doubts[found])]
    return Doubtful(kept, doubts[kept])


def choose_sentences(
    owner: NDArray[np.int64],
    names: NDArray[np.int64],
    doubts: NDArray[np.float64],
    usable: NDArray[np.int64],
    *,
    n: int,
    seed: int,
) -> Choice:
    """Choose sentences one after the other, each for the doubts of the names that it adds.

    A name that a chosen sentence has counts no more, so that no name fills the list. Only when no
    sentence adds a name of the first of LEVELS do less doubtful ones count, and at last the others
    are drawn at random. Ties are broken at random.

    owner (NDArray): Sentence of each doubtful span, shape (n_spans,).
    names (NDArray): Number of the name of each span, the same for the same words, shape (n_spans,).
    doubts (NDArray): Doubt of each span, above 0, shape (n_spans,).
    usable (NDArray): The sentences to choose from.
    n (int): Number of sentences.
    seed (int): Seed of ties and of the random draw.
    RETURNS (Choice): Up to n of the usable sentences.
    """
    order = np.random.default_rng(seed).permutation(usable)
    n_sentences = int(order.max(initial=-1)) + 1
    kept = np.isin(owner, usable)
    # a name that a sentence has twice counts once, with its highest doubt
    by_doubt = np.flatnonzero(kept)[np.argsort(-doubts[kept], kind="stable")]
    pairs = np.stack([owner[by_doubt], names[by_doubt]])
    first = by_doubt[np.unique(pairs, axis=1, return_index=True)[1]]
    owner, names, left = owner[first], names[first], doubts[first].copy()
    chosen: list[int] = []
    levels = list(LEVELS)
    while levels and len(chosen) < min(n, len(order)):
        counted = np.where(left >= levels[0], left, 0.0)
        gains = np.bincount(owner, weights=counted, minlength=n_sentences)[order]
        best = int(gains.argmax())
        if gains[best] <= 0:
            del levels[0]
            continue
        chosen.append(int(order[best]))
        left[np.isin(names, names[owner == order[best]])] = 0
    rest = order[~np.isin(order, chosen)][: n - len(chosen)]
    return Choice(np.concatenate([np.array(chosen, dtype=np.int64), rest]), len(chosen))
