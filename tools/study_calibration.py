"""Measure what calibration does to the confidences of a trained pipeline on text that it was not fitted to.

    python tools/study_calibration.py PIPELINE GOLD.spacy [--source DEV.spacy] [--few 50 100 200]

GOLD is labelled text of the target language. Each row of the table fits the calibration to so many of its sentences, as
`python -m spacy maral calibrate --on FILE` does, and measures on the others, over 100 draws: the expected calibration
error without and with it, and the precision that the entities have whose confidence reaches the threshold chosen for
the precision asked for. "half" fits to one half. --source fits to labelled text of the source language instead and
measures on all of GOLD.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.evaluation.span_scores import COMPONENT, SpanScores, score_spans
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.model.confidence import calibration_error, log_odds, sigmoid
from spacy_maral.model.spans import OUTSIDE
from spacy_maral.training.calibrate import calibrate_pipeline

DRAWS = 100


class Scored:
    """The entities that a pipeline predicts in some documents: log odds x, class, and whether they are right."""

    def __init__(self, spans: SpanScores) -> None:
        kept = spans.predicted != OUTSIDE
        self.spans = spans
        self.docs, self.classes = spans.docs[kept], spans.predicted[kept]
        self.x = log_odds(spans.scores[kept], self.classes)
        self.correct = self.classes == spans.gold[kept]

    def part(self, chosen: NDArray[np.bool_]) -> SpanScores:
        """The spans of some documents, shape (n_docs,)."""
        return SpanScores(*(column[chosen[self.spans.docs]] for column in self.spans))


def try_fit(nlp, spans, scored, rest, precision):  # type: ignore[no-untyped-def]
    """Fit to some spans; RETURNS (list): Errors before and after, and precision and recall, on the rest.

    precision and recall are NaN where no threshold has the precision; all are NaN where there are
    too few entities for a fit.
    """
    n_gold = int((spans.gold != OUTSIDE).sum())
    x, classes, correct = (column[rest] for column in (scored.x, scored.classes, scored.correct))
    threshold = None
    try:
        report, fit = calibrate_pipeline(nlp, spans, n_gold, "the sentences", precision)
        threshold = report.threshold
    except MaralError:
        try:
            _, fit = calibrate_pipeline(nlp, spans, n_gold, "the sentences", None)
        except MaralError:
            return [np.nan] * 4
    raw = sigmoid(x)
    errors = [calibration_error(p, correct) for p in (raw, fit.apply(x, classes))]
    if threshold is None:
        return [*errors, np.nan, np.nan]
    above = correct[raw >= threshold]
    return [*errors, above.mean() if len(above) else np.nan, above.sum() / max(1, correct.sum())]


def shown(name: str, rows: list[list[float]]) -> list[str]:
    """A row of the table: mean and standard deviation over the draws, in percent."""
    table = 100 * np.array(rows)
    used, reached = ~np.isnan(table[:, 0]), ~np.isnan(table[:, 2])
    means = [
        f"{np.mean(column[kept]):.1f} ± {np.std(column[kept]):.1f}" if kept.any() else "–"
        for column, kept in zip(table.T, (used, used, reached, reached), strict=True)
    ]
    return [name, *means, f"{reached.sum()} of {len(rows)}"]


def study(
    model: Path, gold: Path, source: Path | None, sizes: list[int], precision: float
) -> list[list[str]]:
    """Rows of the table."""
    nlp = load_pipeline(model)
    assert not nlp.get_pipe(COMPONENT).cfg.get("calibration"), "the pipeline is calibrated already"
    docs = list(read_docs(gold))
    scored = Scored(score_spans(nlp, docs))
    rows = []
    if source is not None:
        spans = score_spans(nlp, list(read_docs(source)))
        every = np.ones(len(scored.x), dtype=bool)
        rows.append(shown("source", [try_fit(nlp, spans, scored, every, precision)]))
    rng = np.random.default_rng(0)
    half = len(docs) // 2
    for name, size in [*((str(n), n) for n in sizes), (f"half ({half})", half)]:
        found = []
        for _ in range(DRAWS):
            chosen = np.zeros(len(docs), dtype=bool)
            chosen[rng.choice(len(docs), size, replace=False)] = True
            spans = scored.part(chosen)
            found.append(try_fit(nlp, spans, scored, ~chosen[scored.docs], precision))
        rows.append(shown(name, found))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of a pipeline with maral_ner")
    parser.add_argument("gold", type=Path, help="labelled target text (.spacy)")
    parser.add_argument("--source", type=Path, help="labelled source text (.spacy)")
    parser.add_argument("--few", type=int, nargs="*", default=[50, 100, 200])
    parser.add_argument("--precision", type=float, default=0.9)
    args = parser.parse_args()
    header = ["fitted to", "error before", "after", "precision", "share of right ones", "reached"]
    rows = study(args.model, args.gold, args.source, args.few, args.precision)
    typer.echo(markdown_table(header, rows))


if __name__ == "__main__":
    main()
