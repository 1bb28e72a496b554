"""Trials of one version of the package, in a process of its own: the other half of `versions.Version`.

The text of this file runs in the folder of whichever version is measured, and imports only what all of
them have. It reads what to measure from its argument; for every line of standard input it runs a trial, and
writes work, seconds and seconds of CPU time as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spacy.language import Language

from benchmarks.memory import use_threads
from benchmarks.pipelines import PIPE_BATCH, build
from benchmarks.setting import SOURCE, Setting, Sizes
from benchmarks.world import Student, Text, read_sample, student_plan

MAX_WIDTH = 4


def training_steps(setting: Setting, order: dict[str, Any]) -> Callable[[], float]:
    """Steps of the student of maral_small.cfg, with half of the layers frozen; work is sentences.

    The default number of frozen layers differs between versions, and with it the work of a step.
    """
    text = Text.read(setting, MAX_WIDTH)
    plan = student_plan(
        setting, MAX_WIDTH, student_precision=order["precision"],
        student_freeze_layers=order["frozen_layers"],
    )  # fmt: skip
    student = Student.build(setting, text, plan)
    return lambda: student.steps(setting.sizes.steps)


def prediction(setting: Setting, order: dict[str, Any]) -> Callable[[], float]:
    """`nlp.pipe` over sentences of development data; work is words."""
    nlp = build(
        setting, "maral_ner", read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    )
    if order["precision"] == "bfloat16":
        nlp = in_bfloat16(nlp, setting.scratch)
    docs = read_sample(setting, SOURCE, "dev", setting.sizes.infer_sentences)
    texts = [doc.text for doc in docs]
    return lambda: sum(map(len, nlp.pipe(texts, batch_size=PIPE_BATCH)))


def in_bfloat16(nlp: Language, folder: Path) -> Language:
    """The pipeline as `optimise` leaves it."""
    import spacy

    try:
        from spacy_maral.scale import optimise
    except ImportError:
        # where it was before
        from spacy_maral.shrinking import optimise  # type: ignore[import-not-found, no-redef]
    nlp.to_disk(folder / "whole")
    optimise(folder / "whole", folder / "optimised")
    return spacy.load(folder / "optimised")


TRIALS = {"training_steps": training_steps, "prediction": prediction}


def main() -> None:
    order = json.loads(sys.argv[1])
    # what the work prints must not come between the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)
    paths = {name: Path(order[name]) for name in ("encoder", "data", "scratch")}
    setting = Setting(
        **paths, threads=order["threads"], smoke=order["smoke"], sizes=Sizes(**order["sizes"])
    )
    use_threads(setting.threads)
    trial = TRIALS[order["what"]](setting, order)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        started, cpu = time.perf_counter(), time.process_time()
        work = trial()
        found = {
            "work": work,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
        }
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
