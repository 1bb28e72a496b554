"""This process's memory: its peak, and what becomes of what was freed."""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

# glibc's numbers of these settings, and the largest values that it takes
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_TRIM, LARGEST_MMAP = 2**31 - 1, 2**25


def peak_memory() -> int | None:
    """Largest resident size of this process so far in bytes, or None where it is not known."""
    try:
        # what getrusage tells on Linux may be that of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="utf8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for what it asks for next.

    The C library of most Linux systems gives large blocks back to the system at once, which then clears
    them for the next tensor: some percent of a training step on one thread. Elsewhere nothing is done.

    RETURNS (bool): Whether it does.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(TRIM_THRESHOLD, LARGEST_TRIM), mallopt(MMAP_THRESHOLD, LARGEST_MMAP)]
    return all(done)


def give_back_memory() -> None:
    """Give freed memory back to the system. Done on Linux with glibc, elsewhere not at all."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
