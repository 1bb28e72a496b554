"""From a file of sentences to arrays of word pieces, and the start of a second training.

data: Convert, read, tokenise and align 20,000 sentences. The other side tokenises and aligns them in
batches in each epoch, like the literal transcription. second_start: Time to the end of the first
step of a training that finds word pieces and the states of its frozen layers, half of all, in the
cache. The other side is the earlier training that filled the cache. Each training runs in a process of
its own.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from transformers import AutoTokenizer

from spacy_maral.data.convert import convert
from spacy_maral.data.docs import read_docs
from spacy_maral.data.files import remove

from ..literal import make_rows
from ..literal_world import sentences_of
from ..memory import in_process
from ..setting import SOURCE, TARGET, Setting
from ..timing import alternate, compare
from ..world import Student, Text, entity_labels, read_sample, student_plan

LITERAL_BATCH = 32
MAX_WIDTH = 8
TRIALS = 3


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    return preparation(setting) if name == "data" else start(setting)


def preparation(setting: Setting) -> dict[str, Any]:
    """Sentences converted, read and tokenised per second."""
    size = setting.sizes.data_sentences
    docs = read_sample(setting, TARGET, "train", size)
    tokenizer = AutoTokenizer.from_pretrained(setting.encoder)
    sentences = sentences_of(docs, entity_labels(docs))
    text = Text.read(setting, MAX_WIDTH, 40)
    student = Student.build(setting, text, student_plan(setting, MAX_WIDTH))
    # the cache is measured by the other case
    student.pipeline.cache = None
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
    """Seconds to the end of the first step of a training, with and without a filled cache."""
    size = setting.sizes.data_sentences
    remove(setting.scratch / "student")
    first, again = (in_process("cases.data:begin", setting, size=size) for _ in range(2))
    names = {"reading": "read", "building": "load, tokenise, frozen layers", "step": "first step"}
    table = [["part", "first s", "again s"]]
    table += [[what, first[name], again[name]] for name, what in names.items()]
    total = {"first": sum(first[n] for n in names), "again": sum(again[n] for n in names)}
    return {
        "ratio": total["first"] / total["again"],
        "ours": total["again"],
        "other": total["first"],
        "unit": "s",
        "other_is": "its first start, which tokenises and runs the frozen layers",
        "precision": again["precision"],
        "sentences": size,
        "tables": {"seconds until the first step is done": table},
    }


def begin(setting: Setting, size: int) -> dict[str, Any]:
    """Start a training; RETURNS (dict): Seconds of the parts of its start, and its number format."""
    text = Text.read(setting, MAX_WIDTH, size)
    plan = student_plan(setting, MAX_WIDTH, student_freeze_layers=setting.half_of_layers)
    times = [time.perf_counter()]
    for language in (SOURCE, TARGET):
        read_docs(setting.scratch / f"{language}-train.spacy")
    times.append(time.perf_counter())
    student = Student.build(setting, text, plan)
    times.append(time.perf_counter())
    student.steps(1)
    times.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(times)]
    found = dict(zip(("reading", "building", "step"), seconds, strict=True))
    return {**found, "precision": student.pipeline.network.precision}
