"""The literal transcription with the text, pseudo-labels and encoder of our student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from transformers import AutoModel, AutoTokenizer

from .literal import MAX_WORDS, LiteralModel, Sentence
from .literal_step import Buffers, LiteralTraining
from .setting import Setting
from .world import Text


def sentences_of(docs: Sequence[Doc], labels: Sequence[str]) -> list[Sentence]:
    """Documents as plain sentences."""
    return [
        Sentence(
            [token.text for token in doc],
            {(e.start, e.end - 1): labels.index(e.label_) + 1 for e in doc.ents},
        )
        for doc in docs
    ]


def fill_buffers(text: Text, max_width: int) -> Buffers:
    """The buffers of the literal transcription, with the pseudo-labels of the target."""
    n_classes = len(text.labels.labels) + 1
    buffers = Buffers(len(text.target), max_width, n_classes)
    table = torch.from_numpy(text.labels.probabilities.astype(np.float32))
    first = 0
    for i, doc in enumerate(text.target):
        n = len(doc)
        size = sum(min(max_width, n - j) for j in range(n))
        kept = min(size, max_width * MAX_WORDS)
        buffers.probabilities[i, :kept] = table[first : first + kept]
        first += size
    return buffers


def build_literal(setting: Setting, text: Text, max_width: int, **options: Any) -> LiteralTraining:
    """Make the student of the literal transcription.

    options (Any): Options of `LiteralTraining`.
    """
    torch.manual_seed(0)
    encoder = AutoModel.from_pretrained(setting.encoder, add_pooling_layer=False)
    tokenizer = AutoTokenizer.from_pretrained(setting.encoder)
    labels = text.labels.labels
    return LiteralTraining(
        LiteralModel(encoder, len(labels) + 1, max_width),
        tokenizer,
        sentences_of(text.source, labels),
        sentences_of(text.target, labels),
        fill_buffers(text, max_width),
        **options,
    )


def random_batches(n_sentences: int, size: int, seed: int = 0) -> list[NDArray[np.int64]]:
    """Batches of the same number of sentences, in random order."""
    order = np.random.default_rng(seed).permutation(n_sentences)
    return [order[i : i + size] for i in range(0, n_sentences - size + 1, size)]
