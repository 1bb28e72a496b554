"""Class scores of the spans that a pipeline or the gold annotation takes for entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.util import minibatch

from ..errors import Errors, MaralError
from ..model.gold import annotated_words
from ..model.predictions import Predictions, all_candidates, choose_entities
from ..model.spans import OUTSIDE, UNKNOWN
from .evaluate import show_progress, without_labels

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

COMPONENT = "maral_ner"
BATCH_DOCS = 128


class SpanScores(NamedTuple):
    """Spans that are entities by prediction or by gold, as columns of n rows, in order of the text.

    docs, starts, ends: Document, and first and last word in it, shape (n,). scores: Class scores,
    outside first, shape (n, K). predicted: Class of a predicted entity, else OUTSIDE. gold: Class of
    a gold entity, else OUTSIDE; UNKNOWN where the pipeline does not have the label.
    """

    docs: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float64]
    predicted: NDArray[np.int64]
    gold: NDArray[np.int64]


def score_spans(nlp: Language, docs: Sequence[Doc]) -> SpanScores:
    """Score the entities of labelled documents, and those that a pipeline predicts in them.

    nlp (Language): The pipeline, with a maral_ner.
    docs (Sequence[Doc]): The gold documents; they do not change. Spans that touch a word without
        annotation are left out, and so are gold entities longer than the longest candidate.
    RETURNS (SpanScores): The spans.
    RAISES (MaralError): If the pipeline has no maral_ner.
    """
    if COMPONENT not in nlp.pipe_names:
        pipes = ", ".join(nlp.pipe_names)
        raise MaralError(Errors.M314.format(where="the pipeline", component=COMPONENT, pipes=pipes))
    pipe = nlp.get_pipe(COMPONENT)
    before = nlp.pipeline[: nlp.pipe_names.index(COMPONENT)]
    numbers = {label: i for i, label in enumerate(pipe.labels, start=1)}  # type: ignore[attr-defined]
    found, n_docs = [], 0
    copies = show_progress(without_labels(nlp, docs), len(docs))
    for batch in minibatch(copies, BATCH_DOCS):
        for _, component in before:
            batch = list(component.pipe(batch, batch_size=BATCH_DOCS))  # type: ignore[attr-defined]
        predictions = pipe.predict(batch)  # type: ignore[attr-defined]
        gold = docs[n_docs : n_docs + len(batch)]
        part = _entities_of(predictions, gold, numbers)
        found.append(part._replace(docs=part.docs + n_docs))
        n_docs += len(batch)
    return SpanScores(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _entities_of(
    predictions: Predictions, docs: Sequence[Doc], numbers: dict[str, int]
) -> SpanScores:
    """Find the candidates that are entities by prediction or by gold."""
    candidates = predictions.candidates
    starts, ends = candidates.in_documents()
    owner, size = candidates.owner, max(map(len, docs)) + 1
    keys = (owner * size + starts) * size + ends
    gold = np.full(len(candidates), OUTSIDE, dtype=np.int64)
    rows = [
        (i, ent.start, ent.end - 1, numbers.get(ent.label_, UNKNOWN))
        for i, doc in enumerate(docs)
        for ent in doc.ents
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    wanted = (table[:, 0] * size + table[:, 1]) * size + table[:, 2]
    place = np.searchsorted(keys, wanted)
    # entities wider than the widest candidate are not among the keys
    known = np.append(keys, -1)[place] == wanted
    gold[place[known]] = table[known, 3]
    chosen = choose_entities(predictions, all_candidates(predictions))
    predicted = np.full(len(candidates), OUTSIDE, dtype=np.int64)
    predicted[chosen.candidates] = chosen.classes
    kept = np.flatnonzero((predicted != OUTSIDE) | (gold != OUTSIDE))
    judged = [annotated_words(doc) for doc in docs]
    kept = kept[[bool(judged[owner[i]][starts[i] : ends[i] + 1].all()) for i in kept]]
    scores = predictions.scores[kept].astype(np.float64)
    return SpanScores(owner[kept], starts[kept], ends[kept], scores, predicted[kept], gold[kept])
