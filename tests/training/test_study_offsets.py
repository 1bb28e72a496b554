"""The tool that measures offsets and name memories on labelled text."""

from __future__ import annotations

import sys

import pytest
import spacy
from study_offsets import few_labelled, main, measure

from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import evaluate_pipeline


def test_the_first_column_is_the_f1_of_the_pipeline(world):
    rows = measure(world["teacher"], world["target"], world["dev"], [0.0, -50.0])
    assert [row[0] for row in rows[:2]] == ["+0.00", "-50.00"] and "(chosen)" in rows[2][0]
    report = evaluate_pipeline(spacy.load(world["teacher"]), world["dev"]).report
    wanted = f"{100 * report.f1:.1f} ({100 * report.precision:.0f} / {100 * report.recall:.0f})"
    assert rows[0][1] == wanted
    assert rows[1][1] == rows[1][2] == "0.0 (0 / 0)"
    assert any(doc.ents for doc in read_docs(world["dev"]))


def test_the_table_is_printed(world, monkeypatch, capsys):
    paths = [str(world[name]) for name in ("teacher", "target", "dev")]
    monkeypatch.setattr(sys, "argv", ["study_offsets.py", *paths, "--offsets", "1", "--few", "2"])
    main()
    printed = capsys.readouterr().out
    assert "| sentences | own offset | best F1 | as trainings choose |" in printed
    assert "| offset | F1 (P / R) | with names |" in printed and "| +1.00 |" in printed


def test_few_sentences_choose_an_offset(world):
    """At its own offset the pipeline has the F1 that `evaluate` gives, up to the sentences that are drawn."""
    rows = few_labelled(world["teacher"], world["dev"], [1, 5])
    assert [row[0] for row in rows] == ["1", "5"]
    wanted = 100 * evaluate_pipeline(spacy.load(world["teacher"]), world["dev"]).report.f1
    means = [[float(cell.split(" ± ")[0]) for cell in row[1:]] for row in rows]
    assert means[0][0] == pytest.approx(wanted, abs=3)
    assert all(0 <= mean <= 100 for row in means for mean in row)


def test_a_pipeline_is_needed(world, tmp_path):
    with pytest.raises(Exception, match="M313"):
        measure(tmp_path, world["target"], world["dev"], [0.0])
