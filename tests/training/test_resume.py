from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import spacy
from toys import assert_equal, without_timings
from worlds import (
    adapt_in,
    make_docs,
    rows_of,
    tensors_of,
    write,
)

from spacy_maral.errors import MaralError
from spacy_maral.training import runs, setup


@pytest.mark.parametrize("extra", [{}, {"adaptation.mlm_weight": 0.1, "student.freeze_layers": 1}])
def test_an_interrupted_run_is_resumed(world, tmp_path, monkeypatch, extra):
    whole = adapt_in(world, tmp_path / "whole", overrides=extra)
    output = tmp_path / "broken"

    class Stop(runs.Adaptation):
        def on_row(self, row):
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(runs, "Adaptation", Stop)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=extra)
    monkeypatch.undo()
    with pytest.raises(MaralError, match="unfinished run") as error:
        adapt_in(world, output, overrides=extra)
    assert str(output / "training") in str(error.value)
    relabelled = make_docs("source", 80, 0)
    relabelled[0].set_ents([], default="outside")
    changed = write(tmp_path / "relabelled.spacy", relabelled)
    for arguments in ({"source": changed}, {"overrides": {**extra, "student.learn_rate": 2e-3}}):
        with pytest.raises(MaralError, match="cannot be resumed"):
            adapt_in(world, output, resume=True, **{"overrides": extra, **arguments})
    adapt_in(world, output, overrides=extra, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))


@pytest.mark.parametrize("moment", ["to_disk", "replace", "write_text", "remove_checkpoint"])
def test_a_run_interrupted_while_it_ends_is_resumed(world, tmp_path, monkeypatch, moment):
    overrides = {"student.epochs": 2, "student.select": "source_dev"}
    whole = adapt_in(world, tmp_path / "whole", overrides=overrides)
    output, calls = tmp_path / "broken", []

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2 or moment in ("to_disk", "write_text"):
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    owner = spacy.Language if moment == "to_disk" else setup
    original = getattr(owner, moment)
    monkeypatch.setattr(owner, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=overrides)
    monkeypatch.undo()
    adapt_in(world, output, overrides=overrides, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))
    assert {p.name for p in output.iterdir()} == {p.name for p in whole.iterdir()}


SCRIPT = """
import json, sys, torch
from pathlib import Path
from spacy_maral.training import adapt
torch.set_num_threads(1)
arguments = {k: Path(v) for k, v in json.loads(sys.argv[1]).items()}
adapt(arguments.pop("config"), overrides=json.loads(sys.argv[2]), resume=True, **arguments)
"""


def test_a_killed_run_ends_as_the_unbroken_one(world, tmp_path):
    overrides = {"student.epochs": 9, "student.batch_docs": 4}
    whole = adapt_in(world, tmp_path / "whole", overrides=overrides)
    output, moments = tmp_path / "killed", random.Random(7)
    names = ("config", "teacher", "source", "target", "dev")
    arguments = {**{k: str(world[k]) for k in names}, "output": str(output)}
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments), json.dumps(overrides)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for epoch in (1, 3, 5):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 100
        mark = output / "training" / f"epoch-{epoch:04d}"
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
    adapt_in(world, output, overrides=overrides, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))
