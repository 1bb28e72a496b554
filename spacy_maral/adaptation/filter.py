"""The reliability filter: per class, a two-component Gaussian mixture on the vMF scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from ..model.spans import UNKNOWN

MIN_SPANS = 10
MAX_FIT = 100_000
MIN_SPREAD = 1e-6


@dataclass(frozen=True)
class Mixture:
    """The two Gaussians fitted to a class's scores, the one with the lower mean first, in rho.

    means, sds, weights: Mean, standard deviation and weight of each component. cut: Lowest score of
    a reliable label; None if no score between the two means is unreliable.
    """

    means: tuple[float, float]
    sds: tuple[float, float]
    weights: tuple[float, float]
    cut: float | None


def split_spans(
    scores: NDArray[np.floating],
    classes: NDArray[np.integer],
    *,
    seed: int,
    limits: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.bool_], dict[int, Mixture]]:
    """Decide class by class which pseudo-labels are reliable (see `split_scores`).

    scores (NDArray): rho of each span under its pseudo-label's class, shape (n,).
    classes (NDArray): Pseudo-labels, shape (n,); missing ones (UNKNOWN) are not reliable.
    seed (int): Seed of the mixtures and of the samples that they are fitted to.
    limits (NDArray[np.integer]): Maximum number of unreliable labels of each class, shape (K,). If
        the mixture finds more, only those with the lowest scores are unreliable. None for no limit.
    RETURNS (tuple): Whether each label is reliable, shape (n,), and the mixtures by class; classes
        whose scores were not split have no mixture.
    """
    reliable = np.zeros(len(scores), dtype=bool)
    mixtures: dict[int, Mixture] = {}
    for c in np.unique(classes[classes != UNKNOWN]):
        members = np.flatnonzero(classes == c)
        kept, mixture = split_scores(scores[members], seed=seed)
        if mixture is not None and limits is not None and (~kept).sum() > limits[c]:
            # of equal scores at the cut, all are kept
            cut = np.partition(scores[members], limits[c])[limits[c]]
            kept, mixture = scores[members] >= cut, replace(mixture, cut=float(cut))
        reliable[members] = kept
        if mixture is not None:
            mixtures[int(c)] = mixture
    return reliable, mixtures


def expected_errors(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Expected number of wrong labels of each class, by the labels' own probabilities.

    probabilities (NDArray): Soft labels, rows sum to 1, shape (n, K).
    classes (NDArray): Hard labels, shape (n,).
    RETURNS (NDArray[np.float64]): Sum of 1 - p over the labels of each class, shape (K,).
    """
    doubt = 1.0 - probabilities[np.arange(len(classes)), classes].astype(np.float64)
    expected = np.bincount(classes, weights=doubt, minlength=probabilities.shape[1])
    return expected.astype(np.float64)


def split_scores(
    scores: NDArray[np.floating], *, seed: int
) -> tuple[NDArray[np.bool_], Mixture | None]:
    """Split the scores of one class into reliable and unreliable ones.

    The scores are min-max normalised and fitted with a mixture of two Gaussians; a score is
    reliable if the component with the larger mean has a probability above 0.5. Where
    the wider component has tails beyond the other's mean, larger scores must still count as more
    reliable: a score beyond the two means is judged as if it lay on the nearer mean.

    With fewer than 10 scores, with (almost) equal scores or components, or where the component with
    the larger mean has no majority even at its mean, the scores are not split and all are reliable.
    A mixture is fitted to at most 100,000 scores, drawn at random.

    scores (NDArray): Scores of one class, shape (n,), finite.
    seed (int): Seed of the mixture and of the sample.
    RETURNS (tuple): Whether each score is reliable, shape (n,), and the mixture; None if the scores
        were not split.
    """
    everything = np.ones(len(scores), dtype=bool)
    if len(scores) < MIN_SPANS:
        return everything, None
    x = np.asarray(scores, dtype=np.float64)
    spread = x.max() - x.min()
    if spread < MIN_SPREAD * max(1.0, np.abs(x).max()):
        return everything, None
    lowest = x.min()
    x = (x - lowest) / spread
    rng = np.random.default_rng(seed)
    sample = rng.choice(x, MAX_FIT, replace=False) if len(x) > MAX_FIT else x
    mixture = GaussianMixture(2, random_state=seed, reg_covar=1e-6, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(sample[:, None])
    low, high = np.sort(mixture.means_[:, 0])
    if high - low < MIN_SPREAD:
        return everything, None
    top = int(mixture.means_[:, 0].argmax())
    if mixture.predict_proba([[high]])[0, top] <= 0.5:
        return everything, None
    judged = np.clip(x, low, high)[:, None]
    reliable = mixture.predict_proba(judged)[:, top] > 0.5
    return reliable, _in_rho(mixture, top, float(lowest), float(spread))


def _in_rho(mixture: GaussianMixture, top: int, lowest: float, spread: float) -> Mixture:
    """Convert the components to the unit of the scores, and find the cut between their means."""
    order = [1 - top, top]
    means = lowest + spread * mixture.means_[order, 0]
    sds = spread * np.sqrt(mixture.covariances_[order, 0, 0])
    weights = mixture.weights_[order]
    # log odds of the upper component as a polynomial of the score
    quadratic = 0.5 / sds**2
    logs = np.log(weights / sds) - quadratic * means**2
    odds = [-quadratic, 2 * quadratic * means, logs]
    roots = np.roots([float(part[1] - part[0]) for part in odds])
    inside = [r.real for r in roots if abs(r.imag) < 1e-9 and means[0] <= r.real <= means[1]]
    return Mixture(
        means=(float(means[0]), float(means[1])),
        sds=(float(sds[0]), float(sds[1])),
        weights=(float(weights[0]), float(weights[1])),
        cut=float(max(inside)) if inside else None,
    )
