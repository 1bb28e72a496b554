from __future__ import annotations

import numpy as np
import pytest
import torch

from spacy_maral.model.geometry import (
    centroid_cosine,
    class_quantiles,
    compactness,
    mean_off_diagonal,
    span_margins,
)
from spacy_maral.model.vmf import simplex_directions

K, Q = 5, 8


@pytest.fixture
def directions() -> np.ndarray:
    return simplex_directions(K, Q, generator=torch.Generator().manual_seed(1)).numpy()


@pytest.fixture
def spans(directions) -> tuple[np.ndarray, np.ndarray]:
    """Noisy features of all classes but the last."""
    rng = np.random.default_rng(2)
    classes = rng.integers(0, K - 1, 60)
    z = directions[classes] + 0.4 * rng.normal(size=(60, Q))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32), classes


def test_a_regular_simplex_is_theorem_1s_optimum(directions):
    table = centroid_cosine(3.0 * directions)
    np.testing.assert_allclose(np.diag(table), 1.0)
    np.testing.assert_allclose(table[~np.eye(K, dtype=bool)], -1 / (K - 1), atol=1e-6)
    assert mean_off_diagonal(table) == pytest.approx(-1 / (K - 1), abs=1e-6)


def test_mean_off_diagonal_by_hand():
    assert mean_off_diagonal(np.array([[9.0, 1.0], [2.0, 9.0]])) == 1.5
    assert mean_off_diagonal(np.array([[9.0]])) == 0.0


def test_compactness_is_the_mean_cosine_of_each_class(spans, directions):
    z, classes = spans
    found = compactness(z, classes, directions)
    for c in range(K - 1):
        cosines = [float(a @ directions[c]) for a, b in zip(z, classes, strict=True) if b == c]
        assert found[c] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert np.isnan(found[K - 1])
    np.testing.assert_allclose(compactness(directions, np.arange(K), directions), 1.0, atol=1e-6)


def test_the_margin_of_each_span_and_its_quantiles(spans, directions):
    z, classes = spans
    expected = []
    for a, b in zip(z.astype(float), classes, strict=True):
        others = [sum(a * directions[c]) for c in range(K) if c != b]
        expected.append(sum(a * directions[b]) - max(others))
    margins = span_margins(z, classes, directions)
    np.testing.assert_allclose(margins, expected, atol=1e-6)
    found = class_quantiles(margins, classes, K, 0.05)
    for c in range(K - 1):
        ordered = sorted(m for m, b in zip(expected, classes, strict=True) if b == c)
        place = 0.05 * (len(ordered) - 1)
        low = int(place)
        wanted = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
        assert found[c] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(found[K - 1])
    smallest = class_quantiles(margins, classes, K, 0.0)
    for c in range(K - 1):
        wanted = min(m for m, b in zip(expected, classes, strict=True) if b == c)
        assert smallest[c] == pytest.approx(wanted, abs=1e-6)


def test_margins_at_the_optimum(directions):
    found = span_margins(directions, np.arange(K), directions)
    np.testing.assert_allclose(found, 1 + 1 / (K - 1), atol=1e-6)


def test_a_wrong_span_has_a_negative_margin(directions):
    (found,) = span_margins(directions[:1], np.array([1]), directions)
    assert found == pytest.approx(-1 - 1 / (K - 1), abs=1e-6)


def test_no_spans(directions):
    nothing = np.zeros((0, Q)), np.zeros(0, dtype=np.int64)
    assert np.isnan(class_quantiles(span_margins(*nothing, directions), nothing[1], K, 0.0)).all()
    assert np.isnan(compactness(*nothing, directions)).all()
