"""Review what the model is least sure of, and train on the corrections.

    python examples/active_learning.py export student text.txt doubtful.jsonl --lang de -n 100
    prodigy ner.manual corrected blank:de doubtful.jsonl --label PER,LOC,ORG
    prodigy db-out corrected > corrected.jsonl
    python examples/active_learning.py import corrected.jsonl gold.spacy

The exported rows are in Prodigy's format; any tool that keeps "text", "tokens" and "spans" and adds
"answer": "accept" will do. Both trainings take the gold file beside the labelled source:

    python -m spacy maral train-teacher maral.cfg --source train.spacy --target-gold gold.spacy …
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spacy.tokens import DocBin
from wasabi import msg

from spacy_maral import load, read_prodigy, read_raw, write_prodigy
from spacy_maral.evaluation.evaluate import without_labels


def export(model: Path, text: Path, output: Path, *, lang: str, n: int) -> int:
    """Write the sentences with the least certain entities; RETURNS (int): How many."""
    nlp = load(model)
    docs = nlp.pipe(without_labels(nlp, read_raw(text, lang)))
    return write_prodigy(docs, output, n=n)


def take_back(corrected: Path, output: Path) -> int:
    """Write the accepted sentences as gold; RETURNS (int): How many."""
    docs = DocBin(docs=read_prodigy(corrected))
    docs.to_disk(output)
    return len(docs)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run one of the two steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("export", help="write the most doubtful sentences")
    step.add_argument("model", type=Path)
    step.add_argument("text", type=Path)
    step.add_argument("output", type=Path)
    step.add_argument("--lang", required=True)
    step.add_argument("-n", type=int, default=100)
    step = steps.add_parser("import", help="read the corrections back")
    step.add_argument("corrected", type=Path)
    step.add_argument("output", type=Path)
    args = parser.parse_args(arguments)
    if args.step == "export":
        count = export(args.model, args.text, args.output, lang=args.lang, n=args.n)
    else:
        count = take_back(args.corrected, args.output)
    msg.good(f"{count:,} sentences", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
