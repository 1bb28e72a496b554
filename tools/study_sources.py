"""Measure teachers, and the means of two teachers' probabilities, on labelled text of the target language.

    python tools/study_sources.py GOLD.spacy ENGLISH OTHER-ENGLISH DUTCH ...

Says what a second source language adds that a second teacher does not: compare the pair of an English
and a Dutch teacher with a pair of two English ones. Each teacher decides with its own offset, and without a
name memory. Prints a table: F1, precision and recall of each teacher, and of each pair.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from study_offsets import report_decisions

from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.training.corpus import Corpus
from spacy_maral.training.pipelines import load_pipeline


def measure(gold: Path, teachers: list[Path]) -> list[list[str]]:
    """Rows of the table: the names of one teacher or of two, F1, precision and recall."""
    docs = list(read_docs(gold))
    pipelines = [load_pipeline(path) for path in teachers]
    kinds = [(own.labels, own.network.span_model.max_width) for own in pipelines]
    for path, kind in zip(teachers, kinds, strict=True):
        if kind != kinds[0]:
            raise SystemExit(f"{path} has other labels or another max_width than {teachers[0]}")
    tables = {
        str(path): own.class_probabilities(docs, name=str(path))
        for path, own in zip(teachers, pipelines, strict=True)
    }
    labels = pipelines[0].labels
    corpus = pipelines[0].encode(docs, labelled=True, name=gold.name)
    singles = [((name,), table) for name, table in tables.items()]
    pairs = [((a, b), (tables[a] + tables[b]) / 2) for a, b in combinations(tables, 2)]
    return [
        [" and ".join(names), *scores(corpus, labels, table)] for names, table in singles + pairs
    ]


def scores(corpus: Corpus, labels: list[str], probabilities: NDArray[np.floating]) -> list[str]:
    """F1, precision and recall of the decisions by some probabilities, in percent."""
    with np.errstate(divide="ignore"):
        report = report_decisions(corpus, labels, np.log(probabilities))
    return [f"{100 * value:.1f}" for value in (report.f1, report.precision, report.recall)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gold", type=Path, help="labelled target text (.spacy)")
    parser.add_argument(
        "teachers", type=Path, nargs="+", help="folders of pipelines with maral_ner"
    )
    args = parser.parse_args()
    rows = measure(args.gold, args.teachers)
    typer.echo(markdown_table(["teachers", "F1", "precision", "recall"], rows))


if __name__ == "__main__":
    main()
