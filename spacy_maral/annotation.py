"""From scored candidate spans to annotations of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span, SpanGroup

from .spans import OUTSIDE, decode

IOB_BEGIN, IOB_INSIDE = 3, 1


@dataclass
class Predictions:
    """Candidate spans of a batch of documents and the scores of their classes.

    lengths: Words of each document, shape (n_docs,). starts, ends: First and last word of each
    candidate within its document, ends inclusive, shape (n_spans,). offsets: Document i owns the
    candidates [offsets[i], offsets[i + 1]). scores: Shape (n_spans, K), outside first.
    """

    lengths: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    offsets: NDArray[np.int64]
    scores: NDArray[np.float32]

    def words(self) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Starts and ends, with words numbered over the whole batch."""
        base = np.repeat(np.cumsum(self.lengths) - self.lengths, np.diff(self.offsets))
        return self.starts + base, self.ends + base


@dataclass
class Labelled:
    """Candidates with a class and its probability; each column has the shape (n,)."""

    candidates: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.floating]

    def by_doc(
        self, docs: Sequence[Doc], predictions: Predictions, labels: Sequence[str]
    ) -> list[tuple[list[Span], NDArray[np.floating]]]:
        """Spans and scores of each document."""
        owners = np.searchsorted(predictions.offsets, self.candidates, side="right") - 1
        starts, ends = predictions.starts[self.candidates], predictions.ends[self.candidates] + 1
        columns = (owners, starts, ends, self.classes)
        spans: list[list[Span]] = [[] for _ in docs]
        for owner, start, end, number in zip(*(c.tolist() for c in columns), strict=True):
            spans[owner].append(Span(docs[owner], start, end, label=labels[number - 1]))
        bounds = np.searchsorted(owners, np.arange(1, len(docs)))
        return list(zip(spans, np.split(self.scores, bounds), strict=True))


def all_candidates(predictions: Predictions) -> NDArray[np.int64]:
    """Indices of all candidates."""
    return np.arange(len(predictions.starts))


def free_candidates(predictions: Predictions, docs: Sequence[Doc]) -> NDArray[np.int64]:
    """Candidates that do not touch a word that earlier components put into an entity or blocked.

    predictions (Predictions): The candidates.
    docs (Sequence[Doc]): Their documents.
    RETURNS (NDArray[np.int64]): Their indices, in order.
    """
    iob = np.concatenate([doc.to_array("ENT_IOB") for doc in docs])
    taken = np.concatenate([[0], np.cumsum((iob == IOB_BEGIN) | (iob == IOB_INSIDE))])
    starts, ends = predictions.words()
    return np.flatnonzero(taken[ends + 1] == taken[starts])


def choose_entities(predictions: Predictions, free: NDArray[np.int64]) -> Labelled:
    """The most probable annotation without overlaps (see `spans.decode`).

    predictions (Predictions): The candidates.
    free (NDArray[np.int64]): Indices of those that may be entities.
    RETURNS (Labelled): The entities, in order of the text.
    """
    starts, ends = predictions.words()
    kept, classes, confidence = decode(predictions.scores[free], starts[free], ends[free])
    return Labelled(free[kept], classes, confidence)


def runners_up(
    predictions: Predictions, free: NDArray[np.int64], entities: Labelled, threshold: float
) -> Labelled:
    """Entity classes of candidates that were not chosen, from a probability on.

    predictions (Predictions): The candidates.
    free (NDArray[np.int64]): Indices of those that may be entities, in order.
    entities (Labelled): What was chosen among them.
    threshold (float): The probability.
    RETURNS (Labelled): In order of the candidates; one of them may have several classes.
    """
    rows = predictions.scores[free].astype(np.float64)
    probabilities = np.exp(rows - rows.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities[np.searchsorted(free, entities.candidates), entities.classes] = 0.0
    probabilities[:, OUTSIDE] = 0.0
    place, classes = np.nonzero(probabilities >= threshold)
    return Labelled(free[place], classes, probabilities[place, classes])


def set_entities(doc: Doc, entities: list[Span], *, keep: bool) -> None:
    """Write entities; all other words are outside.

    doc (Doc): The document.
    entities (list[Span]): Its entities.
    keep (bool): Whether the entities and blocked words that it has already stay.
    """
    if not keep:
        doc.set_ents(entities, default="outside")
        return
    iob, kind = doc.to_array(["ENT_IOB", "ENT_TYPE"]).T
    blocked = [doc[i : i + 1] for i in np.flatnonzero((iob == IOB_BEGIN) & (kind == 0)).tolist()]
    doc.set_ents([*doc.ents, *entities], blocked=blocked, default="outside")


def set_span_group(doc: Doc, key: str, spans: Sequence[Span], scores: NDArray[np.floating]) -> None:
    """Write spans to doc.spans[key], their scores to its attrs["scores"]."""
    group = SpanGroup(doc, name=key, spans=list(spans))
    group.attrs["scores"] = scores
    doc.spans[key] = group
