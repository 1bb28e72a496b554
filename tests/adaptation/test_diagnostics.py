from __future__ import annotations

import json

import numpy as np
import pytest
from spacy.cli.package import package
from test_adaptation import SOURCE, TARGET, make_hook, make_run
from toys import LABELS, K, assert_equal, snapshot, toy_corpus, without_timings
from worlds import adapt_in, rows_of

from spacy_maral.adaptation import improve as improve_module
from spacy_maral.adaptation.diagnostics import (
    CONTEXT,
    N_DOUBTFUL,
    Diagnostics,
    EpochFiles,
    EpochState,
    Side,
    balanced_sample,
)
from spacy_maral.adaptation.filter import Mixture, split_spans
from spacy_maral.adaptation.improve import TargetLabels
from spacy_maral.model.spans import enumerate_spans
from spacy_maral.training.shares import Share

DIM = 6
FILES = [".epoch-0001", ".epoch-0002", ".epoch-0003", ".epoch-0004"]


def words_of(corpus, prefix="w") -> list[list[str]]:
    lengths = np.diff(corpus.doc_words)
    return [[f"{prefix}{i}-{j}" for j in range(n)] for i, n in enumerate(lengths)]


def unit(rows) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def make_side(corpus, rng, prefix) -> Side:
    n = corpus.n_spans
    spans = np.sort(rng.choice(n, n // 2, replace=False)) if prefix == "s" else np.arange(n)
    z = unit(rng.normal(size=(len(spans), DIM))).astype(np.float16)
    classes = rng.choice(K, len(spans), p=[0.8, 0.15, 0.05])
    return Side(Share.of(corpus), words_of(corpus, prefix), spans, classes, z)


def labels_of(classes, probabilities=None, reliable=None) -> TargetLabels:
    n = len(classes)
    return TargetLabels(
        np.full((n, K), 1 / K, dtype=np.float32) if probabilities is None else probabilities,
        classes, np.ones(n, dtype=bool) if reliable is None else reliable, np.full(K, 1 / K),
    )  # fmt: skip


@pytest.fixture
def state() -> EpochState:
    rng = np.random.default_rng(0)
    source, target = make_side(SOURCE, rng, "s"), make_side(toy_corpus(40, seed=3), rng, "t")
    n = target.corpus.n_spans
    scores = rng.uniform(-16, 16, (n, K)).astype(np.float32)
    directions, reliable = unit(rng.normal(size=(K, DIM))), rng.random(n) < 0.6
    probabilities = rng.dirichlet(np.ones(K), n).astype(np.float32)
    return EpochState(
        epoch=1, source=source, target=target, scores=scores, directions=directions,
        before=labels_of(target.classes, probabilities),
        after=labels_of(rng.integers(0, K, n), reliable=reliable), mixtures={1: Mixture((0, 1), (2, 3), (0.4, 0.6), 0.5)},
        gold=rng.choice(K, n, p=[0.8, 0.15, 0.05]),
    )  # fmt: skip


@pytest.fixture
def found(state, tmp_path) -> dict:
    EpochFiles(tmp_path, LABELS, temperature=0.1, seed=5, sample_size=20).record(state)
    return json.loads((tmp_path / ".epoch-0002.json").read_text(encoding="utf8"))


# what is written


def test_histograms_count_the_scores_under_the_pseudo_labels(state, found):
    edges = found["edges"]
    assert edges[0] == -10 and edges[-1] == 10 and found["classes"] == ["O", *LABELS]
    expected = np.zeros((2, K, len(edges) - 1), dtype=int)
    for i, c in enumerate(state.target.classes):
        rho = min(max(float(state.scores[i, c]), -10), 10)  # what lies outside is in the last bins
        b = next(b for b in range(len(edges) - 1) if rho < edges[b + 1] or b == len(edges) - 2)
        expected[0, c, b] += 1
        expected[1, c, b] += c != state.gold[i]
    np.testing.assert_array_equal(found["counts"], expected[0])
    np.testing.assert_array_equal(found["counts_noisy"], expected[1])
    own = {"means": [0, 1], "sds": [2, 3], "weights": [0.4, 0.6], "cut": 0.5}
    assert found["mixtures"] == [None, own, None] and found["filtered"]


def test_labels_and_their_changes(state, found):
    before, after = state.target.classes, state.after.classes
    for a in range(K):
        assert found["pseudo_labels"][a] == sum(before == a)
        assert found["reliable"][a] == sum((before == a) & state.after.reliable)
        for b in range(K):
            assert found["changes"][a][b] == sum((before == a) & (after == b))


def test_scores_of_right_and_wrong_labels(state, found):
    classes, gold = state.target.classes, state.gold
    rho = [float(row[c]) for row, c in zip(state.scores, classes, strict=True)]
    for name, right in (("clean", True), ("noisy", False)):
        own = [r for r, c, g in zip(rho, classes, gold, strict=True) if (c == g) == right and c]
        assert found["gold"][f"n_{name}"] == len(own)
        assert found["gold"][f"rho_{name}"] == pytest.approx(np.mean(own), rel=1e-5)
        for k in range(K):
            of_class = [
                r
                for r, c, g in zip(rho, classes, gold, strict=True)
                if c == k and (c == g) == right
            ]
            assert found["gold"][f"rho_{name}_by_class"][k] == pytest.approx(
                np.mean(of_class), rel=1e-5
            )


@pytest.mark.parametrize("name", ["source", "target"])
def test_compactness_and_margins(state, found, name):
    side, mu = getattr(state, name), state.directions
    assert found[name]["spans"] == len(side.spans)
    margins = []
    for c in range(K):
        z = side.z[side.classes == c].astype(float)
        others = [k for k in range(K) if k != c]
        own = [float(a @ mu[c]) - max(float(a @ mu[k]) for k in others) for a in z]
        margins += own
        assert found[name]["compactness"][c] == pytest.approx(np.mean(z @ mu[c]), abs=1e-5)
        assert found[name]["margin"][c] == pytest.approx(min(own), abs=1e-5)
        assert found[name]["margin_low"][c] == pytest.approx(np.quantile(own, 0.05), abs=1e-5)
    assert found[name]["overall_margin"] == pytest.approx(min(margins), abs=1e-5)
    cosines = [[float(a @ b) for b in mu] for a in mu]
    np.testing.assert_allclose(found["centroid_cosine"], cosines, atol=1e-6)


def test_the_least_reliable_labels_come_with_their_words(state, found):
    target, rows = state.target, found["doubtful"]
    starts, ends, offsets = enumerate_spans(np.diff(target.corpus.doc_words), 2)
    expected = {}
    for i, c in enumerate(target.classes):
        if c:
            doc = int(np.searchsorted(offsets, i, side="right")) - 1
            rho = float(state.scores[i, c])
            if doc not in expected or rho < expected[doc][0]:
                expected[doc] = (rho, int(starts[i]), int(ends[i]), i)
    order = sorted(expected, key=lambda doc: expected[doc])[:N_DOUBTFUL]
    assert [row["doc"] for row in rows] == order
    for row in rows:
        rho, start, end, i = expected[row["doc"]]
        words = target.words[row["doc"]]
        assert row["rho"] == pytest.approx(rho, abs=1e-4)
        assert row["words"][row["start"] : row["end"] + 1] == words[start : end + 1]
        assert " ".join(row["words"]) in " ".join(words)
        assert row["student"] == state.scores[i].argmax()
        assert row["probability"] == pytest.approx(
            state.before.probabilities[i, row["class"]], abs=1e-4
        )
        assert (row["gold"], row["refined"]) == (state.gold[i], state.after.classes[i])


def test_long_documents_are_cut_to_the_words_around(state, tmp_path):
    corpus = toy_corpus(1, n_words=(100, 100))
    n = corpus.n_spans
    classes = np.zeros(n, dtype=np.int64)
    classes[2 * 50] = 1  # the fiftieth word alone
    state.target = Side(
        Share.of(corpus), words_of(corpus), np.arange(n), classes, np.zeros((n, DIM))
    )
    state.scores, state.gold = np.zeros((n, K), dtype=np.float32), None
    state.before = state.after = labels_of(classes)
    found = EpochFiles(tmp_path, LABELS, temperature=0.1, seed=5).describe(state)
    (row,) = found["doubtful"]
    assert row["words"] == [f"w0-{j}" for j in range(50 - CONTEXT, 50 + CONTEXT + 1)]
    assert row["words"][row["start"]] == "w0-50" and row["start"] == row["end"]
    assert row["gold"] is None and found["gold"] is None and "counts_noisy" not in found


def test_the_sample_holds_features_classes_and_texts(state, found, tmp_path):
    with np.load(tmp_path / ".epoch-0002.npz", allow_pickle=False) as file:
        sample = {name: file[name] for name in file.files}
    assert sample["z"].dtype == np.float16 and len(sample["z"]) == 40
    for i, number in enumerate(sample["side"]):
        side = (state.source, state.target)[number]
        (row,) = np.flatnonzero((side.z == sample["z"][i]).all(1))
        assert sample["classes"][i] == side.classes[row]
        assert sample["reliable"][i] == (state.after.reliable[row] if number else True)
        first, last = (edge[side.spans[row]] for edge in side.corpus.span_words())
        doc = sample["doc"][i]
        assert side.corpus.doc_words[doc] + sample["start"][i] == first
        assert side.corpus.doc_words[doc] + sample["end"][i] == last
        words = side.words[doc][sample["start"][i] : sample["end"][i] + 1]
        assert sample["text"][i] == " ".join(words)


def test_a_sample_has_equal_shares_as_far_as_there_are():
    classes = np.repeat([0, 1, 2], [500, 40, 4])
    rng = np.random.default_rng(0)
    chosen = balanced_sample(np.random.default_rng(1).permutation(classes), 44, rng)
    assert len(set(chosen.tolist())) == 44 and (np.diff(chosen) > 0).all()
    counts = np.bincount(np.random.default_rng(1).permutation(classes)[chosen])
    assert counts.tolist() == [20, 20, 4]
    assert len(balanced_sample(classes, 10_000, rng)) == len(classes)
    assert len(balanced_sample(classes[:0], 10, rng)) == 0


# in a run


@pytest.mark.parametrize("features", ["training", "clean"])
def test_diagnostics_change_nothing_in_the_run(tmp_path, features):
    words = {"source": words_of(SOURCE, "s"), "target": words_of(TARGET, "t")}
    results = []
    for name in ("without", "with"):
        hook = make_hook(features=features, diagnose_with_gold=True)
        hooks = []
        if name == "with":
            folder = tmp_path / "diagnostics"
            hooks = [Diagnostics(folder, hook, words)]
        rows = make_run(tmp_path / name, hook, hooks=hooks).train(resume=False)
        results.append((snapshot(hook.network), hook.labels.probabilities, without_timings(rows)))
    assert_equal(results[0][0], results[1][0])
    assert (results[0][1] == results[1][1]).all()
    assert results[0][2] == results[1][2]
    assert sorted({path.stem for path in folder.iterdir()}) == FILES
    epochs = [json.loads((folder / f"{name}.json").read_text()) for name in FILES]
    assert [epoch["filtered"] for epoch in epochs] == [True, True, True, False]
    for epoch, row in zip(epochs, results[1][2], strict=True):
        assert epoch["epoch"] == row["epoch"]
        changes = np.array(epoch["changes"])
        assert changes.sum() - changes.trace() == row["changed"]
        # compactness is that of features, all of which were seen
        assert all(-1 <= value <= 1.001 for value in epoch["target"]["compactness"])
        assert epoch["target"]["compactness"][0] > 0.1


def test_the_mixtures_are_those_that_the_filter_decided_by(tmp_path, monkeypatch):
    calls = []

    def recorded(*args, **kwargs):
        calls.append((args, split_spans(*args, **kwargs)))
        return calls[-1][1]

    monkeypatch.setattr(improve_module, "split_spans", recorded)
    hook = make_hook()
    words = {"source": words_of(SOURCE), "target": words_of(TARGET)}
    make_run(tmp_path, hook, hooks=[Diagnostics(tmp_path / "d", hook, words)]).train(resume=False)
    for name, ((_, classes), (reliable, mixtures)) in zip(FILES, calls, strict=False):
        epoch = json.loads((tmp_path / "d" / f"{name}.json").read_text())
        assert epoch["pseudo_labels"] == np.bincount(classes, minlength=K).tolist()
        assert epoch["reliable"] == np.bincount(classes[reliable], minlength=K).tolist()
        for c in range(K):
            assert (epoch["mixtures"][c] is None) == (c not in mixtures)
            if c in mixtures:
                assert epoch["mixtures"][c]["cut"] == mixtures[c].cut
                assert sum(epoch["counts"][c]) == sum(classes == c)
    assert len(calls) == 3


def test_a_resumed_run_writes_the_same_bytes(world, tmp_path, monkeypatch):
    from spacy_maral.adaptation import student

    overrides = {"student.epochs": 3, "adaptation.diagnose_with_gold": True}
    whole = adapt_in(world, tmp_path / "whole", overrides=overrides)
    output = tmp_path / "broken"
    stale = output / "training" / "diagnostics" / ".epoch-0009.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier run", encoding="utf8")

    class Stop(student.Adaptation):
        def on_epoch_end(self, epoch):
            info = super().on_epoch_end(epoch)
            if epoch == 1:
                raise KeyboardInterrupt
            return info

    monkeypatch.setattr(student, "Adaptation", Stop)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=overrides)
    monkeypatch.undo()
    adapt_in(world, output, overrides=overrides, resume=True)
    files = [
        {p.name: p.read_bytes() for p in (path / "training" / "diagnostics").iterdir()}
        for path in (whole, output)
    ]
    names = {f"{name}.{kind}" for name in FILES[:3] for kind in ("json", "npz")}
    assert files[0].keys() == files[1].keys() == names
    assert files[0] == files[1]


def test_the_setting_keeps_nothing(world, tmp_path):
    overrides = {"student.epochs": 2, "adaptation.diagnostics": False}
    output = adapt_in(world, tmp_path / "out", overrides=overrides)
    assert not (output / "training" / "diagnostics").exists()
    summary = json.loads((output / "training" / "summary.json").read_text(encoding="utf8"))
    assert summary["settings"]["adaptation"]["diagnostics"] is False
    assert summary["settings"]["student"]["epochs"] == 2 == len(rows_of(output))
    assert summary["data"]["target"]["documents"] == 60 and summary["labels"] == ["LOC", "PER"]


def test_no_wheel_has_the_text_that_they_quote(world, tmp_path):
    """`spacy package` copies them, but the setup.py that it writes passes over names with a dot."""
    output = adapt_in(world, tmp_path / "out", overrides={"student.epochs": 2})
    package(output, tmp_path, name="plain", version="0.0.1", create_sdist=False)
    setup: dict = {"__name__": "setup"}
    (built,) = tmp_path.glob("*_plain-0.0.1")
    exec((built / "setup.py").read_text(encoding="utf8"), setup)
    (inner,) = built.glob("*_plain/*_plain-0.0.1")
    packed = [inner.parent / name for name in setup["list_files"](str(inner))]
    of_the_run = [path for path in packed if path.parent.name == "training"]
    assert {path.name for path in of_the_run} >= {"log.jsonl", "summary.json"}
    quotes = list((inner / "training" / "diagnostics").iterdir())
    assert len(quotes) == 4 and not set(quotes) & set(packed)
    epoch = json.loads((quotes[0].with_suffix(".json")).read_text(encoding="utf8"))
    word = epoch["doubtful"][0]["words"][0]
    assert all(word not in path.read_text(encoding="utf8") for path in of_the_run)
