"""Compare two readings of the refinery's guidance on labels whose truth is known.

    python scripts/study_guidance.py STUDENT TEACHER train.spacy dev.spacy

All text is of the source language: the teacher labels the development data, and the student's
features refine these labels, either by the mean over the classes of a span, as the product does,
or by the mean over the spans of a class.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from docs_text import table
from numpy.typing import NDArray

from spacy_maral.data import read_docs
from spacy_maral.evaluation import load_pipeline
from spacy_maral.metrics import noise_ratio
from spacy_maral.spans import OUTSIDE
from spacy_maral.training.adaptation import Adaptation
from spacy_maral.training.chunks import predict
from spacy_maral.training.filtering import reliable_spans
from spacy_maral.training.pseudo_labels import overlap_losers
from spacy_maral.training.refinery import above_mean, neighbour_classes, refine
from spacy_maral.training.schemas import AdaptationSettings, TrainingSettings
from spacy_maral.training.setup import as_pipeline
from spacy_maral.training.shards import Shard

ALPHAS = (0.9, 0.7, 0.5, 0.2)
# spans of a class that its mean number of neighbours is taken over
SAMPLE = 2000


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


def compare_readings(hook: Adaptation) -> list[list[str]]:
    """Noise of the entity labels, refined by either reading with each alpha."""
    rho, classes, gold = hook._scores(), hook.classes, hook.gold
    assert gold is not None
    rng = np.random.default_rng(0)
    rows = np.arange(len(rho))
    doubtful = np.flatnonzero(~reliable_spans(rho[rows, classes], classes, seed=0))
    sample = [np.flatnonzero(classes == c) for c in range(hook.n_classes)]
    known = np.concatenate([rng.permutation(members)[:SAMPLE] for members in sample])
    bank = hook._bank(rng)
    near, near_known = (
        neighbour_classes(
            bank, hook.target_features[spans], spans, k=hook.settings.neighbours,
            n_classes=hook.n_classes,
        )
        for spans in (doubtful, known)
    )  # fmt: skip
    readings = {
        "classes of the span": (above_mean(rho[doubtful]), above_mean(near)),
        "spans of the class": (
            rho[doubtful] > class_means(rho, classes, hook.n_classes),
            near > class_means(near_known, classes[known], hook.n_classes),
        ),
    }
    found = [["as the teacher has them", *[f"{noise_ratio(classes, gold):.3f}"] * len(ALPHAS)]]
    for name, (by_density, by_neighbours) in readings.items():
        noise = []
        for alpha in ALPHAS:
            new = hook.probabilities.copy()
            new[doubtful] = refine(
                new[doubtful], alpha=alpha, global_guidance=by_density,
                local_guidance=by_neighbours,
            )  # fmt: skip
            labels = new.argmax(1)
            labels[overlap_losers(new, *hook.words)] = OUTSIDE
            noise.append(f"{noise_ratio(labels, gold):.3f}")
        found.append([f"mean over the {name}", *noise])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("student", "teacher", "source", "dev"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--sentences", type=int, default=1500, help="of the source, for the bank")
    found = parser.parse_args(arguments)
    hook = make_hook(found.student, found.teacher, found.source, found.dev, found.sentences)
    print(table(["noise of labels", *(f"α {alpha}" for alpha in ALPHAS)], compare_readings(hook)))  # noqa: T201


if __name__ == "__main__":
    main()
