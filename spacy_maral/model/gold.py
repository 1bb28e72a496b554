"""Gold classes of the candidate spans of examples: an entity class, outside, or unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors, MaralError
from .spans import hide_unknown, label_spans
from .visible import VisibleWords

MISSING_IOB = 0


class Gold(NamedTuple):
    """Class of every candidate of a batch, and the number of entities without a candidate.

    classes: Shape (n_spans,); UNKNOWN for candidates that must not count. n_unaligned: Number of
    entities with an end inside a word of the predicted document. n_too_wide: Number of entities
    longer than the widest candidate.
    """

    classes: NDArray[np.int64]
    n_unaligned: int
    n_too_wide: int


def gold_classes(
    examples: Sequence[Example], label_classes: Mapping[str, int], max_width: int
) -> Gold:
    """Give every candidate span of the predicted documents its gold class.

    A candidate is unknown if it touches a word without annotation, or a word of an entity that does
    not end where the predicted document's words end. Blank words at the ends of an entity do not
    count.

    examples (Sequence[Example]): Predicted documents with their references.
    label_classes (Mapping[str, int]): Class of each entity label, from 1.
    max_width (int): Longest candidate, in words.
    RETURNS (Gold): Classes in the order of the candidates of the predicted documents' visible words.
    RAISES (MaralError): If an entity has a label that is not among the classes.
    """
    visible = VisibleWords.of([eg.predicted for eg in examples])
    known: list[NDArray[np.bool_]] = []
    entities: list[tuple[int, int, int, int]] = []
    n_unaligned = 0
    for i, eg in enumerate(examples):
        doc_known, doc_entities, missed = _read_example(eg, label_classes)
        known.append(doc_known)
        entities.extend((i, *entity) for entity in doc_entities)
        n_unaligned += missed
    owners, begins, stops, classes = np.array(entities, dtype=np.int64).reshape(-1, 4).T
    begins, stops = visible.renumber(owners, begins, stops)
    seen = stops >= begins
    labels, n_too_wide = label_spans(
        visible.lengths, owners[seen], begins[seen], stops[seen], classes[seen], max_width
    )
    annotated = np.concatenate([[], *known]).astype(bool)[visible.mask]
    labels = hide_unknown(labels, visible.candidates(max_width), annotated)
    return Gold(labels.astype(np.int64), n_unaligned + int((~seen).sum()), n_too_wide)


def annotated_words(doc: Doc) -> NDArray[np.bool_]:
    """Whether each word of a document is annotated as inside or outside of entities."""
    return doc.to_array("ENT_IOB") != MISSING_IOB


def annotated_runs(doc: Doc) -> list[int]:
    """Lengths of the runs of annotated visible words, one run for a wholly annotated document.

    The annotated candidate spans are those inside a run.
    """
    known = annotated_words(doc)[VisibleWords.of([doc]).mask]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return (edges[1::2] - edges[::2]).tolist()


def _read_example(
    eg: Example, label_classes: Mapping[str, int]
) -> tuple[NDArray[np.bool_], list[tuple[int, int, int]], int]:
    """Whether each predicted word is annotated, and the entities as (start, end, class)."""
    predicted, reference = eg.predicted, eg.reference
    if not reference.has_annotation("ENT_IOB") or not len(predicted):
        return np.zeros(len(predicted), dtype=bool), [], 0
    for ent in reference.ents:
        if ent.label_ not in label_classes:
            raise MaralError(
                Errors.M209.format(
                    label=ent.label_, text=ent.text, labels=", ".join(label_classes) or "none"
                )
            )
    aligned = eg.get_aligned_spans_y2x(reference.ents, allow_overlap=False)
    entities = [(span.start, span.end - 1, label_classes[span.label_]) for span in aligned]
    annotated = annotated_words(reference)
    n_unaligned = len(reference.ents) - len(aligned)
    known = np.ones(len(predicted), dtype=bool)
    if annotated.all() and not n_unaligned:
        return known, entities, 0
    to_predicted = eg.alignment.y2x
    hidden = ~annotated
    if n_unaligned:
        known_words = np.zeros(len(predicted), dtype=bool)
        for start, end, _ in entities:
            known_words[start : end + 1] = True
        for ent in reference.ents:
            words = to_predicted[ent.start : ent.end]
            hidden[ent.start : ent.end] |= not known_words[words].all()
    known[to_predicted.data[np.repeat(hidden, to_predicted.lengths)]] = False
    return known, entities, n_unaligned
