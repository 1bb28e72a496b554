"""A student's training step, on a batch of each language, against the literal transcription.

step_w4, step_w12: Both sides by their own defaults. The literal transcription uses float32, trains
all weights, pads random batches to their longest sentence and tokenises every batch again; our side
follows maral_small.cfg. A table has our side with half of its layers frozen, too, as in a teacher.
same_work_w4, same_work_w12: Both sides with the number format, trained parameters, losses, batches and
cached tokenisation of maral_small.cfg. The work that our side does once for all epochs (tokens, states
of frozen layers) counts, divided by the number of epochs.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from ..literal_step import LiteralTraining
from ..literal_world import build_literal, random_batches
from ..setting import Setting
from ..timing import Trials, alternate, compare
from ..world import Student, Text, student_plan

CACHE_SENTENCES, CACHE_TRIALS = 200, 5
SHIPS = "literal transcription as it ships: float32, all trained, tokenised anew"
SAME = "literal transcription with our number format, frozen embeddings, losses and batches"


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    same, width = name.startswith("same_work"), int(name.rpartition("_w")[2])
    text, steps = Text.read(setting, width), setting.sizes.steps
    plans = {"ours": student_plan(setting, width)}
    if not same:
        frozen = {"student_freeze_layers": setting.half_of_layers}
        plans["half"] = student_plan(setting, width, **frozen)
    students = {side: Student.build(setting, text, plan) for side, plan in plans.items()}
    student = students["ours"]
    sides = {side: partial(each.steps, steps) for side, each in students.items()}
    sides |= (same_work if same else as_shipped)(setting, text, student, width)
    trials = alternate(sides, setting.repeats)
    bare = compare(trials, unit="sentences/s")
    epochs = student.run.settings.epochs
    once = {side: caching_cost(each, text) for side, each in students.items()}
    for side, seconds in once.items():
        add_cost(trials, side, seconds / epochs)
    row = compare(trials, unit="sentences/s")
    two = compare(trials, unit="sentences/s", other="two_passes")
    if not same:
        half = compare(trials, unit="sentences/s", ours="half")
        table = [["trained layers", "sentences/s", "so many times as fast as the other side"]]
        table += [["all", row["ours"], row["ratio"]], ["upper half", half["ours"], half["ratio"]]]
        row["tables"] = {f"training steps, spans of up to {width} words": table}
    return row | {
        "other_is": SAME if same else SHIPS,
        "precision": student.pipeline.network.precision,
        "ratio_without_feature_pass": two["ratio"],
        "ratio_without_caching_cost": bare["ratio"],
        "max_width": width,
        "sentences_per_batch": student.sentences_per_batch,
        "caching_seconds_per_sentence": once["ours"],
        "epochs": epochs,
    }


def caching_cost(student: Student, text: Text) -> float:
    """Seconds per sentence for its tokens and frozen-layer states."""
    docs = text.target[:CACHE_SENTENCES]
    seconds = []
    for _ in range(CACHE_TRIALS):
        started = time.perf_counter()
        student.pipeline.encode(docs, labelled=False, name="again")
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) / len(docs)


def add_cost(trials: Trials, side: str, seconds: float) -> None:
    """Add seconds per sentence to one of the sides."""
    for times in (trials.seconds, trials.cpu_seconds):
        work = zip(times[side], trials.work[side], strict=True)
        times[side] = [took + n * seconds for took, n in work]


def as_shipped(setting: Setting, text: Text, student: Student, width: int) -> dict[str, Any]:
    """Trials of the literal transcription by its defaults, with and without its feature pass."""
    size = max(1, min(round(student.sentences_per_batch), len(text.source)))
    literal = build_literal(setting, text, width)
    batches = cycle(
        zip(
            random_batches(len(text.source), size, 1),
            random_batches(len(text.target), size, 2),
            strict=True,
        )
    )
    return {
        "other": lambda: trial(literal, batches, setting.sizes.steps),
        "two_passes": lambda: trial(literal, batches, setting.sizes.steps, feature_pass=False),
    }


def same_work(setting: Setting, text: Text, student: Student, width: int) -> dict[str, Any]:
    """Trials of the literal transcription with our settings, with and without its feature pass."""
    settings = student.run.settings
    literal = build_literal(
        setting, text, width,
        bfloat16=student.pipeline.network.precision == "bfloat16",
        frozen_embeddings=settings.freeze_embeddings, frozen_layers=settings.freeze_layers,
        soft=True, cached=True,
    )  # fmt: skip
    rounds = setting.repeats + 1
    plan = student.plan[: setting.sizes.steps * rounds]
    for source, target in plan:
        literal._rows("source", source)
        literal._rows("target", target)
    turns = cycle(plan), cycle(plan)
    return {
        "other": lambda: trial(literal, turns[0], setting.sizes.steps),
        "two_passes": lambda: trial(literal, turns[1], setting.sizes.steps, feature_pass=False),
    }


def trial(literal: LiteralTraining, batches: Any, steps: int, *, feature_pass: bool = True) -> int:
    """Some steps of the literal transcription; RETURNS (int): Sentences of their batches."""
    literal.feature_pass = feature_pass
    done = 0
    for _ in range(steps):
        source, target = next(batches)
        done += literal.step(np.asarray(source), np.asarray(target))
    return done
