"""Temperatures and shifts that make confidences say how often they are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from spacy_maral.model.confidence import (
    MIN_SCALE,
    Calibration,
    calibrated,
    calibration_error,
    check_calibration,
    fit_calibration,
    log_odds,
    sigmoid,
)


def decisions(n: int, seed: int, temperature=(3.0, 1.5), shift=(-1.0, 0.5)):
    """Overconfident log odds of two classes, and decisions that are right as often as they should."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 3, n)
    x = rng.normal(4, 3, n)
    own = np.array(temperature)[classes - 1], np.array(shift)[classes - 1]
    return x, classes, rng.random(n) < sigmoid(x / own[0] + own[1])


def test_log_odds_are_those_of_the_softmax_and_exact_near_one():
    scores = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    classes = scores.argmax(1)
    rows = np.arange(50)
    p = np.exp(scores[rows, classes] - logsumexp(scores.astype(float), axis=1))
    np.testing.assert_allclose(log_odds(scores, classes), np.log(p / (1 - p)), rtol=1e-4, atol=1e-6)
    assert log_odds(np.array([[0.0, 80.0]]), np.array([1])) == 80


def test_the_fit_finds_the_parameters_of_each_class():
    x, classes, correct = decisions(40_000, 1)
    fit = fit_calibration(x, classes, correct, 3)
    np.testing.assert_allclose(fit.temperature, [3.0, 1.5], rtol=0.1)
    np.testing.assert_allclose(fit.shift, [-1.0, 0.5], atol=0.15)


def test_the_calibration_error_is_halved_on_other_decisions():
    fit = fit_calibration(*decisions(1000, 2), 3)
    x, classes, correct = decisions(3000, 3)
    before = calibration_error(sigmoid(x), correct)
    after = calibration_error(fit.apply(x, classes), correct)
    assert before > 0.1 and after < before / 2


def test_rare_classes_keep_the_common_fit():
    x, classes, correct = decisions(2000, 4)
    fit = fit_calibration(x, np.ones_like(classes), correct, 4)
    assert fit.temperature[1] == fit.temperature[2] and fit.shift[1] == fit.shift[2]
    assert fit.temperature[0] == pytest.approx(fit.temperature[1], rel=0.05)
    few = fit_calibration(
        np.append(x, [2.0]), np.append(np.ones_like(classes), [2]), np.append(correct, [False]), 4
    )
    assert abs(few.shift[1] - few.shift[2]) < 1


def test_a_calibration_never_turns_the_order_around():
    x = np.linspace(-3, 8, 200)
    fit = fit_calibration(x, np.ones(200, dtype=int), x < 2, 2)
    assert 0 < fit.temperature[0] <= 1 / MIN_SCALE
    assert (np.diff(fit.apply(x, np.ones(200, dtype=int))) >= 0).all()


def test_calibration_error_of_known_bins():
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0
    right = np.array([True, True, False, False])
    assert calibration_error(np.full(4, 0.5), right, n_bins=1) == 0
    assert calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), right, n_bins=2) == pytest.approx(0.1)


def test_it_is_saved_as_lists():
    fit = Calibration(np.array([2.0]), np.array([-1.0]))
    saved = fit.to_lists()
    assert saved == {"temperature": [2.0], "shift": [-1.0]}
    found = calibrated(np.array([[0.0, 2.0]]), np.array([1]), saved)
    assert found == pytest.approx([0.5])
    check_calibration(None, 3)
    check_calibration(saved, 1)


@pytest.mark.parametrize(
    "bad",
    [{"temperature": [0.0], "shift": [0.0]}, {"temperature": [1.0, 1.0], "shift": [0.0]},
     {"temperature": [float("nan")], "shift": [0.0]}, {"temperature": ["x"], "shift": [0.0]}],
)  # fmt: skip
def test_damaged_calibrations_are_refused(bad):
    with pytest.raises(ValueError):
        check_calibration(bad, 1)
