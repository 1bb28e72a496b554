import platform
import subprocess
import sys

import pytest

# pages are asked for one by one: each is a fault the first time that it is touched
COUNT = """
import resource, sys
import numpy as np
from spacy_maral.model.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def touch(): np.ones(1 << 20)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word):
    done = subprocess.run(
        [sys.executable, "-c", COUNT, word], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_not_asked_for_again():
    assert faults("keep") < faults("do not") / 10


def test_elsewhere_nothing_is_done(monkeypatch):
    from spacy_maral.model import memory

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no such library"))
    assert not memory.keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell it otherwise")
def test_the_peak_is_not_that_of_the_process_before():
    import numpy as np

    large = np.ones(1 << 26)  # 512 MiB
    code = "from spacy_maral.model.memory import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**22 < int(done.stdout) < large.nbytes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_given_back():
    code = """
from pathlib import Path
from spacy_maral.model.memory import give_back_memory, keep_freed_memory
def resident():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
keep_freed_memory()
blocks = [bytearray(100_000) for _ in range(2000)]
del blocks
before = resident()
give_back_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 150
