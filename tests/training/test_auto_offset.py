"""The offsets that trainings choose and save."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import spacy
from worlds import adapt_in, rows_of

from spacy_maral.adaptation.target_names import Strings, read_target
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import evaluate_pipeline
from spacy_maral.model.names import NameMemory
from spacy_maral.model.offsets import best_f1_offset
from spacy_maral.model.spans import softmax
from spacy_maral.training.pipelines import load_pipeline
from spacy_maral.training.teacher import train_teacher


def offset_of(path):
    return spacy.load(path).get_pipe("maral_ner").cfg["offset"]


def summary_of(path):
    return json.loads((path / "training" / "summary.json").read_text(encoding="utf8"))


def test_the_best_threshold_is_half_of_the_best_expected_f1():
    """Calibrated probabilities: the threshold with the highest expected F1, by trying all."""
    p = np.sort(np.random.default_rng(0).beta(0.3, 1.0, 20_000))
    found = len(p) - np.arange(len(p))
    right = p[::-1].cumsum()[::-1]
    f1 = 2 * right / (found + p.sum())
    best = f1.argmax()
    threshold = 1 / (1 + math.exp(best_f1_offset(float(f1[best]))))
    assert threshold == pytest.approx(p[best], abs=2e-3)
    assert best_f1_offset(1.0) == 0
    assert best_f1_offset(0.0) == best_f1_offset(0.2) == pytest.approx(math.log(9))


def test_a_teacher_gets_the_offset_of_its_f1_on_source_dev(world, tmp_path):
    def train(name, **changed):
        overrides = {"teacher.epochs": 1, **changed}
        return train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=tmp_path / name,
            overrides=overrides,
        )  # fmt: skip

    auto = train("auto", **{"teacher.offset": "auto"})
    wanted = best_f1_offset(rows_of(auto)[-1]["dev_f1"])
    assert offset_of(auto) == pytest.approx(wanted, abs=1e-3)
    assert summary_of(auto)["offset"] == offset_of(auto)
    for given in (0.0, 0.1):
        own = spacy.load(auto, config={"components": {"maral_ner": {"offset": given}}})
        assert own.get_pipe("maral_ner").cfg["offset"] == given
    assert offset_of(train("given", **{"teacher.offset": -50.0})) == -50.0
    meta = spacy.util.load_meta(tmp_path / "given" / "meta.json")
    assert meta["performance"]["source_dev_ents_r"] == 0
    # the log is of the time before
    row = rows_of(tmp_path / "given")[-1]
    assert row["dev_recall"] > 0 == summary_of(tmp_path / "given")["scores"]["dev_recall"]
    found = evaluate_pipeline(spacy.load(auto), world["dev"]).report
    assert summary_of(auto)["scores"]["dev_f1"] == pytest.approx(found.f1)
    own = {"teacher.offset": "auto", "components.maral_ner.offset": 0.25}
    assert offset_of(train("own", **own)) == 0.25


def test_a_student_gets_an_offset_and_knows_its_operating_point(world, tmp_path):
    student = adapt_in(world, tmp_path / "auto", overrides={"student.epochs": 1})
    nlp = spacy.load(student)
    pipe = nlp.get_pipe("maral_ner")
    row = rows_of(student)[-1]
    assert pipe.cfg["offset"] == pytest.approx(best_f1_offset(row["dev_f1"]), abs=1e-3)
    docs = list(read_docs(world["target"]))
    for doc in docs:
        doc.ents = []
    found = pipe.score_spans(list(nlp.pipe(docs, disable=["maral_ner"])))
    strings = Strings.of(docs, found.candidates.max_width)
    point = strings.operating_point(softmax(found.scores))
    summary = summary_of(student)
    assert summary["offset"] == pipe.cfg["offset"]
    assert summary["operating_point"]["strings"] == pytest.approx(point.strings, rel=0.1)
    assert summary["operating_point"]["recall"] == pytest.approx(point.recall, abs=0.05)
    overrides = {"student.offset": 0.5, "student.epochs": 1, "adaptation.save_names": False}
    fixed = adapt_in(world, tmp_path / "fixed", overrides=overrides)
    assert offset_of(fixed) == 0.5 and summary_of(fixed)["operating_point"]["strings"] > 0


def test_without_names_a_student_reads_the_same_and_remembers_none(world, tmp_path, monkeypatch):
    pipeline, docs = load_pipeline(world["teacher"]), list(read_docs(world["target"]))
    wanted = read_target(pipeline, docs, names=True)
    assert wanted.memory is not None and len(wanted.memory)
    for name in ("of", "streamed"):
        monkeypatch.setattr(NameMemory, name, lambda *_: pytest.fail("built a memory"))
    found = read_target(pipeline, docs, names=False)
    assert found.memory is None and found.point == wanted.point
    np.testing.assert_array_equal(found.classes, wanted.classes)
    # the paper's settings
    overrides = {
        "student.epochs": 1, "adaptation.names": "off", "adaptation.save_names": False,
    }  # fmt: skip
    student = adapt_in(world, tmp_path / "plain", overrides=overrides)
    assert summary_of(student)["operating_point"]["strings"] > 0
