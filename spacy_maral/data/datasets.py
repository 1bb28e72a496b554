"""Public datasets: their files, and those that a language pair needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import Errors, MaralError
from .labels import LabelMap

LANGUAGE = re.compile(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*")


PARTS = ("train", "dev", "test")


class Layout(NamedTuple):
    """Names of a dataset's files by part, their format, and the map of their labels."""

    files: Mapping[str, str]
    format: str
    label_map: str | Path | LabelMap | None = None

    def __str__(self) -> str:
        return ", ".join(self.files[part] for part in PARTS)


def _same(pattern: str) -> dict[str, str]:
    """Names of files that differ in the name of the part only."""
    return {part: pattern.replace("{part}", part) for part in PARTS}


# NoiseBench without its noise is its "clean" files; both of its languages have the experts' noise
DATASETS: Mapping[str, Layout] = {
    "demo": Layout(_same("{lang}/{part}"), "wikiann"),
    "wikiann": Layout(_same("{lang}/{part}"), "wikiann"),
    "multiconer2": Layout(_same("{lang}/{lang}-{part}.conll"), "multiconer", "coarse"),
    "multiconer1": Layout(_same("{lang}/{lang}_{part}.conll"), "multiconer"),
    "conll": Layout(_same("{lang}/{part}.conll"), "conll"),
    "uner": Layout(_same("{lang}/{part}.iob2"), "iob2"),
    "masakhaner2": Layout(_same("{lang}/{part}.txt"), "conll"),
    "multinerd": Layout(_same("{lang}/{part}_{lang}.tsv"), "iob2"),
    "wikineural": Layout({**_same("{lang}/{part}.conllu"), "dev": "{lang}/val.conllu"}, "iob2"),
    "openner": Layout(_same("{lang}/{part}-00000-of-00001.parquet"), "huggingface"),
    # as the scripts of OntoNotes-5.0-NER-BIO write them
    "ontonotes": Layout(
        {**_same("{lang}/onto.{part}.ner"), "dev": "{lang}/onto.development.ner"}, "conll"
    ),
    "noisebench": Layout(
        {**_same("{lang}/noise_expert.{part}"), "test": "{lang}/clean.test"}, "conll"
    ),
}


class DatasetFile(NamedTuple):
    """A file of a dataset, and the name of the .spacy file converted from it."""

    path: Path
    output: str
    lang: str
    unlabelled: bool = False


def check_languages(names: Sequence[str]) -> None:
    """Refuse names of languages that would change the folder of a path.

    names (Sequence[str]): Names of languages.
    RAISES (MaralError): If a name has characters other than letters, digits, "_" and "-".
    """
    for name in names:
        if not LANGUAGE.fullmatch(name):
            raise MaralError(Errors.M216.format(name=name))


def list_parts(
    layout: Layout, data_dir: Path, source: str, targets: Sequence[str]
) -> list[DatasetFile]:
    """List the files that a run needs.

    layout (Layout): The files of the dataset.
    data_dir (Path): Folder of the dataset.
    source (str): Source language.
    targets (Sequence[str]): Target languages.
    RETURNS (list[DatasetFile]): The files, the source's first.
    RAISES (MaralError): If the name of a language cannot be part of a file's name.
    """
    check_languages([source, *targets])
    parts = [("train", "train", source, False), ("dev", "dev", source, False)]
    for lang in targets:
        parts += [("train", f"target-{lang}", lang, True), ("test", f"test-{lang}", lang, False)]
    return [
        DatasetFile(data_dir / layout.files[part].format(lang=lang), output, lang, unlabelled)
        for part, output, lang, unlabelled in parts
    ]
