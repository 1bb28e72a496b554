"""The tool that measures teachers and the means of their probabilities."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import spacy
import study_sources

from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import evaluate_pipeline


def shown(report) -> list[str]:
    return [f"{100 * value:.1f}" for value in (report.f1, report.precision, report.recall)]


def test_a_teacher_has_the_f1_that_evaluate_gives_it(world, tmp_path, monkeypatch, capsys):
    copy = shutil.copytree(world["teacher"], tmp_path / "copy")
    paths = [str(path) for path in (world["dev"], world["teacher"], copy)]
    monkeypatch.setattr(sys, "argv", ["study_sources.py", *paths])
    study_sources.main()
    printed = capsys.readouterr().out
    wanted = shown(evaluate_pipeline(spacy.load(world["teacher"]), world["dev"]).report)
    # a teacher, its copy, and the mean of both
    assert printed.count(" | ".join(wanted)) == 3
    assert f"| {paths[1]} and {paths[2]} |" in printed


def test_a_pair_decides_by_the_mean_of_its_probabilities(world, tmp_path, monkeypatch):
    copy = shutil.copytree(world["teacher"], tmp_path / "copy")
    pipeline = study_sources.load_pipeline(world["teacher"])
    sure = pipeline.class_probabilities(list(read_docs(world["dev"])), name="dev")
    # the other teacher finds no name: the mean finds those that the first one has above a half
    nothing = np.zeros_like(sure)
    nothing[:, 0] = 0.4
    given = iter([sure, nothing])
    monkeypatch.setattr(type(pipeline), "class_probabilities", lambda *_, **__: next(given))
    one, other, both = study_sources.measure(world["dev"], [world["teacher"], copy])
    assert other[1:] == ["0.0", "0.0", "0.0"]
    corpus = pipeline.encode(list(read_docs(world["dev"])), labelled=True, name="dev")
    shifted = sure + nothing
    assert both[1:] == study_sources.scores(corpus, pipeline.labels, shifted / 2)
    assert float(both[3]) <= float(one[3])


def test_teachers_with_other_labels_are_refused(world, tmp_path, monkeypatch):
    copy = shutil.copytree(world["teacher"], tmp_path / "copy")
    load = study_sources.load_pipeline
    monkeypatch.setattr(
        study_sources,
        "load_pipeline",
        lambda path: replace(load(path), labels=["LOC"]) if path == copy else load(path),
    )
    with pytest.raises(SystemExit, match="other labels"):
        study_sources.measure(world["dev"], [world["teacher"], copy])
