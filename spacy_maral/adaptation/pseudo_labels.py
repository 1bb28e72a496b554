"""Soft pseudo-labels of the target language: predicted once, saved, and checked when loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..data.files import Paths, as_paths, replacing, writing_output
from ..errors import Errors, MaralError, Warnings
from ..model.spans import OUTSIDE, UNKNOWN, overlap_losers, span_counts
from ..model.visible import VisibleWords
from ..training.corpus import digest_docs
from ..training.inputs import Inputs
from ..training.streams import Parts
from ..training.target_gold import text_key

logger = logging.getLogger("spacy")

FORMAT_VERSION = 3


@dataclass
class PseudoLabels:
    """Class probabilities of every candidate span, shape (n_spans, K), outside first.

    labels: Entity labels; class i + 1 is labels[i]. max_width: Longest candidate, in words.
    digest: Fingerprint of the documents (see `corpus.digest_docs`). reliable: Whether each span may
    be trained on before the first filter, shape (n_spans,); None for all of them. known: Whether an
    annotator says something about each span, shape (n_spans,); None for all of them. The labels of
    the others are missing: they are never trained on, and their rows here say outside. asked: Number of
    doubtful sentences for which other annotators were asked.
    """

    probabilities: NDArray[np.floating]
    labels: list[str]
    max_width: int
    digest: str
    reliable: NDArray[np.bool_] | None = None
    known: NDArray[np.bool_] | None = None
    asked: int = 0

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The masks that do not hold for all spans, by name."""
        masks = {"reliable": self.reliable, "known": self.known}
        return {name: mask for name, mask in masks.items() if mask is not None}

    @property
    def votes(self) -> NDArray[np.int64]:
        """Most probable class of each span, UNKNOWN where the label is missing, shape (n_spans,)."""
        classes = self.probabilities.argmax(1)
        return classes if self.known is None else np.where(self.known, classes, UNKNOWN)

    def save(self, path: Path) -> None:
        """Write the labels to one file, whole or not at all.

        RAISES (MaralError): If it cannot be written.
        """
        arrays: dict[str, Any] = {**self.masks}
        with writing_output(path), replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                format_version=np.array(FORMAT_VERSION),
                probabilities=self.probabilities.astype(np.float16),
                labels=np.array(self.labels, dtype=np.str_),
                max_width=np.array(self.max_width),
                digest=np.array(self.digest),
                asked=np.array(self.asked),
                **arrays,
            )

    @classmethod
    def load(cls, path: Path, *, digest: str, labels: Sequence[str] | None = None) -> PseudoLabels:
        """Read labels and check that they belong to these documents and entity labels.

        path (Path): The file.
        digest (str): Fingerprint of the documents.
        labels (Sequence[str]): Entity labels; None to take those of the file.
        RETURNS (PseudoLabels): The labels.
        RAISES (MaralError): If the file is unreadable, newer, or for other documents or labels.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                version = int(file["format_version"])
                found = cls(
                    probabilities=file["probabilities"],
                    labels=[str(label) for label in file["labels"]],
                    max_width=int(file["max_width"]),
                    digest=str(file["digest"]),
                    **{name: file[name] for name in ("reliable", "known") if name in file.files},
                    asked=int(file["asked"]) if "asked" in file.files else 0,
                )
        except Exception as error:
            # numpy, zipfile and zlib raise different exceptions on a damaged file
            raise MaralError(Errors.M305.format(path=path, problem=error)) from None
        if version > FORMAT_VERSION:
            problem = f"format version {version}, this release reads {FORMAT_VERSION}"
            raise MaralError(Errors.M305.format(path=path, problem=problem))
        wanted = {"labels": None if labels is None else list(labels), "digest": digest}
        for what, value in wanted.items():
            if value is not None and getattr(found, what) != value:
                given = {"found": getattr(found, what), "wanted": value}
                raise MaralError(Errors.M306.format(path=path, what=what, **given))
        if problem := found.problem():
            raise MaralError(Errors.M305.format(path=path, problem=problem))
        return found

    def warn(self, annotator: str) -> None:
        """Log a warning if there is no entity, or none of some label.

        annotator (str): Name of the annotator in the message.
        """
        found = np.bincount(self.probabilities.argmax(1), minlength=len(self.labels) + 1)[1:]
        missing = [label for label, n in zip(self.labels, found, strict=True) if not n]
        if len(missing) == len(self.labels):
            logger.warning(Warnings.W333.format(annotator=annotator))
        elif missing:
            logger.warning(Warnings.W334.format(labels=", ".join(missing)))

    def problem(self) -> str:
        """Describe why the parts do not fit together; "" if they do."""
        table = self.probabilities
        if table.ndim != 2 or table.shape[1] != len(self.labels) + 1:
            return f"a table of shape {table.shape} for {len(self.labels)} labels and outside"
        # half precision rounds: allow slightly more than 1
        if table.dtype.kind != "f" or not ((table >= 0) & (table <= 1.01)).all():
            return "the table holds something else than probabilities"
        if len(set(self.labels)) < len(self.labels) or {"", "O"} & set(self.labels):
            return f"the labels are {self.labels}"
        for name, mask in self.masks.items():
            if mask.dtype != bool or mask.shape != (len(table),):
                values = f"{mask.shape} values of type {mask.dtype}"
                return f"{values} say which of {len(table)} rows are {name}"
        return "" if self.max_width >= 1 else f"the widest span has {self.max_width} words"


def load_for(path: Path, docs: Sequence[Doc], labels: Sequence[str] | None) -> PseudoLabels:
    """Read the pseudo-labels of some documents (see `PseudoLabels.load`).

    RAISES (MaralError): If the file belongs to other documents, labels or candidate spans.
    """
    found = PseudoLabels.load(path, digest=digest_docs(docs), labels=labels)
    wanted = int(span_counts(VisibleWords.of(docs).lengths, found.max_width).sum())
    if len(found.probabilities) != wanted:
        what = {"what": "number of candidate spans", "found": len(found.probabilities)}
        raise MaralError(Errors.M306.format(path=path, **what, wanted=wanted))
    return found


def read_labels(paths: Paths, inputs: Inputs, labels: Sequence[str] | None = None) -> PseudoLabels:
    """Read pseudo-labels of the target.

    paths (Paths): A file for all target documents, or one for each of the target's files.
    inputs (Inputs): The documents of "target".
    labels (Sequence[str] | None): Entity labels; None to take those of the first file.
    RAISES (MaralError): If the files belong to other documents or labels, or do not fit together.
    """
    files, target = as_paths(paths), inputs.docs["target"]
    if len(files) == 1:
        return load_for(files[0], target, labels)
    sizes = inputs.parts["target"].sizes if "target" in inputs.parts else (len(target),)
    if len(files) != len(sizes):
        found = {"n": len(files), "what": "files of pseudo-labels", "n_targets": len(sizes)}
        raise MaralError(Errors.M338.format(**found))
    parts, docs = [], iter(target)
    for file, size in zip(files, sizes, strict=True):
        parts.append(load_for(file, list(islice(docs, size)), labels))
    check_alike(parts, files)
    return replace(
        parts[0],
        probabilities=np.concatenate([part.probabilities for part in parts]),
        digest=digest_docs(target),
        reliable=joined_masks(parts, "reliable"),
        known=joined_masks(parts, "known"),
        asked=sum(part.asked for part in parts),
    )


def joined_masks(parts: Sequence[PseudoLabels], name: str) -> NDArray[np.bool_] | None:
    """Join a mask of several files; None if it holds for all spans of all of them."""
    if not any(name in part.masks for part in parts):
        return None
    masks = [part.masks.get(name, np.ones(len(part.probabilities), dtype=bool)) for part in parts]
    return np.concatenate(masks)


def without_texts(labels: PseudoLabels, inputs: Inputs, texts: Set[str]) -> PseudoLabels:
    """Leave the documents of some texts out of the target, and out of its pseudo-labels.

    labels (PseudoLabels): Pseudo-labels of all documents of "target".
    inputs (Inputs): The documents, with "target" and its parts changed in place.
    texts (Set[str]): The texts, as `text_key` gives them.
    RETURNS (PseudoLabels): The labels of the documents that are left.
    RAISES (MaralError): If no document with words is left of a file.
    """
    docs = inputs.docs["target"]
    kept = np.array([text_key(doc) not in texts for doc in docs], dtype=bool)
    if kept.all():
        return labels
    parts = inputs.parts.get("target", Parts(("the target",), (len(docs),)))
    sizes = [int(part.sum()) for part in np.split(kept, np.cumsum(parts.sizes)[:-1])]
    for name, size in zip(parts.names, sizes, strict=True):
        if not size:
            raise MaralError(Errors.M513.format(name=name))
    rows = np.repeat(kept, span_counts(VisibleWords.of(docs).lengths, labels.max_width))
    inputs.docs["target"] = [doc for doc, keep in zip(docs, kept.tolist(), strict=True) if keep]
    if "target" in inputs.parts:
        inputs.parts["target"] = parts._replace(sizes=tuple(sizes))
    return replace(
        labels,
        probabilities=labels.probabilities[rows],
        digest=digest_docs(inputs.docs["target"]),
        **{name: mask[rows] for name, mask in labels.masks.items()},
    )


def resolve_overlaps(
    probabilities: NDArray[np.floating], words: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> None:
    """Keep the best set of predicted entities without overlaps; the others become outside."""
    losers = overlap_losers(probabilities, *words)
    probabilities[losers] = 0
    probabilities[losers, OUTSIDE] = 1


def check_alike(parts: Sequence[PseudoLabels], names: Sequence[object]) -> None:
    """Refuse labels that cannot be joined or merged.

    RAISES (MaralError): If their entity labels or widths differ.
    """
    for part, name in zip(parts[1:], names[1:], strict=True):
        for what in ("labels", "max_width"):
            found, wanted = getattr(part, what), getattr(parts[0], what)
            if found != wanted:
                given = {"path": name, "other": names[0], "found": found, "wanted": wanted}
                raise MaralError(Errors.M339.format(what=what, **given))
