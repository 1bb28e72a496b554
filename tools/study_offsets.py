"""Measure what offset and name memory do to the F1 of a trained pipeline on labelled text.

    python tools/study_offsets.py PIPELINE RAW.spacy GOLD.spacy [--offsets -1 0 0.5 1 2]

RAW is raw text of the target language, from which the offset is chosen and the memory is built; GOLD is labelled text
of the same kind, which neither sees. The pipeline's own offset and memory are left out. Prints a table: F1, precision
and recall without and with the memory, at each offset and at the one that RAW's repeated strings suggest.

With --few 10 20 40, a second table: mean and standard deviation of F1 on the rest of GOLD, if so many of its sentences
choose the offset, over 100 draws: by the pipeline's own offset (no sentences), by the best F1 on them, and as trainings
do (see `balanced_offset`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from spacy_maral.adaptation.target_names import read_target
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.metrics import Entities, EntityReport, score_entities
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.model.names import NameSettings, refine_scores, span_keys
from spacy_maral.model.offsets import TRIED, balanced_offset, class_offsets
from spacy_maral.model.spans import Candidates, decode
from spacy_maral.model.visible import VisibleWords
from spacy_maral.training.corpus import Corpus
from spacy_maral.training.pipelines import COMPONENT, Pipeline, load_pipeline

DEFAULT = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
DRAWS = 100


def measure(model: Path, raw: Path, gold: Path, offsets: list[float]) -> list[list[str]]:
    """Rows of the table: the offset, and F1, precision and recall without and with names."""
    pipeline = load_pipeline(model)
    read = read_target(pipeline, list(read_docs(raw)), names=True)
    point, memory = read.point, read.memory
    assert memory is not None
    docs = list(read_docs(gold))
    corpus = pipeline.encode(docs, labelled=True, name=gold.name)
    scores = pipeline.class_scores(corpus)
    visible = VisibleWords.of(docs)
    keys = span_keys(visible.texts, visible.candidates(corpus.max_width))
    settings = NameSettings(type_weight=0.75, mixed_weight=0.25)
    named = refine_scores(scores, keys, memory.compact(), settings, own=False)
    rows = []
    for offset in [*offsets, point.offset]:
        label = f"{offset:+.2f}" + (" (chosen)" if offset is point.offset else "")
        rows.append([label, *(shown(pipeline, corpus, table, offset) for table in (scores, named))])
    return rows


def few_labelled(model: Path, gold: Path, sizes: list[int]) -> list[list[str]]:
    """Rows of the second table: the number of sentences, and F1 on the rest by each choice."""
    pipeline = load_pipeline(model)
    corpus = pipeline.encode(list(read_docs(gold)), labelled=True, name=gold.name)
    scores = pipeline.class_scores(corpus)
    own = pipeline.nlp.get_pipe(COMPONENT).cfg["offset"]
    counts = count_by_sentence(pipeline, corpus, scores)
    candidates = Candidates(np.diff(corpus.doc_words), corpus.max_width)
    starts, ends = candidates.words
    rng, rows = np.random.default_rng(0), []
    for n in sizes:
        found: dict[str, list[float]] = {"own": [], "best": [], "trainings": []}
        for _ in range(DRAWS):
            drawn = np.zeros(len(corpus.doc_spans) - 1, dtype=bool)
            drawn[rng.choice(len(drawn), n, replace=False)] = True
            spans = np.flatnonzero(drawn[candidates.owner])
            n_gold = int(counts.gold[drawn].sum())
            offsets = {
                "own": own,
                "best": TRIED[counts.f1(drawn).argmax()],
                "trainings": balanced_offset(
                    scores[spans], (starts[spans], ends[spans]), corpus.classes[spans], n_gold, own
                ),
            }
            f1 = counts.f1(~drawn)
            for name, offset in offsets.items():
                found[name].append(100 * float(np.interp(offset, TRIED, f1)))
        rows.append([str(n), *(f"{np.mean(x):.1f} ± {np.std(x):.1f}" for x in found.values())])
    return rows


@dataclass(frozen=True)
class Counts:
    """Numbers of entities by offset and sentence: found, right, shape (n_offsets, n); gold, shape (n,)."""

    found: NDArray[np.int64]
    right: NDArray[np.int64]
    gold: NDArray[np.int64]

    def f1(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1 on some sentences at each offset."""
        both = self.found[:, chosen].sum(1) + self.gold[chosen].sum()
        return 2 * self.right[:, chosen].sum(1) / np.maximum(1, both)


def count_by_sentence(pipeline: Pipeline, corpus: Corpus, scores: NDArray[np.floating]) -> Counts:
    candidates = Candidates(np.diff(corpus.doc_words), corpus.max_width)
    n = len(corpus.doc_spans) - 1
    found, right = (np.zeros((len(TRIED), n), dtype=np.int64) for _ in range(2))
    for i, offset in enumerate(TRIED):
        kept, classes, _ = decode(
            scores + class_offsets(offset, pipeline.labels), *candidates.words
        )
        owner = candidates.owner[kept]
        found[i] = np.bincount(owner, minlength=n)
        right[i] = np.bincount(owner[corpus.classes[kept] == classes], minlength=n)
    return Counts(found, right, np.bincount(corpus.entities.docs, minlength=n))


def shown(pipeline, corpus, scores, offset: float) -> str:  # type: ignore[no-untyped-def]
    """F1, precision and recall at an offset, as text."""
    shifted = scores + class_offsets(offset, pipeline.labels)
    report = report_decisions(corpus, pipeline.labels, shifted)
    return f"{100 * report.f1:.1f} ({100 * report.precision:.0f} / {100 * report.recall:.0f})"


def report_decisions(
    corpus: Corpus, labels: list[str], scores: NDArray[np.floating]
) -> EntityReport:
    """Compare the decisions by some class scores, shape (n_spans, K), with the labels of a corpus."""
    candidates = Candidates(np.diff(corpus.doc_words), corpus.max_width)
    kept, classes, _ = decode(scores, *candidates.words)
    found = Entities(candidates.owner[kept], *candidates.in_documents(kept), classes)
    return score_entities(corpus.entities, found, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of a pipeline with maral_ner")
    parser.add_argument("raw", type=Path, help="raw target text (.spacy)")
    parser.add_argument("gold", type=Path, help="labelled target text (.spacy)")
    parser.add_argument("--offsets", type=float, nargs="*", default=list(DEFAULT))
    parser.add_argument(
        "--few", type=int, nargs="*", default=[], help="numbers of labelled sentences"
    )
    args = parser.parse_args()
    rows = measure(args.model, args.raw, args.gold, args.offsets)
    typer.echo(markdown_table(["offset", "F1 (P / R)", "with names"], rows))
    if args.few:
        header = ["sentences", "own offset", "best F1", "as trainings choose"]
        typer.echo("\n" + markdown_table(header, few_labelled(args.model, args.gold, args.few)))


if __name__ == "__main__":
    main()
