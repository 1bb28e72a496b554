"""The effect of each optimisation of training steps: all of them against all but one.

Half of the layers are frozen, as in a teacher. The other side of the case has none of them.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from typing import Any

from spacy_maral.model.memory import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory

from ..literal_world import random_batches
from ..setting import Setting
from ..timing import alternate, compare
from ..world import Student, Text, student_plan

MAX_WIDTH = 8
GLIBC_THRESHOLD = 1 << 17
# a trial has to be long: its first step after the other side's trial allocates all memory again
KEEPING_STEPS = 4
LEVERS: dict[str, dict[str, Any]] = {
    "bfloat16": {"student_precision": "float32"},
    "frozen layers": {"student_freeze_layers": 0},
    "frozen layers and embeddings": {
        "student_freeze_layers": 0, "student_freeze_embeddings": False,
    },
    "states of the frozen layers remembered": {"student_frozen_cache": 0.0},
    "batches of sentences of about one length": {},
}  # fmt: skip
BATCHES = "batches of sentences of about one length"
NONE = {
    "student_precision": "float32", "student_freeze_layers": 0, "student_freeze_embeddings": False,
}  # fmt: skip


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case."""
    text = Text.read(setting, MAX_WIDTH)
    ours = build(setting, text, {})
    rows = []
    for lever, overrides in LEVERS.items():
        row = against(setting, text, ours, overrides, shuffled=lever == BATCHES)
        rows.append([lever, row["other"], row["ratio"]])
    row = kept_memory(setting, ours)
    rows.append(["freed memory kept", row["other"], row["ratio"]])
    row = against(setting, text, ours, NONE, shuffled=True)
    header = ["without", "sentences/s", "all of them are so many times as fast"]
    return row | {
        "other_is": "none of them: float32, everything trained, random batches",
        "precision": ours.pipeline.network.precision,
        "max_width": MAX_WIDTH,
        "tables": {"training steps": [header, *rows]},
    }


def build(setting: Setting, text: Text, overrides: dict[str, Any]) -> Student:
    """Make a student with half of its layers frozen, unless the overrides say otherwise."""
    settings = {"student_freeze_layers": setting.half_of_layers, **overrides}
    return Student.build(setting, text, student_plan(setting, MAX_WIDTH, **settings))


def against(
    setting: Setting, text: Text, ours: Student, overrides: dict[str, Any], *, shuffled: bool
) -> dict[str, Any]:
    """Compare our student with one of other settings, or with batches in random order."""
    other = build(setting, text, overrides)
    if shuffled:
        size = max(1, round(other.sentences_per_batch))
        sides = (
            random_batches(len(docs), size, seed=i)
            for i, docs in enumerate((text.source, text.target))
        )
        other.plan = list(zip(*sides, strict=True))
    sides = {"ours": trial(ours, setting), "other": trial(other, setting)}
    return compare(alternate(sides, setting.repeats), unit="sentences/s")


def kept_memory(setting: Setting, student: Student) -> dict[str, Any]:
    """Compare steps that keep freed memory with steps that return it, as glibc does by default."""
    done = {"ours": student.done, "other": student.done}

    def steps(side: str) -> float:
        # both sides use the same batches, since the time of a step depends on its sentences
        student.done = done[side]
        count = student.steps(KEEPING_STEPS * setting.sizes.steps)
        done[side] = student.done
        return count

    def ours() -> float:
        keep_freed_memory()
        return steps("ours")

    def other() -> float:
        if platform.libc_ver()[0] == "glibc":
            for threshold in (MMAP_THRESHOLD, TRIM_THRESHOLD):
                ctypes.CDLL(None).mallopt(threshold, GLIBC_THRESHOLD)
        return steps("other")

    trials = alternate({"ours": ours, "other": other}, setting.repeats)
    keep_freed_memory()
    return compare(trials, unit="sentences/s")


def trial(student: Student, setting: Setting) -> Callable[[], float]:
    """A trial of some steps of a student."""
    return lambda: student.steps(setting.sizes.steps)
