"""From a file of sentences to arrays of word pieces, and how soon a training starts again.

data: Convert, read, tokenise and align 20,000 sentences; the other side tokenises and aligns them
as the literal transcription does, in batches, in each epoch. second_start: What a training reads and
computes before its first step, the frozen layers' states included; the other side is the epoch
that follows it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from spacy_maral.data import convert, read_docs

from ..literal import make_rows
from ..literal_world import sentences_of
from ..setting import TARGET, Setting
from ..timing import alternate, compare
from ..world import Student, Text, entity_labels, read_sample, student_plan

LITERAL_BATCH = 32
MAX_WIDTH = 8
TRIALS = 3


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case of a name."""
    return preparation(setting) if name == "data" else start(setting)


def preparation(setting: Setting) -> dict[str, Any]:
    """Sentences converted, read and encoded in a second."""
    size = setting.sizes.data_sentences
    docs = read_sample(setting, TARGET, "train", size)
    tokenizer = AutoTokenizer.from_pretrained(setting.encoder)
    sentences = sentences_of(docs, entity_labels(docs))
    text = Text.read(setting, MAX_WIDTH, 40)
    student = Student.build(
        setting, text, student_plan(setting, MAX_WIDTH, student_freeze_layers=0)
    )
    output = setting.scratch / "data-case.spacy"
    parts: dict[str, list[float]] = {"convert": [], "read": [], "tokenise and align": []}

    def timed(part: str, started: float) -> float:
        now = time.perf_counter()
        parts[part].append(now - started)
        return now

    def ours() -> float:
        now = time.perf_counter()
        convert(setting.part(TARGET, "train"), output, lang=TARGET)
        now = timed("convert", now)
        found = read_docs(output)
        now = timed("read", now)
        student.pipeline.encode(found, labelled=False, name="target")
        timed("tokenise and align", now)
        return len(found)

    epochs = student.run.settings.epochs

    def other() -> float:
        for _ in range(epochs):
            for i in range(0, len(sentences), LITERAL_BATCH):
                make_rows(tokenizer, sentences[i : i + LITERAL_BATCH], MAX_WIDTH)
        return len(sentences)

    trials = alternate({"ours": ours, "other": other}, min(TRIALS, setting.repeats))
    lines = [[part, sorted(seconds)[len(seconds) // 2]] for part, seconds in parts.items()]
    return compare(trials, unit="sentences/s") | {
        "other_is": f"literal transcription: tokenise and align only, but in each of {epochs} epochs",
        "sentences": len(docs),
        "tables": {"seconds of each part": [["part", "s"], *lines]},
    }


def start(setting: Setting) -> dict[str, Any]:
    """Seconds until the first step can be done, and of the epoch after it."""
    size = setting.sizes.data_sentences
    text = Text.read(setting, MAX_WIDTH, size)
    plan = student_plan(setting, MAX_WIDTH)
    paths = [Path(setting.scratch) / f"{language}-train.spacy" for language in ("en", "de")]
    started = time.perf_counter()
    for path in paths:
        read_docs(path)
    reading = time.perf_counter() - started
    started = time.perf_counter()
    student = Student.build(setting, text, plan)
    building = time.perf_counter() - started
    student.steps(1)
    started = time.perf_counter()
    done = student.steps(4 * setting.sizes.steps)
    epoch = (time.perf_counter() - started) / done * 2 * len(text.target)
    seconds = reading + building
    return {
        "ratio": epoch / seconds,
        "ours": seconds,
        "other": epoch,
        "unit": "s",
        "other_is": "an epoch of the same training",
        "sentences": [len(text.source), len(text.target)],
        "seconds_reading": reading,
        "seconds_building": building,
    }
