import math

import numpy as np
import pytest
from study_guidance import ALPHAS, class_means, compare_readings
from test_adaptation import make_hook

from spacy_maral.adaptation import improve as improve_module


def test_class_means():
    rng = np.random.default_rng(0)
    values, classes = rng.normal(size=(40, 4)).astype(np.float32), rng.choice([0, 1, 3], 40)
    found = class_means(values, classes)
    for c in (0, 1, 3):
        own = [float(row[c]) for row, known in zip(values, classes, strict=True) if known == c]
        assert found[c] == pytest.approx(sum(own) / len(own), rel=1e-5)
    assert found[2] == np.inf


def test_readings_are_compared():
    hook = make_hook(features="clean", diagnose_with_gold=True, bank_outside_rate=1.0)
    hook.network.eval()
    hook.collect_features()
    before = hook.labels.probabilities.copy()
    start, *readings = compare_readings(hook)
    assert len(readings) == 4
    assert all(len(row) == 1 + len(ALPHAS) for row in (start, *readings))
    assert len(set(start[1:])) == 1
    # the exception for outside may change nothing in a toy
    assert len({tuple(row[1:]) for row in readings}) >= 3
    for row in (start, *readings):
        noise, loss = np.array([[float(v) for v in cell.split(", ")] for cell in row[1:]]).T
        assert (noise >= 0).all() and (noise <= 1).all() and (loss > 0).all()
    # the hook's own labels stay as they are
    np.testing.assert_array_equal(hook.labels.probabilities, before)


def test_the_loss_is_that_of_the_unreliable_labels(monkeypatch):
    hook = make_hook(features="clean", diagnose_with_gold=True, bank_outside_rate=1.0)
    hook.network.eval()
    hook.collect_features()
    unreliable = np.arange(0, len(hook.labels.classes), 5)
    reliable = np.ones(len(hook.labels.classes), dtype=bool)
    reliable[unreliable] = False
    monkeypatch.setattr(improve_module, "split_spans", lambda *_, **__: (reliable, {}))
    loss = float(compare_readings(hook)[0][1].split(", ")[1])
    truths = [float(hook.labels.probabilities[i, hook.gold[i]]) for i in unreliable]
    expected = sum(-math.log(max(p, 1e-7)) for p in truths) / len(truths)
    assert loss == pytest.approx(expected, abs=6e-4)
