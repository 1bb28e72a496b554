"""Training losses over spans: max-margin, cross-entropy, supervised contrastive.

The functions take tensors. What a configuration names with `@losses`, such as [student.loss], takes
`LabelledSpans`; the registry `losses`, which spaCy shares with Thinc, holds functions or classes that make one:

    @spacy.registry.losses("squared_error.v1")
    def make_squared_error():
        def squared_error(spans):
            wanted = torch.nn.functional.one_hot(spans.classes, spans.logits.shape[1])
            errors = (spans.rho().softmax(1) - wanted).square().sum(1)
            return (spans.weights * errors).sum() / spans.weights.sum().clamp_min(1)
        return squared_error

A loss that does not train the linear head says so with `trains_head = False`. It is then refused together with the
decision rule "linear".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import Errors, MaralError
from .span_model import SpanModel, SpanOutput
from .spans import OUTSIDE
from .vmf import ClassStatistics

REDUCTIONS = ("mean", "sum", "none")


def max_margin(
    scores: Tensor,
    targets: Tensor,
    log_prior: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Max-margin loss (MMC), -log softmax_c(log pi(c) + rho(z, c)) at the target (Eq. 7 and 12).

    scores (Tensor): Class scores rho, (N, K); N may be 0.
    targets (Tensor): Class of every span, (N,), int64, or a distribution over classes, (N, K).
    log_prior (Tensor): Log prior of the classes, scaled already, (K,). None stands for a uniform prior.
    weights (Tensor): Weight >= 0 of every span, (N,). None stands for 1.
    reduction (str): "mean" (by weight), "sum" (of weighted losses) or "none" (weighted losses, (N,)).
    RETURNS (Tensor): The loss. A mean or sum over nothing is 0, with a graph.
    RAISES (MaralError): If the shapes do not fit or the reduction is unknown.
    """
    logits = scores if log_prior is None else scores + log_prior.to(scores.dtype)
    return cross_entropy(logits, targets, weights=weights, reduction=reduction)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of hard or soft targets under softmax of the logits.

    logits (Tensor): (N, K); N may be 0. Half precision is raised to float32.
    targets (Tensor): Class of every span, (N,), int64, or a distribution over classes, (N, K).
    weights (Tensor): Weight >= 0 of every span, (N,). None stands for 1.
    reduction (str): "mean", "sum" or "none", as in `max_margin`.
    RETURNS (Tensor): The loss. A mean or sum over nothing is 0, with a graph.
    RAISES (MaralError): If the shapes do not fit or the reduction is unknown.
    """
    soft = targets.dim() == 2
    if logits.dim() != 2 or targets.shape != (logits.shape if soft else logits.shape[:1]):
        found = (tuple(logits.shape), tuple(targets.shape))
        raise MaralError(Errors.M030.format(logits=found[0], targets=found[1]))
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probs = logits.log_softmax(1, dtype=dtype)
    if soft:
        # a class with probability 0 adds nothing, even where its logit is -inf
        log_probs = log_probs.masked_fill(targets == 0, 0.0)
        losses = -(targets.to(dtype) * log_probs).sum(1)
    else:
        losses = -log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    return _reduce(losses, _span_weights(losses, weights), reduction)


def supcon(
    z: Tensor,
    classes: Tensor,
    temperature: float = 0.07,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
    chunk_size: int = 1024,
) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, L_out) with the batch's spans as anchors and contrasts.

    For an anchor i with the positives P(i), the other spans of its class: the mean over p in P(i) of
    -log(exp(z_i.z_p / tau) / sum_{a != i} exp(z_i.z_a / tau)). Anchors are taken chunk by chunk and recomputed in the
    backward pass, so that memory grows with chunk_size * N, not with N^2.

    z (Tensor): Span features, (N, q), unit norm; N may be 0.
    classes (Tensor): Class of every span, (N,), int64. Spans with a negative class take no part.
    temperature (float): tau, > 0.
    weights (Tensor): Weight >= 0 of every span as an anchor, (N,). None stands for 1. With 0 it is still a contrast.
    reduction (str): "mean" (by weight over the anchors), "sum" or "none" ((N,), 0 where there is no anchor).
    chunk_size (int): Anchors per chunk.
    RETURNS (Tensor): The loss. Anchors without positives are left out; over none of them it is 0, with a graph.
    RAISES (MaralError): If the shapes do not fit or a setting is out of range.
    """
    if z.dim() != 2 or classes.shape != z.shape[:1]:
        raise MaralError(Errors.M030.format(logits=tuple(z.shape), targets=tuple(classes.shape)))
    if not temperature > 0:
        raise MaralError(Errors.M025.format(temperature=temperature))
    with torch.autocast(z.device.type, enabled=False):
        unit = z.to(torch.promote_types(z.dtype, torch.float32))
        present = classes >= 0
        n_classes = int(classes.max()) + 1 if len(classes) else 0
        labels = torch.arange(n_classes, device=classes.device)
        member = (classes.unsqueeze(1) == labels).to(unit.dtype)
        n_positive = member @ member.sum(0) - 1
        is_anchor = n_positive > 0
        # 0 for every span, with a graph
        log_partition = unit.sum(1) * 0
        span_weights = _span_weights(log_partition, weights) * is_anchor
        anchors = (span_weights > 0).nonzero().squeeze(1)
        recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        partition = [
            recompute(_log_partition, rows, unit, present, temperature)
            for rows in anchors.split(chunk_size)
        ]
        if partition:
            log_partition = log_partition.index_add(0, anchors, torch.cat(partition))
        # the sum of similarities to the positives needs only the sum of the class's features
        positives = (member @ (member.T @ unit)) - unit
        attraction = (unit * positives).sum(1) / (n_positive.clamp_min(1) * temperature)
        losses = log_partition - attraction
    return _reduce(losses, span_weights, reduction)


def _log_partition(rows: Tensor, unit: Tensor, present: Tensor, temperature: float) -> Tensor:
    """log sum over all other present spans of exp(z_i.z_a / tau) for the anchors in `rows`."""
    similarities = unit[rows] @ unit.T / temperature
    hidden = ~present.expand(len(rows), -1)
    hidden = hidden.scatter(1, rows.unsqueeze(1), True)
    return similarities.masked_fill(hidden, -torch.inf).logsumexp(1)


def _span_weights(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The given weight of every span or 1, (N,)."""
    result = torch.ones_like(losses) if weights is None else weights.to(losses)
    if result.shape != losses.shape:
        raise MaralError(Errors.M031.format(weights=tuple(result.shape), n_spans=len(losses)))
    return result


def _reduce(losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    if reduction not in REDUCTIONS:
        raise MaralError(Errors.M032.format(reduction=reduction, known=", ".join(REDUCTIONS)))
    # where, not a product alone: a span without weight may have an infinite loss
    weighted = torch.where(weights > 0, losses, torch.zeros_like(losses)) * weights
    if reduction == "none":
        return weighted
    total = weights.sum() if reduction == "mean" else torch.ones_like(weights.sum())
    return weighted.sum() / torch.where(total > 0, total, torch.ones_like(total))


class LabelledSpans(NamedTuple):
    """What a loss is computed from: N spans with their classes.

    z: Unit features, shape (N, dim). logits: Logits of the linear head, shape (N, K). statistics: The
    classes as von Mises-Fisher distributions. targets: Class of each span, shape (N,), or distribution
    over the classes, shape (N, K). known: Whether each span takes part, shape (N,); the target of
    others means nothing. weights: Weight >= 0 of each span, that of outside spans included, 0 where
    it is not known, shape (N,). log_prior: Scaled log prior of the classes, shape (K,) or (N, K); None
    for a uniform one.
    """

    z: Tensor
    logits: Tensor
    statistics: ClassStatistics
    targets: Tensor
    known: Tensor
    weights: Tensor
    log_prior: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """The most probable class of each span, shape (N,)."""
        return most_probable(self.targets)

    def rho(self) -> Tensor:
        """Compute the class scores rho (Eq. 6), shape (N, K), with a graph to z."""
        return self.statistics.score(self.z)


SpanLoss = Callable[[LabelledSpans], Tensor]


class MaxMargin:
    """Max-margin loss of the scores rho (Eq. 7)."""

    trains_head = False

    def __call__(self, spans: LabelledSpans) -> Tensor:
        return max_margin(spans.rho(), spans.targets, spans.log_prior, weights=spans.weights)


class CrossEntropy:
    """Cross-entropy of the linear head."""

    trains_head = True

    def __call__(self, spans: LabelledSpans) -> Tensor:
        return cross_entropy(spans.logits, spans.targets, weights=spans.weights)


class SupCon:
    """Supervised contrastive loss of the features, with the most probable class of soft labels."""

    trains_head = False

    def __call__(self, spans: LabelledSpans) -> Tensor:
        classes = spans.classes.masked_fill(~spans.known, -1)
        return supcon(spans.z, classes, spans.statistics.temperature, weights=spans.weights)


def trains_head(loss: SpanLoss) -> bool:
    """Whether a loss trains the linear head; one that does not say is trusted to do so."""
    return getattr(loss, "trains_head", True)


def most_probable(targets: Tensor) -> Tensor:
    """The classes that are given, shape (N,), or the most probable ones of distributions, shape (N, K)."""
    return targets if targets.ndim == 1 else targets.argmax(-1)


def label_spans(
    model: SpanModel,
    output: SpanOutput,
    targets: Tensor,
    *,
    log_prior: Tensor | None = None,
    weights: Tensor | None = None,
    outside_weight: float = 1.0,
) -> LabelledSpans:
    """Put together what a loss is computed from.

    model (SpanModel): The span model.
    output (SpanOutput): Its output for N spans.
    targets (Tensor): Classes, shape (N,), negative for spans that take no part; or soft labels, shape
        (N, K).
    log_prior (Tensor): See `LabelledSpans`.
    weights (Tensor): Weight of each span, shape (N,); spans with 0 take no part. None for 1.
    outside_weight (float): Factor on the weight of outside spans. With 0 they take part as what
        other spans are compared with.
    RETURNS (LabelledSpans): The spans.
    """
    classes = most_probable(targets)
    given = torch.ones_like(classes, dtype=torch.float) if weights is None else weights
    known = (classes >= 0) & (given > 0)
    weighed = torch.where(classes == OUTSIDE, given * outside_weight, given) * known
    wanted = targets.clamp(min=OUTSIDE) if targets.ndim == 1 else targets
    return LabelledSpans(*output, model.statistics, wanted, known, weighed, log_prior)
