"""The consensus of annotators, against crowd-kit, a transcription of the paper, and known truths."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_maral.adaptation.dawid_skene import count_votes, find_consensus, rightness
from spacy_maral.model.spans import OUTSIDE, UNKNOWN

K = 4


def literal_em(votes, n_classes, prior, strength, rounds):
    """Dawid and Skene (1979), Section 3, item by item: (2.3) and (2.4) are the M-step, (2.5) the E-step.

    Silence is response K. Each used response of an annotator counts `strength` times more often, spread
    over the classes as the first guess is; a prior of each item replaces the class shares of (2.4).
    """
    n_annotators, n = votes.shape
    responses = np.where(votes == UNKNOWN, n_classes, votes)
    truth = np.zeros((n, n_classes))
    for i in range(n):
        for c in range(n_classes):
            truth[i, c] = (
                sum(responses[j, i] == c for j in range(n_annotators))
                if prior is None
                else prior[i, c]
            )
        truth[i] /= truth[i].sum()
    first = truth.mean(0)
    for _ in range(rounds):
        shares = truth.mean(0)
        rates = np.zeros((n_annotators, n_classes, n_classes + 1))
        for j in range(n_annotators):
            for c in range(n_classes):
                for v in set(responses[j].tolist()):
                    rates[j, c, v] = strength * first[c]
                for i in range(n):
                    rates[j, c, responses[j, i]] += truth[i, c]
                rates[j, c] /= rates[j, c].sum()
        for i in range(n):
            for c in range(n_classes):
                truth[i, c] = shares[c] if prior is None else prior[i, c]
                for j in range(n_annotators):
                    truth[i, c] *= rates[j, c, responses[j, i]]
            truth[i] /= truth[i].sum()
    return truth


def annotator(rng, truth, *, recall, spurious=0.0, mixed_up=0.0, silent=False):
    """Find a share of the entities, give some another class, and find as many others as a share of them."""
    votes, entities = truth.copy(), np.flatnonzero(truth)
    fate = rng.random(len(entities))
    votes[entities[fate > recall]] = OUTSIDE
    swapped = entities[(fate <= recall) & (rng.random(len(entities)) < mixed_up)]
    votes[swapped] = rng.integers(1, K, len(swapped))
    others = rng.choice(np.flatnonzero(truth == 0), int(spurious * len(entities)), replace=False)
    votes[others] = rng.integers(1, K, len(others))
    return np.where(silent & (votes == OUTSIDE), UNKNOWN, votes)


def world(seed=0, n=20_000, rate=0.05):
    """True classes, and the calibrated probabilities of a model that finds about half of the entities."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n) < rate, rng.integers(1, K, n), OUTSIDE)
    shares = np.array([1 - rate, *[rate / (K - 1)] * (K - 1)])
    signal = rng.normal(0, 1, (n, K))
    signal[np.arange(n), truth] += 2.7
    # for normal signals of one variance, Bayes' rule is a softmax
    odds = np.log(shares) + 2.7 * signal
    model = np.exp(odds - odds.max(1, keepdims=True))
    return rng, truth, model / model.sum(1, keepdims=True)


def f1(classes, truth):
    right = ((classes == truth) & (truth != OUTSIDE)).sum()
    return 200 * right / ((classes != OUTSIDE).sum() + (truth != OUTSIDE).sum())


def recall(classes, truth):
    return 100 * (classes == truth)[truth != OUTSIDE].mean()


def crowd(n=400, seed=3):
    """Four annotators of three classes, one of them silent at times, who disagree often."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    votes = np.stack(
        [np.where(rng.random(n) < p, truth, rng.integers(0, 3, n)) for p in (0.8, 0.6, 0.5)]
    )
    fourth = np.where(rng.random(n) < 0.4, truth, UNKNOWN)
    return np.concatenate([votes, fourth[None]])


# the same as elsewhere


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_the_consensus_is_that_of_the_paper_item_by_item(anchored, strength):
    votes = crowd(120)
    prior = np.random.default_rng(0).dirichlet(np.ones(3), votes.shape[1]) if anchored else None
    wanted = literal_em(votes, 3, prior, strength, rounds=400)
    found = find_consensus(votes, 3, prior, strength=strength)
    # both have converged; the slowest direction of EM leaves some 1e-5
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_consensus_is_that_of_crowd_kit():
    aggregation = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    votes = crowd()[:3]
    rows = [(i, j, v) for j, one in enumerate(votes.tolist()) for i, v in enumerate(one)]
    data = pandas.DataFrame(rows, columns=["task", "worker", "label"])
    wanted = aggregation.DawidSkene(n_iter=2000, tol=1e-12).fit_predict_proba(data)
    found = find_consensus(votes, 3, strength=0.0)
    np.testing.assert_allclose(found.probabilities, wanted.sort_index()[[0, 1, 2]], atol=1e-4)


def test_the_counts_are_those_of_the_probabilities():
    votes = crowd()
    found = find_consensus(votes, 3)
    for one, counts in zip(votes, found.counts, strict=True):
        # of the step before the last, which changed no mean by more than 1e-7
        np.testing.assert_allclose(counts, count_votes(one, found.probabilities), atol=1e-3)
    assert found.counts.sum() == pytest.approx(votes.size)
    assert (found.counts[:3, :, 3] == 0).all() and found.counts[3, :, 3].sum() > 0


def test_the_order_of_spans_and_annotators_does_not_matter():
    votes = crowd()
    order = np.random.default_rng(1).permutation(votes.shape[1])
    found = find_consensus(votes, 3).probabilities
    other = find_consensus(votes[::-1][:, order], 3).probabilities
    np.testing.assert_allclose(other, found[order], atol=1e-9)


# known truths


@pytest.mark.parametrize("seed", range(3))
def test_a_list_a_noisy_file_and_a_model_are_better_than_their_mean_and_the_best(seed):
    rng, truth, model = world(seed)
    names = annotator(rng, truth, recall=0.3, spurious=0.01, mixed_up=0.05, silent=True)
    noisy = annotator(rng, truth, recall=0.6, spurious=0.4, mixed_up=0.2)
    found = find_consensus(np.stack([names, noisy]), K, model).probabilities.argmax(1)
    one_hot = np.eye(K)
    known = (names != UNKNOWN)[:, None]
    mean = (model + one_hot[noisy] + known * one_hot[names]) / (2 + known)
    heard = np.maximum(names, OUTSIDE)
    best = max(f1(x, truth) for x in (model.argmax(1), noisy, heard, mean.argmax(1)))
    assert f1(found, truth) > best + 5


def test_estimated_rightness_is_the_true_one():
    rng, truth, model = world(n=60_000)
    names = annotator(rng, truth, recall=0.3, spurious=0.02, silent=True)
    noisy = annotator(rng, truth, recall=0.6, spurious=0.4, mixed_up=0.2)
    found = find_consensus(np.stack([names, noisy]), K, model)
    for counts, votes in zip(found.counts, (names, noisy), strict=True):
        for c, guess in enumerate(rightness(counts), start=1):
            assert guess.found == pytest.approx((votes == c).sum())
            right = ((votes == c) & (truth == c)).sum()
            assert guess.precision == pytest.approx(right / (votes == c).sum(), abs=0.05)
            assert guess.recall == pytest.approx(right / (truth == c).sum(), abs=0.05)


@pytest.mark.parametrize("silent", [True, False])
def test_ten_names_take_nothing_away(silent):
    rng, truth, model = world()
    names = np.full(len(truth), OUTSIDE)
    ten = rng.choice(np.flatnonzero(truth), 10, replace=False)
    names[ten] = truth[ten]
    if silent:
        names[names == OUTSIDE] = UNKNOWN
    found = find_consensus(names[None], K, model).probabilities
    assert recall(found.argmax(1), truth) > recall(model.argmax(1), truth) - 0.5
    others = np.setdiff1d(np.arange(len(truth)), ten)
    # what ten of a thousand entities say about the others
    np.testing.assert_allclose(found[others], model[others], atol=0.01)


@pytest.mark.parametrize("silent", [True, False])
def test_random_labels_weigh_nothing(silent):
    rng, truth, model = world()
    guesses = np.where(rng.random(len(truth)) < 0.05, rng.integers(1, K, len(truth)), OUTSIDE)
    noisy = annotator(rng, truth, recall=0.6, spurious=0.4, mixed_up=0.2)
    votes = np.where(silent & (guesses == OUTSIDE), UNKNOWN, guesses)
    found = find_consensus(votes[None], K, model)
    assert np.abs(found.probabilities - model).mean() < 0.005
    assert f1(found.probabilities.argmax(1), truth) > f1(model.argmax(1), truth) - 0.5
    assert all(guess.precision < 0.05 for guess in rightness(found.counts[0]))
    with_noise = find_consensus(noisy[None], K, model).probabilities.argmax(1)
    all_three = find_consensus(np.stack([votes, noisy]), K, model).probabilities.argmax(1)
    assert f1(all_three, truth) == pytest.approx(f1(with_noise, truth), abs=0.5)


def test_three_annotators_without_a_model():
    rng, truth, _ = world()
    good = annotator(rng, truth, recall=0.8, spurious=0.1)
    fair = annotator(rng, truth, recall=0.7, spurious=0.3, mixed_up=0.1)
    names = annotator(rng, truth, recall=0.4, spurious=0.02, silent=True)
    found = find_consensus(np.stack([good, fair, names]), K)
    assert f1(found.probabilities.argmax(1), truth) > f1(good, truth) + 1
    precision = [[guess.precision for guess in rightness(counts)] for counts in found.counts]
    assert min(precision[0]) > max(precision[1])


def test_without_evidence_nothing_changes():
    _, _, model = world(n=500)
    silence = np.full((2, 500), UNKNOWN)
    found = find_consensus(silence, K, model)
    np.testing.assert_allclose(found.probabilities, model, atol=1e-9)
    assert all(np.isnan(g.precision) and g.found == 0 for g in rightness(found.counts[0]))
    nothing = find_consensus(np.zeros((2, 0), dtype=np.int64), K, np.zeros((0, K)))
    assert nothing.probabilities.shape == (0, K)
