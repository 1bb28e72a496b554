"""Which sentences to annotate, by hand or by an expensive annotator: those with the most doubtful names."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..data.docs import read_docs
from ..data.files import Paths, as_paths
from ..model.spans import resolve_overlaps
from ..model.visible import VisibleWords
from ..training.target_gold import text_key, text_keys
from .pseudo_labels import PseudoLabels

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


def usable_sentences(docs: Sequence[Doc], exclude: Paths | None = None) -> NDArray[np.int64]:
    """Numbers of the documents that have a text of their own, and none that is excluded."""
    seen = text_keys(chain.from_iterable(map(read_docs, as_paths(exclude or ()))))
    usable = []
    for number, doc in enumerate(docs):
        key = text_key(doc)
        if key and key not in seen:
            seen.add(key)
            usable.append(number)
    return np.array(usable, dtype=np.int64)


def choose_docs(
    docs: Sequence[Doc],
    labels: PseudoLabels,
    usable: NDArray[np.int64],
    *,
    n: int,
    seed: int,
    costs: NDArray[np.float64] | None = None,
) -> Choice:
    """Choose documents by the doubts of a model's labels (see `choose_sentences`)."""
    visible = VisibleWords.of(docs)
    candidates = visible.candidates(labels.max_width)
    starts, ends = candidates.words
    found = find_doubtful(labels.probabilities, starts, ends)
    numbers: dict[tuple[str, ...], int] = {}
    names = [
        numbers.setdefault(tuple(visible.texts[start : end + 1]), len(numbers))
        for start, end in zip(starts[found.spans].tolist(), ends[found.spans].tolist(), strict=True)
    ]
    return choose_sentences(
        candidates.owner[found.spans], np.array(names, dtype=np.int64), found.doubts, usable,
        n=n, seed=seed, costs=costs,
    )  # fmt: skip


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
    costs: NDArray[np.float64] | None = None,
) -> Choice:
    """Choose sentences one after the other, each for the doubts of the names that it adds.

    With costs, the sum of these doubts is divided by the cost of the sentence. A name that a chosen
    sentence has counts no more, so that no name fills the list. Only when no sentence adds a name of the
    first of LEVELS do less doubtful ones count, and at last the others are drawn at random. Ties are
    broken at random.

    owner (NDArray): Sentence of each doubtful span, shape (n_spans,).
    names (NDArray): Number of the name of each span, the same for the same words, shape (n_spans,).
    doubts (NDArray): Doubt of each span, above 0, shape (n_spans,).
    usable (NDArray): The sentences to choose from.
    n (int): Number of sentences.
    seed (int): Seed of ties and of the random draw.
    costs (NDArray | None): What it costs to annotate each sentence, above 0, by its number; None if it
        is the same for all.
    RETURNS (Choice): Up to n of the usable sentences.
    """
    order = np.random.default_rng(seed).permutation(usable)
    spans, sentences = _Spans(owner, names, doubts, order), order.tolist()

    def worth(place: int, level: float) -> float:
        gain = spans.gain(sentences[place], level)
        return gain if costs is None else gain / float(costs[sentences[place]])

    chosen: list[int] = []
    for level in LEVELS:
        gains = ((worth(place, level), place) for place in range(len(sentences)))
        queue = [(-gain, place) for gain, place in gains if gain > 0]
        heapify(queue)
        while queue and len(chosen) < n:
            gain, place = heappop(queue)
            now = -worth(place, level)
            # gains only fall: one that has not is the highest of all
            if now == gain:
                chosen.append(sentences[place])
                spans.forget_names(sentences[place])
            elif now < 0:
                heappush(queue, (now, place))
    rest = order[~np.isin(order, chosen)][: n - len(chosen)]
    return Choice(np.concatenate([np.array(chosen, dtype=np.int64), rest]), len(chosen))


class _Spans:
    """The doubtful spans of the usable sentences, found by sentence and by name.

    A name that a sentence has twice counts once, with its highest doubt.
    """

    def __init__(
        self,
        owner: NDArray[np.int64],
        names: NDArray[np.int64],
        doubts: NDArray[np.float64],
        usable: NDArray[np.int64],
    ) -> None:
        by_doubt = np.argsort(-doubts, kind="stable")
        by_doubt = by_doubt[np.isin(owner[by_doubt], usable)]
        pairs, first = np.unique(
            np.stack([owner[by_doubt], names[by_doubt]]), axis=1, return_index=True
        )
        owner, self.names = pairs
        self.left = doubts[by_doubt[first]]
        self.first = np.searchsorted(owner, np.arange(int(usable.max(initial=-1)) + 2))
        self.by_name = np.argsort(self.names, kind="stable")
        self.sorted_names = self.names[self.by_name]

    def gain(self, sentence: int, level: float) -> float:
        """Sum of the doubts of at least a level that a sentence would add."""
        own = self.left[self.first[sentence] : self.first[sentence + 1]]
        return float(own[own >= level].sum())

    def forget_names(self, sentence: int) -> None:
        """Let the names of a sentence count no more, in any sentence."""
        names = self.names[self.first[sentence] : self.first[sentence + 1]]
        low, high = (np.searchsorted(self.sorted_names, names, side) for side in ("left", "right"))
        for start, end in zip(low.tolist(), high.tolist(), strict=True):
            self.left[self.by_name[start:end]] = 0
