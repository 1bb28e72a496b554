"""The cases by name. The function of a case takes its name and the setting, and returns a dict:

ratio (above 1 is in our favour), ours, other, unit, other_is (a description of the other side),
precision (the number format of what is measured, if it has one), and further entries; "tables" holds
further tables by title, each a list of rows with the header first.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from spacy_maral.errors import MaralError

from ..setting import Setting

CASES = {
    "step_w4": "step",
    "step_w12": "step",
    "same_work_w4": "step",
    "same_work_w12": "step",
    "memory_vs_literal": "step_memory",
    "profile": "profile",
    "levers": "levers",
    "infer_vs_ner": "inference",
    "infer_vs_spancat": "inference",
    "infer_vs_spanmarker": "spanmarker",
    "infer_vs_onnx": "runtimes",
    "infer_vs_layers": "packed",
    "infer_float32_vs_before": "before",
    "infer_bfloat16_vs_before": "before",
    "step_vs_before": "before",
    "latency_short": "packed",
    "load_seconds": "loading",
    "vmf_vs_miller": "vmf",
    "pcla_1e5": "pcla",
    "pcla_1e6": "pcla",
    "pcla_1e7": "pcla",
    "pcla_epoch": "pcla",
    "data": "data",
    "second_start": "data",
    "distil_speed": "distil",
    "distil_f1": "distil",
    "layers_speed": "distil",
    "layers_f1": "distil",
}


class Unavailable(MaralError):
    """What a case compares with, or needs of the processor, is missing."""


def choose(patterns: list[str]) -> list[str]:
    """Names of the cases that match patterns such as "step_*", in the order of CASES.

    RAISES (MaralError): If a pattern matches no case.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in CASES):
            known = ", ".join(CASES)
            raise MaralError(f"No case matches '{pattern}'. Choose from: {known}.")
    return [name for name in CASES if any(fnmatchcase(name, pattern) for pattern in patterns)]


def run_case(name: str, setting: Setting) -> dict[str, Any]:
    """Run one case.

    name (str): Its name.
    setting (Setting): The setting.
    RETURNS (dict): Its result.
    """
    return import_module(f"{__name__}.{CASES[name]}").run(name, setting)
