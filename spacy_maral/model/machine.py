"""The machine: the device that torch computes on, and a description for measured figures and results."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import spacy
import torch
from thinc.api import set_gpu_allocator

from ..errors import Errors, MaralError, first_line

# what decides the numbers that a pipeline computes
PACKAGES = ("spacy-maral", "spacy", "spacy-transformers", "thinc", "torch", "transformers", "numpy")


def describe_machine(gpu_id: int) -> dict[str, Any]:
    """Describe this machine, without its name.

    gpu_id (int): GPU in use, -1 for none.
    RETURNS (dict): System, Python version, processor, number of processors, and GPU.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "gpu": _gpu(gpu_id) if gpu_id >= 0 else None,
    }


def package_versions() -> dict[str, str]:
    """Releases of the packages that decide results, without those that are not installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _gpu(gpu_id: int) -> str | None:
    return torch.cuda.get_device_name(gpu_id) if torch.cuda.is_available() else None


def use_device(gpu_id: int) -> None:
    """Use a GPU, or the CPU for -1.

    RAISES (MaralError): If there is no such GPU, or the installed packages cannot use it.
    """
    if gpu_id < 0:
        spacy.require_cpu()
        return
    try:
        set_gpu_allocator("pytorch")
        spacy.require_gpu(gpu_id)
        if not torch.cuda.is_available():  # Apple's GPUs compute no float64, which the scores need
            raise ValueError("PyTorch finds no CUDA device")
        torch.zeros(1, device=torch.device("cuda", gpu_id))
    except (ValueError, RuntimeError) as error:
        spacy.require_cpu()
        problem = first_line(error)
        raise MaralError(Errors.M345.format(gpu_id=gpu_id, problem=problem)) from error


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Let torch compute with algorithms that give the same result each time.

    Several threads add the gradients of a table's rows in any order otherwise. Operations that have
    no such algorithm on a GPU give torch's warning.

    on (bool): Whether to do so; if not, nothing changes.
    """
    memory: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,
    )
    if on:
        # read by cuBLAS when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # filling new tensors costs time, and no result depends on it
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = before[2]
