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
from spacy_maral.adaptation.improve import MEAN_SPANS, TargetLabels, improve
from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.refinery import class_means, refine, sample_classes
from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.evaluation.metrics import noise_ratio
from spacy_maral.training.pipelines import as_pipeline
from spacy_maral.training.settings import AdaptationSettings, StudentSettings
from spacy_maral.training.shares import Share

ALPHAS = (0.9, 0.7, 0.5, 0.2)
# probability that a label has at least, in the log loss; below it float16 has nothing
LEAST = 1e-7


def make_hook(student: Path, teacher: Path, source: Path, dev: Path, sentences: int) -> Adaptation:
    """An adaptation whose target is the development data, with features of the student."""
    docs = read_docs(source)
    chosen = random.Random(0).sample(docs, min(sentences, len(docs)))
    target = read_docs(dev)
    student_, teacher_ = (as_pipeline(load_pipeline(path), None) for path in (student, teacher))
    shares = [
        Share.of(student_.encode(part, labelled=True, name=name))
        for part, name in ((chosen, "source"), (target, "target"))
    ]
    settings = AdaptationSettings(features="clean", diagnose_with_gold=True)
    hook = Adaptation(
        student_.network, *shares, predict(teacher_, target),
        training=StudentSettings(epochs=3), settings=settings, seed=0,
    )  # fmt: skip
    student_.network.eval()
    hook.collect_features()
    return hook


def refine_by_class_means(
    hook: Adaptation, rho: NDArray[np.float32], unreliable: NDArray[np.int64], alpha: float
) -> TargetLabels:
    """Refine labels by classes above the mean over the spans of the class."""
    classes = hook.labels.classes
    known = sample_classes(classes, MEAN_SPANS, np.random.default_rng(0))
    near, near_known = (hook.neighbours(np.sort(spans), 0) for spans in (unreliable, known))
    new = hook.labels.probabilities.copy()
    new[unreliable] = refine(
        new[unreliable],
        alpha=alpha,
        global_guidance=rho[unreliable] > class_means(rho, classes),
        local_guidance=near > class_means(near_known, classes[known]),
    )
    return TargetLabels.of(new, hook.labels.reliable, hook.words)


def compare_readings(hook: Adaptation) -> list[list[str]]:
    """Noise of the entity labels and log loss of the unreliable ones, by reading and alpha."""
    rho, gold, teacher = hook.scores(hook.target_features.z), hook.gold, hook.labels
    assert gold is not None

    def improved(alpha: float, **changed: str) -> TargetLabels:
        settings = hook.settings.model_copy(update=changed)
        return improve(
            teacher, rho, lambda spans: hook.neighbours(spans, 0), settings, alpha=alpha, seed=0,
            words=hook.words,
        )[0]  # fmt: skip

    unreliable = np.flatnonzero(~improved(1.0).reliable)

    def judge(labels: TargetLabels) -> str:
        truth = labels.probabilities[unreliable, gold[unreliable]].astype(np.float64)
        noise = noise_ratio(labels.classes, gold)
        return f"{noise:.3f}, {-np.log(truth.clip(LEAST)).mean():.3f}"

    readings = {
        "mean over the classes of the span": improved,
        "mean over the spans of the class": lambda alpha: refine_by_class_means(
            hook, rho, unreliable, alpha
        ),
        "the same, outside allowed where it is the best class": lambda alpha: improved(
            alpha, guidance_mean="class"
        ),
        "graded": lambda alpha: improved(alpha, guidance_weights="graded"),
    }
    found = [["as the teacher has them", *[judge(teacher)] * len(ALPHAS)]]
    for name, reading in readings.items():
        found.append([name, *(judge(reading(alpha)) for alpha in ALPHAS)])
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
