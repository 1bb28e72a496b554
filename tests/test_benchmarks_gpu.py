"""The script for machines with a GPU, run on the CPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_cases import apart, largest_difference
from spacy_maral.errors import MaralError


@pytest.fixture
def inputs_once(monkeypatch, smoke_inputs):
    monkeypatch.setattr(gpu, "make_inputs", lambda folder: smoke_inputs)


def run(path, *cases: str) -> int:
    chosen = ("--cases", *cases) if cases else ()
    return gpu.main(["--device", "cpu", "--smoke", *chosen, "-o", str(path)])


def test_both_sides_agree_on_one_device(tmp_path, inputs_once, monkeypatch):
    path = tmp_path / "gpu.json"
    assert run(path, "agree") == 0
    row = json.loads(path.read_text())["agree"]
    names = ("scores", "reliable_differ", "labels_differ")
    assert [row[name] for name in names] == [0, 0, 0]
    # two trainings, whose sums may be rounded differently
    assert row["weights_after_an_epoch"] < 1e-4
    assert row["smoke"] and row["device"] == "cpu" and row["gpu"] is None and row["versions"]

    def refuse(*arguments, **given):
        raise AssertionError("a finished case was run again")

    monkeypatch.setattr(gpu, "in_process", refuse)
    assert run(path, "agree") == 0


def test_a_difference_is_seen():
    first = np.array([0.0, -np.inf, 2.0])
    assert largest_difference(first, np.array([0.5, -np.inf, 2.0])) == 0.5


def test_how_far_two_trainings_are_apart():
    start, first, second = np.zeros(2), np.array([3.0, 4.0]), np.array([3.0, 4.5])
    assert apart(start, first, second) == pytest.approx(0.1)


def test_a_case_that_fails_does_not_stop_the_others(tmp_path, inputs_once, monkeypatch, capsys):
    def fail(function, setting, **given):
        if given["device"] == "cpu" and function.endswith(":agree"):
            raise MaralError("out of memory")
        return {"words_per_second": 10.0}

    monkeypatch.setattr(gpu, "in_process", fail)
    path = tmp_path / "gpu.json"
    assert run(path, "agree", "pipe") == 1
    assert list(json.loads(path.read_text())) == ["pipe"]
    assert "out of memory" in capsys.readouterr().out


def test_without_a_gpu_or_text_it_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["-o", str(tmp_path / "x.json")]) == 1
    assert "PyTorch finds no GPU" in " ".join(capsys.readouterr().out.split())
    assert gpu.main(["--device", "cpu", "-o", str(tmp_path / "x.json")]) == 1
    assert "--encoder and --data" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_all_cases_run(tmp_path):
    path = tmp_path / "gpu.json"
    assert run(path) == 0
    rows = json.loads(path.read_text())
    assert list(rows) == list(gpu.CASES)
    assert 0 <= rows["road"]["student_f1"] <= 1 and rows["paper"]["seconds_per_update"] > 0
    assert all(row["train_sentences_per_second"] > 0 for n, row in rows.items() if "speed" in n)
