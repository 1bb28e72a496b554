"""Soft pseudo-labels of the target language: predicted once, kept in a file, checked before use."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors, MaralError
from ..spans import OUTSIDE, decode
from .corpus import Corpus
from .network import Network, collect

FORMAT_VERSION = 1


@dataclass
class PseudoLabels:
    """Class probabilities of every candidate span, shape (n_spans, K), outside first.

    labels: Entity labels; class i + 1 is labels[i]. max_width: Longest candidate, in words.
    digest: Fingerprint of the documents (see `corpus.digest_docs`).
    """

    probabilities: NDArray[np.floating]
    labels: list[str]
    max_width: int
    digest: str

    def save(self, path: Path) -> None:
        """Write the labels to one file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                format_version=np.array(FORMAT_VERSION),
                probabilities=self.probabilities.astype(np.float16),
                labels=np.array(self.labels, dtype=np.str_),
                max_width=np.array(self.max_width),
                digest=np.array(self.digest),
            )
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path, corpus: Corpus, labels: list[str]) -> PseudoLabels:
        """Read labels and check that they belong to these documents and labels.

        RAISES (MaralError): If the file is unreadable, newer, or made for something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                version = int(file["format_version"])
                found = cls(
                    probabilities=file["probabilities"],
                    labels=[str(label) for label in file["labels"]],
                    max_width=int(file["max_width"]),
                    digest=str(file["digest"]),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise MaralError(Errors.M305.format(path=path, problem=error)) from None
        if version > FORMAT_VERSION:
            problem = f"format version {version}, this release reads {FORMAT_VERSION}"
            raise MaralError(Errors.M305.format(path=path, problem=problem))
        wanted = {"labels": labels, "max_width": corpus.max_width, "digest": corpus.digest}
        for what, value in wanted.items():
            if getattr(found, what) != value:
                raise MaralError(
                    Errors.M306.format(
                        path=path, what=what, found=getattr(found, what), wanted=value
                    )
                )
        return found


def predict_labels(
    network: Network, corpus: Corpus, labels: list[str], *, batch_tokens: int
) -> PseudoLabels:
    """Let a teacher label a corpus: softmax of its class scores, made a consistent annotation.

    Where entity predictions overlap, the best set without overlaps is kept; the others become
    outside.

    network (Network): The teacher.
    corpus (Corpus): The target documents.
    labels (list[str]): The teacher's entity labels.
    batch_tokens (int): Most word pieces of a batch.
    RETURNS (PseudoLabels): Soft labels.
    """
    model = network.span_model
    probabilities = collect(
        network,
        corpus,
        len(labels) + 1,
        lambda output: model.class_scores(output).softmax(-1),
        batch_tokens=batch_tokens,
        name="Pseudo-label",
    )
    losers = overlap_losers(probabilities, *corpus.span_words())
    probabilities[losers] = 0
    probabilities[losers, OUTSIDE] = 1
    return PseudoLabels(probabilities, labels, corpus.max_width, corpus.digest)


def overlap_losers(
    probabilities: NDArray[np.floating], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Spans whose most probable class is an entity, but which lose to an overlapping one.

    probabilities (NDArray): Class probabilities, shape (n, K).
    starts (NDArray[np.int64]): First words, numbered over the corpus.
    ends (NDArray[np.int64]): Last words, inclusive.
    RETURNS (NDArray[np.int64]): Their numbers.
    """
    entities = np.flatnonzero(probabilities.argmax(1) != OUTSIDE)
    rows = probabilities[entities].astype(np.float64)
    with np.errstate(divide="ignore"):
        kept, _, _ = decode(np.log(rows), starts[entities], ends[entities])
    return np.delete(entities, kept)
