"""Compare sentences that `suggest` chooses with sentences drawn at random, by the teachers that they make.

    python tools/study_suggest.py CONFIG TEACHER OUTPUT --source EN.spacy --dev EN-DEV.spacy --pool DE.spacy --test DE-TEST.spacy

TEACHER, trained on the source alone, chooses n sentences of the pool, whose labels it does not see; a new teacher is
trained on the source and these sentences with their labels, as with `train-teacher --target-gold`, and measured on the
test set. Another model is trained on the suggested sentences alone, with as many updates as the teacher has. The table has
TEACHER itself, mean and standard deviation over the seeds, and how many words and entities an annotator would read. Trainings
that are in OUTPUT already are not repeated; --choices leaves some of the three out. Settings are replaced as --section.key
VALUE. OUTPUT/results.json has all figures, with the name that is given as --name. With --words, the numbers are of words, and
sentences are suggested by their doubts for their length.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import typer
from spacy.cli._util import parse_config_overrides
from spacy.tokens import Doc, DocBin

from spacy_maral.adaptation.suggest import suggest
from spacy_maral.data.config import read_config
from spacy_maral.data.docs import read_docs
from spacy_maral.data.files import write_file, write_json
from spacy_maral.evaluation.evaluate import evaluate_pipeline, load_pipeline
from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.experiments.corpora import label_suggested
from spacy_maral.experiments.runs import as_many_steps
from spacy_maral.training.settings import read_section
from spacy_maral.training.teacher import train_teacher

CHOICES = ("random", "suggested", "alone")
COUNTS = ("sentences", "words", "entities")
NONE = "none"
"""The choice of the teacher itself, which has no labelled target sentences."""


def choose(args: argparse.Namespace, output: Path, n: int, choice: str, seed: int) -> Path:
    """Choose sentences; RETURNS (Path): Them with their labels in the pool, a .spacy file."""
    number, words = (None, n) if args.words else (n, None)
    suggest(
        args.teacher, args.pool, output, n=number, words=words, random=choice == "random", seed=seed
    )
    return label_suggested(output, args.pool, output)


def run(args: argparse.Namespace, n: int, choice: str, seed: int) -> dict[str, Any]:
    """One training and its F1; RETURNS (dict): What its file in the output folder holds."""
    unit = "words" if args.words and choice != NONE else "sentences"
    path = args.output / f"{choice}-{n}-{unit}-{seed}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        return found
    model, docs = args.teacher, list[Doc]()
    if choice != NONE:
        gold = choose(args, path.with_suffix(".spacy"), n, choice, seed)
        docs = list(read_docs(gold))
        model = train(args, gold, len(docs), path.with_suffix(""), choice, seed)
    result = {
        "n": n, "unit": unit, "choice": choice, "seed": seed, "sentences": len(docs),
        "f1": evaluate_pipeline(load_pipeline(model), args.test).report.f1,
        "words": sum(map(len, docs)), "entities": sum(len(doc.ents) for doc in docs),
    }  # fmt: skip
    write_json(path, result)
    return result


def train(
    args: argparse.Namespace, gold: Path, n: int, output: Path, choice: str, seed: int
) -> Path:
    """Train on the source and n labelled target sentences, or on these alone; RETURNS (Path): The model."""
    overrides = {**args.overrides, "system.seed": seed}
    given: dict[str, Any] = {"source": args.source, "target_gold": gold}
    if choice == "alone":
        given = {"source": gold}
        overrides |= settings_alone(args, n)
    return train_teacher(
        args.config, dev=args.dev, output=output, resume=True, overrides=overrides, **given
    )


def settings_alone(args: argparse.Namespace, n: int) -> dict[str, Any]:
    """Settings of a training on n sentences alone: the last of as many epochs as it needs.

    No development data of the target choose an epoch, and those of the source would choose badly.
    """
    epochs = read_section(read_config(args.config, args.overrides), "teacher").epochs
    n_source = len(DocBin().from_disk(args.source))
    return {"teacher.epochs": as_many_steps(epochs, n_source, n), "teacher.select": "last"}


def summarise(results: list[dict[str, Any]]) -> list[str]:
    """A row of the table: limit, choice, mean sentences, words and entities, and F1."""
    f1 = [100 * result["f1"] for result in results]
    means = (f"{np.mean([result[key] for result in results]):.0f}" for key in COUNTS)
    first = results[0]
    limit = f"{first['n']} {first['unit']}"
    return [limit, first["choice"], *means, f"{np.mean(f1):.1f} ± {np.std(f1):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="configuration of the trainings")
    parser.add_argument("teacher", type=Path, help="folder of the teacher that suggests")
    parser.add_argument("output", type=Path, help="folder for trainings and results")
    for name, text in (
        ("source", "labelled source text (.spacy)"), ("dev", "the same to choose the epoch by"),
        ("pool", "labelled target text (.spacy) to choose from"), ("test", "and to measure on"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    parser.add_argument("--name", help="name of the pair; by default that of the test file")
    parser.add_argument("-n", type=int, nargs="+", default=[50, 100], help="numbers of sentences")
    parser.add_argument("--words", action="store_true", help="the numbers are of words")
    parser.add_argument("--choices", nargs="+", default=CHOICES, choices=CHOICES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args, rest = parser.parse_known_args()
    args.overrides = parse_config_overrides(rest)
    args.output.mkdir(parents=True, exist_ok=True)
    cases = [(0, NONE), *((n, choice) for n in args.n for choice in args.choices)]
    results = [
        [run(args, n, choice, seed) for seed in (args.seeds if n else [0])] for n, choice in cases
    ]
    name = args.name or args.test.stem
    rows = [{"pair": name, **result} for of_case in results for result in of_case]
    write_file(args.output / "results.json", json.dumps(rows, indent=1) + "\n")
    header = ["limit", "choice", *COUNTS, "F1"]
    typer.echo(markdown_table(header, list(map(summarise, results))))


if __name__ == "__main__":
    main()
