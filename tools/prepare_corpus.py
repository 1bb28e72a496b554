"""Find a dataset's files and convert them to spaCy's format.

    python tools/prepare_corpus.py files --dataset wikiann --data-dir DIR --source en --target de
    python tools/prepare_corpus.py convert … --out corpus/wikiann-en-de

`files` checks that the files are there, and generates those of the demonstration. `convert` writes
OUT/train.spacy and dev.spacy (source), and of each target target-LANG.spacy (its training text, without
labels) and test-LANG.spacy. Target languages are joined by "+".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import make_demo_corpus
from wasabi import msg

from spacy_maral.data.convert import ConvertReport, convert
from spacy_maral.data.datasets import DATASETS, DatasetFile, list_parts
from spacy_maral.errors import MaralError

DEMO = "demo"


def check_files(parts: list[DatasetFile], dataset: str) -> None:
    """Refuse a dataset whose files are not all there.

    parts (list[DatasetFile]): What `list_parts` listed.
    dataset (str): Name of the dataset.
    RAISES (MaralError): If files are missing.
    """
    missing = [str(part.path) for part in parts if not part.path.is_file()]
    if missing:
        names = DATASETS[dataset]
        paths = ", ".join(missing)
        raise MaralError(
            f"The dataset '{dataset}' lacks these files: {paths}. Put them there, named "
            f"DATA_DIR/{names}, or give their folder with --vars.data_dir; assets/README.md says "
            "where to get them."
        )


def convert_parts(parts: list[DatasetFile], dataset: str, out: Path) -> None:
    """Convert all files.

    parts (list[DatasetFile]): What `list_parts` listed.
    dataset (str): Name of the dataset.
    out (Path): Folder to write.
    RAISES (MaralError): If a file cannot be read.
    """
    layout = DATASETS[dataset]
    for part in parts:
        output = out / f"{part.output}.spacy"
        report = convert(
            part.path,
            output,
            format=layout.format,
            lang=part.lang,
            label_map=layout.label_map,
            unlabelled=part.unlabelled,
        )
        msg.good(f"{part.path}: {report.sentences:,} sentences", describe(report))


def describe(report: ConvertReport) -> str:
    """Say in a line what became of a file's labels."""
    counts = [f"{label} {count:,}" for label, count in report.entities.items()]
    if not report.labelled:
        counts.append("labels left out")
    counts += [f"repaired: {what} {count:,}" for what, count in report.repairs.items()]
    counts += [f"left out: {label} {count:,}" for label, count in report.dropped.items()]
    return ", ".join(counts)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=["files", "convert"])
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    # the commands of a project are split at blanks, which quotes prevent on some systems only
    parser.add_argument("--data-dir", nargs="+", required=True, help="the dataset's folder")
    parser.add_argument("--source", required=True, help="source language")
    parser.add_argument("--target", required=True, help="target languages, joined by '+'")
    parser.add_argument("--out", type=Path, help="folder for convert to write")
    parser.add_argument("--size", choices=list(make_demo_corpus.SIZES), default="default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the demonstration")
    args = parser.parse_args(arguments)
    args.data_dir = Path(" ".join(args.data_dir))
    if args.step == "convert" and args.out is None:
        parser.error("convert needs --out")
    return args


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two steps.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    args = parse_arguments(arguments)
    targets = args.target.split("+")
    try:
        parts = list_parts(DATASETS[args.dataset], args.data_dir, args.source, targets)
        if args.step == "files" and args.dataset == DEMO:
            make_demo_corpus.write_demo(
                args.data_dir, size=args.size, seed=args.seed, source=args.source, targets=targets
            )
        check_files(parts, args.dataset)
        if args.step == "convert":
            convert_parts(parts, args.dataset, args.out)
    except MaralError as error:
        msg.fail(f"Cannot use the dataset '{args.dataset}'", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
