from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from spacy_maral.adaptation import filter as filter_module
from spacy_maral.adaptation.filter import (
    expected_errors,
    split_scores,
    split_spans,
)


def reliable_scores(scores, *, seed):
    return split_scores(scores, seed=seed)[0]


def two_gaussians(n_low, n_high, low, high, s_low, s_high, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(low, s_low, n_low), rng.normal(high, s_high, n_high)])


def crossing(n_low, n_high, low, high, s_low, s_high) -> float:
    """Where two weighted Gaussian densities are equal, between their means."""
    return brentq(
        lambda x: n_high * norm.pdf(x, high, s_high) - n_low * norm.pdf(x, low, s_low), low, high
    )


@pytest.mark.parametrize(
    "case",
    [
        (4000, 4000, -3.0, 3.0, 1.0, 1.0),
        (1000, 9000, 0.0, 5.0, 1.0, 0.7),
        (9000, 1000, -60.0, 20.0, 15.0, 8.0),
        (2000, 6000, 1e4, 1e4 + 10, 1.5, 1.5),
    ],
)
def test_two_clear_gaussians_are_split_where_their_densities_cross(case):
    scores = two_gaussians(*case)
    reliable = reliable_scores(scores, seed=0)
    cut = (scores[reliable].min() + scores[~reliable].max()) / 2
    # the tolerance: a tenth of the distance between the means, for sampling noise
    assert cut == pytest.approx(crossing(*case), abs=0.1 * (case[3] - case[2]))
    assert scores[reliable].min() > scores[~reliable].max()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(-14, 14), st.sampled_from([0.0, 1.0, -13.5])), min_size=0, max_size=60
    )
)
def test_a_larger_score_is_never_less_reliable(values):
    scores = np.array(values, dtype=np.float32)
    reliable = reliable_scores(scores, seed=0)
    assert reliable.shape == scores.shape
    assert reliable.dtype == bool
    if len(scores):
        assert reliable[scores.argmax()]
    assert (np.diff(reliable[np.argsort(scores, kind="stable")].astype(int)) >= 0).all()
    for value in np.unique(scores):
        assert len(set(reliable[scores == value].tolist())) == 1


@pytest.mark.parametrize("wide", ["low", "high"])
def test_the_tails_of_the_wider_component_do_not_turn_the_order(wide):
    # with a wide low component its density is the larger one far above both means
    s_low, s_high = (8.0, 0.5) if wide == "low" else (0.5, 8.0)
    scores = np.append(two_gaussians(3000, 3000, 0.0, 6.0, s_low, s_high), [40.0, -40.0])
    reliable = reliable_scores(scores, seed=0)
    assert reliable[-2]
    assert not reliable[-1]
    assert scores[reliable].min() > scores[~reliable].max()


@pytest.mark.parametrize("n", range(10))
def test_too_few_scores_are_all_reliable(n):
    assert reliable_scores(np.linspace(-5, 5, n), seed=0).tolist() == [True] * n


def test_ten_scores_are_enough():
    scores = np.array([0.0, 0.1, 0.2, 0.1, 0.0, 9.0, 9.1, 9.2, 9.1, 9.0])
    assert reliable_scores(scores, seed=0).tolist() == [False] * 5 + [True] * 5


@pytest.mark.parametrize("value", [0.0, -13.25, 1e9])
def test_constant_scores_are_all_reliable(value):
    scores = np.full(50, value)
    assert reliable_scores(scores, seed=0).all()
    noise = 1e-9 * max(1.0, abs(value))
    assert reliable_scores(scores + np.linspace(0, noise, 50), seed=0).all()


def test_of_two_values_the_larger_is_reliable():
    scores = np.array([1.0] * 30 + [2.0] * 12)
    assert reliable_scores(scores, seed=0).tolist() == [False] * 30 + [True] * 12


@pytest.mark.parametrize("seed", range(4))
def test_one_gaussian_is_split_near_its_middle(seed):
    """There is nothing to split, but a mixture of two always splits: the paper's filter has no test for it."""
    scores = np.random.default_rng(seed).normal(10, 2, size=2000)
    reliable, mixture = split_scores(scores, seed=0)
    assert mixture.cut == pytest.approx(10, abs=0.5)
    assert (reliable == (scores >= mixture.cut)).all()
    assert reliable.mean() == pytest.approx(0.5, abs=0.1)


def test_no_component_has_a_majority(monkeypatch):
    class Undecided:
        means_ = np.array([[0.2], [0.7]])

        def __init__(self, *args, **kwargs):
            pass

        def fit(self, x):
            return self

        def predict_proba(self, x):
            return np.tile([0.6, 0.4], (len(x), 1))

    monkeypatch.setattr(filter_module, "GaussianMixture", Undecided)
    assert reliable_scores(np.arange(20.0), seed=0).all()


def test_components_that_coincide_split_nothing(monkeypatch):
    class Coinciding:
        means_ = np.array([[0.5], [0.5]])

        def __init__(self, *args, **kwargs):
            pass

        def fit(self, x):
            return self

    monkeypatch.setattr(filter_module, "GaussianMixture", Coinciding)
    assert reliable_scores(np.arange(20.0), seed=0).all()


def test_the_same_seed_gives_the_same_answer_and_no_warnings():
    scores = two_gaussians(300, 200, 0.0, 2.0, 1.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [reliable_scores(scores, seed=7) for _ in range(2)]
    assert (found[0] == found[1]).all()
    assert reliable_scores(scores.astype(np.float16), seed=7).sum() == pytest.approx(
        found[0].sum(), abs=5
    )


def test_many_scores_are_fitted_by_a_sample(monkeypatch):
    fitted = []

    class Counting(filter_module.GaussianMixture):
        def fit(self, x, y=None):
            fitted.append(x[:, 0].copy())
            return super().fit(x, y)

    monkeypatch.setattr(filter_module, "GaussianMixture", Counting)
    case = (90_000, 60_000, -4.0, 4.0, 1.0, 1.0)
    scores = two_gaussians(*case)
    reliable = reliable_scores(scores, seed=0)
    (sample,) = fitted
    assert len(sample) == filter_module.MAX_FIT == 100_000
    assert len(np.unique(sample)) == len(sample)  # drawn without replacement
    assert sample.min() >= 0 and sample.max() <= 1
    assert reliable.shape == scores.shape
    # drawn from all of the scores, not from their beginning
    assert np.mean(sample > 0.5) == pytest.approx(0.4, abs=0.02)
    cut = (scores[reliable].min() + scores[~reliable].max()) / 2
    assert cut == pytest.approx(crossing(*case), abs=0.3)


def test_each_class_is_split_by_its_own_scores():
    rng = np.random.default_rng(5)
    parts = {
        0: two_gaussians(400, 400, -9.0, -3.0, 0.5, 0.5, seed=1),
        2: two_gaussians(200, 600, 3.0, 9.0, 0.5, 0.5, seed=2),
        3: np.array([-14.0, 14.0, 0.0]),
    }
    classes = np.repeat(list(parts), [len(part) for part in parts.values()])
    scores = np.concatenate(list(parts.values()))
    order = rng.permutation(len(scores))
    reliable = split_spans(scores[order], classes[order], seed=0)[0]
    scores, classes = scores[order], classes[order]
    assert (reliable[classes == 0] == (scores[classes == 0] > -6)).all()
    assert (reliable[classes == 2] == (scores[classes == 2] > 6)).all()
    assert reliable[classes == 3].all()


def test_no_spans():
    assert split_spans(np.zeros(0), np.zeros(0, dtype=int), seed=0)[0].shape == (0,)


# what the mixtures are


@pytest.mark.parametrize(
    "case",
    [
        (4000, 4000, -3.0, 3.0, 1.0, 1.0),
        (1000, 9000, 0.0, 5.0, 1.0, 0.7),
        (9000, 1000, -60.0, 20.0, 15.0, 8.0),
    ],
)
def test_the_mixture_is_told_in_the_unit_of_the_scores(case):
    n_low, n_high, low, high, s_low, s_high = case
    scores = two_gaussians(*case)
    reliable, mixture = split_scores(scores, seed=0)
    gap = high - low
    assert mixture.means == pytest.approx((low, high), abs=0.05 * gap)
    assert mixture.sds == pytest.approx((s_low, s_high), rel=0.1)
    share = n_low / (n_low + n_high)
    assert mixture.weights == pytest.approx((share, 1 - share), abs=0.02)
    # the cut is where the decision changes, and where the two weighted densities are equal
    assert scores[~reliable].max() < mixture.cut <= scores[reliable].min()
    densities = [
        w * norm.pdf(mixture.cut, m, s)
        for w, m, s in zip(mixture.weights, mixture.means, mixture.sds, strict=True)
    ]
    assert densities[0] == pytest.approx(densities[1], rel=1e-6)


def test_scores_that_are_not_split_have_no_mixture():
    for scores in (np.linspace(-5, 5, 9), np.full(50, 2.0)):
        reliable, mixture = split_scores(scores, seed=0)
        assert reliable.all() and mixture is None
    classes = np.repeat([0, 2], [500, 5])
    scores = np.concatenate([two_gaussians(250, 250, -3.0, 3.0, 1.0, 1.0), np.arange(5.0)])
    reliable, mixtures = split_spans(scores, classes, seed=1)
    assert list(mixtures) == [0]
    assert mixtures[0] == split_scores(scores[:500], seed=1)[1]
    assert (reliable == split_spans(scores, classes, seed=1)[0]).all()


# how many labels it may take out


def limited_by_sorting(scores, classes, reliable, limits) -> np.ndarray:
    """Unreliable labels of each class in the order of their scores, up to the limit."""
    kept = np.ones(len(scores), dtype=bool)
    for c in np.unique(classes):
        lowest = sorted(np.flatnonzero((classes == c) & ~reliable), key=lambda i: scores[i])
        kept[lowest[: limits[c]]] = False
    return kept


@pytest.mark.parametrize("limits", [(0, 0, 0), (1, 150, 7), (10_000, 0, 300), (400, 10_000, 2)])
def test_no_more_labels_of_a_class_are_unreliable_than_its_limit(limits):
    classes = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], 1000))
    scores = two_gaussians(1500, 1500, -3.0, 3.0, 1.0, 1.0)
    free, mixtures = split_spans(scores, classes, seed=0)
    reliable, limited = split_spans(scores, classes, seed=0, limits=np.array(limits))
    assert (reliable == limited_by_sorting(scores, classes, free, limits)).all()
    for c, limit in enumerate(limits):
        of_class = classes == c
        assert (~reliable[of_class]).sum() == min(limit, (~free[of_class]).sum())
        # the cut that the report draws is where the decision changes
        assert (reliable[of_class] == (scores[of_class] >= limited[c].cut)).all()
        assert limited[c].means == mixtures[c].means
    assert (free == split_spans(scores, classes, seed=0, limits=np.full(3, 10_000))[0]).all()


def test_a_limit_that_is_just_met_changes_neither_labels_nor_mixture():
    classes = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], 1000))
    scores = two_gaussians(1500, 1500, -3.0, 3.0, 1.0, 1.0)
    free, mixtures = split_spans(scores, classes, seed=0)
    just = np.bincount(classes[~free], minlength=3)
    reliable, limited = split_spans(scores, classes, seed=0, limits=just)
    assert (reliable == free).all() and limited == mixtures
    _, less = split_spans(scores, classes, seed=0, limits=just - 1)
    assert all(less[c].cut != mixtures[c].cut for c in range(3))


def test_equal_scores_at_the_limit_are_all_reliable():
    scores = np.concatenate([np.full(30, -5.0), np.full(20, -4.0), np.linspace(5, 6, 100)])
    classes = np.zeros(150, dtype=int)
    assert (~split_spans(scores, classes, seed=0)[0]).sum() == 50
    assert (~split_spans(scores, classes, seed=0, limits=np.array([40]))[0]).sum() == 30


def test_expected_errors_are_those_of_labels_drawn_from_their_probabilities():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([4.0, 1.0, 1.0], 300)
    classes = probabilities.argmax(1)
    draws = (rng.random((2000, 300, 1)) > probabilities.cumsum(1)[None]).sum(2)
    wrong = [np.bincount(classes[draw != classes], minlength=3) for draw in draws]
    # of 2,000 draws: the mean's standard error is below 0.2
    np.testing.assert_allclose(expected_errors(probabilities, classes), np.mean(wrong, 0), atol=0.8)
    assert expected_errors(np.zeros((0, 3)), np.zeros(0, dtype=int)).tolist() == [0, 0, 0]
