"""Pipelines, evaluated on labelled documents."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Errors, MaralError
from ..model.machine import use_device
from .metrics import Entities, EntityReport, score_entities

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc


@dataclass
class Evaluation:
    """A report, the size of the data that it is about, and how long prediction took in seconds."""

    report: EntityReport
    n_docs: int
    n_words: int
    seconds: float

    @property
    def words_per_second(self) -> float:
        return self.n_words / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The report with sizes and speed, ready for JSON."""
        return {
            **self.report.to_dict(),
            "documents": self.n_docs,
            "words": self.n_words,
            "seconds": self.seconds,
            "words_per_second": self.words_per_second,
        }


def evaluate_pipeline(
    nlp: Language,
    data: str | Path | Iterable[Doc],
    *,
    batch_size: int | None = None,
    max_width: int | None = None,
) -> Evaluation:
    """Let a pipeline predict the entities of labelled documents and score them.

    The pipeline gets fresh documents with the same words and spaces; nothing else of the gold
    documents reaches it, and they are not changed.

    EXAMPLE: evaluate_pipeline(load("student"), "test-de.spacy").report.per_type["PER"].f1

    nlp (Language): The pipeline.
    data (str | Path | Iterable[Doc]): Gold documents, or a .spacy file of them.
    batch_size (int): Documents of a batch; by default the pipeline's.
    max_width (int): Widest entity of the paper's protocol, in words; by default the widest span of
        the pipeline's maral_ner, if it has one.
    RETURNS (Evaluation): Scores, sizes and seconds.
    RAISES (MaralError): If the documents cannot be read or have no gold entities to compare with.
    """
    docs = read_gold(data)
    gold = list(read_entities(docs))
    started = time.perf_counter()
    # Entities are taken at once: kept documents would keep the encoder's output in memory.
    predicted = list(read_entities(nlp.pipe(without_labels(nlp, docs), batch_size=batch_size)))
    seconds = time.perf_counter() - started
    width, known = span_model_facts(nlp)
    labels = sorted({label for *_, label in [*gold, *predicted]} | known)
    report = score_entities(
        as_entities(gold, labels),
        as_entities(predicted, labels),
        labels,
        max_width=width if max_width is None else max_width,
    )
    return Evaluation(report, len(docs), sum(map(len, docs)), seconds)


def load_pipeline(name: str | Path, *, gpu_id: int = -1) -> Language:
    """Load a pipeline.

    EXAMPLE: nlp = load("student")

    name (str | Path): Its folder, or its name if it is installed.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Language): The pipeline.
    RAISES (MaralError): If there is none of that name, or its files are damaged.
    """
    import spacy

    use_device(gpu_id)
    try:
        return spacy.load(name)
    except MaralError:
        raise
    except (OSError, ValueError) as error:
        problem = str(error).rstrip(".")
        raise MaralError(Errors.M403.format(name=name, problem=problem)) from error


def read_gold(data: str | Path | Iterable[Doc]) -> list[Doc]:
    """Labelled documents, from a .spacy file or as given.

    RAISES (MaralError): If the file cannot be read, or a document has no entity annotation.
    """
    if isinstance(data, str | Path):
        from ..data.docs import read_docs

        docs, place = read_docs(data), str(data)
    else:
        docs, place = list(data), "the data"
    check_labelled(docs, place)
    return docs


def check_labelled(docs: Sequence[Doc], place: str) -> None:
    """Refuse documents that predicted entities cannot be compared with.

    docs (Sequence[Doc]): The documents.
    place (str): Where they are from, for the message.
    RAISES (MaralError): If one has no entity annotation.
    """
    n_unlabelled = sum(not doc.has_annotation("ENT_IOB") for doc in docs)
    if n_unlabelled:
        raise MaralError(Errors.M402.format(path=place, n=n_unlabelled, n_docs=len(docs)))


def without_labels(nlp: Language, docs: Iterable[Doc]) -> Iterator[Doc]:
    """Make fresh documents with the words and spaces of others, for a pipeline to label.

    nlp (Language): The pipeline.
    docs (Iterable[Doc]): The documents.
    YIELDS (Doc): Documents without annotation, in the pipeline's vocabulary.
    """
    from spacy.tokens import Doc

    for doc in docs:
        spaces = None if doc.has_unknown_spaces else [bool(token.whitespace_) for token in doc]
        yield Doc(nlp.vocab, words=[token.text for token in doc], spaces=spaces)


def span_model_facts(nlp: Language) -> tuple[int | None, set[str]]:
    """Widest span and labels of a pipeline's maral_ner; None and no labels without one."""
    from ..model.architectures import get_span_module
    from ..model.maral_ner import MaralNER

    for _, pipe in nlp.pipeline:
        if isinstance(pipe, MaralNER):
            return get_span_module(pipe.model).max_width, set(pipe.labels)
    return None, set()


def read_entities(docs: Iterable[Doc]) -> Iterator[tuple[int, int, int, str]]:
    """Document number, first and last word, and label of all entities."""
    for number, doc in enumerate(docs):
        for ent in doc.ents:
            yield number, ent.start, ent.end - 1, ent.label_


def as_entities(rows: Sequence[tuple[int, int, int, str]], labels: Sequence[str]) -> Entities:
    """Turn rows (document, first and last word, label) into columns.

    RAISES (MaralError): If a label is not one of `labels`.
    """
    classes = {label: number for number, label in enumerate(labels, start=1)}
    for number, start, _, label in rows:
        if label not in classes:
            found = {"doc": number, "word": start, "label": label, "labels": ", ".join(labels)}
            raise MaralError(Errors.M401.format(**found))
    table = [(number, start, end, classes[label]) for number, start, end, label in rows]
    return Entities(*np.array(table, dtype=np.int64).reshape(-1, 4).T)
