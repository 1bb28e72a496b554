"""Calibrating a saved pipeline, and its threshold for a precision."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import spacy
import study_calibration
from spacy.tokens import Doc, Span
from typer.testing import CliRunner
from worlds import make_docs, write

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import evaluate_pipeline, read_gold, without_labels
from spacy_maral.evaluation.span_scores import score_spans
from spacy_maral.model.spans import OUTSIDE, UNKNOWN
from spacy_maral.training import calibrate as calibration
from spacy_maral.training.calibrate import calibrate, choose_threshold
from spacy_maral.training.teacher import train_teacher


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Documents whose gold labels are wrong in a third of the cases, as a hard text would be."""
    docs = make_docs("target", 80, 21)
    rng = np.random.default_rng(5)
    for doc in docs:
        ents = [ent for ent in doc.ents if rng.random() < 0.7]
        doc.set_ents(ents, default="outside")
    return write(tmp_path_factory.mktemp("gold") / "gold.spacy", docs)


@pytest.fixture
def model(world, tmp_path):
    return shutil.copytree(world["teacher"], tmp_path / "model")


def entities(model, gold):
    nlp = spacy.load(model)
    return [
        [(e.start, e.end, e.label_, e._.maral_score) for e in doc.ents]
        for doc in nlp.pipe(without_labels(nlp, read_gold(gold)))
    ]


def test_only_confidences_change(model, gold, tmp_path):
    before = entities(model, gold)
    report = calibrate(model, gold, output=tmp_path / "new")
    after = entities(tmp_path / "new", gold)
    assert [[e[:3] for e in doc] for doc in before] == [[e[:3] for e in doc] for doc in after]
    assert entities(model, gold) == before
    old, new = (np.array([e[3] for doc in side for e in doc]) for side in (before, after))
    assert len(old) == report.n_decisions
    share = report.n_correct / report.n_decisions
    assert 0.5 < share < 0.9 and abs(new.mean() - share) < 0.03 < abs(old.mean() - share)
    assert report.after < report.before / 2
    # it is kept by bytes, and lost with new weights
    nlp = spacy.load(tmp_path / "new")
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.from_bytes(pipe.to_bytes()).cfg["calibration"]["temperature"]
    nlp.initialize()
    assert "calibration" not in pipe.cfg


def test_what_else_is_in_a_folder_is_kept(world, model, gold, tmp_path):
    other = shutil.copytree(world["teacher"], tmp_path / "other")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "own.txt").write_text("kept", encoding="utf8")
    for output in (other, tmp_path / "texts"):
        before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
        with pytest.raises(MaralError, match=r"M406.*something else"):
            calibrate(model, gold, output=output)
        assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before
    with pytest.raises(MaralError, match="M544"):
        calibrate(model, gold, output=model / "calibrated")
    # the copy has what the folder of the pipeline has, and so has the folder itself
    (model / "own").mkdir()
    (model / "own" / "notes.txt").write_text("mine", encoding="utf8")
    (model / "own" / "notes.txt").chmod(0o444)
    calibrate(model, gold, output=tmp_path / "copy")
    calibrate(model, gold)
    for folder in (tmp_path / "copy", model):
        assert (folder / "own" / "notes.txt").read_text(encoding="utf8") == "mine"
        assert "calibration" in spacy.load(folder).get_pipe("maral_ner").cfg
    assert not list(model.rglob("*.tmp"))


def test_the_error_is_measured_on_other_texts(model, gold, tmp_path, monkeypatch):
    """Of two copies of a sentence, one is not measured by a fit to the other."""
    fitted, fit = [], calibration.fit_calibration
    monkeypatch.setattr(
        calibration, "fit_calibration", lambda x, *more: fitted.append(x) or fit(x, *more)
    )
    different = {doc.text: doc for doc in read_gold(gold)}.values()
    twice = write(tmp_path / "twice.spacy", [doc for doc in different for _ in range(2)])
    calibrate(model, twice, output=tmp_path / "new")
    every, *halves = (sorted(np.round(x, 3).tolist()) for x in fitted)
    assert sorted(halves[0] + halves[1]) == every
    assert all(half[::2] == half[1::2] for half in halves) and halves[0] != halves[1]


def test_a_finished_run_knows_its_calibrated_pipeline(world, gold, tmp_path, caplog):
    files = {name: world[name] for name in ("source", "dev")}
    short = {**files, "output": tmp_path / "model", "overrides": {"teacher.epochs": 1}}
    model = train_teacher(world["config"], **short)
    calibrate(model, gold)
    train_teacher(world["config"], **short, resume=True)
    assert "W304" in caplog.text and "W530" not in caplog.text
    assert "calibration" in spacy.load(model).get_pipe("maral_ner").cfg


def test_the_command_sets_the_threshold_for_a_precision(model, gold):
    spans = score_spans(spacy.load(model), read_gold(gold))
    kept = spans.predicted != OUTSIDE
    wanted = (spans.predicted[kept] == spans.gold[kept]).mean() + 0.02
    arguments = ["calibrate", str(model), "--on", str(gold), "--precision", f"{wanted:.3f}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Expected calibration error" in result.output and "Threshold" in result.output
    nlp = spacy.load(model)
    threshold = nlp.get_pipe("maral_ner").cfg["threshold"]
    assert 0 < threshold == nlp.config["components"]["maral_ner"]["threshold"]
    assert evaluate_pipeline(nlp, gold).report.precision >= wanted - 5e-4
    # a configuration still has the last word
    other = spacy.load(model, config={"components": {"maral_ner": {"threshold": 0.0}}})
    assert other.get_pipe("maral_ner").cfg["threshold"] == 0.0


def test_the_lowest_threshold_that_has_the_precision():
    confidence = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.4])
    correct = np.array([True, True, False, True, False, True])
    threshold, precision, recall = choose_threshold(confidence, correct, 5, 0.7, "x")
    assert 0.5 < threshold < 0.6 and (precision, recall) == (0.75, 0.6)
    assert choose_threshold(confidence, correct, 5, 0.6, "x")[0] == 0.0
    # those with the same confidence stay together
    assert choose_threshold(confidence, correct, 5, 0.9, "x")[0] == pytest.approx(0.85)
    with pytest.raises(MaralError, match=r"M565.*0\.5.*40\.0 %"):
        choose_threshold(np.full(5, 0.9), np.array([True, True, False, False, False]), 5, 0.5, "x")


def test_what_cannot_be_calibrated(model, tmp_path):
    few = write(tmp_path / "few.spacy", make_docs("target", 4, 3))
    with pytest.raises(MaralError, match=r"M563.*few\.spacy"):
        calibrate(model, few)
    with pytest.raises(MaralError, match=r"M564.*95"):
        calibrate(model, few, precision=95)
    assert spacy.load(model)  # as it was


def test_scored_spans_are_those_of_gold_and_prediction(model):
    nlp = spacy.load(model)
    docs = make_docs("target", 150, 8)
    bare = Doc(nlp.vocab, words=["lebt", "\n", "Merkel", "und", "Paris"])
    bare.set_ents([Span(bare, 4, 5, label="NEW")], missing=[bare[2:3]], default="outside")
    docs.append(bare)
    found = score_spans(nlp, docs)
    names = ["O", *nlp.get_pipe("maral_ner").labels, "NEW"]
    gold = {(i, e.start, e.end - 1, e.label_) for i, doc in enumerate(docs) for e in doc.ents}
    columns = zip(found.docs, found.starts, found.ends, found.gold, strict=True)
    assert {(d, s, e, names[g]) for d, s, e, g in columns if g != OUTSIDE} == gold
    assert names[UNKNOWN] == "NEW"
    predicted = {
        (i, e.start, e.end - 1, e.label_)
        for i, doc in enumerate(nlp.pipe(without_labels(nlp, docs)))
        for e in doc.ents
        if not (i == 150 and e.start <= 2 < e.end)
    }
    columns = zip(found.docs, found.starts, found.ends, found.predicted, strict=True)
    assert {(d, s, e, names[p]) for d, s, e, p in columns if p != OUTSIDE} == predicted


def test_the_study_measures_on_other_sentences(model, gold, monkeypatch, capsys):
    """A row for each way to fit; its error without calibration is that of the pipeline."""
    paths = [str(model), str(gold), "--source", str(gold), "--few", "2", "40"]
    monkeypatch.setattr(sys, "argv", ["study_calibration.py", *paths, "--precision", "0.7"])
    study_calibration.main()
    table = capsys.readouterr().out.splitlines()[2:]
    lines = [line.split("|") for line in table if line]
    rows = {cells[1].strip(): cells[2:-1] for cells in lines}
    assert list(rows) == ["source", "2", "40", "half (40)"]
    before, after, precision = (float(cell.split(" ± ")[0]) for cell in rows["source"][:3])
    report = calibrate(model, gold, precision=0.7)
    # here the sentences are those that it was fitted to
    assert before == pytest.approx(100 * report.before, abs=0.1) and after < before
    assert precision == pytest.approx(100 * report.precision, abs=0.1)
    # two sentences have too few entities for a fit
    assert rows["2"][0].strip() == "–" and rows["2"][-1].strip() == "0 of 100"
    assert float(rows["40"][1].split(" ± ")[0]) < float(rows["40"][0].split(" ± ")[0]) / 1.5
