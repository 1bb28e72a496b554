from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from toys import (
    LABELS,
    K,
    assert_equal,
    noisy_labels,
    snapshot,
    toy_corpus,
    toy_evaluate,
    toy_network,
    toy_settings,
)

from spacy_maral.adaptation.filter import expected_errors
from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.model.losses import MaxMargin
from spacy_maral.model.spans import OUTSIDE
from spacy_maral.training.hooks import Hook
from spacy_maral.training.loop import Run
from spacy_maral.training.network import collect
from spacy_maral.training.objective import batch_loss
from spacy_maral.training.settings import AdaptationSettings
from spacy_maral.training.shares import Share

SOURCE, TARGET = toy_corpus(16, seed=1), toy_corpus(20, seed=2)
PSEUDO = noisy_labels(TARGET, TARGET.classes, noise=0.3, seed=0)
FAST = {
    "filter_limit": "none", "filter_outside": 1.0,
    "neighbours": 10, "bank_outside_rate": 0.2, "warmup_epochs": 1, "target_labels": "hard",
    "target_prior_scale": 1.0,
}  # fmt: skip


def make_hook(
    *, source=SOURCE, target=TARGET, pseudo=PSEUDO, epochs=4, network=None, keys=None, **changed
):
    return Adaptation(
        network or toy_network(3), Share.of(source), Share.of(target), copy.deepcopy(pseudo),
        training=toy_settings(epochs=epochs), settings=AdaptationSettings(**{**FAST, **changed}),
        seed=5, keys=keys,
    )  # fmt: skip


def make_run(folder, hook, *, hooks=(), dev=None, **changed) -> Run:
    settings = toy_settings(**{**dict(hook.training), **changed})
    return Run(
        network=hook.network, streams=[hook.source, hook.target], settings=settings,
        evaluate=toy_evaluate(dev or toy_corpus(10, seed=9)), folder=folder, fingerprint={}, seed=4,
        hooks=[hook, *hooks],
    )  # fmt: skip


class Record(Hook):
    """Keeps a copy of what the adaptation has at the end of each epoch."""

    def __init__(self, hook: Adaptation) -> None:
        self.hook = hook
        self.probabilities, self.reliable, self.classes, self.counted = [], [], [], []
        self.source_spans = np.zeros(K, dtype=int)

    def on_step(self, report):
        if report.stream is self.hook.source:
            gold = SOURCE.classes[report.batch.span_ids]
            self.source_spans += np.bincount(gold, minlength=K)

    def on_epoch_end(self, epoch):
        self.probabilities.append(self.hook.labels.probabilities.copy())
        self.reliable.append(self.hook.labels.reliable.copy())
        self.classes.append(self.hook.labels.classes.copy())
        self.counted.append(self.hook.target.classes.copy())
        return {}


def run_and_record(tmp_path, **changed):
    hook = make_hook(**changed)
    record = Record(hook)
    run = make_run(tmp_path, hook, hooks=[record])
    return run.train(resume=False), record, hook


# what it is for


@pytest.fixture(scope="module")
def noisy():
    """A larger target whose pseudo-labels are wrong for a third of the entities."""
    source, target = toy_corpus(80, seed=1), toy_corpus(80, seed=2)
    pseudo = noisy_labels(target, target.classes, noise=0.35, seed=3, confidence=0.6)
    return {"source": source, "target": target, "pseudo": pseudo, "diagnose_with_gold": True}


@pytest.mark.parametrize("features", ["training", "clean"])
def test_what_the_filter_keeps_is_cleaner(tmp_path, noisy, features):
    hook = make_hook(**noisy, epochs=5, warmup_epochs=2, features=features, guidance="none")
    rows = make_run(tmp_path, hook, batch_tokens=32).train(resume=False)
    assert rows[0]["noise_ratio"] == rows[0]["noise_ratio_reliable"] > 0.3
    for row in rows[1:]:
        assert row["noise_ratio"] == rows[0]["noise_ratio"]
        assert row["noise_ratio_reliable"] < 0.75 * row["noise_ratio"]
        assert min(row["reliable"].values()) > 0.5


def test_the_refinery_makes_labels_better(tmp_path, noisy):
    hook = make_hook(**noisy, epochs=8, warmup_epochs=2, guidance="local", neighbours=20)
    rows = make_run(tmp_path, hook, batch_tokens=32).train(resume=False)
    assert rows[-1]["noise_ratio"] < 0.85 * rows[0]["noise_ratio"]
    assert rows[-1]["noise_ratio_reliable"] < 0.5 * rows[0]["noise_ratio"]
    assert rows[-1]["dev_f1"] > 0.75


# before the first filter


def test_all_pseudo_labels_count_during_warm_up(tmp_path):
    rows, record, _ = run_and_record(tmp_path, epochs=4, warmup_epochs=2)
    assert [row["alpha"] is not None for row in rows] == [False, True, True, False]
    assert record.reliable[0].all()
    assert (record.probabilities[0] == PSEUDO.probabilities.astype(np.float32)).all()
    assert not record.reliable[1].all()
    assert (record.probabilities[3] == record.probabilities[2]).all()


def test_warm_up_without_an_end_leaves_the_labels_alone(tmp_path):
    rows, record, _ = run_and_record(tmp_path, epochs=2, warmup_epochs=5)
    assert all(row["alpha"] is None and row["changed"] == 0 for row in rows)
    assert record.reliable[-1].all()


def test_overlapping_pseudo_labels_lose_to_the_better_one():
    # one sentence of two words: spans (0,0), (0,1), (1,1), all of them entities
    target = toy_corpus(1, n_words=(2, 2))
    p = np.array([[0.4, 0.6, 0.0], [0.1, 0.1, 0.8], [0.45, 0.0, 0.55]])
    hook = make_hook(target=target, pseudo=PseudoLabels(p, LABELS, 2, target.digest))
    assert hook.labels.classes.tolist() == [OUTSIDE, 2, OUTSIDE]
    np.testing.assert_allclose(hook.labels.probabilities, p, atol=1e-6)
    np.testing.assert_allclose(hook.target.prior, p.sum(0) / 3, atol=1e-6)


# names


KEYS = np.random.default_rng(3).integers(0, TARGET.n_spans // 4, TARGET.n_spans).astype(np.uint64)


def test_names_guide_each_refinement_only_if_asked(tmp_path):
    found = {}
    for names in ("off", "labels", "all"):
        hook = make_hook(keys=KEYS, names=names, names_type_weight=0.0, alpha_start=0.5)
        record = Record(hook)
        make_run(tmp_path / names, hook, hooks=[record]).train(resume=False)
        found[names] = record.probabilities
    # the first epoch is the same
    assert (found["all"][0] != found["off"][0]).any()
    assert (found["labels"][-1] == found["off"][-1]).all()


# settings


@pytest.mark.parametrize(
    ("epochs", "warmup", "expected"),
    [
        (20, 2, np.linspace(0.95, 0.80, 18)),
        (5, 1, [0.95, 0.90, 0.85, 0.80]),
        (4, 2, [0.95, 0.80]),
        (3, 2, [0.80]),
    ],
)
def test_alpha_goes_in_a_straight_line(epochs, warmup, expected):
    hook = make_hook(epochs=epochs, warmup_epochs=warmup)
    when = [epoch for epoch in range(epochs) if hook.improves_after(epoch)]
    assert when == list(range(warmup - 1, epochs - 1))
    np.testing.assert_allclose([hook.alpha(epoch) for epoch in when], expected)


def test_the_filter_takes_out_no_more_labels_than_are_doubted(tmp_path):
    """The teacher is sure of the entities of class 1, of which none may go, and doubts those of class 2."""
    target = toy_corpus(80, seed=2)
    classes = noisy_labels(target, target.classes, noise=0.3, seed=3).probabilities.argmax(1)
    p = np.eye(K)[classes]
    p[classes == 2] = np.eye(K)[2] * 0.4 + 0.2
    pseudo = PseudoLabels(p, LABELS, target.max_width, target.digest)
    taken = {}
    for limit in ("none", "doubt"):
        hook = make_hook(target=target, pseudo=pseudo, guidance="none", filter_limit=limit)
        record = Record(hook)
        make_run(tmp_path / limit, hook, hooks=[record]).train(resume=False)
        taken[limit] = np.bincount(record.classes[0][~record.reliable[0]], minlength=K)
        doubted = np.ceil(expected_errors(hook.labels.probabilities, record.classes[0]))
        if limit == "doubt":
            assert (taken[limit] <= doubted).all()
    assert (taken["doubt"] <= taken["none"]).all()
    assert taken["none"][1] > taken["doubt"][1] == 0
    assert taken["doubt"][2] > 0


@pytest.mark.parametrize("statistics", ["all", "reliable", "source"])
def test_which_target_spans_the_class_statistics_take(tmp_path, statistics):
    hook = make_hook(statistics=statistics)
    record = Record(hook)
    make_run(tmp_path, hook, hooks=[record]).train(resume=False)
    reliable, classes, counted = record.reliable[0], record.classes[0], record.counted[0]
    assert 0 < reliable.sum() < len(reliable)
    expected = {
        "all": classes, "reliable": np.where(reliable, classes, -1),
        "source": np.full(len(classes), -1),
    }[statistics]  # fmt: skip
    assert (counted == expected).all()
    seen = hook.network.span_model.statistics.seen.numpy()
    assert (seen == record.source_spans).all() == (statistics == "source")
    assert (seen >= record.source_spans).all()


@pytest.mark.parametrize("target_labels", ["hard", "soft"])
def test_hard_and_soft_targets(tmp_path, target_labels):
    rows, _record, hook = run_and_record(tmp_path, target_labels=target_labels)
    soft = target_labels == "soft"
    expected = hook.labels.probabilities if soft else hook.labels.classes
    assert hook.target.targets.dtype == (np.float32 if soft else np.int64)
    assert (hook.target.targets == expected).all()
    assert np.isfinite(rows[-1]["losses"]["target"])


@pytest.mark.parametrize("guidance", ["both", "global", "local", "none"])
def test_only_unreliable_labels_are_refined(tmp_path, guidance):
    _, record, _ = run_and_record(tmp_path, guidance=guidance, alpha_start=0.5)
    before, after = PSEUDO.probabilities.astype(np.float32), record.probabilities[0]
    changed = ~np.isclose(before, after, atol=2e-3).all(1)
    assert not changed[record.reliable[0]].any()
    assert changed.any() == (guidance != "none")
    np.testing.assert_allclose(after.sum(1), 1, atol=2e-3)


def test_without_the_filter_all_labels_are_reliable_and_refined(tmp_path):
    _, record, _ = run_and_record(tmp_path, filter=False, alpha_start=0.5)
    assert all(reliable.all() for reliable in record.reliable)
    before = PSEUDO.probabilities.astype(np.float32)
    changed = ~np.isclose(before, record.probabilities[0], atol=2e-3).all(1)
    assert changed.mean() > 0.5


def test_the_loss_leaves_unreliable_spans_out():
    hook = make_hook()
    keep = np.arange(0, TARGET.n_spans, 3)
    reliable = np.isin(np.arange(TARGET.n_spans), keep)
    hook.restore({"probabilities": hook.labels.probabilities, "reliable": reliable})
    network = hook.network.eval()
    batch = network.batch(TARGET, np.arange(8))
    found = batch_loss(network, network(batch), hook.target, batch, MaxMargin()).parts["target"]
    hook = make_hook()
    network = hook.network.eval()
    output = network(batch)
    rho = network.span_model.statistics.score(output.z).double()
    rho = rho + torch.from_numpy(hook.target.prior).log()
    losses = -rho.log_softmax(1)[torch.arange(len(rho)), hook.labels.classes[batch.span_ids]]
    used = np.isin(batch.span_ids, keep)
    assert found == pytest.approx(losses[torch.from_numpy(used)].mean().item(), rel=1e-4)


def test_priors_are_those_of_each_side():
    hook = make_hook(target_prior_scale=0.1)
    counts = np.bincount(SOURCE.classes, minlength=K)
    np.testing.assert_allclose(hook.source.prior, counts / counts.sum())
    soft = PSEUDO.probabilities.astype(float).mean(0)
    np.testing.assert_allclose(hook.target.prior, soft / soft.sum(), rtol=1e-3)
    assert (hook.source.prior_scale, hook.target.prior_scale) == (1.0, 0.1)


# features


@pytest.mark.parametrize("features", ["training", "clean"])
def test_every_span_has_its_own_features(tmp_path, features):
    """Without dropout and with a learning rate of almost zero, both kinds are the clean ones."""
    network = toy_network(3, dropout=0.0)
    expected = [
        collect(network, c, 8, lambda out: out.z, batch_tokens=64, name="")
        for c in (SOURCE, TARGET)
    ]
    hook = make_hook(network=network, features=features)
    seen = {}
    scores = hook.scores

    def look(z):
        seen["target"], seen["source"] = z.copy(), hook.source_features.z.copy()
        seen["bank"] = hook.source_features.spans.copy()
        return scores(z)

    hook.scores = look
    run = make_run(tmp_path, hook, learn_rate=1e-12, head_learn_rate=1e-12)
    run.train(resume=False)
    np.testing.assert_allclose(seen["target"], expected[1], atol=2e-3)
    np.testing.assert_allclose(seen["source"], expected[0][seen["bank"]], atol=2e-3)
    entities = np.flatnonzero(SOURCE.classes)
    assert set(entities) <= set(seen["bank"]) and len(seen["bank"]) < SOURCE.n_spans
    assert len(hook.target_features.z) == 0  # not kept while the next epoch trains


def test_the_bank_holds_no_more_than_it_has_room_for():
    sizes = []
    for room in (10**6, 60):
        hook = make_hook(bank_size=room, bank_outside_rate=0.5)
        hook.on_epoch_start(0)
        sizes.append(len(hook._bank(np.random.default_rng(0)).classes))
    assert sizes[0] > 150
    assert sizes[1] == pytest.approx(60, abs=25)


@pytest.mark.parametrize("weights", ["equal", "graded"])
def test_the_refinery_works_on_the_features_as_a_slow_transcription_does(weights):
    hook = make_hook(
        epochs=3, features="clean", bank_outside_rate=1.0, alpha_start=0.5, guidance_weights=weights
    )
    hook.on_epoch_start(0)
    hook.network.eval()
    stats = hook.network.span_model.statistics
    for stream in (hook.source, hook.target):
        batch = hook.network.batch(stream.corpus, np.arange(len(stream.corpus)))
        stats.update(
            hook.network(batch).z.detach(), torch.from_numpy(stream.classes[batch.span_ids])
        )
    classes, before = hook.labels.classes, hook.labels.probabilities
    hook.on_epoch_end(0)

    z = [
        collect(hook.network, c, 8, lambda out: out.z, batch_tokens=64, name="").astype(np.float32)
        for c in (SOURCE, TARGET)
    ]
    rho = stats.score(torch.from_numpy(z[1])).numpy()
    bank, bank_classes = np.concatenate(z), np.concatenate([SOURCE.classes, classes])
    density = np.zeros((len(classes), K))
    tied = np.zeros(len(classes), dtype=bool)  # equal products may be ranked either way
    for i, query in enumerate(z[1]):
        products = bank @ query
        products[SOURCE.n_spans + i] = -np.inf
        ranked = np.argsort(-products, kind="stable")
        nearest, next_one = ranked[: FAST["neighbours"]], ranked[FAST["neighbours"]]
        density[i] = np.bincount(bank_classes[nearest], minlength=K) / len(nearest)
        tied[i] = products[nearest[-1]] - products[next_one] < 1e-5
    expected = before / before.sum(1, keepdims=True)
    d = np.zeros_like(before)
    for guide in (rho, density):
        for i in range(len(d)):
            if weights == "graded":
                d[i] += softmax(guide[i].astype(np.float64)) if guide is rho else guide[i]
                continue
            mean = sum(guide[i]) / K
            tied[i] |= np.isclose(guide[i], mean, atol=1e-4).any()
            d[i] += guide[i] > mean
    for i in np.flatnonzero(~hook.labels.reliable & d.any(1)):
        expected[i] = 0.5 * expected[i] + 0.5 * d[i] / d[i].sum()
    changed = np.flatnonzero(~hook.labels.reliable & ~tied)
    assert len(changed) > 5 and tied.mean() < 0.3
    np.testing.assert_allclose(hook.labels.probabilities[~tied], expected[~tied], atol=2e-3)


# honesty


@pytest.mark.parametrize("diagnose", [False, True])
def test_gold_labels_of_the_target_do_not_reach_training(tmp_path, diagnose):
    results = []
    poisoned = toy_corpus(20, seed=2)
    poisoned.classes = np.roll(poisoned.classes, 7)
    unlabelled = toy_corpus(20, seed=2, labelled=False)
    targets = [TARGET, poisoned] if diagnose else [TARGET, poisoned, unlabelled]
    for i, target in enumerate(targets):
        hook = make_hook(target=target, diagnose_with_gold=diagnose, alpha_start=0.6)
        rows = make_run(tmp_path / str(i), hook).train(resume=False)
        results.append((snapshot(hook.network), hook.arrays(), rows))
    for weights, arrays, rows in results[1:]:
        assert_equal(weights, results[0][0])
        for name in arrays:
            assert (arrays[name] == results[0][1][name]).all()
        assert all(("noise_ratio" in row) == diagnose for row in rows)
    if diagnose:
        assert results[0][2][0]["noise_ratio"] != results[1][2][0]["noise_ratio"]


def test_the_report_of_an_epoch(tmp_path):
    rows, record, _ = run_and_record(tmp_path, diagnose_with_gold=True, alpha_start=0.5)
    names = ["O", *LABELS]
    for row, classes, reliable in zip(rows, record.classes, record.reliable, strict=True):
        for c, name in enumerate(names):
            assert row["pseudo_labels"][name] == np.sum(classes == c)
            assert row["reliable"][name] == pytest.approx(np.mean(reliable[classes == c]))
    assert rows[1]["changed"] == np.sum(record.classes[0] != record.classes[1])
