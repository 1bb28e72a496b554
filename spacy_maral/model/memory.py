"""Memory of this process: its peak, and what the C library does with freed memory."""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

# glibc's numbers for these settings, and the largest values that it accepts
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_TRIM, LARGEST_MMAP = 2**31 - 1, 2**25


def peak_memory() -> int | None:
    """Largest resident size of this process so far in bytes, or None where it is not known."""
    try:
        # on Linux, getrusage may report the peak of the process that started this one
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
    """Let this process keep freed memory for its next allocations.

    glibc, the C library of most Linux systems, returns large blocks to the system at once, which then
    clears them for the next tensor. This costs a few percent of a training step on one thread. With other
    C libraries the function does nothing.

    RETURNS (bool): Whether the process now keeps freed memory.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(TRIM_THRESHOLD, LARGEST_TRIM), mallopt(MMAP_THRESHOLD, LARGEST_MMAP)]
    return all(done)


def give_back_memory() -> None:
    """Return freed memory to the system, on Linux with glibc; do nothing elsewhere."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
