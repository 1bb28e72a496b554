"""Measure what offset and name memory do to the F1 of a trained pipeline on labelled text.

    python tools/study_offsets.py PIPELINE RAW.spacy GOLD.spacy [--offsets -1 0 0.5 1 2]

RAW is raw text of the target language, from which the offset is chosen and the memory is built; GOLD is labelled text
of the same kind, which neither sees. The pipeline's own offset and memory are left out. Prints a table: F1, precision
and recall without and with the memory, at each offset and at the one that RAW's repeated strings suggest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import typer

from spacy_maral.adaptation.target_names import read_target
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.metrics import Entities, score_entities
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.model.names import NameSettings, refine_scores, span_keys
from spacy_maral.model.offsets import class_offsets
from spacy_maral.model.spans import Candidates, decode
from spacy_maral.model.visible import VisibleWords
from spacy_maral.training.network import collect
from spacy_maral.training.pipelines import load_pipeline

DEFAULT = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
TOKENS = 2048


def measure(model: Path, raw: Path, gold: Path, offsets: list[float]) -> list[list[str]]:
    """Rows of the table: the offset, and F1, precision and recall without and with names."""
    import torch

    pipeline = load_pipeline(model)
    read = read_target(pipeline, list(read_docs(raw)))
    point, memory = read.point, read.memory
    docs = list(read_docs(gold))
    corpus = pipeline.encode(docs, labelled=True, name=gold.name)
    span_model = pipeline.network.span_model
    scores = collect(
        pipeline.network, corpus, len(pipeline.labels) + 1, span_model.class_scores,
        batch_tokens=TOKENS, name="Scores", dtype=torch.float32,
    )  # fmt: skip
    visible = VisibleWords.of(docs)
    keys = span_keys(visible.texts, visible.candidates(corpus.max_width))
    settings = NameSettings(type_weight=0.75, mixed_weight=0.25)
    named = refine_scores(scores, keys, memory.compact(), settings, own=False)
    rows = []
    for offset in [*offsets, point.offset]:
        label = f"{offset:+.2f}" + (" (chosen)" if offset is point.offset else "")
        rows.append([label, *(shown(pipeline, corpus, table, offset) for table in (scores, named))])
    return rows


def shown(pipeline, corpus, scores, offset: float) -> str:  # type: ignore[no-untyped-def]
    """F1, precision and recall at an offset, as text."""
    shifted = scores + class_offsets(offset, pipeline.labels)
    candidates = Candidates(np.diff(corpus.doc_words), corpus.max_width)
    kept, classes, _ = decode(shifted, *candidates.words)
    found = Entities(candidates.owner[kept], *candidates.in_documents(kept), classes)
    report = score_entities(corpus.entities, found, pipeline.labels)
    return f"{100 * report.f1:.1f} ({100 * report.precision:.0f} / {100 * report.recall:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of a pipeline with maral_ner")
    parser.add_argument("raw", type=Path, help="raw target text (.spacy)")
    parser.add_argument("gold", type=Path, help="labelled target text (.spacy)")
    parser.add_argument("--offsets", type=float, nargs="*", default=list(DEFAULT))
    args = parser.parse_args()
    rows = measure(args.model, args.raw, args.gold, args.offsets)
    typer.echo(markdown_table(["offset", "F1 (P / R)", "with names"], rows))


if __name__ == "__main__":
    main()
