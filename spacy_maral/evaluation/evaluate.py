"""Evaluate pipelines on labelled documents."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from ..data.layout import CONFIG, META
from ..errors import Errors, MaralError, Warnings
from ..model.machine import use_device
from .metrics import Entities, EntityReport, score_entities

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

logger = logging.getLogger("spacy")

# a pipeline that is replaced while it is loaded is loaded again
TRIES, PAUSE = 10, 0.05

Row = tuple[int, int, int, str]
"""An entity: document number, first and last word, label."""


@dataclass
class Evaluation:
    """Scores of a pipeline, the size of its test data, and the time of prediction in seconds."""

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
    """Score the predictions of a pipeline on labelled documents.

    The pipeline gets fresh documents with the same words and spaces, without any other annotation
    of the gold documents. The gold documents do not change. Missing annotation does not count, as
    with spaCy's scorer: documents without any are left out, and so are predicted entities that
    touch a word without it.

    EXAMPLE: evaluate_pipeline(load("student"), "test-de.spacy").report.per_type["PER"].f1

    nlp (Language): The pipeline.
    data (str | Path | Iterable[Doc]): Gold documents, or a .spacy file of them.
    batch_size (int): Documents in a batch; by default the pipeline's own.
    max_width (int): Widest gold entity that the paper's protocol counts, in words; by default the
        widest span of the pipeline's maral_ner, if it has one.
    RETURNS (Evaluation): Scores, sizes and seconds.
    RAISES (MaralError): If the documents cannot be read, or none has entity annotation.
    """
    docs = read_gold(data)
    started = time.perf_counter()
    # Only the entities are kept: whole documents would keep the encoder's output in memory.
    labelled = nlp.pipe(without_labels(nlp, docs), batch_size=batch_size)
    predicted = list(read_entities(show_progress(labelled, len(docs))))
    seconds = time.perf_counter() - started
    judged = judged_entities(predicted, docs)
    report = compare_entities(nlp, list(read_entities(docs)), judged, max_width=max_width)
    return Evaluation(report, len(docs), sum(map(len, docs)), seconds)


def compare_entities(
    nlp: Language, gold: Sequence[Row], predicted: Sequence[Row], *, max_width: int | None = None
) -> EntityReport:
    """Score the entities that a pipeline predicted.

    nlp (Language): The pipeline, for its labels and its widest span.
    gold (Sequence[Row]): Gold entities.
    predicted (Sequence[Row]): Predicted entities.
    max_width (int): See `evaluate_pipeline`.
    RETURNS (EntityReport): Scores over the labels of the pipeline and of both sides.
    """
    from ..model.architectures import get_span_module
    from ..model.maral_ner import MaralNER

    known = {label for *_, label in [*gold, *predicted]}
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, MaralNER):
            known.update(pipe.labels)
            if max_width is None:
                max_width = get_span_module(pipe.model).max_width
    labels = sorted(known)
    wanted, found = as_entities(gold, labels), as_entities(predicted, labels)
    return score_entities(wanted, found, labels, max_width=max_width)


def load_pipeline(name: str | Path, *, gpu_id: int = -1) -> Language:
    """Load a pipeline.

    EXAMPLE: nlp = load("student")

    name (str | Path): Its folder, or its name if it is installed.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Language): The pipeline.
    RAISES (MaralError): If there is no such pipeline, or its files are damaged.
    """
    use_device(gpu_id)
    return open_pipeline(name)


def open_pipeline(name: str | Path) -> Language:
    """Load a pipeline to the device in use; see `load_pipeline`.

    If it is replaced meanwhile, it is loaded again: its files are never those of two pipelines.
    """
    for _ in range(TRIES):
        before = _state(name)
        try:
            nlp = _load(name)
        except MaralError:
            if _state(name) == before:
                raise
        else:
            if _state(name) == before:
                return nlp
        time.sleep(PAUSE)
    raise MaralError(Errors.M530.format(name=name, times=TRIES))


def _state(name: str | Path) -> list[tuple[int, ...] | None]:
    """What changes when the folder of a pipeline is replaced, or one of the two files it begins with."""
    found: list[tuple[int, ...] | None] = []
    for path in (Path(name), Path(name) / CONFIG, Path(name) / META):
        try:
            stat = path.stat()
            found.append((stat.st_dev, stat.st_ino, stat.st_mtime_ns * path.is_file()))
        except OSError:
            found.append(None)
    return found


def _load(name: str | Path) -> Language:
    import spacy

    try:
        return spacy.load(name)
    except MaralError:
        raise
    except Exception as error:
        # the files of spaCy have no checksums: damage to them raises exceptions of any kind
        problem = str(error) if isinstance(error, OSError | ValueError) else repr(error)
        raise MaralError(Errors.M403.format(name=name, problem=problem.rstrip("."))) from error


def read_gold(data: str | Path | Iterable[Doc], name: str = "the data") -> list[Doc]:
    """Read labelled documents from a .spacy file, or check those given.

    data (str | Path | Iterable[Doc]): The documents or the file.
    name (str): What messages call documents that are given.
    RETURNS (list[Doc]): The documents with entity annotation.
    RAISES (MaralError): If the file cannot be read, or no document has entity annotation.
    """
    if isinstance(data, str | Path):
        from ..data.docs import read_docs

        docs, place = read_docs(data), str(data)
    else:
        docs, place = list(data), name
    kept = [doc for doc in docs if doc.has_annotation("ENT_IOB")]
    if len(kept) < len(docs):
        if not kept:
            raise MaralError(Errors.M402.format(path=place))
        n_missing = len(docs) - len(kept)
        logger.warning(Warnings.W402.format(path=place, n=n_missing, n_docs=len(docs)))
    return kept


def show_progress(docs: Iterable[Doc], n_docs: int) -> Iterable[Doc]:
    """Show on a terminal how many documents have been labelled."""
    return tqdm(docs, desc="Label", total=n_docs, unit=" docs", disable=None, leave=False)


def judged_entities(predicted: Sequence[Row], docs: Sequence[Doc]) -> list[Row]:
    """Leave out the predicted entities that touch a word without gold annotation.

    predicted (Sequence[Row]): Entities.
    docs (Sequence[Doc]): The gold documents.
    RETURNS (list[Row]): The entities that can be right or wrong.
    """
    from ..model.gold import annotated_words

    known = {i: words for i, doc in enumerate(docs) if not (words := annotated_words(doc)).all()}
    return [
        row for row in predicted if row[0] not in known or known[row[0]][row[1] : row[2] + 1].all()
    ]


def without_labels(nlp: Language, docs: Iterable[Doc]) -> Iterator[Doc]:
    """Copy the words and spaces of documents, without annotation.

    nlp (Language): The pipeline that will label the copies.
    docs (Iterable[Doc]): The documents.
    YIELDS (Doc): The copies, in the pipeline's vocabulary.
    """
    from spacy.tokens import Doc

    for doc in docs:
        spaces = None if doc.has_unknown_spaces else [bool(token.whitespace_) for token in doc]
        yield Doc(nlp.vocab, words=[token.text for token in doc], spaces=spaces)


def read_entities(docs: Iterable[Doc]) -> Iterator[Row]:
    """Yield the entities of documents, in their order."""
    for number, doc in enumerate(docs):
        for ent in doc.ents:
            yield number, ent.start, ent.end - 1, ent.label_


def as_entities(rows: Sequence[Row], labels: Sequence[str]) -> Entities:
    """Turn entities into columns.

    rows (Sequence[Row]): The entities.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    RETURNS (Entities): The columns.
    RAISES (MaralError): If an entity has a label that is not in `labels`.
    """
    classes = {label: number for number, label in enumerate(labels, start=1)}
    for number, start, _, label in rows:
        if label not in classes:
            found = {"doc": number, "word": start, "label": label, "labels": ", ".join(labels)}
            raise MaralError(Errors.M401.format(**found))
    table = [(number, start, end, classes[label]) for number, start, end, label in rows]
    return Entities(*np.array(table, dtype=np.int64).reshape(-1, 4).T)
