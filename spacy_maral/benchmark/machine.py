"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe_machine(gpu_id: int) -> dict[str, Any]:
    """Describe this machine, without its name.

    gpu_id (int): GPU that is used, -1 for none.
    RETURNS (dict): System, processor, number of processors, and GPU.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "gpu": _gpu(gpu_id) if gpu_id >= 0 else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _gpu(gpu_id: int) -> str | None:
    import torch

    return torch.cuda.get_device_name(gpu_id) if torch.cuda.is_available() else None
