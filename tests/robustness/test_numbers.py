"""What may come up in the numbers of a run, and what then happens: each case has an outcome."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from spacy.tokens import Doc
from toys import (
    LABELS,
    K,
    assert_equal,
    noisy_labels,
    toy_corpus,
    toy_evaluate,
    toy_network,
    toy_settings,
    without_timings,
)
from worlds import adapt_in, make_docs, rows_of, tensors_of, write

from spacy_maral.adaptation.filter import split_scores
from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.errors import MaralError
from spacy_maral.model.spans import OUTSIDE
from spacy_maral.model.vmf import ClassStatistics
from spacy_maral.training.hooks import Hook
from spacy_maral.training.loop import Run
from spacy_maral.training.settings import AdaptationSettings
from spacy_maral.training.shares import Share
from spacy_maral.training.teacher import train_teacher

SOURCE, TARGET = toy_corpus(16, seed=1), toy_corpus(20, seed=2)
SETTINGS = {
    "filter_limit": "none",
    "filter_outside": 1.0,
    "target_labels": "hard",
    "target_prior_scale": 1.0,
    "warmup_epochs": 1,
    "neighbours": 10,
    "bank_outside_rate": 0.2,
    "alpha_start": 0.6,
}


def labels_of(classes, confidence: float = 0.9) -> PseudoLabels:
    """Soft pseudo-labels of the target that are all the same sure of their classes."""
    probabilities = np.full((len(classes), K), (1 - confidence) / (K - 1), dtype=np.float16)
    probabilities[np.arange(len(classes)), classes] = confidence
    return PseudoLabels(probabilities, LABELS, TARGET.max_width, TARGET.digest)


def keep_of_class(classes, c: int, n: int) -> np.ndarray:
    """Gold classes with only n spans of a class; the others are outside."""
    found = classes.astype(np.int64).copy()
    found[np.flatnonzero(found == c)[n:]] = OUTSIDE
    return found


def adapt_toy(folder, *, source=SOURCE, target=TARGET, labels=None, network=None, **changed):
    """An adaptation of three epochs; all that it leaves must be numbers."""
    network = network or toy_network(3)
    training = toy_settings(epochs=3, select="source_dev")
    hook = Adaptation(
        network, Share.of(source), Share.of(target),
        labels or noisy_labels(target, target.classes, noise=0.3, seed=0),
        training=training, settings=AdaptationSettings(**{**SETTINGS, **changed}), seed=5,
    )  # fmt: skip
    run = Run(
        network=network, streams=[hook.source, hook.target], settings=training,
        evaluate=toy_evaluate(toy_corpus(10, seed=9)), folder=folder, fingerprint={}, hooks=[hook],
    )  # fmt: skip
    rows = run.train(resume=False)
    assert all(math.isfinite(value) for row in rows for value in row["losses"].values())
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    assert np.isfinite(hook.labels.probabilities).all()
    np.testing.assert_allclose(hook.labels.probabilities.sum(1), 1, atol=2e-3)
    return rows, hook


# classes


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("guidance", ["both", "local", "global"])
def test_a_class_with_few_pseudo_labels(tmp_path, n, guidance):
    labels = labels_of(keep_of_class(TARGET.classes, 2, n))
    rows, hook = adapt_toy(tmp_path, labels=labels, guidance=guidance)
    # too few to be split: all are reliable, so that nothing takes them away
    assert (hook.labels.classes == 2).sum() >= n
    assert hook.target.prior[2] > 0
    if not n:
        assert rows[0]["reliable"]["PER"] is None


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("loss", ["max_margin", "cross_entropy", "supcon"])
def test_a_class_with_few_source_spans(tmp_path, n, loss):
    source = dataclasses.replace(SOURCE, classes=keep_of_class(SOURCE.classes, 2, n))
    network = toy_network(3)
    training = toy_settings(epochs=1, loss=loss)
    hook = Adaptation(
        network, Share.of(source), Share.of(TARGET), labels_of(TARGET.classes), training=training,
        settings=AdaptationSettings(**SETTINGS), seed=5,
    )  # fmt: skip
    run = Run(
        network=network, streams=[hook.source], settings=training, folder=tmp_path,
        evaluate=toy_evaluate(toy_corpus(10, seed=9)), fingerprint={}, hooks=[],
    )  # fmt: skip
    (row,) = run.train(resume=False)
    assert math.isfinite(row["losses"]["source"])
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    # the share of half a span keeps log prior finite
    assert hook.source.prior[2] == pytest.approx(max(n, 0.5) / SOURCE.n_spans, rel=0.05)


@pytest.mark.parametrize("target_labels", ["hard", "soft"])
@pytest.mark.parametrize("statistics", ["all", "reliable", "source"])
def test_all_pseudo_labels_outside(tmp_path, target_labels, statistics):
    labels = labels_of(np.zeros(TARGET.n_spans, dtype=np.int64), confidence=1.0)
    rows, _ = adapt_toy(
        tmp_path, labels=labels, target_labels=target_labels, statistics=statistics, alpha_end=0.9
    )
    # 0.6 and then 0.9 of what a label says stays: more than half
    assert [row["pseudo_labels"]["O"] for row in rows] == [TARGET.n_spans] * 3
    assert [row["changed"] for row in rows] == [0, 0, 0]
    for row in rows:
        assert row["reliable"]["LOC"] is None and row["reliable"]["O"] is not None


def test_no_label_is_reliable(tmp_path):
    class Nothing(Adaptation):
        def _train_on(self, labels):
            super()._train_on(dataclasses.replace(labels, reliable=np.zeros_like(labels.reliable)))

    network, training = toy_network(3), toy_settings(epochs=2)
    hook = Nothing(
        network, Share.of(SOURCE), Share.of(TARGET), labels_of(TARGET.classes), training=training,
        settings=AdaptationSettings(**SETTINGS), seed=5,
    )  # fmt: skip
    run = Run(
        network=network, streams=[hook.source, hook.target], settings=training, folder=tmp_path,
        evaluate=toy_evaluate(toy_corpus(10, seed=9)), fingerprint={}, hooks=[hook],
    )  # fmt: skip
    # spans that weigh nothing give no loss, and no NaN
    assert [row["losses"]["target"] for row in run.train(resume=False)] == [0.0, 0.0]


# features


class SameFeatures(Hook):
    """Makes all features of the adaptation equal at the end of each epoch, before it works."""

    def __init__(self, hook: Adaptation) -> None:
        self.hook = hook

    def on_epoch_end(self, epoch):
        for features in (self.hook.target_features.z, self.hook.source_features.z):
            features[:] = np.eye(1, features.shape[1], dtype=np.float16)
        return {}


@pytest.mark.parametrize("guidance", ["both", "local", "global"])
def test_all_features_equal(tmp_path, guidance):
    network, training = toy_network(3), toy_settings(epochs=3)
    hook = Adaptation(
        network, Share.of(SOURCE), Share.of(TARGET), labels_of(TARGET.classes), training=training,
        settings=AdaptationSettings(**{**SETTINGS, "guidance": guidance}), seed=5,
    )  # fmt: skip
    before = hook.labels.classes.copy()
    run = Run(
        network=network, streams=[hook.source, hook.target], settings=training, folder=tmp_path,
        evaluate=toy_evaluate(toy_corpus(10, seed=9)), fingerprint={},
        hooks=[SameFeatures(hook), hook],
    )  # fmt: skip
    rows = run.train(resume=False)
    # equal scores cannot be split: all labels stay, and count
    assert hook.labels.reliable.all() and (hook.labels.classes == before).all()
    assert [row["changed"] for row in rows] == [0, 0, 0]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 50])
@pytest.mark.parametrize("value", [0.0, 14.2, -3e4])
def test_equal_scores_are_all_reliable(n, value):
    reliable, mixture = split_scores(np.full(n, value, dtype=np.float32), seed=0)
    assert reliable.tolist() == [True] * n and mixture is None


def test_a_network_that_says_the_same_of_all_spans(tmp_path):
    network = toy_network(3, dropout=0.0)
    with torch.no_grad():
        network.span_model.output.weight.zero_()
        network.span_model.output.bias.fill_(1.0)
    _, hook = adapt_toy(tmp_path, network=network)
    assert len(np.unique(hook.labels.probabilities.argmax(1))) > 1


def test_a_feature_of_length_zero(tmp_path):
    network = toy_network(3, dropout=0.0)
    with torch.no_grad():
        network.span_model.output.weight.zero_()
        network.span_model.output.bias.zero_()
    adapt_toy(tmp_path, network=network)


# concentrations


def at_the_cap(n_classes: int, dim: int) -> ClassStatistics:
    statistics = ClassStatistics(n_classes, dim)
    with torch.no_grad():
        statistics.mean.copy_(torch.nn.functional.normalize(statistics.mean, dim=1))
    return statistics


@pytest.mark.parametrize("dim", [2, 8, 64, 768])
def test_kappa_at_its_cap(dim):
    statistics = at_the_cap(3, dim)
    assert statistics.concentration.tolist() == [statistics.max_concentration] * 3
    z = torch.nn.functional.normalize(torch.randn(50, dim), dim=1).requires_grad_()
    scores = statistics.score(z)
    scores.sum().backward()
    assert scores.isfinite().all() and z.grad.isfinite().all()
    # the class that a span lies on has the highest score
    assert statistics.score(statistics.direction).argmax(1).tolist() == [0, 1, 2]


def test_a_run_with_kappa_at_its_cap(tmp_path):
    network = toy_network(3)
    with torch.no_grad():
        mean = network.span_model.statistics.mean
        mean.copy_(torch.nn.functional.normalize(mean, dim=1))
    network.span_model.statistics.pseudo_count = 1e12
    rows, _ = adapt_toy(tmp_path, network=network)
    assert rows[-1]["kappa"][1] == network.span_model.statistics.max_concentration


# banks


def test_more_neighbours_than_the_bank_has(tmp_path):
    rows = [
        adapt_toy(tmp_path / str(k), neighbours=k, guidance="local")[0] for k in (10_000, 1_000_000)
    ]
    # all of the bank count for every span
    assert without_timings(rows[0]) == without_timings(rows[1])


def test_a_bank_without_outside_spans(tmp_path):
    adapt_toy(tmp_path, bank_outside_rate=0.0)


def test_a_bank_of_nothing(tmp_path):
    source = dataclasses.replace(SOURCE, classes=np.zeros_like(SOURCE.classes))
    labels = labels_of(np.zeros(TARGET.n_spans, dtype=np.int64), confidence=1.0)
    _, hook = adapt_toy(
        tmp_path, source=source, labels=labels, bank_outside_rate=0.0, guidance="local"
    )
    assert (hook.labels.classes == OUTSIDE).all()


# small targets, through the public functions


def some_words(*sizes: int) -> list[Doc]:
    found = [doc for doc in make_docs("target", 40, 2) if len(doc) >= max(sizes)]
    return [
        Doc(doc.vocab, [token.text for token in doc][:n])
        for doc, n in zip(found, sizes, strict=False)
    ]


@pytest.mark.parametrize(
    "sizes", [(3,), (1,), (1,) * 6, (0, 2, 0, 1)], ids=["sentence", "word", "words", "some empty"]
)
def test_a_tiny_target(world, tmp_path, sizes):
    target = write(tmp_path / "target.spacy", some_words(*sizes))
    overrides = {"student.epochs": 3, "student.batch_tokens": 2000}
    output = adapt_in(world, tmp_path / "out", target=target, overrides=overrides)
    rows = rows_of(output)
    assert len(rows) == 3
    assert all(math.isfinite(value) for row in rows for value in row["losses"].values())
    assert all(tensor.isfinite().all() for tensor in tensors_of(output).values())


@pytest.mark.parametrize("name", ["source", "target", "dev"])
def test_documents_without_words(world, tmp_path, name):
    empty = [Doc(doc.vocab) for doc in make_docs("target", 3, 2)]
    files = {name: write(tmp_path / "empty.spacy", empty)}
    with pytest.raises(MaralError, match=rf"M303.*{name} documents hold no words \(3 documents\)"):
        adapt_in(world, tmp_path / "out", **files)
    files = {name: write(tmp_path / "nothing.spacy", [])}
    with pytest.raises(MaralError, match=r"M\d+\] .*nothing\.spacy"):
        adapt_in(world, tmp_path / "out", **files)


def test_a_dev_without_entities(world, tmp_path):
    docs = make_docs("source", 5, 1)
    for doc in docs:
        doc.set_ents([], default="outside")
    dev = write(tmp_path / "dev.spacy", docs)
    with pytest.raises(MaralError, match=r"M333.*their labels are: none"):
        adapt_in(world, tmp_path / "out", dev=dev)


# determinism


def test_two_runs_with_one_seed_are_one(world, tmp_path):
    overrides = {
        "teacher.epochs": 2, "student.epochs": 3, "student.select": "source_dev",
        "adaptation.mlm_weight": 0.1, "components.maral_ner.model.dropout": 0.2,
    }  # fmt: skip
    runs = []
    for name in ("a", "b"):
        # whatever was drawn before
        torch.rand(hash(name) % 1000)
        np.random.default_rng().random()
        teacher = train_teacher(
            world["config"], source=world["source"], dev=world["dev"],
            output=tmp_path / f"teacher-{name}", overrides=overrides,
        )  # fmt: skip
        student = adapt_in(
            world, tmp_path / f"student-{name}", teacher=teacher, overrides=overrides
        )
        runs.append((teacher, student))
    for one, other in zip(*runs, strict=True):
        assert_equal(tensors_of(one), tensors_of(other))
        assert without_timings(rows_of(one)) == without_timings(rows_of(other))
    third = train_teacher(
        world["config"], source=world["source"], dev=world["dev"], output=tmp_path / "third",
        overrides={**overrides, "system.seed": 4},
    )  # fmt: skip
    name = "span.hidden.weight"
    assert not torch.equal(tensors_of(third)[name], tensors_of(runs[0][0])[name])
