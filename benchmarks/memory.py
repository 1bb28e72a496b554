"""Run a function in a fresh process and measure its time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from spacy_maral.errors import MaralError
from spacy_maral.model.memory import keep_freed_memory, peak_memory

from .setting import ROOT, Setting, Sizes

TAIL = 2000
# seconds between two readings of the memory
EVERY = 0.02


def in_process(function: str, setting: Setting, **arguments: Any) -> dict[str, Any]:
    """Call a function in a fresh process.

    function (str): "module:function" of this package; takes a Setting and the arguments, and
        returns a dict.
    setting (Setting): The setting.
    arguments (Any): Arguments that JSON can hold.
    RETURNS (dict): The function's result, with seconds, peak_bytes, and private_bytes, the peak of
        the memory that is no copy of a file.
    RAISES (MaralError): If the function fails.
    """
    order = {"function": function, "setting": asdict(setting), "arguments": arguments}
    command = [sys.executable, "-m", "benchmarks.memory"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, input=json.dumps(order, default=str), capture_output=True, text=True,
        encoding="utf8", cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    if done.returncode:
        tail = done.stderr[-TAIL:]
        raise MaralError(
            f"'{function}' failed in its own process, with exit code {done.returncode}. The end of its "
            f"output:\n{tail}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def read_setting(values: dict[str, Any]) -> Setting:
    """Restore a setting that `asdict` and JSON made plain."""
    names = ("encoder", "data", "scratch", "student", "before")
    paths = {name: Path(values[name]) for name in names if values[name] is not None}
    return Setting(**{**values, **paths, "sizes": Sizes(**values["sizes"])})


def main() -> None:
    """Read a call from standard input, and write its result to standard output."""
    order = json.loads(sys.stdin.read())
    setting = read_setting(order["setting"])
    use_threads(setting.threads)
    module, _, name = order["function"].partition(":")
    function = getattr(import_module(f"benchmarks.{module}"), name)
    private = PrivateMemory()
    private.start()
    started = time.perf_counter()
    found = function(setting, **order["arguments"])
    seconds = time.perf_counter() - started
    private.done.set()
    private.join()
    peaks = {"peak_bytes": peak_memory(), "private_bytes": private.peak}
    sys.stdout.write("\n" + json.dumps({**found, "seconds": seconds, **peaks}) + "\n")


class PrivateMemory(threading.Thread):
    """Records the peak of this process's resident memory that is no copy of a file, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(EVERY):
            status = Path("/proc/self/status").read_text(encoding="utf8")
            self.peak = max(self.peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)


def use_threads(threads: int) -> None:
    """Set the threads of torch and faiss, and the memory allocator as our commands do."""
    import faiss
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


if __name__ == "__main__":
    main()
