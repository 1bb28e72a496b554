"""Compare text whose signs stand apart, as files of columns have it, with natural spacing, in training and in use.

    python tools/study_spacing.py CONFIG OUTPUT --source EN.spacy --dev EN-DEV.spacy --test DE-TEST.spacy

A teacher is trained on each of both kinds of source text, and both are measured on each kind of test text. Trainings
that are in OUTPUT already are not repeated. Settings are replaced as --section.key VALUE.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import typer
from spacy.cli._util import parse_config_overrides
from spacy.tokens import Doc, Span

from spacy_maral.data.convert import write_docs
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import evaluate_pipeline, load_pipeline
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.training.teacher import train_teacher

# no space comes before the former and after the latter
CLOSING, OPENING = frozenset(".,;:!?)]%'»”"), frozenset("([«“")


def natural(doc: Doc) -> Doc:
    """A copy of a document without spaces before closing signs and after opening ones."""
    words = [token.text for token in doc]
    spaces = [
        after not in CLOSING and word not in OPENING
        for word, after in zip(words, [*words[1:], "."], strict=True)
    ]
    copied = Doc(doc.vocab, words=words, spaces=spaces)
    copied.set_ents(
        [Span(copied, ent.start, ent.end, label=ent.label_) for ent in doc.ents], default="outside"
    )
    return copied


def as_natural(path: Path, written: Path) -> Path:
    """Write the documents of a file with natural spacing; RETURNS (Path): The new file."""
    write_docs(written, map(natural, read_docs(path)))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="configuration of the trainings")
    parser.add_argument("output", type=Path, help="folder for trainings")
    for name, text in (
        ("source", "labelled source text (.spacy), signs apart"), ("dev", "the same to choose the epoch by"),
        ("test", "labelled target text (.spacy), signs apart"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    args, rest = parser.parse_known_args()
    overrides = parse_config_overrides(rest)
    apart = {name: getattr(args, name) for name in ("source", "dev", "test")}
    files = {
        "apart": apart,
        "natural": {n: as_natural(path, args.output / f"{n}.spacy") for n, path in apart.items()},
    }
    rows = []
    for trained, own in files.items():
        model = train_teacher(
            args.config, source=own["source"], dev=own["dev"], output=args.output / trained,
            resume=True, overrides=overrides,
        )  # fmt: skip
        nlp = load_pipeline(model)
        for tested, other in files.items():
            report = evaluate_pipeline(nlp, other["test"]).report
            rows.append([trained, tested, f"{100 * report.f1:.1f}"])
    typer.echo(markdown_table(["trained on signs", "tested on signs", "F1"], rows))


if __name__ == "__main__":
    main()
