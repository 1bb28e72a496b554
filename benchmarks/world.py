"""Text, simulated pseudo-labels, and students that are ready for training steps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.adaptation.student import StudentPlan, prepare_student
from spacy_maral.data.convert import convert
from spacy_maral.data.docs import read_docs
from spacy_maral.model.spans import label_spans
from spacy_maral.training.corpus import digest_docs
from spacy_maral.training.inputs import Inputs
from spacy_maral.training.loop import Run
from spacy_maral.training.pipelines import Pipeline, build_pipeline

from .setting import CONFIG, SOURCE, TARGET, Setting

DEV_SENTENCES = 20
WRONG = 0.15
SURE = 0.9


def read_part(setting: Setting, language: str, part: str) -> list[Doc]:
    """All sentences of a file, converted by the product."""
    output = setting.scratch / f"{language}-{part}.spacy"
    if not output.is_file():
        convert(setting.part(language, part), output, lang=language)
    return read_docs(output)


def read_sample(setting: Setting, language: str, part: str, size: int, seed: int = 0) -> list[Doc]:
    """Sentences of a file, drawn at random; all if the file has no more than `size`."""
    docs = read_part(setting, language, part)
    return random.Random(seed).sample(docs, min(size, len(docs)))


def entity_labels(docs: Sequence[Doc]) -> list[str]:
    """Labels of the entities of some documents."""
    return sorted({ent.label_ for doc in docs for ent in doc.ents})


def gold_classes(docs: Sequence[Doc], names: Sequence[str], max_width: int) -> NDArray[np.int64]:
    """Gold class of every candidate span."""
    found = [
        (i, ent.start, ent.end - 1, names.index(ent.label_) + 1)
        for i, doc in enumerate(docs)
        for ent in doc.ents
    ]
    lengths = [len(doc) for doc in docs]
    table = np.array(found, dtype=np.int64).reshape(-1, 4).T
    return label_spans(lengths, *table, max_width)[0].astype(np.int64)


def simulate_labels(
    docs: Sequence[Doc], names: list[str], max_width: int, seed: int = 0
) -> PseudoLabels:
    """Soft pseudo-labels like a teacher's: gold labels, with a share of wrong entities."""
    classes = gold_classes(docs, names, max_width)
    table = soft_labels(classes, len(names) + 1, np.random.default_rng(seed))
    return PseudoLabels(table, names, max_width, digest_docs(docs))


def soft_labels(
    classes: NDArray[np.integer], n_classes: int, rng: np.random.Generator
) -> NDArray[np.float16]:
    """Probabilities that favour the classes, after a share WRONG of the entities is changed."""
    wrong = (classes > 0) & (rng.random(len(classes)) < WRONG)
    wrong |= rng.random(len(classes)) < WRONG * (classes > 0).mean()
    labels = np.where(wrong, rng.integers(0, n_classes, len(classes)), classes)
    rest = rng.random((len(classes), n_classes), dtype=np.float32)
    rest *= (1 - SURE) / rest.sum(1, keepdims=True)
    rest[np.arange(len(classes)), labels] += SURE
    return rest.astype(np.float16)


@dataclass
class Text:
    """Labelled sentences of the source, sentences of the target, and their pseudo-labels."""

    source: list[Doc]
    target: list[Doc]
    dev: list[Doc]
    labels: PseudoLabels

    @classmethod
    def read(cls, setting: Setting, max_width: int, size: int | None = None) -> Text:
        """Draw sentences."""
        size = setting.sizes.sentences if size is None else size
        source = read_sample(setting, SOURCE, "train", size)
        target = read_sample(setting, TARGET, "train", size)
        dev = read_sample(setting, SOURCE, "dev", DEV_SENTENCES)
        names = entity_labels([*source, *target])
        return cls(source, target, dev, simulate_labels(target, names, max_width))


def student_plan(setting: Setting, max_width: int, **overrides: Any) -> StudentPlan:
    """The plan of `maral_small.cfg`, with another longest span.

    overrides (Any): Settings of [student] and [adaptation], such as student_epochs=1.
    """
    settings: dict[str, Any] = {
        "paths.encoder": str(setting.encoder),
        "components.maral_ner.model.max_width": max_width,
        "adaptation.diagnostics": False,
        "student.min_updates": 0,
    }
    for name, value in overrides.items():
        section, _, key = name.partition("_")
        settings[f"{section}.{key}"] = value
    return StudentPlan.read(CONFIG, settings)


@dataclass
class Student:
    """Our student, ready for one training step after the other."""

    pipeline: Pipeline
    run: Run
    hook: Adaptation
    plan: list[tuple[NDArray[np.int64], ...]]
    done: int = 0

    @classmethod
    def build(cls, setting: Setting, text: Text, plan: StudentPlan) -> Student:
        """Make a student and start its first epoch; the next student reuses its cache."""
        pipeline = build_pipeline(plan.config, text.labels.labels, plan.training)
        inputs = Inputs({"source": text.source, "target": text.target, "dev": text.dev})
        folder = Path(setting.scratch) / "student"
        run, hook = prepare_student(pipeline, inputs, text.labels, plan, folder, {})
        run.network.span_model.statistics.reset_counts()
        for each in run.hooks:
            each.on_epoch_start(0)
        run.module.train()
        return cls(pipeline, run, hook, run._plan(0))

    @property
    def sentences_per_batch(self) -> float:
        """Mean number of sentences of a batch, over source and target."""
        return float(np.mean([len(docs) for batches in self.plan for docs in batches]))

    def step(self) -> int:
        """Run a training step; RETURNS (int): Sentences of its batches, source and target together."""
        number = self.done % len(self.plan)
        batches = self.plan[number]
        self.run._step(0, number, batches)
        self.done += 1
        return sum(len(docs) for docs in batches)

    def steps(self, count: int) -> int:
        """Run some training steps; RETURNS (int): Sentences of their batches."""
        return sum(self.step() for _ in range(count))
