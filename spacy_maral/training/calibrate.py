"""Calibrate the confidences of a saved pipeline, and choose its threshold for a precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language

from ..errors import Errors, MaralError
from ..evaluation.evaluate import load_pipeline, read_gold
from ..evaluation.span_scores import COMPONENT, SpanScores, score_spans
from ..model.confidence import (
    Calibration,
    calibration_error,
    fit_calibration,
    log_odds,
    sigmoid,
)
from ..model.maral_ner import set_use
from ..model.spans import OUTSIDE
from .saving import check_place, save_copy
from .target_gold import number_texts

MIN_DECISIONS = 20


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration was fitted to, and what it changes.

    n_decisions, n_correct: Predicted entities, and how many of them are correct. before, after:
    Expected calibration error, in [0, 1]; the latter of fits to one half of the texts that are
    measured on the other. temperature, shift: By label. threshold: The new threshold, None if it was
    not asked for. precision, recall: With this threshold, on the same documents.
    """

    n_decisions: int
    n_correct: int
    before: float
    after: float
    temperature: dict[str, float]
    shift: dict[str, float]
    threshold: float | None = None
    precision: float | None = None
    recall: float | None = None


def calibrate(
    model: str | Path,
    data: str | Path,
    *,
    output: str | Path | None = None,
    precision: float | None = None,
    gpu_id: int = -1,
) -> CalibrationReport:
    """Fit the confidences of a pipeline to labelled documents, and save the pipeline.

    A temperature and a shift for each class turn ent._.maral_score into the share of such entities
    that are correct. They do not change which entities are found. Only a precision does: it sets the
    component's threshold.

    EXAMPLE: calibrate("student", "german-gold.spacy", precision=0.95)

    model (str | Path): Folder of the pipeline.
    data (str | Path): Labelled documents (.spacy) that the model was not trained on: of the target,
        or of the source's development data if there is no labelled target text.
    output (str | Path | None): Folder for the calibrated pipeline; by default it replaces the old one.
    precision (float | None): Precision that the entities above the new threshold are to have.
    gpu_id (int): GPU to predict with, -1 for the CPU.
    RETURNS (CalibrationReport): The figures.
    RAISES (MaralError): If the pipeline or the documents cannot be read, too few entities are
        predicted, no threshold has the precision, or the folder cannot be written or has something
        else in it.
    """
    if precision is not None and not 0 < precision < 1:
        raise MaralError(Errors.M564.format(precision=precision))
    folder = Path(output or model)
    check_place(Path(model), folder)
    nlp = load_pipeline(model, gpu_id=gpu_id)
    docs = read_gold(data)
    spans = score_spans(nlp, docs)
    # copies of a text are in one half
    spans = spans._replace(docs=number_texts(docs)[spans.docs])
    n_gold = sum(len(doc.ents) for doc in docs)
    report, fit = calibrate_pipeline(nlp, spans, n_gold, str(data), precision)
    set_calibration(nlp, fit, report.threshold)
    save_copy(nlp, folder)
    return report


def calibrate_pipeline(
    nlp: Language, spans: SpanScores, n_gold: int, data: str, precision: float | None
) -> tuple[CalibrationReport, Calibration]:
    """Fit a calibration to scored spans, without changing the pipeline.

    spans (SpanScores): The spans. Those with even and odd numbers of documents are the two halves.
    n_gold (int): Number of gold entities, for the recall.
    data (str): Name of the documents, for messages.
    RETURNS (tuple): The figures and the fit.
    RAISES (MaralError): If there are too few entities, or no threshold has the precision.
    """
    kept = spans.predicted != OUTSIDE
    classes = spans.predicted[kept]
    correct = classes == spans.gold[kept]
    if len(classes) < MIN_DECISIONS or correct.all() or not correct.any():
        found = {"n": len(classes), "correct": int(correct.sum()), "least": MIN_DECISIONS}
        raise MaralError(Errors.M563.format(**found, path=data))
    labels = nlp.get_pipe(COMPONENT).labels  # type: ignore[attr-defined]
    x, n_classes = log_odds(spans.scores[kept], classes), len(labels) + 1
    fit = fit_calibration(x, classes, correct, n_classes)
    raw, crossed = sigmoid(x), np.empty(len(x))
    half = spans.docs[kept] % 2 == 0
    for part in (half, ~half):
        other = fit_calibration(x[~part], classes[~part], correct[~part], n_classes)
        crossed[part] = other.apply(x[part], classes[part])
    chosen: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    if precision is not None:
        chosen = choose_threshold(raw, correct, n_gold, precision, data)
    temperature, shift = (dict(zip(labels, column.tolist(), strict=True)) for column in fit)
    report = CalibrationReport(
        len(classes), int(correct.sum()), calibration_error(raw, correct),
        calibration_error(crossed, correct), temperature, shift, *chosen,
    )  # fmt: skip
    return report, fit


def choose_threshold(
    confidence: NDArray[np.floating],
    correct: NDArray[np.bool_],
    n_gold: int,
    precision: float,
    data: str,
) -> tuple[float, float, float]:
    """Choose the lowest threshold above which entities have a precision.

    confidence (NDArray): Confidences of predicted entities, shape (n,).
    correct (NDArray[np.bool_]): Whether each is correct, shape (n,).
    n_gold (int): Number of gold entities.
    precision (float): The precision, in (0, 1).
    data (str): Name of the documents, for the message.
    RETURNS (tuple): Threshold, and precision and recall of the entities that reach it.
    RAISES (MaralError): If no threshold has the precision.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, right = confidence[order], np.cumsum(correct[order])
    reached = right / np.arange(1, len(order) + 1)
    # entities with equal confidence stay together
    last = np.append(ranked[:-1] > ranked[1:], True)
    fitting = np.flatnonzero(last & (reached >= precision))
    if not len(fitting):
        best = 100 * reached[last].max()
        raise MaralError(Errors.M565.format(precision=precision, best=best, path=data))
    place = int(fitting[-1])
    # between two confidences, so that rounding does not matter
    below = 0.0 if place + 1 == len(order) else float(ranked[place : place + 2].mean())
    return below, float(reached[place]), float(right[place] / n_gold)


def set_calibration(nlp: Language, fit: Calibration, threshold: float | None = None) -> None:
    """Set the calibration of a pipeline's maral_ner, and its threshold if one is given."""
    nlp.get_pipe(COMPONENT).cfg["calibration"] = fit.to_lists()  # type: ignore[attr-defined]
    if threshold is not None:
        set_use(nlp, COMPONENT, threshold=threshold)
