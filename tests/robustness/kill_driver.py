"""Runs adaptations in processes that are killed and resumed; `test_kill.py` starts it.

It imports everything once and forks a process for each attempt, so that an attempt costs a second
and not ten. A process is killed from outside after a time, or at a line of the package: lines of the
files that save, filter, refine, evaluate and end a run are counted, and the process kills itself at
the one that was drawn.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import spacy_maral
from spacy_maral.training import adapt, runs

PACKAGE = Path(spacy_maral.__file__).parent
WATCHED = {
    str(PACKAGE / "training" / f"{name}.py")
    for name in ("adaptation", "checkpoint", "diagnostics", "folders", "loop", "setup")
}
# where nothing is written or decided, but most lines run
DULL = {"_step", "step", "on_step", "_plan", "_doubtful", "_geometry"}


class Lines:
    """Counts the lines of the watched files that run; kills this process at one of them."""

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self.last = last

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        return self.line if code.co_filename in WATCHED and code.co_name not in DULL else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.line


def attempt(job: dict[str, Any], output: Path, last_line: int | None) -> None:
    """Run or resume the adaptation in this process, and leave its pseudo-labels beside it."""
    with open(job["errors"], "a", encoding="utf8") as errors, open(os.devnull, "w") as nothing:
        os.dup2(errors.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    torch.set_num_threads(1)
    finish = runs.finish

    def note_and_finish(pipeline, run, *args, **kwargs):
        hook = run.hooks[0]
        np.savez(
            f"{output}.labels.npz", probabilities=hook.probabilities, reliable=hook.reliable
        )
        finish(pipeline, run, *args, **kwargs)

    runs.finish = note_and_finish
    lines = Lines(last_line)
    sys.settrace(lines)
    arguments = {name: Path(path) for name, path in job["arguments"].items()}
    adapt(
        arguments.pop("config"), output=output, overrides=job["overrides"], resume=True, **arguments
    )
    sys.settrace(None)
    Path(f"{output}.lines").write_text(str(lines.count), encoding="utf8")


def fork(job: dict[str, Any], output: Path, last_line: int | None = None) -> int:
    """Start an attempt; RETURNS (int): Its process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        attempt(job, output, last_line)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
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
    n_lines = int(Path(f"{folder / 'whole'}.lines").read_text()) if codes == [0] else 0
    killed: list[str] = []
    outputs: list[str] = []
    while len(killed) < job["kills"] and not any(codes):
        output = folder / f"run-{len(outputs)}"
        outputs.append(str(output))
        code = -signal.SIGKILL
        for _ in range(min(job["kills_a_run"], job["kills"] - len(killed))):
            if draw.random() < 0.5:
                moment = f"line {(line := draw.randint(1, n_lines))}"
                code = end(fork(job, output, line))
            else:
                moment = f"{(delay := draw.uniform(0, seconds)):.3f} s"
                code = end(fork(job, output), delay)
            if code != -signal.SIGKILL:
                break
            killed.append(moment)
        # the last attempt is left alone; a run that was finished already has nothing to do
        codes += [code] * (code != -signal.SIGKILL) + [end(fork(job, output))]
    return {"killed": killed, "outputs": outputs, "codes": codes, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
