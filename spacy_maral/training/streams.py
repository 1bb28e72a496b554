"""A side of the training data: documents, and what is known of their candidate spans."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.spans import class_shares
from .corpus import Batch, Corpus, group_docs, make_batch
from .settings import TrainingSettings
from .shares import Share


class Parts(NamedTuple):
    """The files that a corpus was read from, one after another: names and numbers of documents."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def of(self, docs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the part that each of some documents belongs to."""
        return np.searchsorted(np.cumsum(self.sizes), docs, side="right")

    def spans(self, share: Share) -> list[slice]:
        """The candidate spans of each part, among those of all documents."""
        bounds = share.doc_spans[np.concatenate([[0], np.cumsum(self.sizes)])].tolist()
        return [slice(*pair) for pair in pairwise(bounds)]


class Wanted(NamedTuple):
    """What the candidate spans of a batch are to become.

    targets: Class of each span, shape (n,), or soft labels, shape (n, K). classes: Class of each
    span for the class statistics, -1 for none, shape (n,). weights: Weight of each span in the
    loss, shape (n,). log_prior: Scaled log prior, shape (K,), or of each span, shape (n, K).
    """

    targets: NDArray
    classes: NDArray[np.int64]
    weights: NDArray[np.float32]
    log_prior: NDArray[np.float32]


@dataclass
class Stream:
    """One side of the training data: source spans with gold, or target spans with pseudo-labels.

    share: Its documents; what follows has a row for each of this process's candidates.
    targets: Class of each candidate, shape (n_spans,), or soft labels, shape (n_spans, K).
    classes: Class of each candidate for the class statistics, -1 for none.
    prior: Share of each class, shape (K,). prior_scale: s of s * log prior.
    weights: Weight of each candidate in the loss, None for 1. weight: Weight of the stream's loss.
    parts: Files of the corpus, if there are several (such as languages). part_priors: Share of each
    class in each part, shape (n_parts, K); the loss then takes those in place of `prior`.
    """

    name: str
    share: Share
    targets: NDArray
    classes: NDArray[np.int64]
    prior: NDArray[np.float64]
    prior_scale: float = 1.0
    weights: NDArray[np.float32] | None = None
    weight: float = 1.0
    parts: Parts | None = None
    part_priors: NDArray[np.float64] | None = None

    @classmethod
    def unlabelled(
        cls, name: str, share: Share, n_classes: int, prior_scale: float, parts: Parts | None
    ) -> Stream:
        """Documents whose labels follow."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(name, share, nothing, nothing, np.zeros(n_classes), prior_scale, parts=parts)

    @property
    def corpus(self) -> Corpus:
        return self.share.corpus

    def plan(self, settings: TrainingSettings, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Batches of one pass over the documents of all processes."""
        return group_docs(
            self.share.doc_lengths, self.share.doc_rows,
            max_tokens=settings.batch_tokens, max_docs=settings.batch_docs, rng=rng,
        )  # fmt: skip

    def batch(self, docs: NDArray[np.int64], pad_id: int) -> tuple[Batch, bool]:
        """This process's documents of a batch, and whether it has any.

        A process that has none takes part in the step with its shortest document, which counts for
        nothing, since the gradients of all processes are added up.
        """
        own = self.share.docs(docs)
        return make_batch(self.corpus, own if len(own) else self._spare(), pad_id), bool(len(own))

    def wanted(self, batch: Batch, counts: bool) -> Wanted:
        """What the spans of a batch are to become; nothing where the batch does not count."""
        ids = batch.span_ids
        given = np.ones(len(ids), dtype=np.float32) if self.weights is None else self.weights[ids]
        return Wanted(
            self.targets[ids],
            np.where(counts, self.classes[ids], -1),
            given * np.float32(counts),
            (self.prior_scale * np.log(self._prior_of(batch))).astype(np.float32),
        )

    def _prior_of(self, batch: Batch) -> NDArray[np.float64]:
        """The prior of all spans, shape (K,), or of each span by its part, shape (n_spans, K)."""
        if self.part_priors is None or self.parts is None:
            return self.prior
        sizes = self.corpus.doc_spans[batch.docs + 1] - self.corpus.doc_spans[batch.docs]
        docs = batch.docs * self.share.ranks.size + self.share.ranks.rank
        return self.part_priors[np.repeat(self.parts.of(docs), sizes)]

    def _spare(self) -> NDArray[np.int64]:
        """The shortest document of this process."""
        lengths = self.corpus.doc_lengths()
        return np.array([np.where(lengths > 0, lengths, lengths.max() + 1).argmin()])


def source_stream(
    share: Share, n_classes: int, prior_scale: float, parts: Parts | None = None
) -> Stream:
    """Source spans with their gold classes; the prior is the share of each class.

    share (Share): Labelled documents.
    n_classes (int): Number of classes with outside, K.
    prior_scale (float): s of s * log prior.
    parts (Parts | None): Files of the corpus, if there are several; each has a prior of its own.
    RETURNS (Stream): The stream.
    """
    assert share.corpus.classes is not None
    classes = share.corpus.classes.astype(np.int64)
    stream = Stream.unlabelled("source", share, n_classes, prior_scale, parts)
    stream.targets = stream.classes = classes

    def prior(rows: slice) -> NDArray[np.float64]:
        return class_shares(share.ranks.sum(np.bincount(classes[rows], minlength=n_classes)))

    stream.prior = prior(slice(None))
    if parts is not None:
        stream.part_priors = np.stack([prior(share.within(rows)) for rows in parts.spans(share)])
    return stream
