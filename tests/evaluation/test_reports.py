from __future__ import annotations

import numpy as np
import pytest
from wasabi import Printer

from spacy_maral.data.files import write_json
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.metrics import Entities, score_entities
from spacy_maral.evaluation.tables import (
    COMPARISON_HEADER,
    markdown_table,
    read_comparison,
    show_report,
)


def write_metrics(path, strict: float, paper: float | None) -> None:
    protocol = None if paper is None else {"f1": paper}
    write_json(path, {"micro": {"f1": strict}, "paper_protocol": protocol})


def test_comparison_pairs_teacher_and_student(tmp_path):
    write_metrics(tmp_path / "teacher-de-test.json", 0.50, 0.6)
    write_metrics(tmp_path / "student-de-test.json", 0.5525, 0.58)
    write_metrics(tmp_path / "teacher-zh-Hant.json", 0.1, None)
    write_metrics(tmp_path / "student-es-test.json", 1.0, 1.0)
    (tmp_path / "notes.json").write_text("not metrics", encoding="utf8")
    rows = read_comparison(tmp_path)
    assert rows == [
        ["de-test", "50.00", "55.25", "+5.25", "60.00", "58.00", "-2.00"],
        ["es-test", "-", "100.00", "-", "-", "100.00", "-"],
        ["zh-Hant", "10.00", "-", "-", "-", "-", "-"],
    ]
    assert all(len(row) == len(COMPARISON_HEADER) for row in rows)


def test_markdown():
    assert markdown_table(["", "F1"], [["de", "1.00"], ["es", "2.00"]]) == (
        "|  | F1 |\n| --- | ---: |\n| de | 1.00 |\n| es | 2.00 |\n"
    )


def test_a_folder_without_metrics_is_refused(tmp_path):
    with pytest.raises(MaralError, match="no metrics"):
        read_comparison(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"micro": {}}', '{"micro": {"f1": "x"}}', "1"])
def test_broken_metrics_are_named(tmp_path, text):
    (tmp_path / "teacher-de.json").write_text(text, encoding="utf8")
    with pytest.raises(MaralError, match=r"teacher-de\.json"):
        read_comparison(tmp_path)


def test_tables_show_percent_and_counts(capsys):
    gold = Entities(*np.array([[0, 0, 1, 1], [0, 3, 8, 2], [0, 10, 10, 2]]).T)
    predicted = Entities(*np.array([[0, 0, 1, 1], [0, 10, 10, 1]]).T)
    report = score_entities(gold, predicted, ["LOC", "PER"], max_width=4)
    show_report(report, Printer(pretty=False))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["LOC", "50.00", "100.00", "66.67", "1"] in lines
    assert ["PER", "0.00", "0.00", "0.00", "2"] in lines
    assert ["all", "50.00", "33.33", "40.00", "3"] in lines
    protocol = "paper protocol (up to 4 words) 50.00 50.00 50.00 2"
    assert protocol.split() in lines
    assert ["PER", "1", "1", "0"] in lines
    assert ["wrong", "type", "1"] in lines
    assert ["missed", "1"] in lines
