"""A time limit for a text, after which it is set aside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ...errors import Errors, MaralError


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after some seconds.

    The system's timer does so between two steps of Python, and within regular expressions. There is
    none on Windows and outside the main thread, and if the program uses the timer itself.

    seconds (float): The limit, 0 for none.
    RAISES (MaralError): If the block takes longer.
    """
    main = threading.current_thread() is threading.main_thread()
    if not seconds or not main or not hasattr(signal, "setitimer"):
        yield
        return
    if signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, signal.SIG_IGN):
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise MaralError(Errors.M533.format(seconds=seconds))

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
