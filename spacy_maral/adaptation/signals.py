"""Which epoch of a run is kept: by the source's development set, or by signals of raw target text."""

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
from ..training.settings import ON_TARGET, TrainingSettings
from ..training.shares import Share
from .pseudo_labels import PseudoLabels

SAMPLE_DOCS = 500
SAMPLE_SPANS = 200
DENSITY_TEMPERATURE = 0.05


class TargetSignals:
    """Criteria for the choice of an epoch that need raw target text only.

    All are computed on the same documents and spans after each epoch. The agreement is that of two
    annotations by the student, one without dropout and one with it: an annotation that hangs on a
    few units is one that the student has not learnt but guessed. Agreement with the pseudo-labels
    that the filter found reliable would be less sound: the student is trained on them, and the
    filter keeps what the student scores high, so it rises with memorised noise as well. And two
    decision rules cannot be compared, since only one of them is trained. Without any dropout the
    agreement is always 1.

    The spans of the other two are balanced by the teacher's labels, since outside spans would drown
    the entities.

    corpus (Corpus): Some documents of the target language; labels are not looked at.
    spans (NDArray[np.int64]): Candidates of the corpus for density and information.
    batch_tokens (int): Most word pieces of a batch.
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
    """Several evaluations as one."""

    def evaluate(network: Network) -> dict[str, float]:
        return {name: value for part in parts for name, value in part(network).items()}

    return evaluate


def agreement(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Entity-level F1 of two annotations of the same candidate spans; symmetric.

    first (NDArray): Class of each candidate, 0 for outside, shape (n,).
    second (NDArray): The same of the other annotation.
    RETURNS (float): In [0, 1]; 0 if neither has an entity, so that a model that has forgotten all
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
    gives all spans the same class is as dense as can be: the density tells epochs apart, and does
    not find out collapse.

    probabilities (NDArray): Class probabilities, shape (n, K).
    temperature (float): Of the softmax.
    RETURNS (float): Divided by its maximum, log(n - 1), so in [0, 1]; 0 for fewer than 3 spans.
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
    """Information that the spans have about their classes: sure of each, and not all of one class.

    probabilities (NDArray): Class probabilities, shape (n, K).
    RETURNS (float): H(mean p) - mean H(p), divided by its maximum log K, so in [0, 1].
    """
    if not len(probabilities):
        return 0.0
    p = np.asarray(probabilities, dtype=np.float64)
    return float((entropy(p.mean(0)) - entropy(p).mean()) / math.log(p.shape[1]))


def entropy(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy along the last axis, in nats."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def choose_docs(n_words: Sequence[int], seed: int) -> NDArray[np.int64]:
    """A sample of the documents that have words, in order."""
    usable = np.flatnonzero(np.asarray(n_words))
    rng = np.random.default_rng([seed, 103])
    return np.sort(rng.choice(usable, min(len(usable), SAMPLE_DOCS), replace=False))


def choose_spans(classes: NDArray[np.integer], n_classes: int, seed: int) -> NDArray[np.int64]:
    """A sample of spans, as many of each class if there are enough.

    classes (NDArray): Class of each candidate by the teacher, shape (n,).
    n_classes (int): Number of classes, K.
    seed (int): Chooses them.
    RETURNS (NDArray[np.int64]): Their numbers, in order.
    """
    rng = np.random.default_rng([seed, 104])
    members = [np.flatnonzero(classes == c) for c in range(n_classes)]
    chosen = [
        rng.choice(m, SAMPLE_SPANS, replace=False) if len(m) > SAMPLE_SPANS else m for m in members
    ]
    return np.sort(np.concatenate(chosen))


def spans_of(doc_spans: NDArray[np.int64], docs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The candidates of some documents, by the offsets of all documents' candidates."""
    return concat_ranges(doc_spans[docs], doc_spans[docs + 1])


DIAGNOSIS = "diagnosis"


def student_evaluator(
    student: Pipeline,
    target: Share,
    docs: dict[str, list[Doc]],
    labels: PseudoLabels,
    settings: TrainingSettings,
    seed: int,
) -> Evaluate:
    """Scores on source dev and, where they are asked for, signals of raw target text.

    The signals take two passes over up to 500 documents after each epoch. They are computed if the
    epoch is selected by one of them, or for a study, which has labelled target text beside them.

    student (Pipeline): What is trained.
    target (Share): The target's documents, encoded.
    docs (dict): All documents of "target", those of "dev", and maybe labelled ones of the target
        under "diagnosis", whose F1 goes into the log as "target_f1"; nothing goes by it.
    labels (PseudoLabels): The teacher's labels of the target.
    settings (TrainingSettings): The section [student].
    seed (int): Chooses the documents and spans of the signals.
    RETURNS (Callable): From the network to scores by name.
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
