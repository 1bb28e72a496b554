"""Small models against the student that they are made from: words per second, and F1 on the target.

distil_speed, distil_f1: spaCy's own tok2vec and ner, against the optimised student (speed) and the
student (F1). layers_speed, layers_f1: the encoder with half of its layers, against the student. The
ratio of the cases of F1 is the quotient of both F1; the tables have the points.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import spacy

from spacy_maral.evaluation.evaluate import evaluate_pipeline
from spacy_maral.model.encoder.weights import has_bfloat16
from spacy_maral.scale.distil.tok2vec import NONE
from spacy_maral.scale.shrink.footprint import folder_bytes

from ..distilled import (
    make_layers,
    make_optimised,
    make_student,
    make_tok2vec,
    measured_docs,
)
from ..pipelines import read
from ..setting import TARGET, Setting
from ..timing import alternate, compare
from ..world import read_part

MIB = 2**20


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    kind, _, what = name.partition("_")
    sizes = sorted({max(1, setting.sizes.distil_sentences // part) for part in (4, 2, 1)})
    if kind == "layers":
        small = {"half of the layers": make_layers(setting)}
    elif what == "speed":
        small = {"tok2vec": make_tok2vec(setting, sizes[-1])}
    else:
        plain = make_tok2vec(setting, sizes[-1], NONE)
        small = {f"tok2vec, {sizes[-1]:,} sentences, without the encoder's vectors": plain}
        small |= {f"tok2vec, {size:,} sentences": make_tok2vec(setting, size) for size in sizes}
    other = make_optimised(setting) if name == "distil_speed" else make_student(setting)
    other_is = "the optimised student" if name == "distil_speed" else "the student"
    if what == "f1":
        return scores(setting, small, other)
    [ours] = small.values()
    precision = "float32"
    if name == "distil_speed" and has_bfloat16():
        precision = "float32 (ours), bfloat16 (other)"
    return speed(setting, ours, other) | {"other_is": other_is, "precision": precision}


def speed(setting: Setting, ours: Path, other: Path) -> dict[str, Any]:
    """Words per second of two pipelines on the same sentences."""
    docs = measured_docs(setting)
    sides = {
        side: partial(read, spacy.load(path), docs, [0])
        for side, path in (("ours", ours), ("other", other))
    }
    trials = alternate(sides, setting.repeats)
    return compare(trials, unit="words/s") | {
        "mebibytes": {"ours": folder_bytes(ours) / MIB, "other": folder_bytes(other) / MIB},
        "sentences": len(docs),
    }


def scores(setting: Setting, small: dict[str, Path], other: Path) -> dict[str, Any]:
    """F1 of pipelines on the test data of the target; the last one is ours."""
    gold = read_part(setting, TARGET, "test")
    found = {
        name: evaluate_pipeline(spacy.load(path), gold).report.f1
        for name, path in {"the student": other, **small}.items()
    }
    best = found["the student"]
    ours = list(found.values())[-1]
    lines = [[name, 100 * f1, 100 * (f1 - best)] for name, f1 in found.items()]
    return {
        "ratio": ours / best if best else 0.0,
        "ours": 100 * ours,
        "other": 100 * best,
        "unit": "F1",
        "other_is": "the student",
        "precision": "float32",
        "sentences": len(gold),
        "tables": {"F1 on the target's test data": [["pipeline", "F1", "points"], *lines]},
    }
