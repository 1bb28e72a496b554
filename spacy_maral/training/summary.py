"""The output of a finished run: the pipeline, and a summary of its settings and data."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..data.files import remove, remove_folder, write_text
from ..data.layout import CACHE, SUMMARY
from ..evaluation.tables import describe_saved
from ..model.architectures import get_encoder
from ..model.encoder.files import forget_last_call
from ..model.machine import package_versions
from ..model.memory import peak_memory
from ..model.offsets import balanced_offset, best_f1_offset
from .checkpoint import list_checkpoints, writing
from .loop import Run
from .pipelines import COMPONENT, Pipeline
from .saving import write_pipeline
from .settings import SELECTION, Section
from .target_gold import TARGET_GOLD, TargetGold


def chosen_row(run: Run) -> dict[str, Any]:
    """The log's row of the saved epoch."""
    key = SELECTION[run.settings.select]
    return max(run.log, key=lambda row: (row[key], row["epoch"]))


def settle_offset(pipeline: Pipeline, run: Run, gold: TargetGold | None = None) -> dict[str, Any]:
    """Give a trained pipeline the offset of its settings, unless its component has one.

    RETURNS (dict): The row of the saved epoch, with the scores on development data that the offset
        changes.
    """
    row, given = chosen_row(run), run.settings.offset
    if np.any(run.network.offsets):
        return row
    pipeline.set_offset(chosen_offset(pipeline, row, gold) if given == "auto" else given)
    if np.any(run.network.offsets) and run.evaluate is not None:
        row = {**row, **run.evaluate(run.network)}
    return row


def chosen_offset(pipeline: Pipeline, row: dict[str, Any], gold: TargetGold | None) -> float:
    """The offset of the best expected F1 by source dev, moved by labelled target sentences that were held
    out of the training, if there are any (see `balanced_offset`)."""
    offset = best_f1_offset(row["dev_f1"])
    if gold is not None and gold.held_out:
        offset = offset_on(pipeline, gold.held_out, offset)
    return round(offset, 3)


def offset_on(pipeline: Pipeline, docs: Sequence[Doc], start: float) -> float:
    """The offset that balances precision and recall on labelled documents (see `balanced_offset`)."""
    corpus = pipeline.encode(docs, labelled=True, name=TARGET_GOLD)
    assert corpus.classes is not None
    return balanced_offset(
        pipeline.class_scores(corpus), corpus.span_words(), corpus.classes,
        len(corpus.entities.starts), start,
    )  # fmt: skip


def finish(
    pipeline: Pipeline,
    run: Run,
    output: Path,
    started: float,
    *,
    settings: dict[str, Section],
    chosen: dict[str, Any],
    facts: Mapping[str, Any] | None = None,
    gold: TargetGold | None = None,
) -> None:
    """Write the pipeline and a summary of the run, then delete its checkpoints and cache.

    Only the first of several processes calls it.

    pipeline (Pipeline): The pipeline with the selected weights.
    started (float): `time.perf_counter` at the start of the run, in seconds.
    settings (dict): The sections of the configuration that the run used.
    chosen (dict): The row of the saved epoch (see `settle_offset`).
    facts (Mapping): Further entries of the summary.
    gold (TargetGold | None): The labelled target sentences that the run used.
    """
    nlp = pipeline.nlp
    nlp.meta["performance"] = {
        "source_dev_ents_p": chosen["dev_precision"],
        "source_dev_ents_r": chosen["dev_recall"],
        "source_dev_ents_f": chosen["dev_f1"],
    }
    # the encoder of spacy-transformers saves its tokenizer as it is
    forget_last_call(get_encoder(nlp)[1])
    with writing(run.folder):
        files = write_pipeline(nlp, run.folder / "pipeline.tmp", output)
    summary = summarise(pipeline, run, chosen, settings) | {
        **(facts or {}),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory(),
        "files": files,
    }
    if gold is not None:
        summary["data"][TARGET_GOLD] = gold.summary()
    tqdm.write(describe_saved(summary))
    # in this order, so that a run killed here, also by a power cut, can still be resumed
    with writing(run.folder):
        write_text(run.folder / SUMMARY, json.dumps(summary, indent=1) + "\n", durable=True)
        for checkpoint in list_checkpoints(run.folder):
            remove_folder(checkpoint)
        remove(run.folder / CACHE)


def summarise(
    pipeline: Pipeline, run: Run, chosen: dict[str, Any], settings: dict[str, Section]
) -> dict[str, Any]:
    """Summarise a run: settings, data, versions and the saved epoch, whose row is `chosen`.

    Its "scores" have the saved pipeline's offset, as those in meta.json, and like these no name memory;
    the log's are from before the choice of the offset.
    """
    return {
        "selected_epoch": chosen["epoch"],
        "select": run.settings.select,
        "seed": run.seed,
        "updates": run.n_updates,
        "batch_tokens": run.settings.batch_tokens,
        "precision": run.network.precision,
        "threads": torch.get_num_threads(),
        "processes": run.ranks.size,
        "machine": platform.platform(),
        "versions": package_versions(),
        "labels": pipeline.labels,
        "scores": {name: chosen[name] for name in ("dev_precision", "dev_recall", "dev_f1")},
        "offset": pipeline.nlp.get_pipe(COMPONENT).cfg["offset"],  # type: ignore[attr-defined]
        "data": {
            stream.name: {
                "documents": stream.share.n_docs,
                "words": stream.share.n_words,
                "candidate_spans": stream.share.n_spans,
            }
            for stream in run.streams
        },
        "settings": {name: section.model_dump(mode="json") for name, section in settings.items()},
        "fingerprint": run.fingerprint,
    }
