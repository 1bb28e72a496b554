"""The paper's step between two epochs (Algorithm 1): filter, refine, resolve overlaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.names import other_shares
from ..model.spans import OUTSIDE, UNKNOWN, class_counts, class_shares, overlap_losers, softmax
from ..training.settings import AdaptationSettings
from .filter import Mixture, expected_errors, split_spans
from .refinery import above_mean, class_means, refine, sample_classes

MEAN_SPANS = 2000
Words = tuple[NDArray[np.int64], NDArray[np.int64]]
Neighbours = Callable[[NDArray[np.int64]], NDArray[np.floating]]


@dataclass(frozen=True)
class TargetLabels:
    """Pseudo-labels of the target's candidate spans, as a student is trained on them.

    probabilities: Soft labels, shape (n, K). classes: Hard labels without overlaps, UNKNOWN where the
    label is missing, shape (n,). reliable: Whether each label is trained on, shape (n,). prior: Mean soft label, shape (K,).
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
        known: NDArray[np.bool_] | None = None,
    ) -> TargetLabels:
        """Derive hard labels and priors from soft labels; for `words` and `parts` see `improve`.

        known (NDArray[np.bool_] | None): Which labels are not missing, shape (n,); None for all.
        """
        classes = probabilities.argmax(1).astype(np.int64)
        classes[overlap_losers(probabilities, *words)] = OUTSIDE
        counted = probabilities
        if known is not None:
            reliable = reliable & known
            classes[~known] = UNKNOWN
            counted = np.where(known[:, None], probabilities, np.float32(0))
        priors = [
            class_shares(counted[rows].sum(0, dtype=np.float64))
            for rows in (slice(None), *(parts or ()))
        ]
        each = None if parts is None else np.stack(priors[1:])
        return cls(probabilities, classes, reliable, priors[0], each)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which labels are not missing, shape (n,)."""
        return self.classes != UNKNOWN


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
    keys: NDArray[np.uint64] | None = None,
) -> tuple[TargetLabels, dict[int, Mixture]]:
    """Filter the pseudo-labels, refine the unreliable ones, and resolve overlaps (Algorithm 1).

    The filter splits the scores of each class's labels by a mixture of two Gaussians. The refinery
    moves the unreliable labels, or all labels where there is no filter, towards the classes that
    the class densities, the nearest neighbours (Eq. 10, 11) and, with keys, the other mentions of their
    strings allow. Missing labels stay missing.

    labels (TargetLabels): Labels of n spans, on which the last epoch was trained.
    rho (NDArray[np.floating]): Score of each span under each class (Eq. 6), shape (n, K).
    neighbours (Neighbours): Maps m spans to the share of each class among the nearest neighbours of
        each span, shape (m, K). It is called at most once, with the spans to be refined, and with
        some of each class if the means are those of the classes.
    settings (AdaptationSettings): Filter, its limits, guidance, its means and weights.
    alpha (float): Weight of the old label in a refined label (Eq. 11).
    seed (int): Seed of the mixtures.
    words (Words): First and last word of each span, numbered over all documents, shape (n,).
    parts (Sequence[slice] | None): Spans of each file of the target; None for a single file.
    keys (NDArray[np.uint64] | None): Key of each span's string (see `names.span_keys`), shape (n,);
        None to leave the other mentions of a string out.
    RETURNS (tuple[TargetLabels, dict[int, Mixture]]): The new labels, and the mixture of each class
        whose scores were split.
    """
    reliable = labels.reliable
    mixtures: dict[int, Mixture] = {}
    known = labels.known
    refined = np.flatnonzero(known)
    if settings.filter:
        own = rho[np.arange(len(rho)), labels.classes]
        reliable, mixtures = split_spans(
            own, labels.classes, seed=seed, limits=filter_limits(labels, settings)
        )
        refined = np.flatnonzero(known & ~reliable)
    probabilities = labels.probabilities
    if settings.guidance != "none" or keys is not None:
        by_density, by_neighbours = _guidance(
            labels.classes, rho, neighbours, refined, settings, seed
        )
        probabilities = probabilities.copy()
        probabilities[refined] = refine(
            probabilities[refined],
            alpha=alpha,
            global_guidance=by_density,
            local_guidance=by_neighbours,
            names_guidance=None
            if keys is None
            else _by_names(labels, rho, keys, refined, settings),
        )
    every = None if known.all() else known
    return TargetLabels.of(probabilities, reliable, words, parts, every), mixtures


def filter_limits(labels: TargetLabels, settings: AdaptationSettings) -> NDArray[np.int64]:
    """Maximum number of labels of each class that the filter may take out, shape (K,)."""
    counts = class_counts(labels.classes, labels.probabilities.shape[1])
    limits = counts.astype(np.int64)
    if settings.filter_limit == "doubt":
        known = labels.known
        expected = expected_errors(labels.probabilities[known], labels.classes[known])
        limits = np.minimum(limits, np.ceil(expected).astype(np.int64))
    outside = int(settings.filter_outside * counts[OUTSIDE])
    limits[OUTSIDE] = min(limits[OUTSIDE], outside)
    return limits


def _guidance(
    classes: NDArray[np.int64],
    rho: NDArray[np.floating],
    neighbours: Neighbours,
    refined: NDArray[np.int64],
    settings: AdaptationSettings,
    seed: int,
) -> tuple[NDArray | None, NDArray | None]:
    """The global and the local guidance of the spans to be refined (Eq. 10), None for one that is off.

    In the paper a class has to exceed its mean over the spans with its label; outside is also allowed where
    the densities have it as the best class, as in the authors' code. The means of the neighbour shares are
    over up to MEAN_SPANS spans of each class.
    """
    graded = settings.guidance_weights == "graded"
    by_class = settings.guidance_mean == "class" and not graded
    by_density: NDArray | None = None
    by_neighbours: NDArray | None = None
    if settings.guidance in ("both", "global"):
        scores = rho[refined]
        means = class_means(rho, classes) if by_class else None
        by_density = softmax(scores) if graded else above_mean(scores, means)
        if by_class:
            by_density[scores.argmax(1) == OUTSIDE, OUTSIDE] = True
    if settings.guidance in ("both", "local"):
        sample = refined[:0]
        if by_class:
            rng = np.random.default_rng([seed, MEAN_SPANS])
            sample = sample_classes(classes, MEAN_SPANS, rng)
        asked = np.union1d(refined, sample)
        near = neighbours(asked)
        means = None
        if by_class:
            means = class_means(near[np.searchsorted(asked, sample)], classes[sample])
        near = near[np.searchsorted(asked, refined)]
        by_neighbours = near if graded else above_mean(near, means)
    return by_density, by_neighbours


def _by_names(
    labels: TargetLabels,
    rho: NDArray[np.floating],
    keys: NDArray[np.uint64],
    refined: NDArray[np.int64],
    settings: AdaptationSettings,
) -> NDArray:
    """The guidance of the other mentions of a string, by the student's own probabilities.

    A span whose string has no other mention, or nowhere looks like a name, gets no guidance.
    """
    shares = other_shares(keys, softmax(rho))
    if settings.guidance_weights == "graded":
        return shares[refined]
    means = None
    if settings.guidance_mean == "class":
        known = shares.any(1) & labels.known
        means = class_means(shares[known], labels.classes[known])
    return above_mean(shares[refined], means)
