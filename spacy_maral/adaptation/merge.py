"""The labels of several annotators of the same documents, as one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Warnings
from ..model.spans import OUTSIDE, UNKNOWN, overlap_losers
from .dawid_skene import Rightness, count_votes, find_consensus, rightness
from .pseudo_labels import PseudoLabels, check_alike, resolve_overlaps

logger = logging.getLogger("spacy")

Combine = Literal["dawid-skene", "mean"]
COMBINE: tuple[Combine, ...] = ("dawid-skene", "mean")
ENOUGH = 3


class Annotation(NamedTuple):
    """What an annotator says about some documents.

    name: Its name in messages. labels: Labels of the candidate spans. is_model: Whether the labels
    are a model's probabilities; if not, only the most probable classes count as its votes.
    """

    name: str
    labels: PseudoLabels
    is_model: bool


@dataclass(frozen=True)
class AnnotatorReport:
    """How right an annotator is by what all annotators say together.

    name: Its name in messages. classes: Found spans, precision and recall by entity label.
    """

    name: str
    classes: dict[str, Rightness]


def merge_labels(
    annotations: Sequence[Annotation],
    words: tuple[NDArray[np.int64], NDArray[np.int64]],
    how: Combine,
) -> tuple[PseudoLabels, list[AnnotatorReport]]:
    """Merge the labels of several annotators of the same documents.

    A label is missing in the result if it is missing with every annotator.

    annotations (Sequence[Annotation]): What each annotator says; the labels of a single one only lose
        their overlaps, in place.
    words (tuple): First and last words of the candidates, numbered over the documents.
    how (Combine): "dawid-skene" weighs the annotators by how right they are (see `weigh`), "mean"
        averages their probabilities (see `average`).
    RETURNS (tuple): The labels, without overlaps, and how right each annotator is by them. Of a mean,
        those are reliable that all annotators give that say something.
    RAISES (MaralError): If their entity labels or widths differ.
    """
    check_alike([one.labels for one in annotations], [one.name for one in annotations])
    if len(annotations) == 1:
        resolve_overlaps(annotations[0].labels.probabilities, words)
        return annotations[0].labels, []
    votes = [without_overlaps(one.labels, words) for one in annotations]
    weighed = how == "dawid-skene" and not all(one.is_model for one in annotations)
    merged = weigh(annotations) if weighed else average(annotations)
    reports = [report_on(one, own, merged) for one, own in zip(annotations, votes, strict=True)]
    resolve_overlaps(merged.probabilities, words)
    return merged if weighed else replace(merged, reliable=agreement(votes, merged)), reports


def without_overlaps(
    labels: PseudoLabels, words: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The votes of an annotator, with the less probable of overlapping entities as outside."""
    votes = labels.votes
    votes[overlap_losers(labels.probabilities, *words)] = OUTSIDE
    return votes


def average(annotations: Sequence[Annotation]) -> PseudoLabels:
    """Average the probabilities of the annotators that say something about a span."""
    masks = [known_of(one.labels) for one in annotations]
    speakers = np.sum(masks, axis=0)
    total = np.zeros(annotations[0].labels.probabilities.shape, dtype=np.float32)
    for one, mask in zip(annotations, masks, strict=True):
        total[mask] += one.labels.probabilities[mask]
    total /= np.maximum(speakers, 1)[:, None]
    total[speakers == 0, OUTSIDE] = 1
    return replace(
        annotations[0].labels,
        probabilities=total,
        reliable=None,
        known=None if speakers.all() else speakers > 0,
    )


def agreement(votes: Sequence[NDArray[np.int64]], merged: PseudoLabels) -> NDArray[np.bool_]:
    """Which spans have the class that all annotators give them that say something, shape (n_spans,).

    votes (Sequence[NDArray]): Class that each annotator gives to each span, without overlaps.
    merged (PseudoLabels): Their mean, without overlaps: of overlapping spans, it may prefer one that no
        annotator does.
    """
    every = np.stack([*votes, merged.probabilities.argmax(1)])
    return ((every == every.max(0)) | (every == UNKNOWN)).all(0) & known_of(merged)


def weigh(annotations: Sequence[Annotation]) -> PseudoLabels:
    """Weigh the votes of annotators by how right they are (see `find_consensus`).

    The mean of the models' probabilities is the prior: models that were trained alike make the same
    mistakes, so that several say little more than one.
    """
    models = [one.labels.probabilities for one in annotations if one.is_model]
    others = [one.labels for one in annotations if not one.is_model]
    known = np.logical_or.reduce([known_of(one.labels) for one in annotations])
    prior = np.stack(models).mean(0, keepdims=True, dtype=np.float64)[0] if models else None
    if prior is None and len(others) < ENOUGH:
        names = ", ".join(one.name for one in annotations)
        logger.warning(Warnings.W611.format(annotators=names, enough=ENOUGH))
    n_classes = len(annotations[0].labels.labels) + 1
    votes = np.stack([labels.votes[known] for labels in others])
    found = find_consensus(votes, n_classes, None if prior is None else prior[known])
    probabilities = np.tile(np.eye(1, n_classes, OUTSIDE, dtype=np.float32), (len(known), 1))
    probabilities[known] = found.probabilities
    return replace(
        annotations[0].labels,
        probabilities=probabilities,
        reliable=None,
        known=None if known.all() else known,
    )


def known_of(labels: PseudoLabels) -> NDArray[np.bool_]:
    """Which labels are not missing, shape (n_spans,)."""
    if labels.known is None:
        return np.ones(len(labels.probabilities), dtype=bool)
    return labels.known


def report_on(
    annotation: Annotation, votes: NDArray[np.int64], merged: PseudoLabels
) -> AnnotatorReport:
    """Judge an annotator's votes by the merged probabilities, where labels are not missing."""
    known = known_of(merged)
    counts = count_votes(votes[known], merged.probabilities[known])
    return AnnotatorReport(
        annotation.name, dict(zip(merged.labels, rightness(counts), strict=True))
    )
