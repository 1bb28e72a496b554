"""Compare readings of the refinery's guidance on labels whose truth is known.

    python tools/study_guidance.py STUDENT TEACHER train.spacy dev.spacy

All text is of the source language: the teacher labels the development data, and the student's
features refine these labels, by classes above the mean over the classes of a span, as the product
does, by those above the mean over the spans of a class, or by what each class has of the densities
and of the neighbours (`guidance_weights = "graded"`). The table has the noise of the entity labels
and the log loss of those that the filter finds doubtful.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from docs_text import table
from numpy.typing import NDArray

from spacy_maral.adaptation.chunks import predict
from spacy_maral.adaptation.filter import reliable_spans
from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.pseudo_labels import overlap_losers
from spacy_maral.adaptation.refinery import above_mean, neighbour_classes, refine
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.evaluation.metrics import noise_ratio
from spacy_maral.model.spans import OUTSIDE, softmax
from spacy_maral.training.pipelines import as_pipeline
from spacy_maral.training.settings import AdaptationSettings, TrainingSettings
from spacy_maral.training.shares import Shard

ALPHAS = (0.9, 0.7, 0.5, 0.2)
# spans of a class that its mean number of neighbours is taken over
SAMPLE = 2000
# probability that a label has at least, in the log loss; below it float16 has nothing
LEAST = 1e-7


def make_hook(student: Path, teacher: Path, source: Path, dev: Path, sentences: int) -> Adaptation:
    """An adaptation whose target is the development data, with features of the student."""
    docs = read_docs(source)
    chosen = random.Random(0).sample(docs, min(sentences, len(docs)))
    target = read_docs(dev)
    student_, teacher_ = (as_pipeline(load_pipeline(path), None) for path in (student, teacher))
    shards = [
        Shard.of(student_.encode(part, labelled=True, name=name))
        for part, name in ((chosen, "source"), (target, "target"))
    ]
    settings = AdaptationSettings(features="clean", diagnose_with_gold=True)
    hook = Adaptation(
        student_.network, *shards, predict(teacher_, target),
        training=TrainingSettings(epochs=3), settings=settings, seed=0,
    )  # fmt: skip
    hook.on_epoch_start(0)
    student_.network.eval()
    hook._collect_features()
    return hook


def class_means(
    values: NDArray[np.floating], classes: NDArray[np.integer], n_classes: int
) -> NDArray[np.float64]:
    """Mean value of each class over the spans that have it as their label."""
    return np.array([
        values[classes == c, c].mean(dtype=np.float64) if (classes == c).any() else np.inf
        for c in range(n_classes)
    ])  # fmt: skip


def find_readings(
    hook: Adaptation, rho: NDArray[np.float32], doubtful: NDArray[np.int64]
) -> dict[str, tuple[NDArray, NDArray]]:
    """Global and local guidance of the doubtful spans, by each reading of them."""
    classes, rng = hook.classes, np.random.default_rng(0)
    members = [np.flatnonzero(classes == c) for c in range(hook.n_classes)]
    known = np.concatenate([rng.permutation(rows)[:SAMPLE] for rows in members])
    bank = hook._bank(rng)
    near, near_known = (
        neighbour_classes(
            bank, hook.target_features[spans], spans, k=hook.settings.neighbours,
            n_classes=hook.n_classes,
        )
        for spans in (doubtful, known)
    )  # fmt: skip
    return {
        "mean over the classes of the span": (above_mean(rho[doubtful]), above_mean(near)),
        "mean over the spans of the class": (
            rho[doubtful] > class_means(rho, classes, hook.n_classes),
            near > class_means(near_known, classes[known], hook.n_classes),
        ),
        "graded": (softmax(rho[doubtful]), near),
    }


def compare_readings(hook: Adaptation) -> list[list[str]]:
    """Noise of the entity labels and log loss of the doubtful ones, by reading and alpha."""
    rho, classes, gold = hook._scores(), hook.classes, hook.gold
    assert gold is not None
    reliable = reliable_spans(rho[np.arange(len(rho)), classes], classes, seed=0)
    doubtful = np.flatnonzero(~reliable)

    def judge(labels: NDArray[np.float32]) -> str:
        hard = labels.argmax(1)
        hard[overlap_losers(labels, *hook.words)] = OUTSIDE
        truth = labels[doubtful, gold[doubtful]].astype(np.float64)
        return f"{noise_ratio(hard, gold):.3f}, {-np.log(truth.clip(LEAST)).mean():.3f}"

    found = [["as the teacher has them", *[judge(hook.probabilities)] * len(ALPHAS)]]
    for name, (by_density, by_neighbours) in find_readings(hook, rho, doubtful).items():
        judged = []
        for alpha in ALPHAS:
            new = hook.probabilities.copy()
            new[doubtful] = refine(
                new[doubtful], alpha=alpha, global_guidance=by_density,
                local_guidance=by_neighbours,
            )  # fmt: skip
            judged.append(judge(new))
        found.append([name, *judged])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("student", "teacher", "source", "dev"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--sentences", type=int, default=1500, help="of the source, for the bank")
    found = parser.parse_args(arguments)
    hook = make_hook(found.student, found.teacher, found.source, found.dev, found.sentences)
    print(table(["noise, log loss", *(f"α {alpha}" for alpha in ALPHAS)], compare_readings(hook)))  # noqa: T201


if __name__ == "__main__":
    main()
