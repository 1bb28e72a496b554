"""The tool that compares signs that stand apart with natural spacing."""

from __future__ import annotations

import sys

import spacy
import study_spacing
from spacy.tokens import Doc

from spacy_maral.evaluation.evaluate import evaluate_pipeline, load_pipeline


def test_signs_stand_where_they_do_in_natural_text():
    doc = Doc(spacy.blank("xx").vocab, words=["(", "Bonn", ")", ",", "so", "«", "Ada", "»", "."])
    doc.set_ents([doc.char_span(2, 6, label="LOC")], default="outside")
    found = study_spacing.natural(doc)
    assert found.text == "(Bonn), so «Ada»."
    assert [(ent.text, ent.label_) for ent in found.ents] == [("Bonn", "LOC")]


def test_both_kinds_are_trained_on_and_measured(world, tmp_path, monkeypatch, capsys):
    given = [
        world["config"],
        tmp_path / "study",
        "--source",
        world["source"],
        "--dev",
        world["dev"],
    ]
    given += ["--test", world["dev"], "--teacher.epochs", 1]
    monkeypatch.setattr(sys, "argv", ["study_spacing.py", *map(str, given)])
    study_spacing.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in row] for row in rows[-4:]]
    assert [row[:2] for row in cells] == [
        [trained, tested] for trained in ("apart", "natural") for tested in ("apart", "natural")
    ]
    report = evaluate_pipeline(load_pipeline(tmp_path / "study" / "natural"), world["dev"]).report
    assert cells[2][2] == f"{100 * report.f1:.1f}"
