"""The reliability filter: per class, a two-component Gaussian mixture on the vMF scores."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

MIN_SPANS = 10
MAX_FIT = 100_000
MIN_SPREAD = 1e-6


def reliable_spans(
    scores: NDArray[np.floating], classes: NDArray[np.integer], *, seed: int
) -> NDArray[np.bool_]:
    """Decide which pseudo-labels are reliable, class by class.

    scores (NDArray): rho of each span under its pseudo-label's class, shape (n,).
    classes (NDArray): Pseudo-labels, shape (n,).
    seed (int): Seed of the mixtures and of the sub-samples that they are fitted to.
    RETURNS (NDArray[np.bool_]): Whether each label is reliable, shape (n,).
    """
    reliable = np.zeros(len(scores), dtype=bool)
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        reliable[members] = reliable_scores(scores[members], seed=seed)
    return reliable


def reliable_scores(scores: NDArray[np.floating], *, seed: int) -> NDArray[np.bool_]:
    """Split the scores of one class into reliable and unreliable ones.

    The scores are min-max normalised and fitted with a mixture of two Gaussians; a score is
    reliable if the component with the larger mean has a probability above 0.5. Where the wider
    component has tails beyond the other's mean, the larger score is the more reliable one all the
    same: scores outside the two means are judged as if they lay on the nearer mean.

    With fewer than 10 scores, with (almost) equal scores or components, or where the
    larger component has no majority even at its mean, there is nothing to split and all scores are
    reliable. A mixture is fitted to at most 100,000 scores, drawn at random.

    scores (NDArray): Scores of one class, shape (n,), finite.
    seed (int): Seed of the mixture and of the sample.
    RETURNS (NDArray[np.bool_]): Whether each score is reliable, shape (n,).
    """
    everything = np.ones(len(scores), dtype=bool)
    if len(scores) < MIN_SPANS:
        return everything
    x = np.asarray(scores, dtype=np.float64)
    spread = x.max() - x.min()
    if spread < MIN_SPREAD * max(1.0, np.abs(x).max()):
        return everything
    x = (x - x.min()) / spread
    rng = np.random.default_rng(seed)
    sample = rng.choice(x, MAX_FIT, replace=False) if len(x) > MAX_FIT else x
    mixture = GaussianMixture(2, random_state=seed, reg_covar=1e-6, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(sample[:, None])
    low, high = np.sort(mixture.means_[:, 0])
    if high - low < MIN_SPREAD:
        return everything
    top = int(mixture.means_[:, 0].argmax())
    if mixture.predict_proba([[high]])[0, top] <= 0.5:
        return everything
    judged = np.clip(x, low, high)[:, None]
    return mixture.predict_proba(judged)[:, top] > 0.5
