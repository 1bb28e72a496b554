"""Signals of raw target text that the study of selection criteria compares, beside the product's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..model.spans import OUTSIDE, decode, softmax
from ..training.hooks import Hook
from ..training.network import Network
from ..training.target_sample import TargetSample, entropy

DENSITY_TEMPERATURE = 0.05


class StudySignals(Hook):
    """Logs agreement and density of a student after each epoch; they have no effect on the run.

    The agreement compares two annotations by the student, one without and one with dropout: an
    annotation that depends on a few units is likely a guess. Agreement with the reliable
    pseudo-labels would be a worse criterion: the student is trained on these labels, and the filter
    keeps labels that the student scores high, so that this agreement also rises when the student
    memorises noise. A comparison of two decision rules is not possible either, since only one of
    them is trained. Without any dropout the agreement is always 1.

    network (Network): The student.
    sample (TargetSample): The documents and spans that are compared; its seed is that of dropout.
    """

    def __init__(self, network: Network, sample: TargetSample) -> None:
        self.network, self.sample = network, sample

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        clean, device = self.sample.scores(self.network), self.network.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.sample.seed)
            noisy = self.sample.scores(self.network, dropout=True)
        return {
            "target_agreement": agreement(self._annotate(clean), self._annotate(noisy)),
            "target_density": neighbourhood_density(softmax(clean[self.sample.spans])),
        }

    def _annotate(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Class of every candidate in the best annotation without overlaps."""
        classes = np.full(len(scores), OUTSIDE, dtype=np.int64)
        kept, found, _ = decode(scores, *self.sample.corpus.span_words())
        classes[kept] = found
        return classes


def agreement(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Entity-level F1 of two annotations of the same candidate spans; symmetric.

    first (NDArray): Class of each candidate, 0 for outside, shape (n,).
    second (NDArray): Class of each candidate in the other annotation, shape (n,).
    RETURNS (float): In [0, 1]; 0 if neither has an entity, so that a model that predicts no
        entities is not the best.
    """
    n_entities = int((first != OUTSIDE).sum() + (second != OUTSIDE).sum())
    same = int(((first == second) & (first != OUTSIDE)).sum())
    return 2 * same / n_entities if n_entities else 0.0


def neighbourhood_density(
    probabilities: NDArray[np.floating], temperature: float = DENSITY_TEMPERATURE
) -> float:
    """Soft neighbourhood density of spans (Saito et al. 2021): higher where clusters are tight.

    Each span's class probabilities, as a unit vector, are compared with those of all others; the
    density is the mean entropy of softmax(similarity / temperature) over the others. A model that
    gives all spans the same class has the maximum density: the density can compare epochs, but it
    does not detect collapse.

    probabilities (NDArray): Class probabilities, shape (n, K).
    temperature (float): Temperature of the softmax.
    RETURNS (float): The density divided by its maximum log(n - 1), in [0, 1]; 0 for fewer than 3
        spans.
    """
    n = len(probabilities)
    if n < 3:
        return 0.0
    unit = np.asarray(probabilities, dtype=np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    logits = unit @ unit.T / temperature
    np.fill_diagonal(logits, -np.inf)
    return float(entropy(softmax(logits)).mean() / math.log(n - 1))
