"""A sample of raw target text, by which the epochs of a student are compared without gold labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..model.spans import softmax
from .corpus import Corpus, members
from .network import Network, collect
from .pipelines import Pipeline
from .settings import TrainingSettings

SAMPLE_DOCS = 500
SAMPLE_SPANS = 200


class TargetSample(NamedTuple):
    """Some documents of the target, and some of their candidate spans.

    The spans are balanced by the teacher's labels, since outside spans would otherwise outnumber the
    entities by far.

    corpus: The documents, without labels. spans: The chosen candidates of the corpus, ascending.
    batch_tokens: Maximum number of word pieces of a batch. seed: Seed of the run.
    """

    corpus: Corpus
    spans: NDArray[np.int64]
    batch_tokens: int
    seed: int

    @classmethod
    def draw(
        cls,
        student: Pipeline,
        docs: Sequence[Doc],
        doc_spans: NDArray[np.int64],
        probabilities: NDArray[np.floating],
        settings: TrainingSettings,
        seed: int,
    ) -> TargetSample:
        """Draw up to 500 documents, and up to 200 of their spans of each class.

        docs (Sequence[Doc]): All documents of the target.
        doc_spans (NDArray[np.int64]): Offsets of the candidate spans of each document.
        probabilities (NDArray): The teacher's labels of all candidates, shape (n_spans, K).
        """
        chosen = choose_docs([len(doc) for doc in docs], seed)
        some = [docs[i] for i in chosen]
        corpus = student.encode(some, labelled=False, name="target sample")
        classes = probabilities[members(doc_spans, chosen)].argmax(1)
        spans = choose_spans(classes, probabilities.shape[1], seed)
        return cls(corpus, spans, 4 * settings.batch_tokens, seed)

    def scores(self, network: Network, *, dropout: bool = False) -> NDArray[np.floating]:
        """Class scores of all candidates of the documents, shape (n_spans, K)."""
        n_classes = len(network.span_model.statistics.prior)
        return collect(
            network, self.corpus, n_classes, network.class_scores,
            batch_tokens=self.batch_tokens, name="Target", dtype=torch.float32, dropout=dropout,
        )  # fmt: skip

    def information(self, network: Network) -> dict[str, float]:
        """The mutual information of the chosen spans and their classes, as an epoch's score."""
        probabilities = softmax(self.scores(network)[self.spans])
        return {"target_information": mutual_information(probabilities)}


def mutual_information(probabilities: NDArray[np.floating]) -> float:
    """Mutual information of spans and classes; high if predictions are confident but varied.

    probabilities (NDArray): Class probabilities, shape (n, K).
    RETURNS (float): H(mean p) - mean H(p), divided by its maximum log K, in [0, 1].
    """
    if not len(probabilities):
        return 0.0
    p = np.asarray(probabilities, dtype=np.float64)
    return float((entropy(p.mean(0)) - entropy(p).mean()) / math.log(p.shape[1]))


def entropy(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy along the last axis, in nats."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def choose_docs(n_words: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Draw a sample of the documents that have words; ascending."""
    usable = np.flatnonzero(np.asarray(n_words))
    rng = np.random.default_rng([seed, 103])
    return np.sort(rng.choice(usable, min(len(usable), SAMPLE_DOCS), replace=False))


def choose_spans(classes: NDArray[np.integer], n_classes: int, seed: int) -> NDArray[np.int64]:
    """Draw up to SAMPLE_SPANS spans of each class; ascending."""
    rng = np.random.default_rng([seed, 104])
    members = [np.flatnonzero(classes == c) for c in range(n_classes)]
    chosen = [
        rng.choice(m, SAMPLE_SPANS, replace=False) if len(m) > SAMPLE_SPANS else m for m in members
    ]
    return np.sort(np.concatenate(chosen))
