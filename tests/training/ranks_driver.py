"""Runs trainings by one process or by several that it forks; `test_ranks.py` starts it.

It imports everything once, what loading a pipeline imports too, so that a run costs a second or two. Where `torchrun` would set what tells the
processes of each other, it does so itself.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch

from spacy_maral.adaptation import student
from spacy_maral.adaptation.student import adapt
from spacy_maral.training.hooks import Hook
from spacy_maral.training.teacher import train_teacher

STEPS = {"train_teacher": train_teacher, "adapt": adapt}


class Dies(Hook):
    """Kills its process when an epoch starts."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_start(self, epoch: int) -> None:
        if epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def work(job: dict[str, Any], rank: int) -> None:
    torch.set_num_threads(1)
    finish, prepare_student = student.finish, student.prepare_student

    def note_and_finish(pipeline, run, output, *args, **kwargs):
        hook = run.hooks[0] if run.hooks else None
        if isinstance(hook, student.Adaptation) and run.ranks.is_first:
            labels = hook.labels
            np.savez(
                f"{output}.labels.npz", probabilities=labels.probabilities,
                reliable=labels.reliable,
            )  # fmt: skip
        finish(pipeline, run, output, *args, **kwargs)

    def doomed_run(*args):
        run, hook = prepare_student(*args)
        if job.get("dies") == rank:
            run.hooks = [*run.hooks, Dies(job["epoch"])]
        return run, hook

    student.finish, student.prepare_student = note_and_finish, doomed_run
    STEPS[job["step"]](**job["arguments"])


def fork(job: dict[str, Any], rank: int, port: int) -> int:
    """Start one of a job's processes; RETURNS (int): Its number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        if job["size"] > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job["size"]),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
        work(job, rank)
        status = 0
    except BaseException as error:
        sys.stderr.write(f"process {rank}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job; RETURNS (dict): The exit codes of its processes, and what they said at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = Path(job["said"])
    with said.open("w") as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        processes = [fork(job, rank, port) for rank in range(job["size"])]
        os.dup2(kept, 2)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    return {"codes": codes, "said": said.read_text(encoding="utf8", errors="replace")}


def import_all(pipeline: str) -> None:
    """Import what is imported when a pipeline is loaded, and share it with the forked processes."""
    torch.set_num_threads(1)
    spacy.load(pipeline)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    jobs = json.loads(sys.argv[1])
    import_all(jobs[0]["arguments"]["teacher"])
    sys.stdout.write(json.dumps([run(job) for job in jobs]))
