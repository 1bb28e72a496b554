"""Entity metrics: strict scores over all gold entities, the paper's protocol, errors by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.spans import OUTSIDE, UNKNOWN

OUTSIDE_NAME = "O"
ERROR_KINDS = ("wrong_type", "boundary", "boundary_and_type", "spurious", "missed")


class Entities(NamedTuple):
    """Entities as columns, each of shape (n,): document, first and last word, class (from 1)."""

    docs: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    classes: NDArray[np.int64]


class Score(NamedTuple):
    """Precision, recall and F1 in [0, 1], and the number of gold entities."""

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def from_counts(
        cls, correct: int, predicted: int, gold: int, found: int | None = None
    ) -> Score:
        """Compute scores from counts.

        correct (int): Correct predicted entities.
        predicted (int): Predicted entities.
        gold (int): Gold entities.
        found (int): Those of the gold entities that were found; by default `correct`.
        RETURNS (Score): The scores; 0 where a denominator is 0.
        """
        precision = correct / predicted if predicted else 0.0
        recall = (correct if found is None else found) / gold if gold else 0.0
        both = precision + recall
        return cls(precision, recall, 2 * precision * recall / both if both else 0.0, gold)


@dataclass
class EntityReport:
    """Comparison of predicted entities with gold ones.

    labels: Entity labels; class i + 1 is labels[i]. micro: Strict scores over all gold entities:
    both ends and the type must be correct. paper_protocol: The same, but the recall leaves out gold
    entities of more than `max_width` words; None without a width. per_type: Strict scores by label.
    confusion: Counts, shape (K, K): gold classes (rows) by predicted classes (columns) of entities
    with the same ends; entities without a counterpart count against outside.

    A predicted entity is correct, or it is one of: wrong_type (the ends of a gold entity of another
    type), boundary (other ends, overlaps a gold entity of its type), boundary_and_type (other ends,
    overlaps only gold entities of other types), spurious (overlaps no gold entity). missed counts the
    gold entities that overlap no predicted entity.
    """

    labels: list[str]
    micro: Score
    max_width: int | None
    paper_protocol: Score | None
    per_type: dict[str, Score]
    confusion: NDArray[np.int64]
    wrong_type: int
    boundary: int
    boundary_and_type: int
    spurious: int
    missed: int

    @property
    def precision(self) -> float:
        return self.micro.precision

    @property
    def recall(self) -> float:
        return self.micro.recall

    @property
    def f1(self) -> float:
        return self.micro.f1

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The report, ready for JSON; scores are fractions."""
        return {
            "micro": self.micro._asdict(),
            "max_width": self.max_width,
            "paper_protocol": self.paper_protocol._asdict() if self.paper_protocol else None,
            "per_type": {label: score._asdict() for label, score in self.per_type.items()},
            "confusion": {
                "classes": [OUTSIDE_NAME, *self.labels],
                "counts": self.confusion.tolist(),
            },
            "errors": {kind: getattr(self, kind) for kind in ERROR_KINDS},
        }


def score_entities(
    gold: Entities, predicted: Entities, labels: Sequence[str], *, max_width: int | None = None
) -> EntityReport:
    """Compare predicted with gold entities.

    gold (Entities): All gold entities, of any width, without overlaps.
    predicted (Entities): Predicted entities, without overlaps.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    max_width (int): Width of the model's widest span in words, for the paper's protocol.
    RETURNS (EntityReport): Scores, confusion and counts of errors.
    """
    gold_place, predicted_place = _match(gold, predicted)
    n_classes = len(labels) + 1
    pairs = (gold.classes[gold_place], predicted.classes[predicted_place])
    correct = pairs[0] == pairs[1]
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, pairs, 1)
    np.add.at(confusion[:, OUTSIDE], np.delete(gold.classes, gold_place), 1)
    np.add.at(confusion[OUTSIDE], np.delete(predicted.classes, predicted_place), 1)
    n_correct = int(correct.sum())
    paper = None
    if max_width is not None:
        reachable = gold.ends - gold.starts < max_width
        n_found = int((correct & reachable[gold_place]).sum())
        paper = Score.from_counts(n_correct, len(predicted.docs), int(reachable.sum()), n_found)
    # of each class: correct, predicted and gold entities
    counts = np.stack([confusion.diagonal(), confusion.sum(0), confusion.sum(1)], axis=1).tolist()
    per_type = {label: Score.from_counts(*n) for label, n in zip(labels, counts[1:], strict=True)}
    n_touching = _count_overlapping(predicted, gold)
    boundary = _count_overlapping(predicted, gold, typed=True) - n_correct
    return EntityReport(
        labels=list(labels),
        micro=Score.from_counts(n_correct, len(predicted.docs), len(gold.docs)),
        max_width=max_width,
        paper_protocol=paper,
        per_type=per_type,
        confusion=confusion,
        wrong_type=len(correct) - n_correct,
        boundary=boundary,
        boundary_and_type=n_touching - len(correct) - boundary,
        spurious=len(predicted.docs) - n_touching,
        missed=len(gold.docs) - _count_overlapping(gold, predicted),
    )


def noise_ratio(pseudo: NDArray[np.integer], gold: NDArray[np.integer]) -> float:
    """Compute the share of wrong pseudo-labels among spans that are an entity by pseudo-label or gold.

    pseudo (NDArray): Pseudo-labels of spans, shape (n,); UNKNOWN for missing ones.
    gold (NDArray): Gold classes of the same spans, shape (n,); UNKNOWN for spans that do not count.
    RETURNS (float): In [0, 1]; 0 if there is no entity.
    """
    counted = ((pseudo != OUTSIDE) | (gold != OUTSIDE)) & (gold != UNKNOWN) & (pseudo != UNKNOWN)
    if not counted.any():
        return 0.0
    return float((pseudo[counted] != gold[counted]).mean())


def _match(gold: Entities, predicted: Entities) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places, on both sides, of entities with the same document and ends."""
    size = _n_words(gold, predicted)
    keys = [(side.docs * size + side.starts) * size + side.ends for side in (gold, predicted)]
    return np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)[1:]


def _count_overlapping(entities: Entities, others: Entities, *, typed: bool = False) -> int:
    """Count entities that overlap another one, of the same type if `typed`; no side overlaps itself."""
    n_classes = 1 + max(side.classes.max(initial=0) for side in (entities, others))
    # one line of words, with a stretch for each document, or for each type in each document
    shift, other_shift = (
        (side.docs * n_classes + side.classes * typed) * _n_words(entities, others)
        for side in (entities, others)
    )
    begun = np.searchsorted(np.sort(other_shift + others.starts), shift + entities.ends, "right")
    ended = np.searchsorted(np.sort(other_shift + others.ends), shift + entities.starts)
    return int((begun > ended).sum())


def _n_words(gold: Entities, predicted: Entities) -> int:
    """Return a number greater than any word number of an entity, to tell documents apart."""
    return int(max(gold.ends.max(initial=0), predicted.ends.max(initial=0))) + 1
