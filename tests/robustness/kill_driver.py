"""Runs trainings in processes that are killed and resumed; `test_kill.py` starts it.

It imports everything once, what loading a pipeline imports too, and forks a process for each attempt, so
that an attempt costs a second and not ten. A process is killed from outside after a time, or kills
itself at a line of the package: of the functions that save, filter, refine, evaluate and end a run one
is drawn, then one of its lines, then which time it runs.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import spacy
import torch

import spacy_maral
from spacy_maral.adaptation import student
from spacy_maral.adaptation.student import adapt
from spacy_maral.training.teacher import train_teacher

PACKAGE = Path(spacy_maral.__file__).parent
WATCHED = {
    str(PACKAGE / f"{name}.py")
    for name in (
        "adaptation/diagnostics", "adaptation/filter", "adaptation/progressive",
        "adaptation/refinery", "data/files", "training/checkpoint", "training/folders",
        "training/loop", "training/masked_lm", "training/saving", "training/summary",
    )
}  # fmt: skip
TRAININGS = {"adapt": adapt, "train_teacher": train_teacher}


class Lines:
    """Counts how often the lines of the watched files run; kills this process at one of them.

    last (tuple): File, function, line and count of that moment; None to kill at none.
    """

    def __init__(self, last: tuple[str, str, int, int] | None) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.last = last

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self.line if frame.f_code.co_filename in WATCHED else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            code = frame.f_code
            place = (Path(code.co_filename).name, code.co_name, frame.f_lineno)
            self.counts[place] += 1
            if (*place, self.counts[place]) == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.line


def draw_line(counts: list[list[Any]], draw: random.Random) -> tuple[str, str, int, int]:
    """Draw a function, one of its lines, and one of the times that it ran."""
    functions = sorted({(file, function) for file, function, _, _ in counts})
    chosen = draw.choice(functions)
    lines = [entry for entry in counts if (entry[0], entry[1]) == chosen]
    file, function, line, count = draw.choice(lines)
    return file, function, line, draw.randint(1, count)


def attempt(job: dict[str, Any], output: Path, last: tuple[str, str, int, int] | None) -> None:
    """Run or resume the training in this process; an adaptation leaves its pseudo-labels beside it."""
    with open(job["errors"], "a", encoding="utf8") as errors, open(os.devnull, "w") as nothing:
        os.dup2(errors.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    torch.set_num_threads(1)
    finish = student.finish

    def note_and_finish(pipeline, run, *args, **kwargs):
        hook = run.hooks[0]
        labels = hook.labels
        np.savez(
            f"{output}.labels.npz", probabilities=labels.probabilities, reliable=labels.reliable
        )
        finish(pipeline, run, *args, **kwargs)

    student.finish = note_and_finish
    lines = Lines(last)
    sys.settrace(lines)
    arguments = {name: Path(path) for name, path in job["arguments"].items()}
    train = TRAININGS[job["training"]]
    train(
        arguments.pop("config"), output=output, overrides=job["overrides"], resume=True, **arguments
    )
    sys.settrace(None)
    counts = [[*place, count] for place, count in sorted(lines.counts.items())]
    Path(f"{output}.lines").write_text(json.dumps(counts), encoding="utf8")


def fork(job: dict[str, Any], output: Path, last: tuple[str, str, int, int] | None = None) -> int:
    """Start an attempt; RETURNS (int): Its process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        attempt(job, output, last)
        status = 0
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def end(process: int, delay: float | None = None) -> int:
    """Wait for a process, and kill it after a delay; RETURNS (int): Its exit code, or -signal."""
    deadline = None if delay is None else time.monotonic() + delay
    while True:
        found, status = os.waitpid(process, 0 if deadline is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)
            deadline = None
        time.sleep(0.001)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Run once unbroken, then kill and resume until as many processes were killed as wanted."""
    folder, draw = Path(job["folder"]), random.Random(job["seed"])
    started = time.monotonic()
    codes = [end(fork(job, folder / "whole"))]
    seconds = time.monotonic() - started
    counts = json.loads(Path(f"{folder / 'whole'}.lines").read_text()) if codes == [0] else []
    killed: list[str] = []
    outputs: list[str] = []
    while len(killed) < job["kills"] and not any(codes):
        output = folder / f"run-{len(outputs)}"
        outputs.append(str(output))
        code = -signal.SIGKILL
        for _ in range(min(job["kills_a_run"], job["kills"] - len(killed))):
            if draw.random() < 0.5:
                last = draw_line(counts, draw)
                moment = "{}, {}, line {}, time {}".format(*last)
                code = end(fork(job, output, last))
            else:
                delay = draw.uniform(0, seconds)
                moment = f"{delay:.3f} s"
                code = end(fork(job, output), delay)
            if code != -signal.SIGKILL:
                break
            killed.append(moment)
        # the last attempt is left alone; a run that was finished already has nothing to do
        codes += [code] * (code != -signal.SIGKILL) + [end(fork(job, output))]
    return {"killed": killed, "outputs": outputs, "codes": codes, "seconds": seconds}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    # which imports much: under the trace of an attempt that takes long
    spacy.load(job["loads"])
    gc.collect()
    gc.freeze()
    sys.stdout.write(json.dumps(main(job)))
