from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import assert_equal, snapshot, toy_corpus, toy_network
from worlds import adapt_in, rows_of, tensors_of

from spacy_maral.experiments.signals import StudySignals, agreement, neighbourhood_density
from spacy_maral.experiments.study import CRITERIA
from spacy_maral.training.target_sample import TargetSample

# the signals, against their definitions

CLASSES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)


@given(CLASSES)
def test_agreement_is_f1_of_the_sets_of_entities(pairs):
    first, second = np.array(pairs).T
    a = {(i, c) for i, c in enumerate(first) if c}
    b = {(i, c) for i, c in enumerate(second) if c}
    precision = len(a & b) / len(b) if b else 0
    recall = len(a & b) / len(a) if a else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert agreement(first, second) == pytest.approx(f1)
    assert agreement(second, first) == agreement(first, second)


def brute_density(p: np.ndarray, temperature: float) -> float:
    total = 0.0
    for i in range(len(p)):
        others = [j for j in range(len(p)) if j != i]
        cosines = [p[i] @ p[j] / math.sqrt((p[i] @ p[i]) * (p[j] @ p[j])) for j in others]
        weights = [math.exp(c / temperature) for c in cosines]
        shares = [w / sum(weights) for w in weights]
        total -= sum(s * math.log(s) for s in shares if s > 0)
    return total / len(p) / math.log(len(p) - 1)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_density_is_the_mean_entropy_over_the_others(temperature):
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    found = neighbourhood_density(p, temperature)
    assert found == pytest.approx(brute_density(p, temperature), rel=1e-9)
    assert 0 < found < 1


def test_tight_clusters_are_denser_than_scattered_spans():
    rng = np.random.default_rng(1)
    tight = np.eye(3)[rng.integers(0, 3, 90)] * 0.97 + 0.01
    scattered = rng.dirichlet(np.ones(3), 90)
    assert neighbourhood_density(tight) > neighbourhood_density(scattered) + 0.02
    # as its docstring says: collapse is dense, which the information finds out
    collapsed = np.tile([0.98, 0.01, 0.01], (90, 1))
    assert neighbourhood_density(collapsed) == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_spans_have_no_density(n):
    assert neighbourhood_density(np.full((n, 3), 1 / 3)) == 0


# a network's signals


def signals_of(corpus, network) -> dict[str, float]:
    sample = TargetSample(corpus, np.arange(corpus.n_spans), batch_tokens=64, seed=3)
    return StudySignals(network, sample).on_epoch_end(0)


def seen_network(dropout: float):
    network = toy_network(dropout=dropout)
    network.span_model.statistics.seen.fill_(1)
    network.train()
    return network


def test_signals_leave_the_network_and_chance_as_they_were():
    network, corpus = seen_network(0.3), toy_corpus(labelled=False)
    before = snapshot(network)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = signals_of(corpus, network)
    assert torch.equal(torch.rand(3), expected)
    assert_equal(snapshot(network), before)
    assert network.training
    assert signals_of(corpus, network) == first
    assert all(0 <= value <= 1 for value in first.values())


def test_agreement_is_whole_without_dropout_only():
    corpus = toy_corpus(labelled=False)
    assert signals_of(corpus, seen_network(0.0))["target_agreement"] == 1
    assert signals_of(corpus, seen_network(0.5))["target_agreement"] < 1


def test_a_study_logs_every_criterion_and_changes_nothing_else(world, tmp_path):
    short = {"student.epochs": 2}
    plain = adapt_in(world, tmp_path / "plain", labels=world["labels"], overrides=short)
    studied = adapt_in(
        world, tmp_path / "studied", labels=world["labels"], overrides=short, study=StudySignals
    )
    assert_equal(tensors_of(studied), tensors_of(plain))
    for row, other in zip(rows_of(plain), rows_of(studied), strict=True):
        assert row["losses"] == other["losses"]
        assert {*CRITERIA.values()} - {*row} == {*other} - {*row}
