import numpy as np
import pytest
from study_guidance import ALPHAS, class_means, compare_readings
from test_adaptation import make_hook


def test_class_means():
    rng = np.random.default_rng(0)
    values, classes = rng.normal(size=(40, 4)).astype(np.float32), rng.choice([0, 1, 3], 40)
    found = class_means(values, classes, 4)
    for c in (0, 1, 3):
        own = [float(row[c]) for row, known in zip(values, classes, strict=True) if known == c]
        assert found[c] == pytest.approx(sum(own) / len(own), rel=1e-5)
    assert found[2] == np.inf


def test_both_readings_are_compared():
    hook = make_hook(features="clean", diagnose_with_gold=True, bank_outside_rate=1.0)
    hook.on_epoch_start(0)
    hook.network.eval()
    hook._collect_features()
    before = hook.probabilities.copy()
    start, by_span, by_class = compare_readings(hook)
    assert len(start) == len(by_span) == len(by_class) == 1 + len(ALPHAS)
    assert len(set(start[1:])) == 1
    assert by_span[1:] != by_class[1:]
    assert all(0 <= float(noise) <= 1 for row in (start, by_span, by_class) for noise in row[1:])
    # the hook's own labels stay as they are
    np.testing.assert_array_equal(hook.probabilities, before)
