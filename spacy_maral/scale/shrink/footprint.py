"""Measure what a pipeline needs: bytes on the disk, seconds to load, resident memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ...data.layout import RUN_FOLDER

RUNS = 3
KEYS = ("seconds", "resident_bytes", "pipeline_bytes", "peak_bytes")
CODE = "from spacy_maral.scale.shrink.footprint import main; main()"


def folder_bytes(path: Path) -> int:
    """RETURNS (int): Size of a pipeline's files in bytes, without those of its training run."""
    run = path / RUN_FOLDER
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and run not in p.parents)


def measure_loading(pipelines: Sequence[str | Path]) -> list[dict[str, float | None]]:
    """Load pipelines in turn, each time in a new process, and take medians.

    pipelines (Sequence): Folders, or names if they are installed.
    RETURNS (list[dict]): For each pipeline the "seconds" of loading without imports, the
        "resident_bytes" of the process afterwards, "pipeline_bytes" as the part of the pipeline, and
        "peak_bytes" as the maximum; None where they are unknown.
    """
    found: list[list[dict[str, float | None]]] = [[] for _ in pipelines]
    for _ in range(RUNS):
        for runs, name in zip(found, pipelines, strict=True):
            command = [sys.executable, "-c", CODE, str(name)]
            result = subprocess.run(command, check=False, capture_output=True, text=True)
            # a pipeline may need code that the new process lacks
            runs.append(json.loads(result.stdout) if result.returncode == 0 else {})
    return [{key: _median([run.get(key) for run in runs]) for key in KEYS} for runs in found]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def main() -> None:
    """Load the pipeline that the command line names, and write the measurements as JSON."""
    # imports of the loading, before the clock starts
    import torch  # noqa: F401

    from ...evaluation.evaluate import load_pipeline
    from ...model.encoder.transformer import BoundedTransformer  # noqa: F401

    before = resident_bytes("VmRSS")
    started = time.perf_counter()
    nlp = load_pipeline(sys.argv[1])
    seconds = time.perf_counter() - started
    after = resident_bytes("VmRSS")
    found = {
        "seconds": seconds,
        "resident_bytes": after,
        "pipeline_bytes": None if before is None or after is None else after - before,
        # getrusage would count the parent's memory for a child
        "peak_bytes": resident_bytes("VmHWM"),
    }
    assert nlp.pipe_names
    sys.stdout.write(json.dumps(found) + "\n")


def resident_bytes(kind: str) -> int | None:
    """Read how much memory of this process is in RAM.

    kind (str): "VmRSS" for the present, "VmHWM" for the maximum so far.
    RETURNS (int): Bytes, None where they are unknown.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(found[kind].split()[0]) * 1024
