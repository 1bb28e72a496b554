"""The work between epochs, which is filter, refinery and bookkeeping, on simulated features.

pcla_1e5, pcla_1e6, pcla_1e7: This number of candidate spans of the target, and the same of the
source, in a process of its own. There is no other side. pcla_epoch: The work at the size of WikiAnn,
with diagnostics, as a share of an epoch; the ratio is the allowed 5 % divided by this share.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from spacy_maral.adaptation.refinery import EXACT_ROWS, build_index
from spacy_maral.training.settings import AdaptationSettings

from ..memory import in_process
from ..setting import SOURCE, TARGET, Setting
from ..simulated import Pattern, fill_features, simulate_adaptation
from ..world import Student, Text, entity_labels, read_part, student_plan

EPOCH = 1
RECALL_QUERIES, RECALL_AT = 2000, 200
WANTED_SHARE = 0.05
PATTERN_SENTENCES = 5000


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    if name == "pcla_epoch":
        return share_of_epoch(setting)
    n_spans = round(float(name.partition("_")[2]) * setting.sizes.pcla_scale)
    # the measured process must not convert the files
    read_part(setting, SOURCE, "train"), read_part(setting, TARGET, "train")
    found, tenth = (
        in_process("cases.pcla:between_epochs", setting, n_spans=n)
        for n in (n_spans, n_spans // 10)
    )
    return {
        "ratio": None,
        "ours": found["work_seconds"],
        "other": None,
        "unit": "s",
        "spans": n_spans,
        "peak_gib": found["peak_bytes"] / 2**30,
        "growth_exponent": math.log10(found["work_seconds"] / tenth["work_seconds"]),
        "n_log_n_exponent": 1 + math.log10(math.log(n_spans) / math.log(n_spans / 10)),
        "microseconds_per_span": 1e6 * found["work_seconds"] / n_spans,
        **{key: found[key] for key in ("bank", "queries", "search", "recall_at_200")},
    }


def between_epochs(setting: Setting, n_spans: int) -> dict[str, Any]:
    """Filter and refine simulated labels once."""
    docs = [read_part(setting, x, "train")[:PATTERN_SENTENCES] for x in (SOURCE, TARGET)]
    names = entity_labels([doc for part in docs for doc in part])
    patterns = [Pattern.of(part, names) for part in docs]
    del docs
    settings = AdaptationSettings(warmup_epochs=EPOCH + 1, target_labels="soft")
    hook = simulate_adaptation(*patterns, names, n_spans, settings)
    started = time.perf_counter()
    hook.on_epoch_start(EPOCH)
    seconds = time.perf_counter() - started
    fill_features(hook)
    bank = hook._bank(np.random.default_rng(0)).features
    features = hook.target_features.z[:: max(1, n_spans // RECALL_QUERIES)].astype(np.float32)
    started = time.perf_counter()
    hook.on_epoch_end(EPOCH)
    seconds += time.perf_counter() - started
    return {
        "work_seconds": seconds,
        "bank": len(bank),
        "queries": int((~hook.labels.reliable).sum()),
        "search": "exact" if len(bank) <= EXACT_ROWS else "inverted lists",
        "recall_at_200": recall(bank, features),
    }


def recall(bank: np.ndarray, queries: np.ndarray) -> float:
    """Share of the 200 exact nearest neighbours that the index finds."""
    wanted = min(RECALL_AT, len(bank))
    exact = build_index(bank, exact_rows=len(bank)).search(queries, wanted)[1]
    found = build_index(bank).search(queries, wanted)[1]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)]
    return float(np.mean(shared) / wanted)


def share_of_epoch(setting: Setting) -> dict[str, Any]:
    """Time between epochs at the size of the data, as a share of the epoch's estimated time."""
    plan = student_plan(setting, 8, adaptation_diagnostics=True)
    text = Text.read(setting, 8, setting.sizes.data_sentences)
    student = Student.build(setting, text, plan)
    student.steps(2)
    took = []
    for _ in range(4 * setting.repeats):
        started = time.perf_counter()
        student.step()
        took.append(time.perf_counter() - started)
    epoch = float(np.mean(took)) * len(student.plan)
    fill_features(student.hook)
    started = time.perf_counter()
    student.hook.on_epoch_end(0)
    seconds = time.perf_counter() - started
    return {
        "ratio": WANTED_SHARE * epoch / seconds,
        "ours": 100 * seconds / epoch,
        "other": 100 * WANTED_SHARE,
        "unit": "% of an epoch",
        "other_is": "what is wanted at most",
        "precision": student.pipeline.network.precision,
        "seconds": seconds,
        "epoch_seconds": epoch,
        "sentences": [len(text.source), len(text.target)],
        "spans": student.hook.target.corpus.n_spans,
    }
