"""The paper's step between two epochs (Algorithm 1): filter, refine, resolve overlaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.spans import OUTSIDE, class_shares, overlap_losers, softmax
from ..training.settings import AdaptationSettings
from .filter import Mixture, expected_errors, split_spans
from .refinery import above_mean, refine

Words = tuple[NDArray[np.int64], NDArray[np.int64]]
Neighbours = Callable[[NDArray[np.int64]], NDArray[np.floating]]


@dataclass(frozen=True)
class TargetLabels:
    """Pseudo-labels of the target's candidate spans, as a student is trained on them.

    probabilities: Soft labels, shape (n, K). classes: Hard labels without overlaps, shape (n,).
    reliable: Whether each label is trained on, shape (n,). prior: Mean soft label, shape (K,).
    part_priors: Mean soft label of each file of the target, shape (n_parts, K); None for a single
    file.
    """

    probabilities: NDArray[np.float32]
    classes: NDArray[np.int64]
    reliable: NDArray[np.bool_]
    prior: NDArray[np.float64]
    part_priors: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        probabilities: NDArray[np.float32],
        reliable: NDArray[np.bool_],
        words: Words,
        parts: Sequence[slice] | None = None,
    ) -> TargetLabels:
        """Derive hard labels and priors from soft labels; for `words` and `parts` see `improve`."""
        classes = probabilities.argmax(1).astype(np.int64)
        classes[overlap_losers(probabilities, *words)] = OUTSIDE
        priors = [
            class_shares(probabilities[rows].sum(0, dtype=np.float64))
            for rows in (slice(None), *(parts or ()))
        ]
        each = None if parts is None else np.stack(priors[1:])
        return cls(probabilities, classes, reliable, priors[0], each)


def improve(
    labels: TargetLabels,
    rho: NDArray[np.floating],
    neighbours: Neighbours,
    settings: AdaptationSettings,
    *,
    alpha: float,
    seed: int,
    words: Words,
    parts: Sequence[slice] | None = None,
) -> tuple[TargetLabels, dict[int, Mixture]]:
    """Filter the pseudo-labels, refine the unreliable ones, and resolve overlaps (Algorithm 1).

    The filter splits the scores of each class's labels by a mixture of two Gaussians. The refinery
    moves the unreliable labels, or all labels where there is no filter, towards the classes that
    the class densities and the nearest neighbours allow (Eq. 10 and 11).

    labels (TargetLabels): Labels of n spans, on which the last epoch was trained.
    rho (NDArray[np.floating]): Score of each span under each class (Eq. 6), shape (n, K).
    neighbours (Neighbours): Maps m spans to the share of each class among the nearest neighbours of
        each span, shape (m, K). It is called at most once, with the spans to be refined.
    settings (AdaptationSettings): Filter, its limit, guidance and guidance weights.
    alpha (float): Weight of the old label in a refined label (Eq. 11).
    seed (int): Seed of the mixtures.
    words (Words): First and last word of each span, numbered over all documents, shape (n,).
    parts (Sequence[slice] | None): Spans of each file of the target; None for a single file.
    RETURNS (tuple[TargetLabels, dict[int, Mixture]]): The new labels, and the mixture of each class
        whose scores were split.
    """
    reliable = labels.reliable
    mixtures: dict[int, Mixture] = {}
    refined = np.arange(len(rho))
    if settings.filter:
        own = rho[refined, labels.classes]
        limits = None
        if settings.filter_limit == "doubt":
            expected = expected_errors(labels.probabilities, labels.classes)
            limits = np.ceil(expected).astype(np.int64)
        reliable, mixtures = split_spans(own, labels.classes, seed=seed, limits=limits)
        refined = np.flatnonzero(~reliable)
    probabilities = labels.probabilities
    if settings.guidance != "none":
        graded = settings.guidance_weights == "graded"
        by_density = by_neighbours = None
        if settings.guidance in ("both", "global"):
            by_density = softmax(rho[refined]) if graded else above_mean(rho[refined])
        if settings.guidance in ("both", "local"):
            near = neighbours(refined)
            by_neighbours = near if graded else above_mean(near)
        probabilities = probabilities.copy()
        probabilities[refined] = refine(
            probabilities[refined],
            alpha=alpha,
            global_guidance=by_density,
            local_guidance=by_neighbours,
        )
    return TargetLabels.of(probabilities, reliable, words, parts), mixtures
