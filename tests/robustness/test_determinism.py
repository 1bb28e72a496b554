"""The same seed gives the same weights, as users train: in fresh processes, with two threads."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spacy_maral.data.files import sha256
from spacy_maral.model.machine import deterministic
from spacy_maral.training import teacher
from spacy_maral.training.loop import Run

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, torch
from spacy_maral.training.teacher import train_teacher
assert torch.get_num_threads() == 2
config, source, dev, output = sys.argv[1:]
train_teacher(config, source=source, dev=dev, output=output,
              overrides={"teacher.batch_tokens": 4000, "teacher.epochs": 12})
assert not torch.are_deterministic_algorithms_enabled()
"""


def test_two_threads_give_the_same_weights_each_time(world, tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    found = set()
    for number in range(2):
        output = tmp_path / str(number)
        given = [str(world[name]) for name in ("config", "source", "dev")]
        command = [sys.executable, "-c", SCRIPT, *given, str(output)]
        done = subprocess.run(command, env=env, timeout=120, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found.add(tuple(sha256(output / part / "model") for part in ("maral_ner", "transformer")))
    assert len(found) == 1


def test_the_rows_of_a_table_are_added_in_one_order():
    """What differed: the gradient of an index, added by several threads in any order."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(0, 8, (200_000,), generator=generator)
        weights = torch.randn(200_000, 4, generator=generator)
        found = set()
        with deterministic(True):
            for _ in range(4):
                table = torch.zeros(8, 4, requires_grad=True)
                (table[rows] * weights).sum().backward()
                found.add(table.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1 and not torch.are_deterministic_algorithms_enabled()


def test_training_computes_so_on_a_cpu(world, tmp_path, monkeypatch):
    seen = []
    step = Run._step

    def look(self, *args):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, *args)

    monkeypatch.setattr(Run, "_step", look)
    given = {"source": world["source"], "dev": world["dev"]}
    teacher.train_teacher(
        world["config"], output=tmp_path, overrides={"teacher.epochs": 1}, **given
    )
    assert seen and all(seen)


def test_another_number_of_threads_gives_a_warning(world, tmp_path, monkeypatch, caplog):
    def train(**settings):
        given = {"source": world["source"], "dev": world["dev"]}
        teacher.train_teacher(world["config"], output=tmp_path, **given, **settings)

    class Stop(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stop

    monkeypatch.setattr(teacher, "finish", stop)
    with pytest.raises(Stop):
        train()
    with pytest.raises(Stop):
        train(resume=True)
    assert "[W533]" not in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    with caplog.at_level(logging.WARNING):
        train(resume=True)
    assert caplog.text.count("[W533]") == 1 and "with 1 threads and continues with 7" in caplog.text
    # a finished run is finished
    monkeypatch.undo()
    caplog.clear()
    train(resume=True)
    assert "[W304]" in caplog.text and "[W533]" not in caplog.text
