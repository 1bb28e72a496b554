"""Requests to stop, such as Ctrl-C, and the lock that keeps two runs out of one folder."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from ..errors import Errors, MaralError, Warnings

logger = logging.getLogger("spacy")

LOCK, HOLDER = "run.lock", "run.holder"
DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interrupted(KeyboardInterrupt):
    """Raised when a run has saved its state and stops on request.

    message (str): The saved checkpoint, and how to resume.
    signum (int): The signal; `exit_code` is 128 plus its number, as shells expect.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopRequest:
    """Context manager that records the first Ctrl-C or SIGTERM; a second one interrupts at once.

    It leaves signals alone that already have another handler, and changes nothing outside the main
    thread.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for signum, default in DEFAULTS.items():
                if signal.getsignal(signum) == default:
                    self._replaced[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for signum, handler in self._replaced.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum
        # the signal may have interrupted a write to the same stream
        with contextlib.suppress(RuntimeError):
            logger.warning(Warnings.W305)


@contextlib.contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Lock a folder against other runs; the system releases the lock however the process ends.

    The lock's file is deleted at the end: the folder is part of a pipeline, and goes into its package.

    folder (Path): The run's folder.
    RAISES (MaralError): If another run has locked the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise MaralError(Errors.M324.format(folder=folder, holder=_read_holder(holder))) from None
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        # while it is locked: a run that has opened it by now finds it deleted, and does not lock it
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8", errors="replace")
    except OSError:
        return "another process"
