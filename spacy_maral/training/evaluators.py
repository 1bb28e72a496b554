"""What is measured after each epoch of a student."""

from __future__ import annotations

from spacy.tokens import Doc

from .pipelines import Pipeline, evaluator
from .pseudo_labels import PseudoLabels
from .selection import (
    Evaluate,
    TargetSignals,
    choose_docs,
    choose_spans,
    spans_of,
    with_signals,
)
from .settings import TrainingSettings
from .shares import Shard

DIAGNOSIS = "diagnosis"


def student_evaluator(
    student: Pipeline,
    target: Shard,
    docs: dict[str, list[Doc]],
    labels: PseudoLabels,
    settings: TrainingSettings,
    seed: int,
) -> Evaluate:
    """Scores on source dev, signals of raw target text, and, for a study, F1 on labelled target text.

    student (Pipeline): What is trained.
    target (Shard): The target's documents, encoded.
    docs (dict): All documents of "target", those of "dev", and maybe labelled ones of the target
        under "diagnosis", whose F1 goes into the log as "target_f1"; nothing goes by it.
    labels (PseudoLabels): The teacher's labels of the target.
    settings (TrainingSettings): The section [student].
    seed (int): Chooses the documents and spans of the signals.
    RETURNS (Callable): From the network to scores by name.
    """
    chosen = choose_docs([len(doc) for doc in docs["target"]], seed)
    some = [docs["target"][i] for i in chosen]
    sample = student.encode(some, labelled=False, name="target sample")
    classes = labels.probabilities[spans_of(target.doc_spans, chosen)].argmax(1)
    spans = choose_spans(classes, len(labels.labels) + 1, seed)
    tokens = 4 * settings.batch_tokens
    parts: list[Evaluate] = [
        evaluator(student, student.encode(docs["dev"], labelled=True, name="dev"), settings),
        TargetSignals(sample, spans, batch_tokens=tokens, seed=seed),
    ]
    if DIAGNOSIS in docs:
        gold = student.encode(docs[DIAGNOSIS], labelled=True, name=DIAGNOSIS)
        score = evaluator(student, gold, settings)
        parts.append(lambda network: {"target_f1": score(network)["dev_f1"]})
    return with_signals(*parts)
