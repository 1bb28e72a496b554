from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parent.parent / "tools" / "digest_adaptations.py"


def run(*arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parent.parent)}
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def test_runs_are_digested_and_compared(tmp_path):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    done = run(first, "--only", "hard-all")
    assert not done.returncode, done.stdout + done.stderr
    found = json.loads(first.read_text(encoding="utf8"))
    assert {"teacher", "labels", "hard-all x1", "hard-all x2"} <= found.keys()
    others = len(found) - 1
    found["hard-all x1"]["rows"][0]["changed"] = -1
    second.write_text(json.dumps(found), encoding="utf8")
    compared = run(first, "--compare", second)
    assert compared.returncode == 1 and others > 3
    assert f"1 of {others + 1} " in compared.stdout
    assert "row 1: changed" in compared.stdout
