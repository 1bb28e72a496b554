"""A simulated corpus of any size, with features for its spans, without an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from torch import nn

from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.evaluation.metrics import Entities
from spacy_maral.model.span_model import SpanModel
from spacy_maral.model.spans import label_spans, span_counts
from spacy_maral.training.corpus import Corpus, offsets
from spacy_maral.training.network import Network
from spacy_maral.training.settings import AdaptationSettings, StudentSettings
from spacy_maral.training.shares import Share

from .world import soft_labels

DIM = 64
MAX_WIDTH = 8
MIXED_UP = 0.1
# from the features of a trained student (e5-small, WikiAnn en to de): shares of the variance within a
# class along its main directions, and the standard deviation within a class
SPECTRUM = (0.60, 0.18, 0.10, 0.03, 0.025, 0.015, 0.01, 0.006, 0.005, 0.004, 0.003, 0.003)
SPREAD = 0.27
CHUNK = 1 << 18


class Pattern(NamedTuple):
    """Lengths of real sentences, and their entities."""

    lengths: NDArray[np.int64]
    entities: list[NDArray[np.int64]]

    @classmethod
    def of(cls, docs: Sequence[Doc], names: Sequence[str]) -> Pattern:
        """Lengths and entities (start, end, class) of documents."""
        entities = [
            np.array(
                [(e.start, e.end - 1, names.index(e.label_) + 1) for e in doc.ents], dtype=np.int64
            ).reshape(-1, 3)
            for doc in docs
        ]
        return cls(np.array([len(doc) for doc in docs]), entities)


def simulate_corpus(pattern: Pattern, n_spans: int, rng: np.random.Generator) -> Corpus:
    """Draw sentences with replacement, as many as have about n_spans candidate spans."""
    mean = span_counts(pattern.lengths, MAX_WIDTH).mean()
    chosen = rng.integers(0, len(pattern.lengths), max(2, round(n_spans / mean)))
    lengths = pattern.lengths[chosen]
    parts = [pattern.entities[i] for i in chosen]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    entities = Entities(owners, *np.concatenate(parts).T)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    return Corpus(
        max_width=MAX_WIDTH,
        pieces=np.zeros(int((lengths + 2).sum()), dtype=np.int32),
        row_offsets=offsets(lengths + 2),
        doc_rows=np.arange(len(lengths) + 1),
        doc_words=offsets(lengths),
        doc_spans=offsets(span_counts(lengths, MAX_WIDTH)),
        word_row=np.repeat(np.arange(len(lengths)), lengths),
        word_first=places,
        word_last=places,
        word_shapes=np.zeros(len(places), dtype=np.int8),
        entities=entities,
        classes=label_spans(lengths, *entities, MAX_WIDTH)[0],
        n_too_wide=0,
        digest="simulated",
    )


def simulate_features(
    classes: NDArray[np.integer], directions: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float16]:
    """Features around the directions of their classes; a share MIXED_UP is around other classes."""
    features = np.empty((len(classes), DIM), dtype=np.float16)
    basis = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
    rest = DIM - len(SPECTRUM)
    shares = [*SPECTRUM, *((1 - sum(SPECTRUM)) / rest for _ in range(rest))]
    basis *= SPREAD * np.sqrt(shares, dtype=np.float32)
    for first in range(0, len(classes), CHUNK):
        part = classes[first : first + CHUNK]
        other = rng.random(len(part)) < MIXED_UP
        near = np.where(other, rng.integers(0, len(directions), len(part)), part)
        z = rng.standard_normal((len(part), DIM), dtype=np.float32) @ basis.T
        z *= rng.gamma(2.0, 0.5, (len(part), 1)).astype(np.float32)
        z += directions[near]
        features[first : first + CHUNK] = z / np.linalg.norm(z, axis=1, keepdims=True)
    return features


def simulate_adaptation(
    source: Pattern, target: Pattern, names: list[str], n_spans: int, settings: AdaptationSettings
) -> Adaptation:
    """The hook that filters and refines, for n_spans candidate spans of target and of source."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = SpanModel(8, len(names) + 1, max_width=MAX_WIDTH, dim=DIM, hidden_width=8)
    network = Network(nn.Linear(1, 1), model, pad_id=0)
    corpora = [simulate_corpus(pattern, n_spans, rng) for pattern in (source, target)]
    gold = corpora[1].classes
    assert gold is not None
    labels = PseudoLabels(soft_labels(gold, len(names) + 1, rng), names, MAX_WIDTH, "simulated")
    training = StudentSettings(epochs=settings.warmup_epochs + 2)
    return Adaptation(
        network, Share.of(corpora[0]), Share.of(corpora[1]), labels,
        training=training, settings=settings, seed=0,
    )  # fmt: skip


def fill_features(hook: Adaptation) -> None:
    """Set the features of all spans, as the training pass of an epoch does, and the class means."""
    rng = np.random.default_rng(1)
    statistics = hook.network.span_model.statistics
    directions = statistics.direction.numpy()
    gold = hook.target.corpus.classes
    known = hook.labels.classes if gold is None else gold
    bank = hook.source.classes[hook.source_features.spans]
    hook.source_features.z[:] = simulate_features(bank, directions, rng)
    hook.target_features.z[:] = simulate_features(known, directions, rng)
    statistics.update(
        torch.from_numpy(hook.source_features.z.astype(np.float32)), torch.from_numpy(bank)
    )
