"""The span model: a factorised span embedder on the unit sphere, vMF classes and a linear head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import Errors, MaralError
from .spans import N_SHAPES, OUTSIDE
from .vmf import ClassStatistics

DECISIONS = ("likelihood", "posterior", "linear")
# no setting needs more, and torch does not accept integers of any size
MOST = 1e12


class SpanOutput(NamedTuple):
    """Unit features z, shape (N, dim), and logits of the linear head, shape (N, K)."""

    z: Tensor
    logits: Tensor


class SpanModel(nn.Module):
    """Embed spans on the unit sphere and score them against the classes.

    A span (j, l) is represented by e = [h_first(j), h_last(l), width(l - j + 1), morphology(j..l)],
    where the morphology is the sum over its words of an embedding of their shape, and by
    z = normalise(MLP(e)) with MLP = Linear, GELU, dropout, Linear. The first layer is never applied
    to the concatenation: its product with each part is computed once per word, per width and per
    shape, so that a span costs only a few gathers and additions.

    input_width (int): Width of the word vectors, h.
    n_classes (int): Number of classes including outside, K.
    max_width (int): Longest span, in words.
    dim (int): Dimension of the features, q.
    hidden_width (int): Width of the hidden layer.
    dropout (float): Dropout on the word vectors and after GELU.
    width_embedding (int): Width of the span width's embedding.
    shape_embedding (int): Width of the word shape's embedding.
    temperature (float): Tau of Eq. 6.
    pseudo_count (float): Number of spans n0 that each initial class mean counts for.
    seed (int): Seed of the initial class means.
    decision (str): Decision rule: "likelihood" (rho), "posterior" (rho + log prior) or "linear"
        (the linear head).
    """

    def __init__(
        self,
        input_width: int,
        n_classes: int,
        *,
        max_width: int = 8,
        dim: int = 64,
        hidden_width: int = 384,
        dropout: float = 0.1,
        width_embedding: int = 25,
        shape_embedding: int = 25,
        temperature: float = 0.07,
        pseudo_count: float = 3000.0,
        seed: int = 0,
        decision: str = "likelihood",
    ) -> None:
        super().__init__()
        check_settings(
            max_width=max_width, dim=dim, hidden_width=hidden_width, dropout=dropout,
            width_embedding=width_embedding, shape_embedding=shape_embedding,
            temperature=temperature, pseudo_count=pseudo_count, decision=decision,
        )  # fmt: skip
        self.max_width = max_width
        self.dim = dim
        self.input_width = input_width
        self.decision = decision
        self.widths = nn.Embedding(max_width, width_embedding)
        self.shapes = nn.Embedding(N_SHAPES, shape_embedding)
        self.hidden = nn.Linear(2 * input_width + width_embedding + shape_embedding, hidden_width)
        self.output = nn.Linear(hidden_width, dim)
        self.head = nn.Linear(dim, n_classes)
        self.dropout = nn.Dropout(dropout)
        self.statistics = ClassStatistics(
            n_classes, dim, temperature=temperature, pseudo_count=pseudo_count, seed=seed
        )

    def forward(
        self, first: Tensor, last: Tensor, shapes: Tensor, starts: Tensor, ends: Tensor
    ) -> SpanOutput:
        """Embed spans and apply the linear head.

        first (Tensor): Encoder vectors at the words' first pieces, shape (T, h).
        last (Tensor): Encoder vectors at the words' last pieces, shape (T, h).
        shapes (Tensor): Shape of each word (see `spans.SHAPES`), shape (T,).
        starts (Tensor): First word of each span, as a row of `first`, shape (N,).
        ends (Tensor): Last word of each span, inclusive, as a row of `last`, shape (N,).
        RETURNS (SpanOutput): Features and logits.
        RAISES (MaralError): If they are not finite, except in training.
        """
        hidden = self._first_layer(first, last, shapes, starts, ends)
        with torch.autocast(hidden.device.type, enabled=False):
            u = self.output(self.dropout(F.gelu(hidden)))
            output = SpanOutput(F.normalize(u, dim=-1), self.head(u))
        # in training, the loss is checked
        if not (self.training or output.logits.isfinite().all()):
            raise MaralError(Errors.M005)
        return output

    def _first_layer(
        self, first: Tensor, last: Tensor, shapes: Tensor, starts: Tensor, ends: Tensor
    ) -> Tensor:
        """Linear([h_first; h_last; width; morphology]) in float32, shape (N, hidden_width)."""
        h = self.input_width
        parts = [h, h, self.widths.embedding_dim, self.shapes.embedding_dim]
        to_first, to_last, to_width, to_shape = self.hidden.weight.split(parts, dim=1)
        at_start = F.linear(self.dropout(first), to_first).float()
        at_end = F.linear(self.dropout(last), to_last).float()
        with torch.autocast(first.device.type, enabled=False):
            of_width = F.linear(self.widths.weight, to_width, self.hidden.bias)
            of_shape = F.linear(self.shapes.weight, to_shape)
            # counts are whole numbers: their prefix sums are exact, so that a span's vector does
            # not depend on the words before it in the batch
            words = F.one_hot(shapes.long(), N_SHAPES).to(of_shape.dtype)
            until = words.cumsum(0)
            counts = until[ends] - (until - words)[starts]
            of_span = of_width[ends - starts].addmm(counts, of_shape)
        return at_start[starts] + at_end[ends] + of_span

    def class_scores(self, output: SpanOutput) -> Tensor:
        """Score the classes by the decision rule: rho (Eq. 6), rho + log prior, or the logits.

        Entity classes without training spans get -inf, so that they are never predicted.

        output (SpanOutput): Output of `forward` for N spans.
        RETURNS (Tensor): Scores, shape (N, K).
        """
        if self.decision == "linear":
            scores = output.logits
        else:
            scores = self.statistics.score(output.z)
            if self.decision == "posterior":
                scores = scores + self.statistics.prior.log()
        unseen = self.statistics.seen == 0
        unseen[OUTSIDE] = False
        return scores.masked_fill(unseen, float("-inf"))


def check_settings(*, dropout: float, decision: str, **positive: float) -> None:
    """Refuse settings that are out of range.

    RAISES (MaralError): If a setting is out of its range.
    """
    if decision not in DECISIONS:
        raise MaralError(Errors.M003.format(decision=decision))
    if not 0 <= dropout < 1:
        raise MaralError(Errors.M004.format(name="dropout", rule="in [0, 1)", value=dropout))
    for name, value in positive.items():
        may_be_0 = name == "pseudo_count"
        if not (value > 0 or (may_be_0 and value == 0)):
            rule = "at least 0" if may_be_0 else "above 0"
            raise MaralError(Errors.M004.format(name=name, rule=rule, value=value))
        if value > MOST:
            raise MaralError(Errors.M004.format(name=name, rule=f"at most {MOST:g}", value=value))


def check_sizes(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Check that saved tensors have the sizes that the settings name, before the model is built.

    Damaged settings could otherwise ask for any amount of memory.

    settings (Mapping): Settings of `SpanModel`.
    tensors (Mapping): Its saved tensors by name.
    RAISES (ValueError): If the sizes differ.
    """
    widths = [settings[name] for name in ("width_embedding", "shape_embedding")]
    wanted = {
        "widths.weight": (settings["max_width"], widths[0]),
        "shapes.weight": (N_SHAPES, widths[1]),
        "hidden.weight": (settings["hidden_width"], 2 * settings["input_width"] + sum(widths)),
        "output.weight": (settings["dim"], settings["hidden_width"]),
        "head.weight": (settings["n_classes"], settings["dim"]),
    }
    for name, shape in wanted.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            raise ValueError(f"{name} has the shape {found}, the settings say {shape}")
