"""Algorithm 1 of the paper in plain torch and NumPy, without any code of the package.

One class, a span at a time where that is shorter, nothing vectorised for speed. Random numbers, the batches and
the starting weights are given, so that it can run beside the package. Words have one piece each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.miller import log_normalizer

OUTSIDE, MASK, SPECIAL, PAD = 0, 3, (0, 1, 2, 3), 1


class Text(NamedTuple):
    """Sentences as pieces with <s> and </s>, the shape of each word, and the first span of each sentence."""

    pieces: list[list[int]]
    shapes: list[list[int]]
    starts: list[int]


def norm1(row: np.ndarray) -> np.ndarray:
    return row / row.sum()


class Algorithm1:
    """A student in training.

    encoder, lm_head, widths, shapes, hidden, output: Modules, trained in place. start: Initial class means. gold: Class of
    each source span. soft: Soft pseudo-label of each target span. s: The settings of the paper by name.
    """

    def __init__(
        self, modules: nn.ModuleDict, start: Tensor, source: Text, target: Text, gold, soft, s: Any
    ) -> None:  # type: ignore[no-untyped-def]
        self.m, self.mean, self.s = modules, start.clone(), s
        self.source, self.target, self.gold, self.p = source, target, gold, soft.astype(np.float64)
        self.y, self.reliable = self.consistent(), np.ones(len(soft), dtype=bool)
        self.pi_source = np.bincount(gold, minlength=soft.shape[1]) / len(gold)
        self.kept = {"source": np.zeros((len(gold), s.dim)), "target": np.zeros((len(soft), s.dim))}
        matrices = [p for p in modules.parameters() if p.ndim > 1]
        vectors = [p for p in modules.parameters() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": s.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=s.learn_rate, betas=(0.9, 0.999), eps=1e-8)
        self.steps = 0

    def spans(self, n_words: int) -> list[tuple[int, int]]:
        return [
            (j, k) for j in range(n_words) for k in range(j, min(n_words, j + self.s.max_width))
        ]

    def encode(self, text: Text, docs: np.ndarray, masked: bool = False) -> tuple[Tensor, ...]:
        longest = max(len(text.pieces[i]) for i in docs)
        ids = torch.tensor([text.pieces[i] + [PAD] * (longest - len(text.pieces[i])) for i in docs])
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        if masked:
            chosen = ~torch.isin(ids, torch.tensor(SPECIAL)) & (
                torch.rand(ids.shape) < self.s.mask_rate
            )
        given = ids.masked_fill(chosen, MASK)
        return (
            self.m["encoder"](
                input_ids=given, attention_mask=(ids != PAD).long()
            ).last_hidden_state,
            ids,
            chosen,
        )

    def features(self, text: Text, docs: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """z of all spans of some sentences, and their numbers: z = normalise(MLP([first, last, width, shapes]))."""
        states, _, _ = self.encode(text, docs)
        words = torch.cat([states[row, 1 : 1 + len(text.shapes[i])] for row, i in enumerate(docs)])
        first, last = (F.dropout(words, self.s.dropout) for _ in range(2))
        rows, numbers, before = [], [], 0
        for i in docs:
            shapes = torch.tensor(text.shapes[i])
            for place, (j, k) in enumerate(self.spans(len(shapes))):
                width, shape = (
                    self.m["widths"].weight[k - j],
                    self.m["shapes"].weight[shapes[j : k + 1]].sum(0),
                )
                rows.append(torch.cat([first[before + j], last[before + k], width, shape]))
                numbers.append(text.starts[i] + place)
            before += len(shapes)
        hidden = F.dropout(F.gelu(self.m["hidden"](torch.stack(rows))), self.s.dropout)
        return F.normalize(self.m["output"](hidden), dim=1), np.array(numbers)

    def rho(self, z: Tensor) -> Tensor:
        """(4), (6), (9), in double precision."""
        mean, q = self.mean.double(), self.s.dim
        size = mean.norm(dim=1)
        kappa = size * (q - size**2) / (1 - size**2)
        moved = (kappa / size).unsqueeze(1) * mean + z.double().unsqueeze(1) / self.s.temperature
        return log_normalizer(kappa, q) - log_normalizer(moved.norm(dim=2), q)

    def losses(self, z: Tensor, classes: np.ndarray, prior: np.ndarray) -> Tensor:
        """(7)"""
        log_p = (torch.from_numpy(prior).log() + self.rho(z)).log_softmax(1)
        return -log_p[torch.arange(len(classes)), torch.from_numpy(classes)]

    def move_means(self, z: Tensor, classes: np.ndarray) -> None:
        """(8) with B.2"""
        for c in range(len(self.mean)):
            own = z.detach().double()[torch.from_numpy(classes == c)]
            self.count[c] += len(own)
            if len(own):
                share = len(own) / self.count[c]
                self.mean[c] = (1 - share) * self.mean[c].double() + share * own.mean(0)

    def epoch(self, plan: list, seeds: list[int], n_steps: int) -> list[tuple[float, float, float]]:
        """Lines 3 to 10: (12) and (51) on all batches; RETURNS: The three losses of each step."""
        self.count, found, s = (
            [float(s0) for s0 in [self.s.pseudo_count] * len(self.mean)],
            [],
            self.s,
        )
        for step, ((source, target), seed) in enumerate(zip(plan, seeds, strict=True)):
            torch.manual_seed(seed)
            z, spans = self.features(self.source, source)
            of_source = self.losses(z, self.gold[spans], self.pi_source).mean()
            (of_source / s.accumulate).backward()
            self.move_means(z, self.gold[spans])
            self.kept["source"][spans] = z.detach().half()
            z, spans = self.features(self.target, target)
            reliable = torch.from_numpy(self.reliable[spans])
            of_target = self.losses(z, self.y[spans], self.p.mean(0))[reliable].mean()
            states, ids, chosen = self.encode(self.target, target, masked=True)
            of_words = F.cross_entropy(self.m["lm_head"](states[chosen]), ids[chosen])
            ((of_target + s.mlm_weight * of_words) / s.accumulate).backward()
            self.move_means(z, self.y[spans])
            self.kept["target"][spans] = z.detach().half()
            found.append((of_source.item(), of_target.item(), of_words.item()))
            if (step + 1) % s.accumulate == 0 or step + 1 == len(plan):
                rising = s.warmup * n_steps
                rate = min(
                    (self.steps + 1) / (rising + 1), (n_steps - self.steps) / (n_steps - rising)
                )
                for group in self.optimiser.param_groups:
                    group["lr"] = rate * s.learn_rate
                nn.utils.clip_grad_norm_(self.m.parameters(), s.grad_clip)
                self.optimiser.step()
                self.optimiser.zero_grad()
            self.steps += 1
        return found

    def improve(self, alpha: float, draws: tuple[np.ndarray, np.ndarray], seed: int) -> int:
        """Lines 11 to 15: the filter, (10) and (11); RETURNS (int): Rows of the bank."""
        rho, n, k = self.rho(torch.from_numpy(self.kept["target"])).numpy(), *self.p.shape
        for c in range(k):
            own = rho[self.y == c, c][:, None]
            own = (own - own.min()) / (own.max() - own.min())
            mixture = GaussianMixture(2, random_state=seed, max_iter=200).fit(own)
            own = own.clip(
                *np.sort(mixture.means_[:, 0])
            )  # ours: a higher score is not less reliable
            self.reliable[self.y == c] = (
                mixture.predict_proba(own)[:, mixture.means_[:, 0].argmax()] > 0.5
            )
        in_bank = [
            (y != OUTSIDE) | (d < self.s.bank_outside_rate)
            for y, d in zip((self.gold, self.y), draws, strict=True)
        ]
        bank = np.concatenate([self.kept["source"][in_bank[0]], self.kept["target"][in_bank[1]]])
        known = np.concatenate([self.gold[in_bank[0]], self.y[in_bank[1]]])
        itself = np.concatenate([np.full(in_bank[0].sum(), -1), np.flatnonzero(in_bank[1])])
        near = np.zeros((n, k))
        for i in range(n):
            others = np.flatnonzero(itself != i)
            nearest = others[np.argsort(-bank[others] @ self.kept["target"][i])][
                : self.s.neighbours
            ]
            near[i] = np.bincount(known[nearest], minlength=k) / len(nearest)
        means = [[values[self.y == c, c].mean() for c in range(k)] for values in (rho, near)]
        for i in np.flatnonzero(~self.reliable):
            d_c, d_n = (rho[i] > means[0]).astype(float), (near[i] > means[1]).astype(float)
            d_c[OUTSIDE] = max(d_c[OUTSIDE], rho[i].argmax() == OUTSIDE)  # as in the authors' code
            if (d_c + d_n).any():
                self.p[i] = norm1(alpha * self.p[i] + (1 - alpha) * norm1(d_c + d_n))
        self.y = self.consistent()
        return len(bank)

    def consistent(self) -> np.ndarray:
        """Hard labels: in each sentence the most probable set of entities that do not overlap."""
        classes = np.full(len(self.p), OUTSIDE)
        for shapes, start in zip(self.target.shapes, self.target.starts, strict=True):
            spans, best = self.spans(len(shapes)), [(0.0, [])]
            for end in range(len(shapes)):
                options = [best[end]]
                for place, (j, k) in enumerate(spans):
                    row = self.p[start + place]
                    if k == end and row.argmax() != OUTSIDE:
                        total, chosen = best[j]
                        options.append(
                            (total + np.log(row.max() / row[OUTSIDE]), [*chosen, start + place])
                        )
                best.append(max(options, key=lambda option: option[0]))
            classes[best[-1][1]] = self.p[best[-1][1]].argmax(1)
        return classes
