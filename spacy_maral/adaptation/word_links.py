"""Words that correspond to each other in a sentence and its translation, and the spans that do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# cosine from which a word beside a projected span may belong to it
LIKE = 0.4


class Links(NamedTuple):
    """What corresponds in two sentences of n and m words.

    source, target: Numbers of words that are each other's most similar word, shape (l,) each, the first
    ascending. best: The source word that each target word is most similar to, shape (m,). similarity:
    The cosine of both, shape (m,).
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    best: NDArray[np.int64]
    similarity: NDArray[np.floating]


def link_words(source: NDArray[np.floating], target: NDArray[np.floating]) -> Links:
    """Find the words of two sentences that correspond.

    The similarity is the cosine of the vectors after the mean of each sentence is subtracted: what all
    words of a sentence have in common, such as its language, says nothing about which of them
    correspond.

    source, target (NDArray): Vectors of the words of both sentences, shapes (n, h) and (m, h), n and m
        at least 1. A word without a vector has zeros, and corresponds to nothing.
    RETURNS (Links): The words that correspond.
    """
    alone = min(len(source), len(target)) == 1
    a, b = (_directions(vectors, centred=not alone) for vectors in (source, target))
    similarity = a @ b.T
    forth, back = similarity.argmax(1), similarity.argmax(0)
    numbers = np.arange(len(forth))
    mutual = np.flatnonzero((back[forth] == numbers) & (similarity[numbers, forth] > 0))
    return Links(mutual, forth[mutual], back, similarity.max(0))


def _directions(vectors: NDArray[np.floating], *, centred: bool) -> NDArray[np.floating]:
    """Vectors of length 1, after the mean of those that are not 0 is subtracted from them."""
    known: NDArray[np.bool_] = (vectors != 0).any(axis=1)
    if centred and known.any():
        vectors = np.where(known[:, None], vectors - vectors[known].mean(0), 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def project_spans(
    starts: NDArray[np.int64], ends: NDArray[np.int64], links: Links
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Project spans onto the words that their own words are linked to.

    A span goes from the first to the last of these words, and to the words beside them that are most
    similar to one of its words, too: "UN" becomes "Vereinte Nationen".

    starts, ends (NDArray): First and last word of each span of the source, shape (n,), ascending and
        without overlaps.
    links (Links): What corresponds in the two sentences.
    RETURNS (tuple): First and last word of each span in the target, shape (n,) each; -1 for a span of
        which no word is linked.
    """
    owners = _owners(starts, ends, links.source)
    inside = owners >= 0
    first = np.full(len(starts), np.iinfo(np.int64).max, dtype=np.int64)
    last = np.full(len(starts), -1, dtype=np.int64)
    np.minimum.at(first, owners[inside], links.target[inside])
    np.maximum.at(last, owners[inside], links.target[inside])
    first[last < 0] = -1
    likes = np.where(links.similarity >= LIKE, _owners(starts, ends, links.best), -1)
    return _widen(first, last, likes)


def _owners(
    starts: NDArray[np.int64], ends: NDArray[np.int64], words: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The span that each word is in, -1 for none."""
    if not len(starts):
        return np.full(len(words), -1, dtype=np.int64)
    owners = np.searchsorted(starts, words, side="right") - 1
    return np.where((owners >= 0) & (words <= ends[owners]), owners, -1)


def _widen(
    first: NDArray[np.int64], last: NDArray[np.int64], likes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Widen spans to the words beside them that belong to them by `likes`, shape (m,)."""
    numbers = np.arange(len(likes))
    # where the run of words with the same owner begins and ends
    changes = np.flatnonzero(np.diff(likes)) + 1
    begins = np.concatenate([[0], changes])
    runs = np.searchsorted(begins, numbers, side="right") - 1
    stops = np.concatenate([changes, [len(likes)]]) - 1
    found = first >= 0
    spans = np.flatnonzero(found)
    for end, step, bounds in ((first, -1, begins), (last, 1, stops)):
        beside = end[spans] + step
        ok = (beside >= 0) & (beside < len(likes))
        mine = spans[ok][likes[beside[ok]] == spans[ok]]
        end[mine] = bounds[runs[end[mine] + step]]
    return first, last
