"""Measure how many wrong gold labels `suspects` ranks among the first tenth of the sentences.

    python tools/study_suspects.py PIPELINE GOLD.spacy [--number 2000] [--share 0.05] [--seeds 0 1 2]

PIPELINE was not trained on GOLD. So many of its sentences are drawn, and in a share of them one entity is changed: it gets
another label, is left out, or moves by a word. Prints the part of the changed sentences in the first tenth of the list.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import typer
from spacy.tokens import Doc, DocBin, Span

from spacy_maral.data.docs import read_docs
from spacy_maral.training.suspects import find_suspects

KINDS = ("label", "missing", "bounds")


def corrupt(docs: list[Doc], share: float, rng: np.random.Generator) -> set[int]:
    """Change one entity in a share of the documents; RETURNS (set): Their numbers."""
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    changed: set[int] = set()
    for number in rng.permutation(len(docs)).tolist():
        if len(changed) >= share * len(docs):
            break
        doc, kind = docs[number], KINDS[len(changed) % len(KINDS)]
        ents = list(doc.ents)
        if not ents:
            continue
        place = int(rng.integers(len(ents)))
        ent = ents.pop(place)
        if kind == "label":
            others = [label for label in labels if label != ent.label_]
            ents.append(Span(doc, ent.start, ent.end, label=str(rng.choice(others))))
        elif kind == "bounds":
            taken = {word.i for other in ents for word in other}
            if ent.end >= len(doc) or ent.end in taken:
                continue
            ents.append(Span(doc, ent.start, ent.end + 1, label=ent.label_))
        doc.set_ents(ents, default="outside")
        changed.add(number)
    return changed


def found_first(model: Path, gold: Path, number: int, share: float, seed: int) -> tuple[int, int]:
    """RETURNS (tuple): Changed sentences in the first tenth of the list, and all of them."""
    rng = np.random.default_rng(seed)
    docs = list(read_docs(gold))
    docs = [docs[i] for i in rng.permutation(len(docs))[:number].tolist()]
    changed = corrupt(docs, share, rng)
    with tempfile.TemporaryDirectory() as name:
        data, output = Path(name) / "gold.spacy", Path(name) / "suspects.jsonl"
        DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs).to_disk(data)
        find_suspects(data, output, model=model)
        rows = [json.loads(line) for line in output.read_text(encoding="utf8").splitlines()]
    first = {row["doc"] for row in rows[: len(docs) // 10]}
    return len(first & changed), len(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of a pipeline with maral_ner")
    parser.add_argument("gold", type=Path, help="labelled text that it was not trained on (.spacy)")
    parser.add_argument("--number", type=int, default=2000, help="number of sentences")
    parser.add_argument("--share", type=float, default=0.05, help="share of changed sentences")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    for seed in args.seeds:
        found, changed = found_first(args.model, args.gold, args.number, args.share, seed)
        typer.echo(f"seed {seed}: {found} of {changed} changed sentences ({found / changed:.0%})")


if __name__ == "__main__":
    main()
