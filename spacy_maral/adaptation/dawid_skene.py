"""How right each of several annotators is, found without gold labels, and what they say together.

In the model of Dawid and Skene (1979), each span has a true class, and an annotator's response to it is
drawn from a distribution that the annotator has for this class, independently of the others. EM finds the
classes and the distributions together. Three additions make it fit for few annotators and rare classes,
where the likelihood alone has many solutions, some of them absurd:

- Silence is a response like any other. It says as much against an entity as the annotator's recall: next
  to nothing for a short list of names.
- Where models give probabilities, these are the prior of each span's class, in place of the share of each
  class. They anchor the classes, as the classifier of Raykar et al. (2010, Learning From Crowds) does.
- Each response that an annotator uses counts `STRENGTH` times more often than it was given, spread over
  the classes as all spans are. This is a Dirichlet prior, under which an annotator says nothing until
  the spans show that it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.spans import UNKNOWN

STRENGTH = 1.0
"""Spans by which each response of an annotator is shrunk to saying nothing."""
ROUNDS = 500
TOLERANCE = 1e-7
SMALLEST = 1e-12


@dataclass(frozen=True)
class Consensus:
    """What several annotators say together.

    probabilities: Class probabilities of each span, shape (n, K). counts: Expected number of spans by
    annotator, true class and response, the last response being silence, shape (J, K, K + 1).
    """

    probabilities: NDArray[np.float64]
    counts: NDArray[np.float64]


class Rightness(NamedTuple):
    """How right an annotator is for a class: number of spans found, precision and recall; NaN if unknown."""

    found: float
    precision: float
    recall: float


def find_consensus(
    votes: NDArray[np.integer],
    n_classes: int,
    prior: NDArray[np.floating] | None = None,
    *,
    strength: float = STRENGTH,
) -> Consensus:
    """Combine the votes of annotators by how right each of them is.

    votes (NDArray): Class that each annotator gives to each span, UNKNOWN for silence, shape (J, n).
    n_classes (int): K, outside included.
    prior (NDArray | None): Class probabilities of each span by models, shape (n, K). By default all
        spans have the same, which EM estimates, and the first guess is the mean of the votes.
    strength (float): Spans by which each used response of an annotator is shrunk to saying nothing.
    RETURNS (Consensus): The classes, and how often each annotator gave which response.
    """
    responses = np.where(votes == UNKNOWN, n_classes, votes)
    pattern, patterns = group_patterns(responses, n_classes + 1)
    sizes = np.bincount(pattern, minlength=patterns.shape[1])
    if prior is None:
        # all spans with the same responses are one item
        base = mean_votes(patterns, n_classes)
        items, weights = np.arange(len(base)), sizes.astype(np.float64)
    else:
        base = np.maximum(np.asarray(prior, dtype=np.float64), SMALLEST)
        items, weights = pattern, np.ones(len(base))
    base /= base.sum(1, keepdims=True)
    shares = weights @ base / max(1.0, weights.sum())
    used = np.stack([np.bincount(one, minlength=n_classes + 1) > 0 for one in patterns])
    pseudo = strength * shares[:, None] * used[:, None, :]
    found, before = base, np.zeros((len(sizes), n_classes))
    for _ in range(ROUNDS):
        sums = [np.bincount(items, w * weights, len(sizes)) for w in found.T]
        mass = np.stack(sums, axis=1).astype(np.float64)
        means = mass / sizes[:, None]
        if np.abs(means - before).max(initial=0) < TOLERANCE:
            break
        before = means
        odds = pattern_logs(patterns, expected_counts(patterns, mass) + pseudo)
        if prior is None:
            base = np.maximum(mass.sum(0, keepdims=True) / mass.sum(), SMALLEST)
        found = base * np.exp(odds - odds.max(1, keepdims=True))[items]
        found = np.maximum(found, np.finfo(np.float64).tiny)
        found /= found.sum(1, keepdims=True)
    every = found if prior is not None else found[pattern]
    return Consensus(every, expected_counts(patterns, mass))


def group_patterns(
    responses: NDArray[np.integer], n_responses: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group spans to which all annotators respond alike.

    responses (NDArray): Response of each annotator to each span, shape (J, n).
    RETURNS (tuple): Group of each span, shape (n,), and the responses of each group, shape
        (J, n_groups).
    """
    group = np.zeros(responses.shape[1], dtype=np.int64)
    for one in responses:
        group = np.unique(group * n_responses + one, return_inverse=True)[1]
    first = np.unique(group, return_index=True)[1]
    return group, responses[:, first].astype(np.int64)


def mean_votes(patterns: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Share of each class in the votes of each group, silence aside, shape (n_groups, K)."""
    votes = np.eye(n_classes + 1)[patterns].sum(0)[:, :n_classes] + SMALLEST
    return votes / votes.sum(1, keepdims=True)


def expected_counts(patterns: NDArray[np.int64], mass: NDArray[np.floating]) -> NDArray[np.float64]:
    """Expected number of spans by annotator, true class and response, shape (J, K, K + 1).

    patterns (NDArray): Responses of each group, shape (J, n_groups).
    mass (NDArray): Summed class probabilities of each group, shape (n_groups, K).
    """
    size = mass.shape[1] + 1
    return np.stack(
        [np.stack([np.bincount(one, column, size) for column in mass.T]) for one in patterns]
    )


def pattern_logs(patterns: NDArray[np.int64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log probability of the responses of each group under each class, shape (n_groups, K)."""
    rates = counts / np.maximum(counts.sum(2, keepdims=True), SMALLEST)
    logs = np.log(np.maximum(rates, SMALLEST))
    return np.sum([table.T[one] for table, one in zip(logs, patterns, strict=True)], axis=0)


def count_votes(
    votes: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Expected number of spans by true class and response of one annotator, shape (K, K + 1).

    votes (NDArray): Class that the annotator gives to each span, UNKNOWN for silence, shape (n,).
    probabilities (NDArray): Class probabilities of each span, shape (n, K).
    """
    n_classes = probabilities.shape[1]
    return expected_counts(np.where(votes == UNKNOWN, n_classes, votes)[None], probabilities)[0]


def rightness(counts: NDArray[np.floating]) -> Iterator[Rightness]:
    """How right an annotator is for each entity class.

    counts (NDArray): Expected number of spans by true class and response, shape (K, K + 1).
    """
    for c in range(1, len(counts)):
        right, found, wanted = counts[c, c], counts[:, c].sum(), counts[c].sum()
        precision = right / found if found else np.nan
        yield Rightness(float(found), float(precision), float(right / wanted if wanted else np.nan))
