from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import (
    K,
    assert_equal,
    snapshot,
    toy_corpus,
    toy_evaluate,
    toy_network,
    toy_settings,
)
from worlds import adapt_in, rows_of, tensors_of

from spacy_maral.adaptation.signals import (
    TargetSignals,
    agreement,
    choose_docs,
    choose_spans,
    mutual_information,
    neighbourhood_density,
    spans_of,
)
from spacy_maral.errors import MaralError
from spacy_maral.training import train_teacher
from spacy_maral.training.hooks import Hook
from spacy_maral.training.loop import Run
from spacy_maral.training.settings import ON_TARGET, SELECTION, TrainingSettings
from spacy_maral.training.shares import Share
from spacy_maral.training.streams import source_stream

# the criteria, against their definitions

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
    assert mutual_information(collapsed) == pytest.approx(0, abs=1e-12)
    assert mutual_information(tight) > mutual_information(scattered) > 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_spans_have_no_density(n):
    assert neighbourhood_density(np.full((n, 3), 1 / 3)) == 0


def test_information_is_that_between_span_and_class():
    p = np.random.default_rng(2).dirichlet(np.ones(4), 25)
    mean = p.mean(0)
    # the divergence of each span's distribution from the mean
    divergence = sum(pi * math.log(pi / m) for row in p for pi, m in zip(row, mean, strict=True))
    assert mutual_information(p) == pytest.approx(divergence / 25 / math.log(4))
    assert mutual_information(np.eye(4)) == pytest.approx(1)
    assert mutual_information(np.zeros((0, 4))) == 0


# the samples


def test_samples_are_balanced_and_the_same_by_seed():
    classes = np.array([0] * 5000 + [1] * 300 + [2] * 7)
    chosen = choose_spans(classes, 4, seed=5)
    assert np.bincount(classes[chosen], minlength=4).tolist() == [200, 200, 7, 0]
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, choose_spans(classes, 4, seed=5))
    assert not np.array_equal(chosen, choose_spans(classes, 4, seed=6))


def test_documents_without_words_are_not_sampled():
    assert choose_docs([3, 0, 1, 0], seed=0).tolist() == [0, 2]
    many = choose_docs([1] * 2000, seed=0)
    assert len(many) == 500 and (np.diff(many) > 0).all()


def test_spans_of_documents():
    corpus = toy_corpus(6)
    expected = [
        s for d in (1, 4) for s in range(int(corpus.doc_spans[d]), int(corpus.doc_spans[d + 1]))
    ]
    assert spans_of(corpus.doc_spans, np.array([1, 4])).tolist() == expected


# a network's signals


def signals_of(corpus, network, *, seed=3) -> dict[str, float]:
    spans = np.arange(corpus.n_spans)
    return TargetSignals(corpus, spans, batch_tokens=64, seed=seed)(network)


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
    assert set(first) == set(ON_TARGET)
    assert all(0 <= value <= 1 for value in first.values())


def test_agreement_is_whole_without_dropout_only():
    corpus = toy_corpus(labelled=False)
    assert signals_of(corpus, seen_network(0.0))["target_agreement"] == 1
    assert signals_of(corpus, seen_network(0.5))["target_agreement"] < 1


# selection by them


class Weights(Hook):
    def __init__(self, network):
        self.network, self.found = network, []

    def on_epoch_end(self, epoch):
        self.found.append(snapshot(self.network))
        return {}


@pytest.mark.parametrize("select", ON_TARGET)
def test_the_epoch_with_the_highest_signal_is_kept(tmp_path, select):
    network, values = toy_network(), iter([0.2, 0.9, 0.5])
    weights, score = Weights(network), toy_evaluate(toy_corpus(12, seed=9))
    settings = toy_settings(select=select)
    Run(
        network=network,
        streams=[source_stream(Share.of(toy_corpus()), K, 1.0)],
        settings=settings,
        evaluate=lambda network: {**score(network), "score": 0.0, select: next(values)},
        folder=tmp_path,
        fingerprint={},
        hooks=[weights],
    ).train(resume=False)
    assert_equal(snapshot(network), weights.found[1])


def test_every_choice_of_the_settings_has_a_key():
    (options,) = (TrainingSettings.model_fields["select"].annotation.__args__,)
    assert set(options) == set(SELECTION)


# in a run from files


def test_a_teacher_is_not_selected_on_a_target(world, tmp_path):
    with pytest.raises(MaralError, match=r"\[M330\].*target_density"):
        train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=tmp_path / "t",
            overrides={"teacher.select": "target_density"},
        )  # fmt: skip
    assert not (tmp_path / "t").exists()


def test_a_diagnosis_must_be_meant(world, tmp_path):
    with pytest.raises(MaralError, match=r"\[M331\]"):
        adapt_in(world, tmp_path / "student", labels=world["labels"], diagnosis=world["target"])


def test_a_diagnosis_changes_nothing_but_the_log(world, tmp_path):
    short = {"student.epochs": 2, "student.select": "target_agreement"}
    plain = adapt_in(world, tmp_path / "plain", labels=world["labels"], overrides=short)
    gold = adapt_in(
        world, tmp_path / "gold", labels=world["labels"], diagnosis=world["target"],
        overrides={**short, "adaptation.diagnose_with_gold": True},
    )  # fmt: skip
    assert_equal(tensors_of(gold), tensors_of(plain))
    rows, diagnosed = rows_of(plain), rows_of(gold)
    for row, other in zip(rows, diagnosed, strict=True):
        assert "target_f1" not in row and 0 <= other["target_f1"] <= 1
        assert all(row[key] == other[key] for key in ("losses", "dev_f1", *ON_TARGET))
        assert other["noise_ratio_start"] == diagnosed[0]["noise_ratio_start"]


def test_signals_are_computed_only_where_they_are_asked_for(world, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nobody asked for signals")

    monkeypatch.setattr("spacy_maral.adaptation.signals.TargetSignals.__call__", refuse)
    short = {"student.epochs": 1, "student.select": "source_dev"}
    plain = adapt_in(world, tmp_path / "plain", labels=world["labels"], overrides=short)
    assert not {*ON_TARGET} & {*rows_of(plain)[0]}
    with pytest.raises(AssertionError, match="nobody asked"):
        adapt_in(
            world, tmp_path / "gold", labels=world["labels"], diagnosis=world["target"],
            overrides={**short, "adaptation.diagnose_with_gold": True},
        )  # fmt: skip
