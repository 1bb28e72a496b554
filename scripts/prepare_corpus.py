"""Find a dataset's files and convert them to spaCy's format.

    python scripts/prepare_corpus.py files --dataset wikiann --data-dir DIR --source en --target de
    python scripts/prepare_corpus.py convert … --out corpus/wikiann-en-de

`files` checks that the files are there, and generates those of the demonstration. `convert` writes
OUT/train.spacy and dev.spacy (source), target.spacy (all targets' training text, without labels) and
test-LANG.spacy of each target. Target languages are joined by "+".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import make_demo_corpus
from spacy.tokens import DocBin
from wasabi import msg

from spacy_maral.data import ConvertReport, convert
from spacy_maral.errors import Errors, MaralError

DEMO = "demo"


class Layout(NamedTuple):
    """Where a dataset has its files, in which format, and what becomes of its labels."""

    pattern: str
    format: str
    label_map: str | None = None


LAYOUTS = {
    DEMO: Layout("{lang}/{part}", "wikiann"),
    "wikiann": Layout("{lang}/{part}", "wikiann"),
    "multiconer2": Layout("{lang}/{lang}-{part}.conll", "multiconer", "coarse"),
    "multiconer1": Layout("{lang}/{lang}_{part}.conll", "multiconer"),
    "conll": Layout("{lang}/{part}.conll", "conll"),
    "uner": Layout("{lang}/{part}.iob2", "iob2"),
}


class Part(NamedTuple):
    """A file of the dataset and the file that it becomes."""

    path: Path
    output: str
    lang: str
    unlabelled: bool = False


def list_parts(dataset: str, data_dir: Path, source: str, targets: list[str]) -> list[Part]:
    """List the files that a run needs.

    dataset (str): Name of the dataset, a key of `LAYOUTS`.
    data_dir (Path): Folder of the dataset.
    source (str): Source language.
    targets (list[str]): Target languages.
    RETURNS (list[Part]): The files, the source's first.
    """

    def path(lang: str, part: str) -> Path:
        return data_dir / LAYOUTS[dataset].pattern.format(lang=lang, part=part)

    parts = [
        Part(path(source, "train"), "train", source),
        Part(path(source, "dev"), "dev", source),
    ]
    for lang in targets:
        parts.append(Part(path(lang, "train"), f"raw-{lang}", lang, unlabelled=True))
        parts.append(Part(path(lang, "test"), f"test-{lang}", lang))
    return parts


def check_files(parts: list[Part], dataset: str) -> None:
    """Refuse a dataset whose files are not all there.

    parts (list[Part]): What `list_parts` listed.
    dataset (str): Name of the dataset.
    RAISES (MaralError): If files are missing.
    """
    missing = [str(part.path) for part in parts if not part.path.is_file()]
    if missing:
        pattern = LAYOUTS[dataset].pattern
        paths = ", ".join(missing)
        raise MaralError(Errors.M458.format(dataset=dataset, paths=paths, pattern=pattern))


def convert_parts(parts: list[Part], dataset: str, out: Path) -> None:
    """Convert all files and join the targets' training text.

    parts (list[Part]): What `list_parts` listed.
    dataset (str): Name of the dataset.
    out (Path): Folder to write.
    RAISES (MaralError): If a file cannot be read.
    """
    layout = LAYOUTS[dataset]
    raw: DocBin | None = None
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
        if part.unlabelled:
            docs = DocBin().from_disk(output)
            output.unlink()
            if raw is None:
                raw = docs
            else:
                raw.merge(docs)
    if raw is not None:
        raw.to_disk(out / "target.spacy")
        msg.good(f"{out / 'target.spacy'}: {len(raw):,} sentences without labels")


def describe(report: ConvertReport) -> str:
    """Say in a line what became of a file's labels."""
    counts = [f"{label} {count:,}" for label, count in report.entities.items()]
    if report.stripped:
        counts.append(f"labels of {report.stripped:,} entities left out")
    counts += [f"repaired: {what} {count:,}" for what, count in report.repairs.items()]
    counts += [f"left out: {label} {count:,}" for label, count in report.dropped.items()]
    return ", ".join(counts)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=["files", "convert"])
    parser.add_argument("--dataset", choices=list(LAYOUTS), required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--source", required=True, help="source language")
    parser.add_argument("--target", required=True, help="target languages, joined by '+'")
    parser.add_argument("--out", type=Path, help="folder for convert to write")
    parser.add_argument("--size", choices=list(make_demo_corpus.SIZES), default="default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the demonstration")
    args = parser.parse_args(arguments)
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
    parts = list_parts(args.dataset, args.data_dir, args.source, targets)
    try:
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
