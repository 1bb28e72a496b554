"""What a step learns from: a corpus with its targets, and the losses that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..model.span_model import SpanOutput
from .corpus import Batch, Corpus, group_docs
from .network import Network
from .processes import Ranks
from .settings import TrainingSettings
from .shares import Shard


class StepLoss(NamedTuple):
    """The sum to minimise, its parts by name, what the network said, and the number of spans.

    All are those of the batches of all processes, but the output, which is of this process's.
    """

    total: Tensor
    parts: dict[str, float]
    output: SpanOutput
    n_spans: int


class Parts(NamedTuple):
    """The files that a corpus was read from, one after another: names and numbers of documents."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def of(self, docs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the part that each of some documents belongs to."""
        return np.searchsorted(np.cumsum(self.sizes), docs, side="right")

    def spans(self, shard: Shard) -> list[slice]:
        """The candidate spans of each part, among those of all documents."""
        bounds = shard.doc_spans[np.concatenate([[0], np.cumsum(self.sizes)])].tolist()
        return [slice(*pair) for pair in pairwise(bounds)]


@dataclass
class Stream:
    """One side of the training data: source spans with gold, or target spans with pseudo-labels.

    shard: Its documents; what follows has a row for each of this process's candidates.
    targets: Class of each candidate, shape (n_spans,), or soft labels, shape (n_spans, K).
    classes: Class of each candidate for the class statistics, -1 for none.
    weights: Weight of each candidate in the loss, or None for 1.
    prior: Share of each class, shape (K,). prior_scale: s of s * log prior. weight: Weight of the
    stream's loss. extra: A further loss on a batch (masked language modelling) with its weight; it
    gives a sum and the number of what it is a sum of.
    parts: Files of the corpus, if there are several (such as languages). part_priors: Share of each
    class in each part, shape (n_parts, K); the loss then takes those in place of `prior`.
    """

    name: str
    shard: Shard
    targets: NDArray
    classes: NDArray[np.int64]
    prior: NDArray[np.float64]
    prior_scale: float = 1.0
    weights: NDArray[np.float32] | None = None
    weight: float = 1.0
    extra: tuple[float, Callable[[Network, Batch], tuple[Tensor, int]]] | None = None
    parts: Parts | None = None
    part_priors: NDArray[np.float64] | None = None

    @property
    def corpus(self) -> Corpus:
        return self.shard.corpus

    def plan(self, settings: TrainingSettings, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Batches of one pass over the documents of all processes."""
        return group_docs(
            self.shard.doc_lengths, self.shard.doc_rows,
            max_tokens=settings.batch_tokens, max_docs=settings.batch_docs, rng=rng,
        )  # fmt: skip

    def batch(self, network: Network, docs: NDArray[np.int64]) -> tuple[Batch, bool]:
        """This process's documents of a batch, and whether it has any.

        One that has none takes part in the step with a document that counts for nothing, since
        gradients are averaged over all processes.
        """
        own = self.shard.docs(docs)
        idle = not len(own)
        return network.batch(self.corpus, self._spare() if idle else own), not idle

    def step(
        self, network: Network, batch: Batch, settings: TrainingSettings, *, counts: bool = True
    ) -> StepLoss:
        """Loss of a batch (Eq. 12); the class statistics then take in its spans (Eq. 8).

        Loss and statistics are those of the batches of all processes.

        network (Network): The network.
        batch (Batch): This process's part of the batch.
        settings (TrainingSettings): Which loss.
        counts (bool): Whether this process's part counts, see `batch`.
        RETURNS (StepLoss): The loss.
        """
        output = network(batch)
        ids, ranks = batch.span_ids, self.shard.ranks
        given = np.ones(len(ids), dtype=np.float32) if self.weights is None else self.weights[ids]
        weights = network.tensor(given * np.float32(counts))
        classes = network.tensor(np.where(counts, self.classes[ids], -1))
        everything = SpanOutput(ranks.rows(output.z), ranks.rows(output.logits))
        prior = network.tensor(self.prior_scale * np.log(self.batch_prior(batch))).float()
        loss = network.span_model.loss(
            everything,
            ranks.rows(network.tensor(self.targets[ids])),
            settings.loss,
            log_prior=prior if prior.ndim == 1 else ranks.rows(prior),
            weights=ranks.rows(weights),
            outside_weight=settings.outside_weight * settings.include_outside,
        )
        parts = {self.name: loss.item()}
        total = self.weight * loss
        if self.extra is not None:
            extra_weight, extra_loss = self.extra
            value, parts[f"{self.name}_mlm"] = _share_of_mean(
                *extra_loss(network, batch), counts=counts, ranks=ranks
            )
            total = total + extra_weight * value
        network.span_model.statistics.update(everything.z, ranks.rows(classes))
        return StepLoss(total, parts, output, len(everything.z))

    def batch_prior(self, batch: Batch) -> NDArray[np.float64]:
        """The prior of all spans, shape (K,), or of each span by its part, shape (n_spans, K)."""
        if self.part_priors is None or self.parts is None:
            return self.prior
        sizes = self.corpus.doc_spans[batch.docs + 1] - self.corpus.doc_spans[batch.docs]
        docs = batch.docs * self.shard.ranks.size + self.shard.ranks.rank
        return self.part_priors[np.repeat(self.parts.of(docs), sizes)]

    def _spare(self) -> NDArray[np.int64]:
        """The shortest document of this process."""
        lengths = self.corpus.doc_lengths()
        return np.array([np.where(lengths > 0, lengths, lengths.max() + 1).argmin()])


def _share_of_mean(total: Tensor, n: int, *, counts: bool, ranks: Ranks) -> tuple[Tensor, float]:
    """A process's share of a mean over all processes, with its graph, and the mean."""
    every = ranks.sum(np.array([total.item() * counts, n * counts], dtype=np.float64))
    n_all = max(every[1], 1.0)
    return total * counts / n_all, float(every[0] / n_all)


def source_stream(
    shard: Shard, n_classes: int, prior_scale: float, parts: Parts | None = None
) -> Stream:
    """Source spans with their gold classes; the prior is the share of each class.

    shard (Shard): Labelled documents.
    n_classes (int): Number of classes with outside, K.
    prior_scale (float): s of s * log prior.
    parts (Parts): Files of the corpus, if there are several; each has a prior of its own.
    RETURNS (Stream): The stream.
    """
    assert shard.corpus.classes is not None
    classes = shard.corpus.classes.astype(np.int64)
    stream = Stream(
        name="source",
        shard=shard,
        targets=classes,
        classes=classes,
        prior=share(shard.ranks.sum(np.bincount(classes, minlength=n_classes))),
        prior_scale=prior_scale,
        parts=parts,
    )
    if parts is not None:
        counts = [
            shard.ranks.sum(np.bincount(classes[shard.within(rows)], minlength=n_classes))
            for rows in parts.spans(shard)
        ]
        stream.part_priors = np.stack([share(part) for part in counts])
    return stream


def share(counts: NDArray) -> NDArray[np.float64]:
    """Counts as shares; a class without any keeps the share of half a span."""
    floored = np.maximum(np.asarray(counts, dtype=np.float64), 0.5)
    return floored / floored.sum()
