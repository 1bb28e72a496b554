"""Seconds and memory of `spacy.load`, in fresh processes that have imported what it needs.

The pipeline has the whole encoder. The other side is what is wanted: 1.5 seconds, and 1.2 times the
memory of the weights above that of the process before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from spacy_maral.model.memory import peak_memory

from ..memory import in_process
from ..pipelines import build
from ..setting import SOURCE, Setting
from ..world import read_sample

WANTED_SECONDS, WANTED_MEMORY = 1.5, 1.2
MIB = 2**20


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case."""
    folder = setting.scratch / "loaded"
    train = read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    build(setting, "maral_ner", train).to_disk(folder)
    rows = [
        in_process("cases.loading:load", setting, folder=str(folder))
        for _ in range(setting.repeats)
    ]
    found = {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
    return {
        "ratio": WANTED_SECONDS / found["load"],
        "ours": found["load"],
        "other": WANTED_SECONDS,
        "unit": "s",
        "cpu_ratio": WANTED_SECONDS / found["load_cpu"],
        "other_is": "what is wanted at most",
        "precision": "float32",
        "trials": len(rows),
        "tables": {
            "loading a pipeline": [
                ["what", "found", "wanted at most"],
                ["spacy.load, s", found["load"], WANTED_SECONDS],
                ["spacy.load, s of CPU time", found["load_cpu"], "-"],
                ["weights, MiB", found["weights"] / MIB, "-"],
                ["peak above the imports, MiB", found["grown"] / MIB, "-"],
                ["peak in sizes of the weights", found["grown"] / found["weights"], WANTED_MEMORY],
            ]
        },
    }


def load(setting: Setting, folder: str) -> dict[str, float]:
    """Load the pipeline in this process; RETURNS (dict): Seconds and bytes."""
    import spacy
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    import spacy_maral.model.encoder.transformer
    import spacy_maral.model.maral_ner
    import spacy_maral.model.word_ends  # noqa: F401
    from spacy_maral.model.architectures import get_encoder

    # the modules of its family
    _ = MODEL_MAPPING[type(AutoConfig.from_pretrained(setting.encoder))]
    before = peak_memory() or 0
    started, cpu = time.perf_counter(), time.process_time()
    nlp = spacy.load(Path(folder))
    found = {"load": time.perf_counter() - started, "load_cpu": time.process_time() - cpu}
    grown = (peak_memory() or 0) - before
    weights = sum(tensor.nbytes for tensor in get_encoder(nlp)[0].state_dict().values())
    return {**found, "grown": grown, "weights": weights}
