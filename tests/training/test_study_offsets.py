"""The tool that measures offsets and name memories on labelled text."""

from __future__ import annotations

import sys

import pytest
import spacy
from study_offsets import main, measure

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
    monkeypatch.setattr(sys, "argv", ["study_offsets.py", *paths, "--offsets", "1"])
    main()
    printed = capsys.readouterr().out
    assert "| offset | F1 (P / R) | with names |" in printed and "| +1.00 |" in printed


def test_a_pipeline_is_needed(world, tmp_path):
    with pytest.raises(Exception, match="M313"):
        measure(tmp_path, world["target"], world["dev"], [0.0])
