"""The report of several runs, and the charts and tables that it shares with others."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner
from worlds import adapt_in, make_docs, rows_of, write

from spacy_maral.cli import app
from spacy_maral.data.files import short_names
from spacy_maral.evaluation.evaluate import evaluate_pipeline, load_pipeline
from spacy_maral.evaluation.metrics import Entities, score_entities
from spacy_maral.evaluation.report.charts import Series
from spacy_maral.evaluation.report.class_scores import clean_and_noisy
from spacy_maral.evaluation.report.comparison import (
    Compared,
    compare_runs,
    curves,
    differences,
    render_comparison,
)
from spacy_maral.evaluation.report.grouped_bars import grouped_bars
from spacy_maral.evaluation.report.run_record import read_run
from spacy_maral.evaluation.tables import outside_table

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def run(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """A teacher and a student of few steps, and a test set."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = {"student.epochs": 2, "adaptation.diagnose_with_gold": True}
    student = adapt_in(world, folder / "student", overrides=overrides)
    test = write(folder / "test.spacy", make_docs("target", 30, 21))
    return world["teacher"], student, test


def test_a_teacher_that_nothing_is_compared_with_is_refused(runs, tmp_path):
    teacher, student, test = runs
    for words, remedy in (
        ((teacher, student, "--gold", test), "report on one run"), ((student,), "--gold or --dev"),
    ):  # fmt: skip
        result = run(*words, "--teacher", teacher, "-o", tmp_path / "page.html")
        assert result.exit_code == 1 and not (tmp_path / "page.html").exists()
        assert "[M578] --teacher would have no effect" in result.stderr and remedy in result.stderr


def test_the_page_of_two_runs(runs, tmp_path):
    teacher, student, test = runs
    output = tmp_path / "deep" / "page.html"
    result = run(teacher, student, "--gold", test, "-o", output)
    assert result.exit_code == 0, result.output
    text = output.read_text(encoding="utf8")
    names = short_names([teacher.resolve(), student.resolve()])
    for nlp_path in (teacher, student):
        scores = evaluate_pipeline(load_pipeline(nlp_path), test).report.micro
        assert f"<td>{100 * scores.f1:.2f}</td>" in text
    for heading in ("F1 by class", "Against outside", "entity → O", "F1, source development set"):
        assert heading in text
    assert "Noise ratio" in text  # which one of the two has
    assert all(f"</i>{name}</li>" in text for name in names)
    assert not re.search(r"<script|https?://|src=", text) and "default-src 'none'" in text


def test_the_page_without_labelled_documents(runs):
    teacher, student, _ = runs
    text = render_comparison({"a": read_run(teacher), "b": read_run(student)})
    assert "need labelled documents" in text and "Against outside" not in text
    assert text.count("<svg") == len(curves({"a": read_run(teacher), "b": read_run(student)}))


def test_curves_have_a_line_for_each_run_that_has_values(runs, tmp_path):
    teacher, student, _ = runs
    copied = shutil.copytree(student, tmp_path / "other")
    log = copied / "training" / "log.jsonl"
    rows = [{**row, "dev_f1": 0.25} for row in rows_of(copied)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    figures = curves({"t": read_run(teacher), "s": read_run(student), "o": read_run(copied)})
    by_heading = {figure.heading: parsed(str(figure.svg)) for figure in figures}
    scores = by_heading["F1, source development set"]
    lines = [g for g in scores.iter(f"{SVG}g") if g.get("class", "").startswith("line")]
    sizes = [len(list(line.iter(f"{SVG}circle"))) for line in lines]
    assert sizes == [len(rows_of(teacher)), len(rows), len(rows)]
    titles = [t.text for t in lines[2].iter(f"{SVG}title")]
    assert titles == [f"o, epoch {i + 1}: 25 %" for i in range(len(rows))]
    noise = by_heading["Noise ratio"]
    assert len([g for g in noise.iter(f"{SVG}g") if g.get("class", "").startswith("line")]) == 2


def test_runs_are_compared_on_the_same_documents(runs):
    teacher, student, test = runs
    found = compare_runs({"t": teacher, "s": student}, [test])
    gold = {(i, e.start, e.end - 1, e.label_) for i, d in enumerate(found.docs) for e in d.ents}
    assert found.gold == gold and list(found.predicted) == ["t", "s"]
    for name, path in (("t", teacher), ("s", student)):
        assert found.reports[name] == replace(
            evaluate_pipeline(load_pipeline(path), test).report,
            confusion=found.reports[name].confusion,
        )


def compared(gold, **predicted) -> Compared:
    docs = make_docs("target", 5, 1)
    found = Compared(docs, set(gold), {name: set(rows) for name, rows in predicted.items()})
    report = score_entities(*[Entities(*np.zeros((4, 0), dtype=int))] * 2, ["LOC", "PER"])
    found.reports = dict.fromkeys(predicted, report)
    return found


def test_sentences_that_differ_come_with_those_who_are_right():
    gold = [(0, 0, 0, "LOC"), (1, 0, 0, "PER"), (2, 0, 1, "LOC")]
    a = [(0, 0, 0, "LOC"), (1, 0, 0, "LOC"), (2, 0, 1, "LOC"), (3, 0, 0, "PER")]
    b = [(1, 0, 0, "PER"), (2, 0, 1, "LOC"), (3, 1, 1, "PER")]
    shown = differences(compared(gold, a=a, b=b))
    # document 2 is the same; in 3 both are wrong, so it is last
    assert [found.doc for found in shown] == [0, 1, 3]
    assert [found.right for found in shown] == ["a", "b", "b"]
    assert [name for name, _ in shown[0].rows] == ["a", "b", "gold"]
    sentences = dict(shown[0].rows)
    assert "LOC" in sentences["a"] and "pointed" in sentences["a"]
    assert "<mark" not in sentences["b"] and "LOC" in sentences["gold"]
    assert not differences(compared(gold, a=a, b=a))


def test_names_of_runs_become_no_html(runs):
    evil = "<script>alert(1)</script>"
    text = render_comparison({evil: read_run(runs[0]), "b": read_run(runs[1])})
    assert "<script" not in text and "&lt;script&gt;" in text


def test_short_names_differ_where_the_paths_do():
    assert short_names(["/a/b/c", "/a/b/d/e"]) == ["c", "d/e"]
    assert short_names(["x/same", "y/same"]) == ["x/same", "y/same"]
    assert short_names(["/only/one"]) == ["one"]
    assert short_names(["/a/b", "/a/b"]) == ["b", "b"]


# Table 10


def test_entities_against_outside():
    gold = Entities(*np.array([[0, 0, 1, 1], [0, 3, 8, 2], [0, 10, 10, 2]]).T)
    predicted = Entities(*np.array([[0, 0, 1, 2], [0, 4, 8, 2], [0, 20, 20, 1]]).T)
    header, rows = outside_table(score_entities(gold, predicted, ["LOC", "PER"]))
    assert header == ["", "gold", "entity → O", "%", "predicted", "O → entity", "%"]
    assert rows == [
        ["LOC", "1", "0", "0.00", "1", "1", "100.00"],
        ["PER", "2", "2", "100.00", "2", "1", "50.00"],
        ["all", "3", "2", "66.67", "3", "2", "66.67"],
    ]
    nothing = Entities(*np.zeros((4, 0), dtype=int))
    assert outside_table(score_entities(nothing, nothing, ["LOC"]))[1][0][3::3] == ["-", "-"]


# grouped bars


def test_bars_stand_in_groups_and_negative_ones_hang():
    svg = grouped_bars(
        "T", ["O", "LOC"], [Series("one", [2.0, -1.0], 3), Series("two", [4.0, None], 2)]
    )
    root = parsed(str(svg))
    bars = [b for b in root.iter(f"{SVG}rect") if "solid" in b.get("class", "")]
    titles = [b.find(f"{SVG}title").text for b in bars]
    assert titles == ["O, one: 2", "O, two: 4", "LOC, one: −1"]
    tops, heights = ([float(b.get(k)) for b in bars] for k in ("y", "height"))
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)
    assert heights[2] == pytest.approx(heights[0] / 2, rel=0.01)
    zero = tops[0] + heights[0]
    assert zero == pytest.approx(tops[1] + heights[1], abs=0.02)
    assert zero == pytest.approx(tops[2], abs=0.02)
    lefts = [float(b.get("x")) for b in bars]
    assert lefts[0] < lefts[1] < lefts[2]
    assert "O: one 2, two 4; LOC: one −1, two –" in root.find(f"{SVG}desc").text


def test_scores_by_class_and_truth(runs):
    epoch = read_run(runs[1]).epochs[0]
    (figure,) = clean_and_noisy(epoch)
    desc = parsed(str(figure.svg)).find(f"{SVG}desc").text
    for c, name in enumerate(epoch["classes"]):
        value = epoch["gold"]["rho_clean_by_class"][c]
        shown = "–" if value is None else f"{value:.2f}".replace("-", "−")
        assert f"{name}: correct {shown}" in desc
    assert clean_and_noisy({**epoch, "gold": None}) == []
