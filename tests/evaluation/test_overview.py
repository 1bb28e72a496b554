"""The first part of a report: verdict, comparison with the teacher, labels of each target, missed entities."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import spacy
from spacy.tokens import Doc, Span
from typer.testing import CliRunner
from worlds import adapt_in, make_docs, write

from spacy_maral.cli import app
from spacy_maral.evaluation.metrics import Score
from spacy_maral.evaluation.mistakes import judge
from spacy_maral.evaluation.report.colours import KNOWN, class_colours
from spacy_maral.evaluation.report.figures import curve_figures
from spacy_maral.evaluation.report.overview import (
    DEV,
    NO_TEACHER,
    Scored,
    comparison_table,
    label_table,
    points,
    verdict,
)
from spacy_maral.evaluation.report.page import render_report
from spacy_maral.evaluation.report.run_record import RunRecord, read_run
from spacy_maral.evaluation.report.svg import N_COLOURS
from spacy_maral.evaluation.report.targets import reliable_share, target_figures


def scores(micro: float, **per_type: float) -> SimpleNamespace:
    found = {label: Score(f1, f1, f1, 10) for label, f1 in per_type.items()}
    return SimpleNamespace(f1=micro, micro=Score(micro, micro, micro, 20), per_type=found)


def scored(name: str, student: SimpleNamespace, teacher: SimpleNamespace | None) -> Scored:
    return Scored(name, SimpleNamespace(report=student), teacher)


def record(targets=None, summary=None, **row) -> RunRecord:
    labels = {"pseudo_labels": {"O": 90, "ORG": 4, "PER": 6}, "reliable": {"ORG": 0.5, "PER": 1.0}}
    rows = [{"epoch": 1, "losses": {"source": 1.0, "target": 1.0}, "dev_f1": 0.8, **labels, **row}]
    if targets is not None:
        rows[0]["targets"] = targets
    return RunRecord(Path("nowhere"), rows, summary or {}, [])


def test_the_verdict_names_gain_lost_classes_and_targets_without_labels():
    targets = {
        "de": {"pseudo_labels": {"O": 50, "ORG": 4, "PER": 6}, "reliable": {"ORG": 0.01, "PER": 1}},
        "hi": {"pseudo_labels": {"O": 40, "ORG": 0, "PER": 0}, "reliable": {}},
    }
    tests = [
        scored("de", scores(0.7, ORG=0.5, PER=0.8), scores(0.65, ORG=0.53, PER=0.7)),
        scored("hi", scores(0.602, ORG=0.5, PER=0.7), scores(0.6, ORG=0.497, PER=0.7)),
    ]
    assert verdict(record(targets), tests) == [
        "+2.6 F1 over the teacher on average: de +5.0, hi +0.2.",
        "ORG (−3.0) got worse on de.",
        "hi got no labels.",
        "The filter keeps only 1 % of the labels ORG in de.",
    ]


def test_a_loss_is_no_gain():
    (first, *_) = verdict(record(), [scored("de.spacy", scores(0.6), scores(0.65))])
    assert first == "−5.0 F1 against the teacher on de.spacy."


def test_classes_without_labels_are_named_for_one_target():
    row = {"pseudo_labels": {"O": 9, "ORG": 0, "PER": 3}, "reliable": {"ORG": None, "PER": 0.4}}
    assert verdict(record(**row), [])[-1] == "No pseudo-label is ORG."
    assert label_table(record(**row))[1] == [
        ["target", "O", "9", "-"], ["", "ORG", "0", "-"], ["", "PER", "3", "40 %"],
    ]  # fmt: skip


def test_without_gold_the_scores_of_both_on_the_development_set_are_compared():
    found = record(summary={"teacher": {"dev_f1": 0.81}})
    assert verdict(found, []) == [
        f"F1 is 80.0 on the {DEV}.", f"−1.0 F1 against the teacher on the {DEV}.", NO_TEACHER,
    ]  # fmt: skip
    assert comparison_table(found, [])[1] == [[DEV, "all", "81.00", "80.00", "−1.00", "-"]]


def test_both_have_the_f1_of_their_saved_pipelines():
    """A student's log has no offset yet; its teacher's meta.json has the F1 with one."""
    found = record(
        summary={"teacher": {"dev_f1": 0.81}, "scores": {"dev_f1": 0.83}},
        alpha=None, centroid_cosine=0.0, dev_precision=0.8, dev_recall=0.8, seconds=1.0,
    )  # fmt: skip
    older = replace(found, summary={})
    assert verdict(found, [])[:2] == [
        f"F1 is 83.0 on the {DEV}.", f"+2.0 F1 over the teacher on the {DEV}.",
    ]  # fmt: skip
    assert comparison_table(found, [])[1] == [[DEV, "all", "81.00", "83.00", "+2.00", "-"]]
    assert ">83.00<" in render_report(found) and ">83.00<" not in render_report(older)
    figure = curve_figures(found)[1]
    assert "80 %" in figure.svg and "without the offset" in figure.note
    assert "offset" not in curve_figures(older)[1].note


def test_a_teacher_is_not_compared_with_a_teacher():
    found = record()
    del found.rows[0]["losses"]["target"], found.rows[0]["pseudo_labels"]
    assert verdict(found, []) == [f"F1 is 80.0 on the {DEV}."]
    header, rows = comparison_table(found, [scored("de", scores(0.7, PER=0.6), None)])
    assert header == ["", "class", "F1", "gold"]
    assert rows[:2] == [["de", "all", "70.00", "20"], ["", "PER", "60.00", "10"]]
    assert label_table(found)[1] == []


def test_the_reliable_share_of_a_target_is_that_of_its_entities():
    part = {
        "pseudo_labels": {"O": 90, "ORG": 30, "PER": 10},
        "reliable": {"O": 1, "ORG": 0.5, "PER": 1.0},
    }
    assert reliable_share(part) == (15 + 10) / 40
    none = {"pseudo_labels": {"O": 9, "ORG": 0}, "reliable": {"O": 1.0, "ORG": None}}
    assert reliable_share(none) is None
    assert target_figures(record()) == []


@pytest.mark.parametrize(("change", "text"), [(0.026, "+2.6"), (-0.026, "−2.6"), (-1e-9, "+0.0")])
def test_points(change, text):
    assert points(change) == text


def test_a_class_has_one_colour_wherever_it_is():
    for names in (["O", "LOC", "ORG", "PER"], ["PER", "O", "MISC", "ORG"], ["PER"]):
        colours = class_colours(names)
        assert all(colours[name] == KNOWN.get(name, 0) for name in names)
    own = class_colours(["Zahl", "PER"])
    assert own == class_colours(["PER", "Zahl"]) and own["Zahl"] != own["PER"]
    many = class_colours(["O", *(f"X{i}" for i in range(N_COLOURS))])
    assert sorted(many.values()) == list(range(N_COLOURS + 1))
    assert max(class_colours([f"X{i}" for i in range(20)]).values()) == N_COLOURS


@pytest.fixture(scope="module")
def two_targets(world, tmp_path_factory):
    """A student of two targets, one of them without any name."""
    folder = tmp_path_factory.mktemp("overview")
    vocab = spacy.blank("xx").vocab
    empty = write(
        folder / "hi.spacy", [Doc(vocab, words=["lebt", "und", "lebt"]) for _ in range(8)]
    )
    full = write(folder / "de.spacy", make_docs("target", 40, 2, labelled=False))
    run = adapt_in(world, folder / "student", target=[full, empty], overrides={"student.epochs": 2})
    return {"run": run, "gold": write(folder / "gold.spacy", make_docs("target", 30, 5))}


def test_the_report_shows_teacher_and_every_target(world, two_targets, tmp_path, quick_map):
    more = shutil.copy(world["dev"], tmp_path / "more.spacy")
    arguments = [
        "report", two_targets["run"], "-o", tmp_path / "r.html", "--teacher", world["teacher"],
        "--gold", two_targets["gold"], "--gold", more,
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "r.html").read_text(encoding="utf8")
    for part in (
        "the teacher on average: gold.spacy", "more.spacy", "teacher F1", "Targets: de, hi.",
        "Encoder: encoder", "Date: 20", "Missed entities", "Reliable share by target",
    ):  # fmt: skip
        assert part in text, part
    summary = json.loads((two_targets["run"] / "training/summary.json").read_text())
    performance = json.loads((world["teacher"] / "meta.json").read_text())["performance"]
    assert summary["teacher"]["dev_f1"] == performance["source_dev_ents_f"]
    figures = target_figures(read_run(two_targets["run"]))
    assert [figure.heading for figure in figures] == [
        "Entity labels by target", "Reliable share by target",
    ]  # fmt: skip
    names = [row[0] for row in label_table(read_run(two_targets["run"]))[1]]
    assert names == ["de", "", "", "hi", "", ""]


def test_missed_entities_are_those_that_no_prediction_overlaps(two_targets, monkeypatch):
    nlp, vocab, docs = spacy.load(two_targets["run"]), spacy.blank("xx").vocab, []
    for text, start in (("wir Rom", 1), ("nach Bonn", 1), ("in bonn", 1), ("Rom ist BONN", 2)):
        doc = Doc(vocab, words=text.split())
        doc.set_ents([Span(doc, start, start + 1, label="LOC")], default="outside")
        docs.append(doc)
    # wrong ends overlap; a neighbour does not
    predicted = {(0, 0, 1, "LOC"): 0.9, (3, 0, 1, "LOC"): 0.8}
    monkeypatch.setattr("spacy_maral.evaluation.mistakes._predict", lambda nlp, docs: predicted)
    found = judge(nlp, docs)
    assert found.report.missed == 3 and len(found.mistakes) == 2
    (missed,) = found.missed
    assert (missed.doc, missed.entity, missed.kind) == (1, (1, 1, "LOC"), "missed 3 times")
    assert missed.words == ["nach", "Bonn"] and missed.confidence is None
    assert missed.gold == [missed.entity] and not missed.predicted
