"""A side of the training data: documents, with labels and weights of their candidate spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.spans import UNKNOWN, class_counts, class_shares
from .corpus import Batch, Corpus, make_batch
from .shares import Share


class Parts(NamedTuple):
    """The files of a corpus, in order: their names, and their numbers of documents (sizes)."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def of(self, docs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the number of the file that each document belongs to."""
        return np.searchsorted(np.cumsum(self.sizes), docs, side="right")

    def spans(self, share: Share) -> list[slice]:
        """Find the range of each file's candidate spans among those of all documents."""
        bounds = share.doc_spans[np.concatenate([[0], np.cumsum(self.sizes)])].tolist()
        return [slice(*pair) for pair in pairwise(bounds)]


class Wanted(NamedTuple):
    """Targets, weights and priors of the candidate spans of a batch.

    targets: Class of each span, shape (n,), or soft labels, shape (n, K). classes: Class of each
    span for the class statistics, -1 for none, shape (n,). weights: Weight of each span in the
    loss, shape (n,). log_prior: Scaled log prior of all spans, shape (K,), or of each span, shape
    (n, K).
    """

    targets: NDArray
    classes: NDArray[np.int64]
    weights: NDArray[np.float32]
    log_prior: NDArray[np.float32]


@dataclass
class Stream:
    """One side of the training data: source spans with gold, or target spans with pseudo-labels.

    name: "source" or "target". share: This process's share of the documents.
    prior_scale: Factor s of s * log prior. parts: Files of the corpus, if there are several (such as
    languages). weight: Weight of the stream's loss. labelled: Whether the spans have labels to be
    trained on; if not, only further losses use the text.

    The labels are set later and change between epochs. targets: Class of each candidate of the
    share, shape (n_spans,), or soft labels, shape (n_spans, K). classes: Class of each candidate for
    the class statistics, -1 for none. prior: Share of each class, shape (K,). weights: Weight of each
    candidate in the loss, None for 1. part_priors: Share of each class in each file, shape (n_parts,
    K); the loss then uses them in place of `prior`.
    """

    name: str
    share: Share
    prior_scale: float
    parts: Parts | None
    weight: float = 1.0
    labelled: bool = True
    targets: NDArray = field(init=False)
    classes: NDArray[np.int64] = field(init=False)
    prior: NDArray[np.float64] = field(init=False)
    weights: NDArray[np.float32] | None = None
    part_priors: NDArray[np.float64] | None = None

    @property
    def corpus(self) -> Corpus:
        return self.share.corpus

    def batch(self, docs: NDArray[np.int64], pad_id: int) -> tuple[Batch, bool]:
        """Make this process's part of a batch, and say whether the part counts.

        A process without a document in the batch takes part in the step with its shortest document,
        since all processes must sum their gradients. Its part does not count.

        docs (NDArray[np.int64]): Documents of the batch, numbered over all processes.
        pad_id (int): Id of the padding piece.
        RETURNS (tuple): This process's part, and whether it counts.
        """
        own = self.share.docs(docs)
        return make_batch(self.corpus, own if len(own) else self._spare(), pad_id), bool(len(own))

    def wanted(self, batch: Batch, counts: bool) -> Wanted:
        """Select the targets, weights and priors of a batch's spans.

        batch (Batch): This process's part of the batch.
        counts (bool): Whether the part counts. If not, weights are 0 and classes -1.
        """
        ids = batch.span_ids
        given = np.ones(len(ids), dtype=np.float32) if self.weights is None else self.weights[ids]
        return Wanted(
            self.targets[ids],
            np.where(counts, self.classes[ids], -1),
            given * np.float32(counts),
            (self.prior_scale * np.log(self._prior_of(batch))).astype(np.float32),
        )

    def _prior_of(self, batch: Batch) -> NDArray[np.float64]:
        """Prior of all spans, shape (K,), or of each span by its file, shape (n_spans, K)."""
        if self.part_priors is None or self.parts is None:
            return self.prior
        sizes = self.corpus.doc_spans[batch.docs + 1] - self.corpus.doc_spans[batch.docs]
        docs = batch.docs * self.share.ranks.size + self.share.ranks.rank
        return self.part_priors[np.repeat(self.parts.of(docs), sizes)]

    def _spare(self) -> NDArray[np.int64]:
        """Find this process's shortest document that has words."""
        lengths = self.corpus.doc_lengths()
        return np.array([np.where(lengths > 0, lengths, lengths.max() + 1).argmin()])


def source_stream(
    share: Share, n_classes: int, prior_scale: float, parts: Parts | None = None
) -> Stream:
    """Make the stream of source spans with gold classes; the prior is the share of each class.

    Spans without annotation have the class UNKNOWN and count nowhere.

    share (Share): Labelled documents.
    n_classes (int): Number of classes K, outside included.
    parts (Parts | None): Files of the corpus, if there are several; each then has its own prior.
    """
    assert share.corpus.classes is not None
    classes = share.corpus.classes.astype(np.int64)
    stream = Stream("source", share, prior_scale, parts)
    stream.targets = stream.classes = classes

    def prior(rows: slice) -> NDArray[np.float64]:
        return class_shares(share.ranks.sum(class_counts(classes[rows], n_classes)))

    stream.prior = prior(slice(None))
    if parts is not None:
        stream.part_priors = np.stack([prior(share.within(rows)) for rows in parts.spans(share)])
    return stream


def text_stream(share: Share, n_classes: int) -> Stream:
    """Make the stream of target text without labels, for a further loss.

    share (Share): Documents, whose annotation is not read.
    n_classes (int): Number of classes K, outside included.
    """
    stream = Stream("target", share, 0.0, None, labelled=False)
    n_spans = share.corpus.n_spans
    stream.targets = np.zeros(n_spans, dtype=np.int64)
    stream.classes = np.full(n_spans, UNKNOWN, dtype=np.int64)
    stream.weights = np.zeros(n_spans, dtype=np.float32)
    stream.prior = np.full(n_classes, 1 / n_classes)
    return stream
