"""The loss that a step minimises (Eq. 12), over a batch's spans in all processes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from ..model.losses import SpanLoss, label_spans
from ..model.span_model import SpanOutput
from .corpus import Batch
from .network import Network
from .streams import Stream


class ExtraLoss(Protocol):
    """A further loss on the batches of one stream, with a module trained with the network."""

    @property
    def stream(self) -> str:
        """Name of the stream."""

    @property
    def weight(self) -> float:
        """Factor of the mean loss in the total."""

    @property
    def head(self) -> nn.Module:
        """Module that is trained with the network."""

    def __call__(self, network: Network, batch: Batch) -> tuple[Tensor, int]:
        """Compute the sum of the losses in a batch, and the number of its terms."""


class BatchLoss(NamedTuple):
    """The loss of a batch, and the spans for the class statistics.

    total: Loss to minimise, with a graph. parts: Its unweighted parts by name. z: Features of the
    spans of all processes, shape (n, q). classes: Classes of these spans, -1 for none, shape (n,).
    """

    total: Tensor
    parts: dict[str, float]
    z: Tensor
    classes: Tensor


def batch_loss(
    network: Network,
    output: SpanOutput,
    stream: Stream,
    batch: Batch,
    span_loss: SpanLoss,
    *,
    outside_weight: float = 1.0,
    counts: bool = True,
    extra: ExtraLoss | None = None,
) -> BatchLoss:
    """Compute the loss of a batch (Eq. 12).

    network (Network): The network.
    output (SpanOutput): The network's output for this process's part of the batch.
    stream (Stream): The stream that the batch belongs to.
    batch (Batch): This process's part of the batch.
    span_loss (SpanLoss): The loss of labelled spans.
    outside_weight (float): Weight of an outside span; an entity has the weight 1.
    counts (bool): Whether this process's part counts (see `Stream.batch`).
    extra (ExtraLoss | None): A further loss, added if it belongs to the stream.
    RETURNS (BatchLoss): The loss over the parts of all processes.
    """
    ranks, tensor = stream.share.ranks, network.tensor
    wanted, gather = stream.wanted(batch, counts), ranks.gather_rows
    every = SpanOutput(gather(output.z), gather(output.logits))
    parts: dict[str, float] = {}
    total = every.z.sum() * 0
    if stream.labelled:
        prior = tensor(wanted.log_prior)
        spans = label_spans(
            network.span_model,
            every,
            gather(tensor(wanted.targets)),
            log_prior=prior if prior.ndim == 1 else gather(prior),
            weights=gather(tensor(wanted.weights)),
            outside_weight=outside_weight,
        )
        loss = span_loss(spans)
        parts[stream.name], total = loss.item(), stream.weight * loss
    if extra is not None and extra.stream == stream.name:
        value, n = extra(network, batch)
        mean, parts[f"{stream.name}_mlm"] = ranks.mean(value, n, counts=counts)
        total = total + extra.weight * mean
    return BatchLoss(total, parts, every.z.detach(), gather(tensor(wanted.classes)))
