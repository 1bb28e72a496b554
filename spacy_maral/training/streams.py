"""What a step learns from: a corpus with its targets, and the losses that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..span_model import SpanOutput
from .corpus import Batch, Corpus, plan_batches
from .network import Network
from .schemas import TrainingSettings


class StepLoss(NamedTuple):
    """The sum to minimise, its parts by name, and what the network said."""

    total: Tensor
    parts: dict[str, float]
    output: SpanOutput


class Parts(NamedTuple):
    """The files that a corpus was read from, one after another: names and numbers of documents."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def of(self, docs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the part that each of some documents belongs to."""
        return np.searchsorted(np.cumsum(self.sizes), docs, side="right")

    def spans(self, corpus: Corpus) -> list[slice]:
        """The candidate spans of each part."""
        bounds = corpus.doc_spans[np.concatenate([[0], np.cumsum(self.sizes)])].tolist()
        return [slice(*pair) for pair in pairwise(bounds)]


@dataclass
class Stream:
    """One side of the training data: source spans with gold, or target spans with pseudo-labels.

    targets: Class of each candidate, shape (n_spans,), or soft labels, shape (n_spans, K).
    classes: Class of each candidate for the class statistics, -1 for none.
    weights: Weight of each candidate in the loss, or None for 1.
    prior: Share of each class, shape (K,). prior_scale: s of s * log prior. weight: Weight of the
    stream's loss. extra: A further loss on a batch (masked language modelling) with its weight.
    parts: Files of the corpus, if there are several (such as languages). part_priors: Share of each
    class in each part, shape (n_parts, K); the loss then takes those in place of `prior`.
    """

    name: str
    corpus: Corpus
    targets: NDArray
    classes: NDArray[np.int64]
    prior: NDArray[np.float64]
    prior_scale: float = 1.0
    weights: NDArray[np.float32] | None = None
    weight: float = 1.0
    extra: tuple[float, Callable[[Network, Batch], Tensor]] | None = None
    parts: Parts | None = None
    part_priors: NDArray[np.float64] | None = None

    def plan(self, settings: TrainingSettings, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Batches of one pass over the documents."""
        return plan_batches(
            self.corpus, max_tokens=settings.batch_tokens, max_docs=settings.batch_docs, rng=rng
        )

    def step(self, network: Network, batch: Batch, settings: TrainingSettings) -> StepLoss:
        """Loss of a batch (Eq. 12); the class statistics then take in its spans (Eq. 8)."""
        output = network(batch)
        ids = batch.span_ids
        targets = network.tensor(self.targets[ids])
        weights = None if self.weights is None else network.tensor(self.weights[ids])
        log_prior = network.tensor(self.prior_scale * np.log(self.batch_prior(batch))).float()
        loss = network.span_model.loss(
            output,
            targets,
            settings.loss,
            log_prior=log_prior,
            weights=weights,
            include_outside=settings.include_outside,
        )
        parts = {self.name: loss.item()}
        total = self.weight * loss
        if self.extra is not None:
            extra_weight, extra_loss = self.extra
            value = extra_loss(network, batch)
            parts[f"{self.name}_mlm"] = value.item()
            total = total + extra_weight * value
        network.span_model.statistics.update(output.z, network.tensor(self.classes[ids]))
        return StepLoss(total, parts, output)

    def batch_prior(self, batch: Batch) -> NDArray[np.float64]:
        """The prior of all spans, shape (K,), or of each span by its part, shape (n_spans, K)."""
        if self.part_priors is None or self.parts is None:
            return self.prior
        sizes = self.corpus.doc_spans[batch.docs + 1] - self.corpus.doc_spans[batch.docs]
        return self.part_priors[np.repeat(self.parts.of(batch.docs), sizes)]


def source_stream(
    corpus: Corpus, n_classes: int, prior_scale: float, parts: Parts | None = None
) -> Stream:
    """Source spans with their gold classes; the prior is the share of each class.

    corpus (Corpus): Labelled documents.
    n_classes (int): Number of classes with outside, K.
    prior_scale (float): s of s * log prior.
    parts (Parts): Files of the corpus, if there are several; each has a prior of its own.
    RETURNS (Stream): The stream.
    """
    assert corpus.classes is not None
    classes = corpus.classes.astype(np.int64)
    stream = Stream(
        name="source",
        corpus=corpus,
        targets=classes,
        classes=classes,
        prior=share(np.bincount(classes, minlength=n_classes)),
        prior_scale=prior_scale,
        parts=parts,
    )
    if parts is not None:
        counts = [np.bincount(classes[rows], minlength=n_classes) for rows in parts.spans(corpus)]
        stream.part_priors = np.stack([share(part) for part in counts])
    return stream


def share(counts: NDArray) -> NDArray[np.float64]:
    """Counts as shares; a class without any keeps the share of half a span."""
    floored = np.maximum(np.asarray(counts, dtype=np.float64), 0.5)
    return floored / floored.sum()


@dataclass
class MaskedLM:
    """Masked-language-model loss (Eq. 51) on the rows of a batch.

    head (nn.Module): The encoder's LM head, from hidden states to logits over the vocabulary.
    mask_id (int): The mask piece. special_ids: Pieces that are never masked.
    mask_rate (float): Share of the pieces that is masked. The pieces are drawn from torch's CPU
        generator, which the loop seeds for each epoch, so that a resumed run draws the same.
    """

    head: nn.Module
    mask_id: int
    special_ids: list[int]
    mask_rate: float

    def __call__(self, network: Network, batch: Batch) -> Tensor:
        ids = torch.from_numpy(batch.input_ids)
        maskable = ~torch.isin(ids, torch.tensor(self.special_ids))
        chosen = maskable & (torch.rand(ids.shape) < self.mask_rate)
        masked = ids.masked_fill(chosen, self.mask_id).to(network.device)
        with network.autocast():
            states = network.encode(masked, network.tensor(batch.attention_mask))
            logits = self.head(states[chosen.to(network.device)])
        if not len(logits):
            return states.sum() * 0
        wanted = ids[chosen].to(network.device)
        return torch.nn.functional.cross_entropy(logits.float(), wanted)
