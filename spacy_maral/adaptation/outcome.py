"""How a finished student is judged: by its first labels of the raw target text, and beside its teacher on
labelled target sentences that are held out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..data.files import UNREADABLE
from ..data.layout import META, RUN_FOLDER, SUMMARY
from ..errors import Warnings
from ..evaluation.against_teacher import compare_scores, describe_comparison, is_behind
from ..evaluation.evaluate import evaluate_pipeline, open_pipeline
from ..evaluation.metrics import Score
from ..evaluation.raw_target import compare_on_raw, departures
from ..training.pipelines import COMPONENT, Pipeline
from ..training.settings import AdaptationSettings
from ..training.target_gold import TARGET_GOLD, TargetGold
from .target_names import read_target, save_names

logger = logging.getLogger("spacy")


def settle_target(
    student: Pipeline,
    docs: Sequence[Doc],
    first: NDArray[np.integer],
    settings: AdaptationSettings,
) -> dict[str, Any]:
    """Read the target with a trained student: give it its name memory if wanted, and say if it departs.

    docs (Sequence[Doc]): The target's documents, or the first of them.
    first (NDArray[np.integer]): Class of each candidate span of these documents, and perhaps more, by
        the labels that the student started with.
    RETURNS (dict): Entries of the summary: "operating_point" and "raw_target" (see `compare_on_raw`).
    """
    read = read_target(student, docs, names=settings.save_names)
    if read.memory is not None:
        save_names(student, read.memory, settings)
    n_words = sum(map(len, docs))
    found = compare_on_raw(first[: len(read.classes)], read.classes, student.labels, n_words)
    if said := departures(found):
        logger.warning(Warnings.W509.format(departures="\n  ".join(said)))
    return {"operating_point": asdict(read.point), "raw_target": found}


def teacher_labels(path: Path) -> list[str] | None:
    """Entity labels of a maral_ner pipeline, without loading it; None for any other pipeline."""
    meta = json.loads((path / META).read_text(encoding="utf8"))
    return meta.get("labels", {}).get(COMPONENT)


def score_teacher(teacher: Path | None, gold: TargetGold | None) -> Score | None:
    """Score a teacher on the labelled target sentences that are held out.

    RETURNS (Score | None): The score; None without teacher, sentences or entities in them, if the teacher
        may have been trained on them, or if it has no maral_ner: others may name their labels differently.
    """
    if teacher is None or gold is None or not any(doc.ents for doc in gold.held_out):
        return None
    if teacher_labels(teacher) is None or has_learned(teacher, gold):
        return None
    return evaluate_pipeline(open_pipeline(teacher), gold.held_out).report.micro


def settle_comparison(
    student: Pipeline, gold: TargetGold | None, of_teacher: Score | None
) -> dict[str, Any]:
    """Say how a trained student does beside its teacher on sentences whose labels are in no loss.

    They do choose the offset of each, and the epoch if the settings say so.

    of_teacher (Score | None): The teacher's score on the target sentences that are held out.
    RETURNS (dict): The entry of the summary "held_out_target" (see `compare_scores`); none without
        a score.
    """
    if gold is None or of_teacher is None:
        return {}
    own = evaluate_pipeline(student.nlp, gold.held_out).report.micro
    found = compare_scores(of_teacher, own, len(gold.held_out))
    if is_behind(found):
        logger.warning(Warnings.W513.format(comparison=describe_comparison(found)))
    else:
        tqdm.write(describe_comparison(found))
    return {"held_out_target": found}


def has_learned(teacher: Path, gold: TargetGold) -> bool:
    """Whether a teacher may have been trained on the target sentences that its student holds out.

    It has not if its own run had no such sentences, or held out at least the same share of them: digests
    of the texts choose the sentences. Without the summary of that run, it may have.
    """
    path = teacher / RUN_FOLDER / SUMMARY
    try:
        own = json.loads(path.read_text(encoding="utf8"))["data"].get(TARGET_GOLD)
        return own is not None and own["holdout"] < gold.holdout
    except UNREADABLE:
        return True
