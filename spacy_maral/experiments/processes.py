"""A process of its own for each command, which is not left behind when the benchmark is stopped."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from ..errors import Warnings
from ..training.interrupts import Interrupted, StopRequest

# seconds between two looks at whether a stop was asked for
POLL = 0.5


def run_process(words: Sequence[str], output: IO[str], env: Mapping[str, str]) -> int:
    """Run a process to its end.

    The first Ctrl-C or SIGTERM lets it save its state, as it does on its own: a terminal sends
    Ctrl-C to it as well, SIGTERM is passed on. A second one kills it.

    words (Sequence[str]): The command line.
    output (IO[str]): A file for what it says.
    env (Mapping[str, str]): Its environment.
    RETURNS (int): Its exit status.
    RAISES (Interrupted): If a stop was asked for, once the process has ended.
    """
    with (
        StopRequest() as stop,
        subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
        ) as process,
    ):
        try:
            while stop.signum is None and not _has_ended(process):
                pass
            if stop.signum == signal.SIGTERM:
                process.terminate()
            process.wait()
        except BaseException:
            process.kill()
            raise
    if stop.signum is not None:
        raise Interrupted(Warnings.W467, stop.signum)
    return process.returncode


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=POLL)
    except subprocess.TimeoutExpired:
        return False
    return True
