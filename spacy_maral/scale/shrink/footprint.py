"""What a pipeline takes: bytes on the disk, seconds to load, resident memory."""

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
    """RETURNS (int): Size of a pipeline's files, without those of the run that trained it."""
    run = path / RUN_FOLDER
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and run not in p.parents)


def measure_loading(pipelines: Sequence[str | Path]) -> list[dict[str, float | None]]:
    """Load pipelines in processes of their own, in turn, and take the medians.

    pipelines (Sequence): Folders, or names if they are installed.
    RETURNS (list[dict]): For each the "seconds" that loading it takes, imports left out, the
        process's "resident_bytes" afterwards, those of the pipeline alone as "pipeline_bytes", and
        the most at any time as "peak_bytes"; None where that is not known.
    """
    found: list[list[dict[str, float | None]]] = [[] for _ in pipelines]
    for _ in range(RUNS):
        for rows, name in zip(found, pipelines, strict=True):
            command = [sys.executable, "-c", CODE, str(name)]
            result = subprocess.run(command, check=False, capture_output=True, text=True)
            # a pipeline may need code that the new process does not know
            rows.append(json.loads(result.stdout) if result.returncode == 0 else {})
    return [{key: _median([row.get(key) for row in rows]) for key in KEYS} for rows in found]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def main() -> None:
    """Load the pipeline that the command line names, and write what it took as JSON."""
    import torch  # noqa: F401

    # what loading it would import
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
        # other than what the operating system counts for a child, not its parent's
        "peak_bytes": resident_bytes("VmHWM"),
    }
    assert nlp.pipe_names
    sys.stdout.write(json.dumps(found) + "\n")


def resident_bytes(kind: str) -> int | None:
    """Memory of this process that is in RAM.

    kind (str): "VmRSS" for now, "VmHWM" for the most so far.
    RETURNS (int): Bytes, None where they are not known.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(found[kind].split()[0]) * 1024
