"""A run that is killed anywhere and resumed ends as the one that was left alone, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toys import without_timings
from worlds import rows_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

DRIVER = Path(__file__).parent / "kill_driver.py"
# some 35 steps; checkpoints also within epochs; random numbers of dropout and of masked pieces
OVERRIDES = {
    "student.epochs": 4, "student.batch_docs": 10, "student.select": "source_dev",
    "student.checkpoint_minutes": 0.002, "student.accumulate": 2, "adaptation.mlm_weight": 0.1,
    "adaptation.alpha_start": 0.6, "adaptation.alpha_end": 0.4,
}  # fmt: skip

OF_TEACHER = {
    "teacher.epochs": 3, "teacher.batch_docs": 10, "teacher.select": "source_dev",
    "teacher.checkpoint_minutes": 0.002, "teacher.accumulate": 2, "teacher.mlm_weight": 0.1,
}  # fmt: skip


def noisy_labels(path: Path, output: Path) -> Path:
    """Pseudo-labels of which a third says something else, so that there is something to refine."""
    with np.load(path) as file:
        arrays = dict(file)
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(len(arrays["probabilities"])) < 0.33)
    n_classes = arrays["probabilities"].shape[1]
    arrays["probabilities"][rows] = rng.dirichlet(np.ones(n_classes), len(rows))
    np.savez(output, **arrays)
    return output


def kill_and_resume(
    world, folder: Path, training: str, *, kills: int, kills_a_run: int, seed: int
) -> dict:
    arguments = {name: str(world[name]) for name in ("config", "source", "target", "dev")}
    if training == "adapt":
        arguments["teacher"] = str(world["teacher"])
        arguments["labels"] = str(noisy_labels(world["labels"], folder / "labels.npz"))
    job = {
        "training": training, "arguments": arguments,
        "overrides": OVERRIDES if training == "adapt" else OF_TEACHER,
        "folder": str(folder), "errors": str(folder / "errors.txt"), "seed": seed,
        "kills": kills, "kills_a_run": kills_a_run, "loads": str(world["teacher"]),
    }  # fmt: skip
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    result = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(job)],
        env={**os.environ, **one_thread, "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads(result.stdout.splitlines()[-1])
    errors = (folder / "errors.txt").read_text(encoding="utf8")
    assert not any(report["codes"]), (report, errors[-3000:])
    return report


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of all files of a pipeline and its diagnostics, but for those that tell times."""
    timed = {"log.jsonl", "summary.json"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in timed
    }


def assert_as_unbroken(output: Path, whole: Path) -> None:
    found, expected = files_of(output), files_of(whole)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))
    summaries = [
        json.loads((side / "training" / "summary.json").read_text()) for side in (output, whole)
    ]
    for name in ("selected_epoch", "fingerprint", "settings", "data", "labels"):
        assert summaries[0][name] == summaries[1][name]


def assert_same_labels(output: Path, whole: Path) -> None:
    with np.load(f"{output}.labels.npz") as labels, np.load(f"{whole}.labels.npz") as others:
        assert sorted(labels.files) == sorted(others.files)
        for name in labels.files:
            assert (labels[name] == others[name]).all()


@pytest.mark.parametrize(
    ("kills", "kills_a_run", "seed"),
    [
        pytest.param(3, 3, 1, id="3"),
        pytest.param(50, 5, 2, id="50", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_killed_runs_end_as_the_unbroken_one(world, tmp_path, kills, kills_a_run, seed):
    report = kill_and_resume(
        world, tmp_path, "adapt", kills=kills, kills_a_run=kills_a_run, seed=seed
    )
    assert len(report["killed"]) == kills
    (tmp_path / "report.json").write_text(json.dumps(report, indent=1), encoding="utf8")
    whole = tmp_path / "whole"
    assert sum(row["changed"] for row in rows_of(whole)) > 0
    for output in report["outputs"]:
        assert_as_unbroken(Path(output), whole)
        assert_same_labels(Path(output), whole)


@pytest.mark.parametrize(
    ("kills", "kills_a_run", "seed"),
    [
        pytest.param(3, 3, 3, id="3"),
        pytest.param(30, 5, 4, id="30", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_killed_teachers_that_model_target_text_end_as_the_unbroken_one(
    world, tmp_path, kills, kills_a_run, seed
):
    report = kill_and_resume(
        world, tmp_path, "train_teacher", kills=kills, kills_a_run=kills_a_run, seed=seed
    )
    assert len(report["killed"]) == kills
    whole = tmp_path / "whole"
    assert all(row["losses"]["target_mlm"] > 0 for row in rows_of(whole))
    for output in report["outputs"]:
        assert_as_unbroken(Path(output), whole)
