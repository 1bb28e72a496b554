"""This process's memory: its peak, and what becomes of what was freed."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# glibc's numbers of these settings, and the largest values that it takes
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_TRIM, LARGEST_MMAP = 2**31 - 1, 2**25
# Linux's number of this advice, and its names for memory that no file has
DONT_NEED = 4
OWN = ("Anonymous", "Swap")


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
    """Give back to the system what was freed, and pages that are unchanged copies of a file's.

    Weights that were read are such pages: they come back from the file when they are asked for again.
    Done on Linux with glibc, elsewhere not at all.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    for start, end in unchanged_mappings(Path("/proc/self/smaps").read_text(encoding="utf8")):
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONT_NEED)


def unchanged_mappings(text: str) -> Iterator[tuple[int, int]]:
    """Find files that a process has in its memory for itself, and has not written a byte of.

    A page that was written to is no longer the file's: it is anonymous memory, here or swapped out.

    text (str): What Linux says of a process's memory in smaps.
    YIELDS (tuple): First address and the one behind the last.
    """
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)[1:]:
        head, *lines = part.splitlines()
        sizes = dict(line.split(":", 1) for line in lines if line.endswith(" kB"))
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p .* /", head)
        if found and all(sizes.get(name, "").split() == ["0", "kB"] for name in OWN):
            yield int(found[1], 16), int(found[2], 16)
