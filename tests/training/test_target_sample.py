from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toys import K, assert_equal, snapshot, toy_corpus, toy_evaluate, toy_network, toy_settings
from worlds import adapt_in, rows_of, tensors_of

from spacy_maral.errors import MaralError
from spacy_maral.training.hooks import Hook
from spacy_maral.training.loop import Run
from spacy_maral.training.settings import SELECTION, TrainingSettings
from spacy_maral.training.shares import Share
from spacy_maral.training.streams import source_stream
from spacy_maral.training.target_sample import (
    TargetSample,
    choose_docs,
    choose_spans,
    mutual_information,
)
from spacy_maral.training.teacher import train_teacher

# the information, against its definition


def test_information_is_that_between_span_and_class():
    p = np.random.default_rng(2).dirichlet(np.ones(4), 25)
    mean = p.mean(0)
    # the divergence of each span's distribution from the mean
    divergence = sum(pi * math.log(pi / m) for row in p for pi, m in zip(row, mean, strict=True))
    assert mutual_information(p) == pytest.approx(divergence / 25 / math.log(4))
    assert mutual_information(np.eye(4)) == pytest.approx(1)
    # a model that gives all spans the same class
    assert mutual_information(np.tile([0.97, 0.01, 0.01, 0.01], (90, 1))) == pytest.approx(
        0, abs=1e-12
    )
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


# a network's information


def test_the_information_is_that_of_the_chosen_spans_and_leaves_the_network_alone():
    network, corpus = toy_network(dropout=0.3), toy_corpus(labelled=False)
    network.span_model.statistics.seen.fill_(1)
    network.train()
    before = snapshot(network)
    chosen = np.arange(0, corpus.n_spans, 3)
    sample = TargetSample(corpus, chosen, batch_tokens=64, seed=3)
    found = sample.information(network)
    scores = torch.from_numpy(sample.scores(network)[chosen]).double()
    expected = mutual_information(scores.softmax(-1).numpy())
    assert found == {"target_information": pytest.approx(expected, rel=1e-6)}
    assert 0 < expected < 1
    assert_equal(snapshot(network), before)
    assert network.training


# selection by it


class Weights(Hook):
    def __init__(self, network):
        self.network, self.found = network, []

    def on_epoch_end(self, epoch):
        self.found.append(snapshot(self.network))
        return {}


def test_the_epoch_with_the_highest_information_is_kept(tmp_path):
    select = "target_information"
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
    with pytest.raises(MaralError, match=r"\[M330\].*target_information"):
        train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=tmp_path / "t",
            overrides={"teacher.select": "target_information"},
        )  # fmt: skip
    assert not (tmp_path / "t").exists()


def test_a_diagnosis_must_be_meant(world, tmp_path):
    with pytest.raises(MaralError, match=r"\[M331\]"):
        adapt_in(world, tmp_path / "student", labels=world["labels"], diagnosis=world["target"])


def test_a_diagnosis_changes_nothing_but_the_log(world, tmp_path):
    short = {"student.epochs": 2, "student.select": "target_information"}
    plain = adapt_in(world, tmp_path / "plain", labels=world["labels"], overrides=short)
    gold = adapt_in(
        world, tmp_path / "gold", labels=world["labels"], diagnosis=world["target"],
        overrides={**short, "adaptation.diagnose_with_gold": True},
    )  # fmt: skip
    assert_equal(tensors_of(gold), tensors_of(plain))
    rows, diagnosed = rows_of(plain), rows_of(gold)
    for row, other in zip(rows, diagnosed, strict=True):
        assert "target_f1" not in row and 0 <= other["target_f1"] <= 1
        assert all(row[key] == other[key] for key in ("losses", "dev_f1", "target_information"))
        assert other["noise_ratio_start"] == diagnosed[0]["noise_ratio_start"]


def test_the_information_is_computed_only_where_it_is_asked_for(world, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr("spacy_maral.training.target_sample.mutual_information", refuse)
    short = {"student.epochs": 1, "student.select": "source_dev"}
    plain = adapt_in(world, tmp_path / "plain", labels=world["labels"], overrides=short)
    assert "target_information" not in rows_of(plain)[0]
    with pytest.raises(AssertionError, match="nobody asked"):
        adapt_in(
            world, tmp_path / "gold", labels=world["labels"], diagnosis=world["target"],
            overrides={**short, "adaptation.diagnose_with_gold": True},
        )  # fmt: skip


@pytest.mark.parametrize("criterion", ["target_agreement", "target_density"])
def test_the_criteria_of_the_study_select_no_epoch(world, tmp_path, criterion):
    known = "'source_dev', 'last', 'target_information' or 'target_gold'"
    with pytest.raises(MaralError, match=rf"\[M302\](.|\n)*{criterion}.*{known}"):
        adapt_in(
            world, tmp_path / "student", labels=world["labels"],
            overrides={"student.select": criterion},
        )  # fmt: skip
