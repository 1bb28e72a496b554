"""Run a command in a process of its own, which ends with the benchmark."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from ..errors import Warnings
from ..training.interrupts import Interrupted, StopRequest

POLL = 0.5
"""Seconds between two checks for a stop request."""


def run_process(words: Sequence[str], output: IO[str], env: Mapping[str, str]) -> int:
    """Run a process to its end.

    The first Ctrl-C or SIGTERM lets the process save its state: a terminal sends Ctrl-C to both
    processes, and this function passes SIGTERM on. A second request kills the process.

    words (Sequence[str]): The command line.
    output (IO[str]): A file for its standard output and its standard error.
    env (Mapping[str, str]): Its environment.
    RETURNS (int): Its exit status.
    RAISES (Interrupted): After the process has ended, if a stop was requested.
    """
    with (
        StopRequest() as stop,
        subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
        ) as process,
    ):
        try:
            while stop.signum is None and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=POLL)
            if stop.signum == signal.SIGTERM:
                process.terminate()
            process.wait()
        except BaseException:
            process.kill()
            raise
    if stop.signum is not None:
        raise Interrupted(Warnings.W467, stop.signum)
    return process.returncode
