"""Turn scored candidate spans into annotations of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span, SpanGroup

from ..errors import Errors, MaralError
from .confidence import calibrated
from .spans import OUTSIDE, Candidates, decode, softmax

IOB_BEGIN, IOB_INSIDE = 3, 1
SCORE = "maral_score"


@dataclass
class Predictions:
    """Candidate spans of a batch of documents, and the scores of their classes, shape (n_spans, K)."""

    candidates: Candidates
    scores: NDArray[np.float32]


@dataclass
class Labelled:
    """Candidates with a class and its probability; each column has the shape (n,)."""

    candidates: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.floating]

    def above(self, threshold: float) -> Labelled:
        """The candidates with at least this probability."""
        kept = self.scores >= threshold
        return Labelled(self.candidates[kept], self.classes[kept], self.scores[kept])

    def by_doc(
        self, docs: Sequence[Doc], predictions: Predictions, labels: Sequence[str]
    ) -> list[tuple[list[Span], NDArray[np.floating]]]:
        """Spans and scores of each document."""
        every = predictions.candidates
        owners = every.owner[self.candidates]
        starts, ends = every.in_documents(self.candidates)
        columns = (owners, starts, ends + 1, self.classes)
        spans: list[list[Span]] = [[] for _ in docs]
        for owner, start, end, number in zip(*(c.tolist() for c in columns), strict=True):
            spans[owner].append(Span(docs[owner], start, end, label=labels[number - 1]))
        bounds = np.searchsorted(owners, np.arange(1, len(docs)))
        return list(zip(spans, np.split(self.scores, bounds), strict=True))


def register_score() -> None:
    """Register span._.maral_score with spaCy if needed; its default is None."""
    if not Span.has_extension(SCORE):
        Span.set_extension(SCORE, default=None)


def annotate(
    docs: Sequence[Doc], predictions: Predictions, labels: Sequence[str], cfg: Mapping[str, Any]
) -> None:
    """Write entities and their confidences to documents, as the settings say.

    docs (Sequence[Doc]): The documents.
    predictions (Predictions): Their candidates and scores.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    cfg (Mapping): The settings overwrite, scores, threshold, spans_key and spans_threshold of
        `make_maral_ner`, and the calibration, if there is one. It changes ent._.maral_score alone.
    """
    if not docs:
        return
    keep, key = not cfg["overwrite"], cfg["spans_key"]
    free = free_candidates(predictions, docs) if keep else all_candidates(predictions)
    entities = choose_entities(predictions, free).above(cfg["threshold"])
    found = entities.by_doc(docs, predictions, labels)
    confidences = entities.scores
    if cfg.get("calibration"):
        rows = predictions.scores[entities.candidates]
        confidences = calibrated(rows, entities.classes, cfg["calibration"])
    shown = np.split(confidences, np.cumsum([len(spans) for spans, _ in found])[:-1])
    for doc, (spans, _), scores in zip(docs, found, shown, strict=True):
        set_entities(doc, spans, keep=keep)
        set_scores(doc, spans, scores if cfg["scores"] else None, keep=keep)
    if key is None:
        return
    columns = [found]
    if cfg["spans_threshold"] is not None:
        others = runners_up(predictions, free, entities, cfg["spans_threshold"])
        columns.append(others.by_doc(docs, predictions, labels))
    for doc, *parts in zip(docs, *columns, strict=True):
        scores = np.concatenate([part_scores for _, part_scores in parts])
        set_span_group(doc, key, [span for part, _ in parts for span in part], scores)


def all_candidates(predictions: Predictions) -> NDArray[np.int64]:
    """Indices of all candidates."""
    return np.arange(len(predictions.candidates))


def free_candidates(predictions: Predictions, docs: Sequence[Doc]) -> NDArray[np.int64]:
    """Candidates that do not touch a word that earlier components put into an entity or blocked.

    predictions (Predictions): The candidates.
    docs (Sequence[Doc]): Their documents.
    RETURNS (NDArray[np.int64]): Indices of these candidates, in order.
    """
    iob = np.concatenate([doc.to_array("ENT_IOB") for doc in docs])
    taken = np.concatenate([[0], np.cumsum((iob == IOB_BEGIN) | (iob == IOB_INSIDE))])
    lengths = np.array([len(doc) for doc in docs], dtype=np.int64)
    first = (np.cumsum(lengths) - lengths)[predictions.candidates.owner]
    starts, ends = predictions.candidates.in_documents()
    return np.flatnonzero(taken[first + ends + 1] == taken[first + starts])


def choose_entities(predictions: Predictions, free: NDArray[np.int64]) -> Labelled:
    """Choose the most probable annotation without overlaps (see `spans.decode`).

    predictions (Predictions): The candidates.
    free (NDArray[np.int64]): Indices of the candidates that may be entities.
    RETURNS (Labelled): The entities, in order of the text.
    """
    starts, ends = predictions.candidates.words
    kept, classes, confidence = decode(predictions.scores[free], starts[free], ends[free])
    return Labelled(free[kept], classes, confidence)


def runners_up(
    predictions: Predictions, free: NDArray[np.int64], entities: Labelled, threshold: float
) -> Labelled:
    """Find the entity classes that were not chosen but reach a probability.

    predictions (Predictions): The candidates.
    free (NDArray[np.int64]): Indices of the candidates that may be entities, in order.
    entities (Labelled): The entities chosen among them.
    threshold (float): Minimum probability.
    RETURNS (Labelled): The classes, in the order of the candidates; a candidate may have several.
    """
    probabilities = softmax(predictions.scores[free])
    probabilities[np.searchsorted(free, entities.candidates), entities.classes] = 0.0
    probabilities[:, OUTSIDE] = 0.0
    place, classes = np.nonzero(probabilities >= threshold)
    return Labelled(free[place], classes, probabilities[place, classes])


def set_entities(doc: Doc, entities: list[Span], *, keep: bool) -> None:
    """Write entities to a document; all other words become outside.

    doc (Doc): The document.
    entities (list[Span]): Its new entities.
    keep (bool): Whether earlier entities and blocked words of the document stay.
    """
    if not keep:
        doc.set_ents(entities, default="outside")
        return
    iob, kind = doc.to_array(["ENT_IOB", "ENT_TYPE"]).T
    blocked = [doc[i : i + 1] for i in np.flatnonzero((iob == IOB_BEGIN) & (kind == 0)).tolist()]
    doc.set_ents([*doc.ents, *entities], blocked=blocked, default="outside")


def set_scores(
    doc: Doc, entities: Sequence[Span], scores: NDArray[np.floating] | None, *, keep: bool
) -> None:
    """Give entities their confidences, as ent._.maral_score.

    doc (Doc): The document.
    entities (Sequence[Span]): Its entities.
    scores (NDArray): Their confidences, shape (n_entities,); None to write none.
    keep (bool): Whether earlier confidences in the document stay.
    """
    if not keep:
        stale = [k for k in doc.user_data if isinstance(k, tuple) and k[:2] == ("._.", SCORE)]
        for old in stale:
            del doc.user_data[old]
    if scores is not None:
        # as Python floats, the only ones that a document can serialise
        for entity, score in zip(entities, scores.tolist(), strict=True):
            entity._.set(SCORE, score)


def set_span_group(doc: Doc, key: str, spans: Sequence[Span], scores: NDArray[np.floating]) -> None:
    """Write spans to doc.spans[key], and their scores to the attrs["scores"] of that group."""
    group = SpanGroup(doc, name=key, spans=list(spans))
    group.attrs["scores"] = scores
    doc.spans[key] = group


SCORES = ("maral_score", "score")
"""Extension attributes of an entity that may hold its confidence, in order of preference."""


def entity_score(ent: Span, attr: str | None) -> float | None:
    """Get the confidence of an entity; None if it has none.

    RAISES (MaralError): If the named attribute does not exist, or a value is not a score.
    """
    for name in SCORES if attr is None else (attr,):
        if Span.has_extension(name):
            value = ent._.get(name)
            if value is not None:
                return checked_score(ent, value, f"ent._.{name}")
        elif attr is not None:
            raise MaralError(
                Errors.M343.format(text=ent.text, found="not set", place=f"ent._.{attr}")
            )
    return None


def checked_score(ent: Span, value: Any, where: str) -> float:
    """Check a score and convert it to a float.

    RAISES (MaralError): If the score is not a number from 0 to 1.
    """
    number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise MaralError(Errors.M343.format(text=ent.text, found=repr(value), place=where))
    return float(value)
