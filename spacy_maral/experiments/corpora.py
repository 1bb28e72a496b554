"""The corpora of a benchmark: each raw file is converted once, and the seed draws its sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
from spacy.tokens import Doc, DocBin

from ..data.convert import convert
from ..data.datasets import DATASETS, Layout, list_parts
from ..data.docs import read_docs
from ..data.files import digest, replacing, sha256
from ..data.formats.brat import ANN, TXT, WORDS, beside_ann
from ..data.labels import load_label_map
from ..errors import Errors, MaralError
from ..training.target_gold import text_key, text_keys
from .matrix import Half, Matrix, PlannedRun

TEST_SEED = 0
POOL = 2_500
"""Most sentences that a teacher may choose from: it has to read them all."""


@dataclass(frozen=True)
class RawFile:
    """A file of a dataset, and the sentences that a run takes from it.

    role: "train", "dev", "target" or "test". limit: Maximum of sentences. seed: Draws them. half:
    The half of the sentences that they are drawn from; None for all.
    """

    role: str
    dataset: str
    layout: Layout
    path: Path
    lang: str
    unlabelled: bool
    limit: int | None
    seed: int
    half: Half | None = None

    @property
    def key(self) -> str:
        """All that determines the drawn sentences; also the name of the file that holds them."""
        role = self.role if self.half is None else f"{self.role}-{self.half}"
        drawn = f"{role}-{self.limit or 'all'}-{self.seed}"
        return f"{self.dataset}-{self.lang}-{drawn}-{self.version}"

    @property
    def version(self) -> str:
        """Fingerprint of the file, and of how a dataset of the user's own is read."""
        if self.layout == DATASETS.get(self.dataset):
            return file_hash(self.path)[:8]
        labels = load_label_map(self.layout.label_map)
        return digest([file_hash(self.path), self.layout.format, labels])[:8]


@dataclass(frozen=True)
class Corpora:
    """The .spacy files of a run, and their numbers of sentences by role.

    target_gold: The target's training text with labels, for diagnosis only, or None. annotated:
    Labelled target sentences to train on, or None. translated: The training text of the source,
    translated word by word, or None.
    """

    train: Path
    dev: Path
    target: Path
    test: Path
    target_gold: Path | None
    sizes: dict[str, int]
    annotated: Path | None = None
    translated: Path | None = None


def raw_files(matrix: Matrix, run: PlannedRun, data: Path) -> dict[str, RawFile]:
    """List the raw files that a run needs, by role.

    matrix (Matrix): Sets the sizes.
    run (PlannedRun): The run. Its seed draws the sentences; the test set is the same for all seeds.
    data (Path): Folder with one folder per dataset.
    RETURNS (dict): The files, which may be missing.
    """
    pair = run.pair
    layout = matrix.layout(pair.dataset)
    parts = list_parts(layout, data / pair.dataset, pair.source, [pair.target])
    limits = {
        "train": matrix.source_sentences, "dev": matrix.dev_sentences,
        "target": run.settings.target_sentences or matrix.target_sentences,
        "test": matrix.test_sentences,
    }  # fmt: skip
    return {
        role: RawFile(
            role, pair.dataset, layout, part.path, part.lang, part.unlabelled, limit,
            TEST_SEED if role == "test" else run.seed,
            matrix.test_half if role == "test" else None,
        )
        for (role, limit), part in zip(limits.items(), parts, strict=True)
    }  # fmt: skip


def missing_files(files: dict[str, RawFile]) -> list[str]:
    """Paths of the raw files, or folders of them, that are not there."""
    return [str(file.path) for file in files.values() if not file.path.exists()]


def prepare_corpora(
    files: dict[str, RawFile], folder: Path, *, gold: bool, n_annotated: int | None = None
) -> Corpora:
    """Convert the raw files, unless that is done, and draw the sentences.

    files (dict): The result of `raw_files`.
    folder (Path): Folder for the .spacy files.
    gold (bool): Whether to keep a labelled copy of the target's training text, for diagnosis.
    n_annotated (int | None): Number of labelled target sentences to train on.
    RETURNS (Corpora): The .spacy files.
    RAISES (MaralError): If files are missing or cannot be read, or have too few sentences.
    """
    if missing := missing_files(files):
        pattern = f"{files['train'].dataset}/ with {files['train'].layout}"
        raise MaralError(Errors.M425.format(paths=", ".join(missing), pattern=pattern))
    paths = {role: _draw(file, folder, file.unlabelled) for role, file in files.items()}
    target_gold = _draw(files["target"], folder, False) if gold else None
    sizes = {role: len(DocBin().from_disk(path)) for role, path in paths.items()}
    corpora = Corpora(**paths, target_gold=target_gold, sizes=sizes)
    if n_annotated is None:
        return corpora
    return use_annotated(corpora, _draw_annotated(files, folder, n_annotated))


def use_target_gold(corpora: Corpora, files: dict[str, RawFile], folder: Path) -> Corpora:
    """Put labelled text of the target in place of the source's, for a supervised training.

    corpora (Corpora): The corpora of a run.
    files (dict): Its raw files. The sentences are drawn from the target's training file, those that
        students see without labels among them; the test set is another file.
    folder (Path): Folder for the .spacy files.
    RETURNS (Corpora): The same, with at most as many sentences to train on as before.
    """
    path = _draw(replace(files["target"], limit=corpora.sizes["train"]), folder, False)
    sizes = {**corpora.sizes, "train": len(DocBin().from_disk(path))}
    return replace(corpora, train=path, sizes=sizes)


def use_annotated(corpora: Corpora, path: Path) -> Corpora:
    """Add labelled target sentences, a .spacy file, to the corpora of a run."""
    sizes = {**corpora.sizes, "annotated": len(DocBin().from_disk(path))}
    return replace(corpora, annotated=path, sizes=sizes)


@cache
def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder or of brat; "missing" if it is not there."""
    if path.is_dir():
        # annotation tools keep notes of their own in hidden files
        files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
        return digest(sorted((p.relative_to(path).as_posix(), sha256(p)) for p in files))
    if path.suffix.lower() == ANN and path.is_file():
        beside = [p for p in (path, beside_ann(path, TXT), beside_ann(path, WORDS)) if p.is_file()]
        return digest([(p.suffix, sha256(p)) for p in beside])
    return sha256(path) if path.is_file() else "missing"


def half_of(text: str) -> Half:
    """The half of a test set that a sentence belongs to, by the digest of its text alone."""
    return "page" if hashlib.sha256(text.encode("utf8")).digest()[0] & 1 else "study"


def choose_sentences(n_sentences: int, limit: int | None, seed: int, role: str) -> Sequence[int]:
    """Draw numbers of sentences by seed and role, in ascending order; all without a limit."""
    if limit is None or limit >= n_sentences:
        return range(n_sentences)
    rng = np.random.default_rng([seed, *role.encode()])
    return sorted(rng.choice(n_sentences, limit, replace=False).tolist())


def _draw(file: RawFile, folder: Path, unlabelled: bool) -> Path:
    """Write the drawn sentences, with or without labels; RETURNS (Path): Their .spacy file."""
    gold = file.role == "target" and not unlabelled
    path = folder / f"{file.key}{'-gold' if gold else ''}.spacy"
    if path.is_file():
        return path
    docs = _convert(file, folder, unlabelled)
    docs = [doc for doc in docs if file.half in (None, half_of(doc.text))]
    chosen = choose_sentences(len(docs), file.limit, file.seed, file.role)
    return _write(path, [docs[i] for i in chosen])


def _convert(file: RawFile, folder: Path, unlabelled: bool) -> list[Doc]:
    """Convert a whole raw file, unless that is done; RETURNS (list[Doc]): Its sentences."""
    part = "train" if file.role == "target" else file.role
    kind = f"{part}-{'raw' if unlabelled else 'gold'}-{file.version}"
    whole = folder / "converted" / f"{file.dataset}-{file.lang}-{kind}.spacy"
    if not whole.is_file():
        layout = file.layout
        convert(
            file.path, whole, format=layout.format, lang=file.lang, label_map=layout.label_map,
            unlabelled=unlabelled,
        )  # fmt: skip
    return read_docs(whole)


def _write(path: Path, docs: Sequence[Doc]) -> Path:
    with replacing(path) as temporary:
        DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs).to_disk(temporary)
    return path


def annotated_key(files: dict[str, RawFile], n: int) -> str:
    """All that determines the drawn labelled sentences; also the name of the file that holds them."""
    return f"{files['target'].key}-annotated-{n}-{files['test'].version}"


def draw_pool(files: dict[str, RawFile], folder: Path, n: int) -> Path:
    """Write up to POOL labelled target sentences, of which a teacher may suggest some.

    n (int): How many it has to suggest.
    RETURNS (Path): Their .spacy file.
    RAISES (MaralError): If there are fewer.
    """
    path = folder / f"{annotated_key(files, POOL)}.spacy"
    if not path.is_file():
        _write(path, list(islice(_annotatable(files, folder), POOL)))
    _check_number(files, n, len(DocBin().from_disk(path)))
    return path


def label_suggested(suggested: Path, pool: Path, path: Path) -> Path:
    """Give suggested sentences the labels that they have in the pool; RETURNS (Path): `path`."""
    labelled = {text_key(doc): doc for doc in read_docs(pool)}
    return _write(path, [labelled[text_key(doc)] for doc in read_docs(suggested)])


def _draw_annotated(files: dict[str, RawFile], folder: Path, n: int) -> Path:
    """Write labelled target sentences, a smaller number of which is part of a larger one.

    RETURNS (Path): Their .spacy file.
    RAISES (MaralError): If there are too few.
    """
    path = folder / f"{annotated_key(files, n)}.spacy"
    if path.is_file():
        return path
    found = list(islice(_annotatable(files, folder), n))
    _check_number(files, n, len(found))
    return _write(path, found)


def _check_number(files: dict[str, RawFile], n: int, found: int) -> None:
    if found < n:
        raise MaralError(Errors.M517.format(path=files["target"].path, n=n, found=found, most=POOL))


def _annotatable(files: dict[str, RawFile], folder: Path) -> Iterator[Doc]:
    """Sentences of the target's training part, with labels and in random order.

    They are neither in the run's raw text nor in any part of the test set, and no two are the same.
    """
    file = files["target"]
    docs = _convert(file, folder, False)
    raw = set(choose_sentences(len(docs), file.limit, file.seed, file.role))
    seen = text_keys(chain([docs[i] for i in raw], _convert(files["test"], folder, False)))
    for number in np.random.default_rng([file.seed, 105]).permutation(len(docs)).tolist():
        key = text_key(docs[number])
        if key and key not in seen:
            seen.add(key)
            yield docs[number]
