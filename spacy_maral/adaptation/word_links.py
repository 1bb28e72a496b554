"""Words that correspond to each other in a sentence and its translation, and the spans that do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Spans = tuple[NDArray[np.int64], NDArray[np.int64]]


def link_words(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs of words that are most similar to each other, in both directions.

    The similarity is the cosine of the vectors after the mean of each sentence is subtracted: what all
    words of a sentence have in common, such as its language, says nothing about which of them
    correspond.

    source, target (NDArray): Vectors of the words of both sentences, shapes (n, h) and (m, h).
    RETURNS (tuple): Numbers of the linked source words, ascending, and those of their target words.
    """
    similarity = _centred(source) @ _centred(target).T
    if not similarity.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    best, back = similarity.argmax(1), similarity.argmax(0)
    linked = np.flatnonzero(back[best] == np.arange(len(best)))
    return linked, best[linked]


def _centred(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors of length 1 after their mean is subtracted; those that are the mean stay 0."""
    centred = vectors - vectors.mean(0) if len(vectors) > 1 else vectors
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(lengths, np.finfo(np.float32).tiny)


def project_spans(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
) -> Spans:
    """Project spans onto the words that their own words are linked to: from the first to the last.

    starts, ends (NDArray): First and last word of each span of the source, shape (n,), ascending and
        without overlaps.
    source, target (NDArray): Numbers of the linked words, shape (l,) each (see `link_words`).
    RETURNS (tuple): First and last word of each span in the target, shape (n,) each; -1 for a span of
        which no word is linked.
    """
    owners = np.searchsorted(starts, source, side="right") - 1
    inside = (
        (owners >= 0) & (source <= ends[owners]) if len(starts) else np.zeros(len(source), bool)
    )
    first = np.full(len(starts), np.iinfo(np.int64).max, dtype=np.int64)
    last = np.full(len(starts), -1, dtype=np.int64)
    np.minimum.at(first, owners[inside], target[inside])
    np.maximum.at(last, owners[inside], target[inside])
    first[last < 0] = -1
    return first, last
