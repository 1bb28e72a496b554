"""A literal transcription of the paper's method, without optimisation, for comparison.

A two-layer MLP, whose hidden layer is as wide as its input, takes the concatenated parts of a span.
Miller's recurrence of 2v steps gives log I_v. Blocks of sentences x (W * 128) x classes hold soft
pseudo-labels, scores and reliability. A step encodes the source batch, the target batch, and again
the target batch, without dropout, for the features of filter and refinery. Python loops resolve
overlaps of pseudo-labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_WORDS = 128
N_SHAPES = 5
EMBEDDING = 25
DIM = 64
DROPOUT = 0.1
TEMPERATURE = 0.07
MAX_KAPPA = 1e5
START_NORM = 0.9
PSEUDO_COUNT = 3000.0


class LogBessel(torch.autograd.Function):
    """log I_v(x) by Miller's recurrence from the order 2v down (Eq. 49, 50), in float64.

    I_{n-1} = I_{n+1} + (2 n / x) I_n, normalised by I_0. The recurrence also gives I_{v+1}, and with
    it the derivative I_{v+1} / I_v + v / x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: int) -> Tensor:
        above, here = torch.zeros_like(x), torch.full_like(x, 1e-280)
        for n in range(2 * order, 0, -1):
            above, here = here, above + (2 * n / x) * here
            if n - 1 == order:
                at_order, next_order = here, above
        ctx.save_for_backward(next_order / at_order + order / x)
        log_zero = torch.special.i0e(x).log() + x
        return at_order.log() - here.log() + log_zero

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


def log_constant(kappa: Tensor, dim: int) -> Tensor:
    """log C_q(kappa) (Eq. 4)."""
    order = dim // 2 - 1
    return order * kappa.log() - (dim / 2) * math.log(2 * math.pi) - LogBessel.apply(kappa, order)


def scores(z: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    """rho(z, c) = log C(kappa_c) - log C(|kappa_c mu_c + z / tau|) (Eq. 6), shape (N, K)."""
    columns = []
    for c in range(len(kappa)):
        shifted = (kappa[c] * mu[c] + z.double() / TEMPERATURE).norm(dim=1)
        columns.append(log_constant(kappa[c], z.shape[1]) - log_constant(shifted, z.shape[1]))
    return torch.stack(columns, dim=1).float()


class Sentence(NamedTuple):
    """Words, and the class of each entity (start, end), end inclusive."""

    words: list[str]
    entities: dict[tuple[int, int], int]


class Rows(NamedTuple):
    """A padded batch for the encoder.

    ids, mask: Word pieces and their mask, (B, length). first, last: First and last piece of each
    word, (B, words). shapes: Shape of each word, (B, words). starts, ends: First and last word of
    each span, (B, spans). real: Which spans are no padding, (B, spans).
    """

    ids: Tensor
    mask: Tensor
    first: Tensor
    last: Tensor
    shapes: Tensor
    starts: Tensor
    ends: Tensor
    real: Tensor


def shape_of(word: str) -> int:
    """Shape of a word: upper, lower, title, digit or other."""
    if word.isupper():
        return 0
    if word.islower():
        return 1
    if word[:1].isupper():
        return 2
    return 3 if any(c.isdigit() for c in word) else 4


def spans_of(n_words: int, max_width: int) -> list[tuple[int, int]]:
    """All spans of up to max_width words."""
    return [(j, k) for j in range(n_words) for k in range(j, min(j + max_width, n_words))]


def make_rows(tokenizer: Any, batch: Sequence[Sentence], max_width: int) -> Rows:
    """Tokenise sentences and pad them to the longest."""
    encoding = tokenizer(
        [s.words for s in batch], is_split_into_words=True, padding="longest", truncation=True,
        max_length=min(512, tokenizer.model_max_length), return_tensors="pt",
    )  # fmt: skip
    n_words = max(len(s.words) for s in batch)
    spans = [spans_of(len(s.words), max_width) for s in batch]
    n_spans = max(map(len, spans))
    first, last, shapes = (np.zeros((len(batch), n_words), dtype=np.int64) for _ in range(3))
    starts, ends = (np.zeros((len(batch), n_spans), dtype=np.int64) for _ in range(2))
    real = np.zeros((len(batch), n_spans), dtype=bool)
    for i, sentence in enumerate(batch):
        seen = set()
        for piece, word in enumerate(encoding.word_ids(i)):
            if word is None:
                continue
            if word not in seen:
                seen.add(word)
                first[i, word] = piece
            last[i, word] = piece
        for j, word in enumerate(sentence.words):
            shapes[i, j] = shape_of(word)
        for k, (start, end) in enumerate(spans[i]):
            starts[i, k], ends[i, k], real[i, k] = start, end, True
    arrays = (first, last, shapes, starts, ends, real)
    return Rows(
        encoding["input_ids"], encoding["attention_mask"], *(torch.from_numpy(a) for a in arrays)
    )


class LiteralModel(nn.Module):
    """Encoder, span embedder and running class means.

    encoder (nn.Module): A Hugging Face encoder.
    n_classes (int): Number of classes with outside.
    max_width (int): Longest span, in words.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, encoder: nn.Module, n_classes: int, max_width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.max_width = max_width
        width = 2 * encoder.config.hidden_size + 2 * EMBEDDING  # type: ignore[operator,union-attr]
        self.widths = nn.Embedding(max_width, EMBEDDING)
        self.shapes = nn.Embedding(N_SHAPES, EMBEDDING)
        self.mlp = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(width, DIM)
        )
        start = F.normalize(torch.linalg.qr(torch.randn(DIM, n_classes))[0].T, dim=1)
        self.register_buffer("mean", START_NORM * (start - start.mean(0)))
        self.register_buffer("count", torch.full((n_classes,), PSEUDO_COUNT))

    def forward(self, rows: Rows) -> Tensor:
        """Unit features of all spans, shape (B, spans, DIM)."""
        hidden = self.encoder(input_ids=rows.ids, attention_mask=rows.mask).last_hidden_state
        batch = torch.arange(len(hidden)).unsqueeze(1)
        at_start = hidden[batch, rows.first.gather(1, rows.starts)]
        at_end = hidden[batch, rows.last.gather(1, rows.ends)]
        of_width = self.widths(rows.ends - rows.starts)
        offsets = torch.arange(self.max_width)
        inside = offsets <= (rows.ends - rows.starts).unsqueeze(-1)
        words = (rows.starts.unsqueeze(-1) + offsets).clamp(max=rows.shapes.shape[1] - 1)
        shapes = self.shapes(rows.shapes[batch.unsqueeze(-1), words])
        of_shape = (shapes * inside.unsqueeze(-1)).sum(2)
        spans = torch.cat([at_start, at_end, of_width, of_shape], dim=-1)
        return F.normalize(self.mlp(F.dropout(spans, DROPOUT, self.training)).float(), dim=-1)

    def score(self, z: Tensor) -> Tensor:
        """Scores of spans, shape (N, K)."""
        norm = self.mean.double().norm(dim=1)
        mu = self.mean.double() / norm.unsqueeze(1)
        kappa = (norm * (DIM - norm**2) / (1 - norm**2)).clamp(max=MAX_KAPPA)
        return scores(z, mu, kappa)

    @torch.no_grad()
    def take_in(self, z: Tensor, classes: Tensor) -> None:
        """Move the class means by a batch (Eq. 8)."""
        for c in range(len(self.count)):
            members = z[classes == c]
            if len(members):
                self.count[c] += len(members)
                share = len(members) / self.count[c]
                self.mean[c] = (1 - share) * self.mean[c] + share * members.mean(0)
