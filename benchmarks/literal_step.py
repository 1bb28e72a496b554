"""Training of the literal transcription: its buffers and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .literal import MAX_WORDS, LiteralModel, Rows, Sentence, make_rows, spans_of

OUTSIDE = 0


class Buffers:
    """State of the target's spans, in blocks of sentences x (W * 128) x classes.

    probabilities: Soft pseudo-labels. scores: rho of the last pass. reliable: Which labels the loss
    uses. features: Features of the spans, by sentence.
    """

    def __init__(self, n_sentences: int, max_width: int, n_classes: int) -> None:
        shape = (n_sentences, max_width * MAX_WORDS, n_classes)
        self.probabilities = torch.zeros(shape)
        self.scores = torch.zeros(shape)
        self.reliable = torch.ones(shape[:2], dtype=torch.bool)
        self.features: list[Tensor | None] = [None] * n_sentences


def clean_overlaps(probabilities: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Resolve overlaps in one sentence: the most probable of overlapping entities stays."""
    classes = probabilities.argmax(1)
    found = []
    for k in range(len(spans)):
        if classes[k] != OUTSIDE:
            found.append((float(probabilities[k, classes[k]]), k))
    kept: list[int] = []
    for _, k in sorted(found, reverse=True):
        start, end = spans[k]
        if any(start <= spans[o][1] and spans[o][0] <= end for o in kept):
            probabilities[k] = 0
            probabilities[k, OUTSIDE] = 1
        else:
            kept.append(k)
    return probabilities


class LiteralTraining:
    """Student training of the literal transcription.

    model (LiteralModel): Trained in place.
    tokenizer (Any): The encoder's.
    source, target (Sequence[Sentence]): The sentences.
    buffers (Buffers): Pseudo-labels of the target.
    bfloat16 (bool): Whether matrix products use bfloat16.
    frozen_embeddings (bool): Whether the encoder's embeddings are frozen.
    frozen_layers (int): Number of lowest layers that are frozen.
    soft (bool): Whether the loss uses soft pseudo-labels.
    cached (bool): Whether to tokenise sentences once instead of for each batch.
    feature_pass (bool): Whether to encode the target again without dropout.
    """

    def __init__(
        self,
        model: LiteralModel,
        tokenizer: Any,
        source: Sequence[Sentence],
        target: Sequence[Sentence],
        buffers: Buffers,
        *,
        bfloat16: bool = False,
        frozen_embeddings: bool = False,
        frozen_layers: int = 0,
        soft: bool = False,
        cached: bool = False,
        feature_pass: bool = True,
        learn_rate: float = 1e-4,
    ) -> None:
        self.model, self.tokenizer, self.buffers = model, tokenizer, buffers
        self.sentences = {"source": source, "target": target}
        self.bfloat16, self.soft, self.feature_pass = bfloat16, soft, feature_pass
        self.cache: dict[tuple[str, int], Rows] | None = {} if cached else None
        if frozen_embeddings:
            model.encoder.embeddings.requires_grad_(False)  # type: ignore[union-attr,operator]
        for layer in model.encoder.encoder.layer[:frozen_layers]:  # type: ignore[union-attr,index]
            layer.requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=learn_rate, weight_decay=0.01)
        model.train()

    def step(self, source: Sequence[int], target: Sequence[int]) -> int:
        """Train on a batch of source and one of target; RETURNS (int): Their number of sentences."""
        loss = self._source_loss(source) + self._target_loss(target)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.feature_pass:
            self._keep_features(target)
        return len(source) + len(target)

    def _rows(self, side: str, batch: Sequence[int]) -> Rows:
        sentences = [self.sentences[side][i] for i in batch]
        if self.cache is None:
            return make_rows(self.tokenizer, sentences, self.model.max_width)
        key = (side, hash(tuple(batch)))
        if key not in self.cache:
            self.cache[key] = make_rows(self.tokenizer, sentences, self.model.max_width)
        return self.cache[key]

    def _features(self, rows: Rows) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            return self.model(rows)

    def _source_loss(self, batch: Sequence[int]) -> Tensor:
        rows = self._rows("source", batch)
        classes = torch.full(rows.real.shape, OUTSIDE)
        for i, number in enumerate(batch):
            sentence = self.sentences["source"][number]
            for k, span in enumerate(spans_of(len(sentence.words), self.model.max_width)):
                classes[i, k] = sentence.entities.get(span, OUTSIDE)
        z, known = self._features(rows)[rows.real], classes[rows.real]
        loss = nn.functional.cross_entropy(self.model.score(z), known)
        self.model.take_in(z.detach(), known)
        return loss

    def _target_loss(self, batch: Sequence[int]) -> Tensor:
        rows = self._rows("target", batch)
        n_spans = rows.real.shape[1]
        for number in batch:
            spans = spans_of(len(self.sentences["target"][number].words), self.model.max_width)
            part = self.buffers.probabilities[number, : len(spans)]
            part.copy_(clean_overlaps(part.clone(), spans))
        chosen = torch.as_tensor(np.asarray(batch))
        probabilities = self.buffers.probabilities[chosen, :n_spans][rows.real]
        reliable = self.buffers.reliable[chosen, :n_spans][rows.real]
        z = self._features(rows)[rows.real]
        hard = probabilities.argmax(1)
        losses = nn.functional.cross_entropy(
            self.model.score(z), probabilities if self.soft else hard, reduction="none"
        )
        self.model.take_in(z[reliable].detach(), hard[reliable])
        return (losses * reliable).sum() / reliable.sum().clamp(min=1)

    @torch.no_grad()
    def _keep_features(self, batch: Sequence[int]) -> None:
        self.model.eval()
        rows = self._rows("target", batch)
        features = self._features(rows)
        for i, number in enumerate(batch):
            z = features[i][rows.real[i]]
            self.buffers.features[number] = z
            self.buffers.scores[number, : len(z)] = self.model.score(z)
        self.model.train()
