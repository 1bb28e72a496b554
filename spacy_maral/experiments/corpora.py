"""The data of a benchmark: converted once, cut to size by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from spacy.tokens import DocBin

from ..data.convert import convert
from ..data.datasets import DATASETS, list_parts
from ..data.docs import read_docs
from ..data.files import replacing, sha256
from ..errors import Errors, MaralError
from .matrix import Matrix, PlannedRun

TEST_SEED = 0


@dataclass(frozen=True)
class RawFile:
    """A file of a dataset and what is taken of it.

    role: "train", "dev", "target" or "test". limit: Most sentences. seed: Chooses them.
    """

    role: str
    dataset: str
    path: Path
    lang: str
    unlabelled: bool
    limit: int | None
    seed: int

    @property
    def key(self) -> str:
        """What the cut depends on, and the name of its file."""
        size = self.limit or "all"
        text = (
            f"{self.dataset}-{self.lang}-{self.role}-{size}-{self.seed}-{file_hash(self.path)[:8]}"
        )
        return text

    def converted(self, *, unlabelled: bool) -> str:
        labels = "raw" if unlabelled else "gold"
        part = "train" if self.role == "target" else self.role
        return f"{self.dataset}-{self.lang}-{part}-{labels}-{file_hash(self.path)[:8]}"


@dataclass(frozen=True)
class Corpora:
    """The files of a run (.spacy) and the numbers of their sentences, by role.

    target_gold: The target's training text with labels, for diagnosis only; None without.
    """

    train: Path
    dev: Path
    target: Path
    test: Path
    target_gold: Path | None
    sizes: dict[str, int]


def raw_files(matrix: Matrix, run: PlannedRun, data: Path) -> dict[str, RawFile]:
    """List the files of a dataset that a run needs, by role.

    matrix (Matrix): For the sizes.
    run (PlannedRun): The run. Its seed chooses the sentences; the test set is the same for all seeds.
    data (Path): Folder with one folder a dataset.
    RETURNS (dict): The files, which need not be there.
    """
    pair, seed = run.pair, run.seed
    parts = list_parts(DATASETS[pair.dataset], data / pair.dataset, pair.source, [pair.target])
    limits = {
        "train": matrix.source_sentences, "dev": matrix.dev_sentences,
        "target": run.settings.target_sentences or matrix.target_sentences,
        "test": matrix.test_sentences,
    }  # fmt: skip
    return {
        role: RawFile(
            role, pair.dataset, part.path, part.lang, part.unlabelled, limit,
            TEST_SEED if role == "test" else seed,
        )
        for (role, limit), part in zip(limits.items(), parts, strict=True)
    }  # fmt: skip


def prepare_corpora(files: dict[str, RawFile], folder: Path, *, gold: bool) -> Corpora:
    """Convert what is not converted yet, and cut it to size.

    files (dict): What `raw_files` listed.
    folder (Path): Where the .spacy files are kept.
    gold (bool): Whether a copy of the target's training text keeps its labels, for diagnosis.
    RETURNS (Corpora): The files.
    RAISES (MaralError): If files are missing or cannot be read.
    """
    missing = [str(file.path) for file in files.values() if not file.path.is_file()]
    if missing:
        dataset = files["train"].dataset
        pattern = f"{dataset}/{DATASETS[dataset].pattern}"
        raise MaralError(Errors.M425.format(paths=", ".join(missing), pattern=pattern))
    paths = {role: _cut(file, folder, file.unlabelled) for role, file in files.items()}
    target_gold = _cut(files["target"], folder, False) if gold else None
    sizes = {role: len(DocBin().from_disk(path)) for role, path in paths.items()}
    return Corpora(**paths, target_gold=target_gold, sizes=sizes)


@cache
def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits, or "missing"."""
    return sha256(path) if path.is_file() else "missing"


def _cut(file: RawFile, folder: Path, unlabelled: bool) -> Path:
    """The chosen sentences of a file, in their order, with or without labels."""
    gold = file.role == "target" and not unlabelled
    path = folder / f"{file.key}{'-gold' if gold else ''}.spacy"
    if path.is_file():
        return path
    whole = folder / "converted" / f"{file.converted(unlabelled=unlabelled)}.spacy"
    if not whole.is_file():
        layout = DATASETS[file.dataset]
        convert(
            file.path, whole, format=layout.format, lang=file.lang, label_map=layout.label_map,
            unlabelled=unlabelled,
        )  # fmt: skip
    docs = read_docs(whole)
    chosen = choose_sentences(len(docs), file.limit, file.seed, file.role)
    with replacing(path) as temporary:
        DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=[docs[i] for i in chosen]).to_disk(temporary)
    return path


def choose_sentences(n_sentences: int, limit: int | None, seed: int, role: str) -> Sequence[int]:
    """Numbers of some sentences, in order, by a seed and what they are for."""
    if limit is None or limit >= n_sentences:
        return range(n_sentences)
    rng = np.random.default_rng([seed, *role.encode()])
    return sorted(rng.choice(n_sentences, limit, replace=False).tolist())
