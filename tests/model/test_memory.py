import platform
import subprocess
import sys

import pytest

from spacy_maral.model.memory import unchanged_mappings

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


MAPPED = """
import sys
from pathlib import Path
import torch
from spacy_maral.model.memory import give_back_memory

def resident():
    return int(Path("/proc/self/status").read_text().partition("RssFile:")[2].split()[0]) // 1024

torch.arange(1 << 24, dtype=torch.float32).numpy().tofile(sys.argv[1])
table = torch.from_file(sys.argv[1], shared=False, size=1 << 24, dtype=torch.float32)
total = table.double().sum()
before = resident()
give_back_memory()
print(before - resident())
assert table.double().sum() == total
table[12345] = -1.0
total = table.double().sum()
before = resident()
give_back_memory()
print(before - resident())
assert table[12345] == -1.0 and table.double().sum() == total
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell it otherwise")
def test_pages_of_files_are_given_back_unless_they_were_written_to(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, tmp_path / "table"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    untouched, written = map(int, done.stdout.split())
    assert untouched > 56 and written < 8


SMAPS = """7f10-7f20 rw-p 00000000 fe:00 22 /data/model.safetensors
Size:      4 kB
Anonymous: {anonymous} kB
Swap:      {swap} kB
VmFlags: rd wr mr
7f30-7f40 rw-p 00000000 00:00 0
Anonymous: 0 kB
Swap:      0 kB
7f50-7f60 r-xp 00000000 fe:00 23 /lib/libc.so
Anonymous: 0 kB
Swap:      0 kB
"""


@pytest.mark.parametrize("anonymous, swap", [(0, 0), (4, 0), (0, 4)])
def test_what_was_written_to_is_no_longer_the_files(anonymous, swap):
    found = [*unchanged_mappings(SMAPS.format(anonymous=anonymous, swap=swap))]
    assert found == ([(0x7F10, 0x7F20)] if not anonymous + swap else [])
    assert not [*unchanged_mappings("")]
