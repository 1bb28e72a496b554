"""Criteria for the epoch that is kept: scores on source dev, or signals from raw target text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..model.spans import OUTSIDE, decode, softmax
from ..training.corpus import Corpus, concat_ranges
from ..training.hooks import Evaluate
from ..training.network import Network, run_over
from ..training.pipelines import Pipeline, evaluator
from ..training.settings import ON_TARGET, StudentSettings
from ..training.shares import Share
from .pseudo_labels import PseudoLabels

SAMPLE_DOCS = 500
SAMPLE_SPANS = 200
DENSITY_TEMPERATURE = 0.05


class TargetSignals:
    """Criteria for the choice of an epoch that need only raw target text.

    All are computed on the same documents and spans after each epoch. The agreement compares two
    annotations by the student, one without and one with dropout: an annotation that depends on a
    few units is likely a guess. Agreement with the reliable pseudo-labels would be a worse
    criterion: the student is trained on these labels, and the filter keeps labels that the student
    scores high, so that this agreement also rises when the student memorises noise. A comparison of
    two decision rules is not possible either, since only one of them is trained. Without any
    dropout the agreement is always 1.

    The spans for density and information are balanced by the teacher's labels, since outside spans
    would otherwise outnumber the entities by far.

    corpus (Corpus): A sample of the target documents; their labels are ignored.
    spans (NDArray[np.int64]): Candidates of the corpus for density and information.
    batch_tokens (int): Maximum number of word pieces of a batch.
    seed (int): Seeds dropout.
    """

    def __init__(
        self, corpus: Corpus, spans: NDArray[np.int64], *, batch_tokens: int, seed: int
    ) -> None:
        self.corpus = corpus
        self.spans = spans
        self.batch_tokens = batch_tokens
        self.seed = seed

    def __call__(self, network: Network) -> dict[str, float]:
        clean = self._scores(network, dropout=False)
        device = network.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            noisy = self._scores(network, dropout=True)
        probabilities = softmax(clean[self.spans])
        return {
            "target_agreement": agreement(self._annotate(clean), self._annotate(noisy)),
            "target_density": neighbourhood_density(probabilities),
            "target_information": mutual_information(probabilities),
        }

    def _scores(self, network: Network, *, dropout: bool) -> NDArray[np.float32]:
        """Class scores of all candidates, shape (n_spans, K)."""
        n_classes = len(network.span_model.statistics.prior)
        table = np.zeros((self.corpus.n_spans, n_classes), dtype=np.float32)
        for batch, output in run_over(
            network, self.corpus, batch_tokens=self.batch_tokens, name="Target", dropout=dropout
        ):
            table[batch.span_ids] = network.span_model.class_scores(output).float().cpu().numpy()
        return table

    def _annotate(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Class of every candidate in the best annotation without overlaps."""
        classes = np.full(len(scores), OUTSIDE, dtype=np.int64)
        kept, found, _ = decode(scores, *self.corpus.span_words())
        classes[kept] = found
        return classes


def with_signals(*parts: Evaluate) -> Evaluate:
    """Combine several evaluations into one."""

    def evaluate(network: Network) -> dict[str, float]:
        return {name: value for part in parts for name, value in part(network).items()}

    return evaluate


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
    """Draw up to SAMPLE_SPANS spans of each class.

    classes (NDArray): Class of each candidate by the teacher, shape (n,).
    n_classes (int): Number of classes, K.
    seed (int): Seed of the sample.
    RETURNS (NDArray[np.int64]): Numbers of the spans, ascending.
    """
    rng = np.random.default_rng([seed, 104])
    members = [np.flatnonzero(classes == c) for c in range(n_classes)]
    chosen = [
        rng.choice(m, SAMPLE_SPANS, replace=False) if len(m) > SAMPLE_SPANS else m for m in members
    ]
    return np.sort(np.concatenate(chosen))


def spans_of(doc_spans: NDArray[np.int64], docs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the candidates of some documents; doc_spans holds the offsets of all documents."""
    return concat_ranges(doc_spans[docs], doc_spans[docs + 1])


DIAGNOSIS = "diagnosis"


def student_evaluator(
    student: Pipeline,
    target: Share,
    docs: dict[str, list[Doc]],
    labels: PseudoLabels,
    settings: StudentSettings,
    seed: int,
) -> Evaluate:
    """Make the evaluation of a student: scores on source dev and, if needed, the target signals.

    The signals take two passes over up to 500 documents after each epoch. They are computed if one
    of them selects the epoch, or if labelled target text is given for a study.

    student (Pipeline): The student.
    target (Share): The target's documents, encoded.
    docs (dict): Documents of "target" and "dev", and optionally labelled target documents under
        "diagnosis", whose F1 is logged as "target_f1" and has no effect on the run.
    labels (PseudoLabels): The teacher's labels of the target.
    settings (StudentSettings): The section [student].
    seed (int): Seed of the samples of documents and spans for the signals.
    RETURNS (Callable): Maps the network to scores by name.
    """
    parts: list[Evaluate] = [
        evaluator(student, student.encode(docs["dev"], labelled=True, name="dev"), settings)
    ]
    if settings.select in ON_TARGET or DIAGNOSIS in docs:
        chosen = choose_docs([len(doc) for doc in docs["target"]], seed)
        some = [docs["target"][i] for i in chosen]
        sample = student.encode(some, labelled=False, name="target sample")
        classes = labels.probabilities[spans_of(target.doc_spans, chosen)].argmax(1)
        spans = choose_spans(classes, len(labels.labels) + 1, seed)
        tokens = 4 * settings.batch_tokens
        parts.append(TargetSignals(sample, spans, batch_tokens=tokens, seed=seed))
    if DIAGNOSIS in docs:
        gold = student.encode(docs[DIAGNOSIS], labelled=True, name=DIAGNOSIS)
        score = evaluator(student, gold, settings)
        parts.append(lambda network: {"target_f1": score(network)["dev_f1"]})
    return with_signals(*parts)
