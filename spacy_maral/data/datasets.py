"""Where public datasets have their files, and which of them a language pair needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Layout(NamedTuple):
    """Where a dataset has its files, in which format, and what becomes of its labels."""

    pattern: str
    format: str
    label_map: str | None = None


DATASETS: Mapping[str, Layout] = {
    "demo": Layout("{lang}/{part}", "wikiann"),
    "wikiann": Layout("{lang}/{part}", "wikiann"),
    "multiconer2": Layout("{lang}/{lang}-{part}.conll", "multiconer", "coarse"),
    "multiconer1": Layout("{lang}/{lang}_{part}.conll", "multiconer"),
    "conll": Layout("{lang}/{part}.conll", "conll"),
    "uner": Layout("{lang}/{part}.iob2", "iob2"),
}


class Part(NamedTuple):
    """A file of a dataset and the name of the file that it becomes."""

    path: Path
    output: str
    lang: str
    unlabelled: bool = False


def list_parts(layout: Layout, data_dir: Path, source: str, targets: Sequence[str]) -> list[Part]:
    """List the files that a run needs.

    layout (Layout): Where the dataset has its files.
    data_dir (Path): Folder of the dataset.
    source (str): Source language.
    targets (Sequence[str]): Target languages.
    RETURNS (list[Part]): The files, the source's first.
    """

    def path(lang: str, part: str) -> Path:
        return data_dir / layout.pattern.format(lang=lang, part=part)

    parts = [
        Part(path(source, "train"), "train", source),
        Part(path(source, "dev"), "dev", source),
    ]
    for lang in targets:
        parts.append(Part(path(lang, "train"), f"raw-{lang}", lang, unlabelled=True))
        parts.append(Part(path(lang, "test"), f"test-{lang}", lang))
    return parts
