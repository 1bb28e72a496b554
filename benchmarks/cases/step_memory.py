"""Peak memory of a student's training on 20,000 target sentences, against the literal transcription.

Each side, by its defaults, reads its text and runs some steps in a process of its own. The table has the
whole resident memory, and the part that is no copy of a file, which the system cannot reclaim.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spacy_maral.data.files import remove
from spacy_maral.model.memory import give_back_memory

from ..literal_world import build_literal, random_batches
from ..memory import in_process
from ..setting import SOURCE, TARGET, Setting
from ..world import Student, Text, read_part, student_plan

WIDTHS = (4, 8, 12)
CASE_WIDTH = 8
BATCH = 20


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case."""
    for language, part in ((SOURCE, "train"), (SOURCE, "dev"), (TARGET, "train")):
        read_part(setting, language, part)
    header = [
        "W",
        "ours GiB",
        "literal GiB",
        "ratio",
        "ours, no file's",
        "literal, no file's",
        "ratio",
    ]
    table = [header]
    for width in WIDTHS:
        ours, other = (
            in_process(f"cases.step_memory:{side}", setting, width=width)
            for side in ("our_training", "literal_training")
        )
        row: list[float] = [width]
        for name in ("peak_bytes", "private_bytes"):
            gib = [side[name] / 2**30 for side in (ours, other)]
            row += [*gib, gib[1] / gib[0]]
        table.append(row)
    row = table[1 + WIDTHS.index(CASE_WIDTH)]
    return {
        "ratio": row[3],
        "ours": row[1],
        "other": row[2],
        "unit": "GiB",
        "other_is": "literal transcription as it ships",
        "precision": ours["precision"],
        "max_width": CASE_WIDTH,
        "sentences": setting.sizes.memory_sentences,
        "ratio_private": row[6],
        "tables": {"peak memory by longest span": table},
    }


def our_training(setting: Setting, width: int) -> dict[str, Any]:
    """Some steps of our student."""
    # everything has to be computed, as in a first training
    remove(setting.scratch / "student")
    size = setting.sizes.memory_sentences
    student = Student.build(setting, Text.read(setting, width, size), student_plan(setting, width))
    # as `adapt` does after it has turned documents into arrays
    give_back_memory()
    student.steps(setting.sizes.steps)
    return {"precision": student.pipeline.network.precision}


def literal_training(setting: Setting, width: int) -> dict[str, Any]:
    """Some steps of the literal transcription."""
    text = Text.read(setting, width, setting.sizes.memory_sentences)
    literal = build_literal(setting, text, width)
    batches = zip(
        random_batches(len(text.source), BATCH, 1),
        random_batches(len(text.target), BATCH, 2),
        strict=True,
    )
    for _ in range(setting.sizes.steps):
        source, target = next(batches)
        literal.step(np.asarray(source), np.asarray(target))
    return {}
