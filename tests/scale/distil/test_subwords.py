"""The table of character n-grams against dense solutions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from spacy_maral.scale.distil import subwords
from spacy_maral.scale.distil.subwords import fit_table, mean_of_rows, principal_components

RNG = np.random.default_rng(0)


def test_means_count_repeated_rows_twice():
    rows = [np.array([0, 2, 2]), np.array([1])]
    table = RNG.normal(size=(4, 3))
    means = mean_of_rows(rows, 4)
    expected = [(table[0] + 2 * table[2]) / 3, table[1]]
    np.testing.assert_allclose(means @ table, expected)


def test_the_table_is_the_solution_of_the_weighted_ridge_regression():
    rows = [RNG.integers(0, 30, size=RNG.integers(1, 6)) for _ in range(80)]
    means, wanted = mean_of_rows(rows, 30), RNG.normal(size=(80, 5))
    weights = RNG.uniform(0.1, 4, 80)
    dense = means.toarray()
    left = dense.T @ (weights[:, None] * dense) + subwords.RIDGE * np.eye(30)
    expected = np.linalg.solve(left, dense.T @ (weights[:, None] * wanted))
    found = fit_table(means, wanted, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_more_rounds_come_nearer(monkeypatch):
    rows = [RNG.integers(0, 30, size=4) for _ in range(80)]
    means, wanted, weights = mean_of_rows(rows, 30), RNG.normal(size=(80, 5)), np.ones(80)
    dense = means.toarray()
    expected = np.linalg.solve(dense.T @ dense + subwords.RIDGE * np.eye(30), dense.T @ wanted)
    monkeypatch.setattr(subwords, "TOLERANCE", 1e-9)
    np.testing.assert_allclose(fit_table(means, wanted, weights), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 3])
def test_components_are_those_of_pca(dim):
    vectors = RNG.normal(size=(60, 6)) * [5, 3, 2, 1, 0.5, 0.1]
    times = RNG.integers(1, 4, 60)
    found = principal_components(vectors, times, dim)
    # a weight is a number of copies
    expected = PCA(dim).fit(np.repeat(vectors, times, axis=0)).transform(vectors)
    expected /= expected.std()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, signs * expected, rtol=1e-4, atol=1e-6)


def test_equal_vectors_have_no_components():
    np.testing.assert_array_equal(principal_components(np.ones((4, 3)), np.ones(4), 2), 0)
