"""Score teacher and student on the source's dev set and every target's test set.

    python tools/evaluate_targets.py --models training/RUN --corpus corpus/RUN --source en
        --target de+es --out metrics/RUN

Writes OUT/MODEL-SET.json for each, and OUT/table.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from typer.main import get_command
from wasabi import msg

from spacy_maral.cli import app
from spacy_maral.data.datasets import check_languages
from spacy_maral.errors import MaralError

MODELS = ("teacher", "student")


def run(*arguments: str | Path) -> None:
    """Run a `spacy maral` command in this process."""
    get_command(app)([str(argument) for argument in arguments], standalone_mode=False)


def evaluate_all(
    models: Path, corpus: Path, out: Path, *, source: str, targets: list[str], gpu_id: int
) -> None:
    """Score both models on all sets and compare them.

    models (Path): Folder with the pipelines "teacher" and "student".
    corpus (Path): Folder with dev.spacy and test-LANG.spacy.
    out (Path): Folder for the metrics.
    source (str): Source language.
    targets (list[str]): Target languages.
    gpu_id (int): GPU to use, -1 for the CPU.
    RAISES (MaralError): If the name of a language could not be part of a file's name.
    """
    check_languages([source, *targets])
    out.mkdir(parents=True, exist_ok=True)
    sets = {f"{source}-dev": corpus / "dev.spacy"}
    sets |= {f"{lang}-test": corpus / f"test-{lang}.spacy" for lang in targets}
    for model in MODELS:
        for name, path in sets.items():
            metrics = out / f"{model}-{name}.json"
            run("evaluate", models / model, path, "-o", metrics, "--gpu-id", str(gpu_id))
    run("compare", out, "-o", out / "table.md")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and evaluate.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True, help="target languages, joined by '+'")
    parser.add_argument("--gpu-id", type=int, default=-1)
    args = parser.parse_args(arguments)
    try:
        evaluate_all(
            args.models, args.corpus, args.out,
            source=args.source, targets=args.target.split("+"), gpu_id=args.gpu_id,
        )  # fmt: skip
    except MaralError as error:
        msg.fail("Cannot evaluate", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
