"""The offset that repeated strings suggest, on texts whose names are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from spacy_maral.adaptation import operating_point as module
from spacy_maral.adaptation.operating_point import (
    OperatingPoint,
    find_mentions,
    find_operating_point,
    name_probabilities,
)

K = 3


def world(seed=0, n_strings=400, shift=0.0, names=0.5):
    """One candidate a word; names score around 2 + shift, other strings around -4 + shift.

    RETURNS (tuple): Keys, probabilities, words, and whether each candidate is a name.
    """
    rng = np.random.default_rng(seed)
    is_name = rng.random(n_strings) < names
    n = rng.integers(2, 6, n_strings)
    keys = rng.permutation(np.repeat(np.arange(n_strings), n))
    odds = np.where(is_name[keys], 2.0, -4.0) + rng.normal(0, 1.5, len(keys)) + shift
    return keys, table_of(odds), (np.arange(len(keys)),) * 2, is_name[keys]


def table_of(odds):
    """Class probabilities with these log odds of class 2 against outside, and a little of class 1."""
    weights = np.column_stack([np.ones_like(odds), np.full_like(odds, 1e-9), np.exp(odds)])
    return weights / weights.sum(1, keepdims=True)


def balance(probabilities, is_name):
    """The offset at which as many candidates are found as there are names, by sorting."""
    odds = np.log(probabilities[:, 2] / probabilities[:, 0])
    return -np.sort(odds)[::-1][is_name.sum() - 1]


@pytest.mark.parametrize("shift", [-3.0, -1.5, 0.0, 1.5])
def test_a_quarter_of_the_way_to_the_balance_of_precision_and_recall_is_taken(shift):
    keys, probabilities, words, is_name = world(shift=shift)
    found = find_operating_point(keys, probabilities, words)
    quarter = 0.25 * balance(probabilities, is_name)
    assert 200 < found.strings <= len(np.unique(keys))
    weight = found.strings / (found.strings + 50)
    assert found.offset == pytest.approx(quarter * weight, abs=0.15)


def test_of_equally_good_offsets_the_smallest_is_taken():
    keys, _, words, is_name = world(2)
    rng = np.random.default_rng(1)
    # nothing between -3 and 3: every offset from -3 to 3 finds the names
    odds = np.where(is_name, 1, -1) * rng.uniform(3.2, 5, len(keys))
    assert find_operating_point(keys, table_of(odds), words).offset == 0


def test_expected_precision_and_recall_are_those_of_the_gold_labels():
    for shift in (-2.0, 0.0, 2.0):
        keys, probabilities, words, is_name = world(1, n_strings=1500, shift=shift)
        found = find_operating_point(keys, probabilities, words)
        predicted = probabilities[:, 2] > probabilities[:, 0]
        right = (predicted & is_name).sum()
        assert found.precision == pytest.approx(right / predicted.sum(), abs=0.04)
        assert found.recall == pytest.approx(right / is_name.sum(), abs=0.04)


def test_the_fit_is_as_likely_as_that_of_a_general_optimiser():
    rng = np.random.default_rng(3)
    kinds = rng.random(300) < 0.4
    shape = {True: [0.05, 0.15, 0.8], False: [0.7, 0.2, 0.1]}
    counts = np.stack([rng.multinomial(3, shape[bool(kind)]) for kind in kinds]).astype(float)

    def loss(x):
        """Negative log likelihood with the smoothing of the EM as a prior."""
        share = 1 / (1 + np.exp(-x[0]))
        p, q = (np.exp(part) / np.exp(part).sum() for part in (x[1:4], x[4:7]))
        likelihood = share * np.exp(counts @ np.log(p)) + (1 - share) * np.exp(counts @ np.log(q))
        return -np.log(likelihood).sum() - module.SMOOTH / 3 * (np.log(p) + np.log(q)).sum()

    best = minimize(loss, [0, -1, 0, 1, 1, 0, -1], method="BFGS").x
    share = 1 / (1 + np.exp(-best[0]))
    p, q = (np.exp(part) / np.exp(part).sum() for part in (best[1:4], best[4:7]))
    a, b = share * np.exp(counts @ np.log(p)), (1 - share) * np.exp(counts @ np.log(q))
    np.testing.assert_allclose(name_probabilities(counts), a / (a + b), atol=0.01)


def test_frequent_strings_count_as_a_few_mentions():
    rare, frequent = np.array([[0.0, 6, 2]]), np.array([[0.0, 300, 100]])
    others = np.array([[4.0, 0, 0], [0, 0, 4], [3, 1, 0], [0, 1, 3]]).repeat(20, axis=0)
    found = name_probabilities(np.concatenate([rare, frequent, others]))
    assert found[0] == pytest.approx(found[1], abs=1e-9)


def test_single_mentions_have_a_share_of_names_of_their_own():
    repeated = np.array([[4.0, 0, 0], [0, 0, 4]]).repeat(50, axis=0)
    middle = np.array([[0.0, 1, 0]])
    high = name_probabilities(np.concatenate([repeated, [[0.0, 0, 1]] * 90, middle, [[1.0, 0, 0]]]))
    low = name_probabilities(np.concatenate([repeated, [[1.0, 0, 0]] * 90, middle, [[0.0, 0, 1]]]))
    assert high[190] > 0.8 > 0.2 > low[190]


def test_mentions_do_not_overlap_and_other_occurrences_are_out_of_reach():
    #       0 Ada  1 Lovelace  2 wrote  3 Ada  4 slept ; spans of up to two words
    starts = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    ends = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4])
    keys = np.array([1, 2, 3, 4, 5, 6, 1, 7, 8])
    odds = np.full(9, -20.0)
    odds[0], odds[1] = -1.0, 3.0  # "Ada" lies in "Ada Lovelace"
    odds[8] = -5.9
    chosen, found = find_mentions(keys, table_of(odds), (starts, ends))
    # the second "Ada" is no occurrence of a string that is a mention somewhere
    assert chosen.tolist() == [1, 8]
    np.testing.assert_allclose(found, [3.0, -5.9], atol=1e-6)
    odds[1], odds[0] = -20.0, 3.0
    chosen, found = find_mentions(keys, table_of(odds), (starts, ends))
    assert chosen.tolist() == [0, 6, 8]
    np.testing.assert_allclose(found, [3.0, -np.inf, -5.9], atol=1e-6)


def test_without_repeated_strings_or_graded_scores_there_is_no_offset():
    keys, probabilities, words, _ = world()
    alone = np.arange(len(keys))
    assert find_operating_point(alone, probabilities, words) == OperatingPoint()
    hard = np.where(probabilities > 0.5, 0.9, 0.05)
    assert find_operating_point(keys, hard, words).offset == 0
    nothing = np.zeros(0, dtype=np.int64)
    assert find_operating_point(nothing, np.zeros((0, K)), (nothing, nothing)) == OperatingPoint()


def test_the_order_of_the_documents_does_not_matter():
    keys, probabilities, (words, _), _ = world(5)
    order = np.random.default_rng(0).permutation(len(keys))
    first = find_operating_point(keys, probabilities, (words, words))
    second = find_operating_point(keys[order], probabilities[order], (words, words))
    assert first.offset == second.offset
    assert first.recall == pytest.approx(second.recall, abs=1e-9)
