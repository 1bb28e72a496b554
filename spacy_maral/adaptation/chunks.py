"""Label documents in chunks, in this process or in the workers of an engine."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import import_file
from spacy.vocab import Vocab

from ..errors import Errors, MaralError
from ..evaluation import evaluate
from ..model.name_files import is_memory
from ..model.visible import VisibleWords, any_visible
from ..training.corpus import digest_docs
from ..training.pipelines import (
    COMPONENT,
    Pipeline,
    as_pipeline,
    check_folder,
    reads_pieces,
    require_component,
)
from .annotators import Mention, Reading, as_labels, find_mentions, read_names, read_silver
from .pseudo_labels import PseudoLabels, resolve_overlaps

CHUNK_DOCS = 10_000

Annotator = str | Path | Language


class Mapper(Protocol):
    """An engine, which gives items to workers and yields the results in the order of the items."""

    @property
    def gpu_id(self) -> int:
        """GPU that each worker uses, -1 for the CPU."""

    def map_items(
        self, worker: Callable[[Any], Callable[[bytes], bytes]], argument: Any, items: list[bytes]
    ) -> Iterator[bytes]:
        """Make one worker from the argument in each process, and call it with the items."""


@dataclass(frozen=True)
class Task:
    """The settings that a worker needs, as plain values.

    model: Folder or name of a pipeline. name: Its name in messages. reading: How its entities
    become labels. gpu_id: GPU to use, -1 for the CPU. code: Python file to import first.
    """

    model: str
    name: str
    reading: Reading
    gpu_id: int = -1
    code: str | None = None


class ChunkWorker:
    """Labels chunks of documents with an annotator that it loads once.

    task (Task): Settings of the worker.
    RAISES (MaralError): If there is no such pipeline.
    """

    def __init__(self, task: Task) -> None:
        if task.code is not None:
            import_file("python_code", Path(task.code))
        self.task = task
        self.annotator = load_annotator(task.model, task.gpu_id)

    def __call__(self, data: bytes) -> bytes:
        """Label the documents of a DocBin; return a NumPy table, or entities in JSON, as bytes."""
        docs = list(DocBin().from_bytes(data).get_docs(Vocab()))
        if isinstance(self.annotator, Pipeline):
            file = io.BytesIO()
            np.save(file, label_chunk(self.annotator, docs), allow_pickle=False)
            return file.getvalue()
        assert isinstance(self.annotator, Language)
        mentions = find_mentions(self.annotator, docs, self.task.reading, self.task.name)
        return json.dumps(mentions).encode("utf8")


def load_annotator(given: Annotator, gpu_id: int = -1) -> Pipeline | Language | Path:
    """Load an annotator of the target.

    given (Annotator): Folder or name of a pipeline, a pipeline, or a file of silver entities or
        names.
    RETURNS (Pipeline | Language | Path): A maral_ner pipeline with a transformer as a `Pipeline`,
        any other pipeline as it is, or the file.
    RAISES (MaralError): If there is no such pipeline.
    """
    if not isinstance(given, Language):
        path = Path(given)
        if path.is_file():
            return path
        if path.is_dir():
            check_folder(path)
        given = evaluate.load_pipeline(given, gpu_id=gpu_id)
    if COMPONENT in given.pipe_names and reads_pieces(given):
        return as_pipeline(given, None)
    return given


def with_probabilities(annotator: Pipeline | Language | Path, name: str) -> Pipeline:
    """Refuse an annotator that gives entities alone, where probabilities show what it doubts.

    annotator (Pipeline | Language | Path): The annotator, as `load_annotator` returns it.
    name (str): Its name in messages.
    RETURNS (Pipeline): The annotator.
    RAISES (MaralError): If it has no maral_ner, or one without a transformer.
    """
    if isinstance(annotator, Language) and COMPONENT in annotator.pipe_names:
        require_component(annotator, name)
    if not isinstance(annotator, Pipeline):
        raise MaralError(Errors.M515.format(model=name))
    return annotator


def label_docs(
    annotator: Pipeline | Language | Path,
    docs: Sequence[Doc],
    task: Task,
    engine: Mapper | None = None,
) -> PseudoLabels:
    """Label documents with one annotator; a maral_ner pipeline gives soft labels, as `score_docs` does.

    The chunks do not depend on the engine, so that the labels do not depend on it either.

    task (Task): Settings of the workers.
    engine (Mapper | None): Gives the chunks to workers; None to label in this process. This process
        always reads files of entities itself.
    RAISES (MaralError): If no entity has one of the labels, or a score is not a number from 0 to 1.
    """
    if isinstance(annotator, Path):
        read = read_names if is_memory(annotator) else read_silver
        return read(annotator, docs, task.reading)
    chunks = split(docs)
    packed = () if engine is None else engine.map_items(ChunkWorker, task, [*map(pack, chunks)])
    if isinstance(annotator, Pipeline):
        tables = [np.load(io.BytesIO(data), allow_pickle=False) for data in packed]
        return score_docs(annotator, docs, tables)
    if engine is None:
        parts = (find_mentions(annotator, chunk, task.reading, task.name) for chunk in chunks)
    else:
        parts = ([Mention(*fields) for fields in json.loads(data)] for data in packed)
    mentions = [
        mention._replace(doc=mention.doc + number * CHUNK_DOCS)
        for number, part in enumerate(parts)
        for mention in part
    ]
    return as_labels(mentions, docs, task.reading, task.name, Counter())


def predict(teacher: Pipeline, docs: Sequence[Doc]) -> PseudoLabels:
    """Predict soft labels of documents, without overlaps, with a maral_ner pipeline.

    RAISES (MaralError): If the documents have no words.
    """
    labels = score_docs(teacher, docs)
    words = VisibleWords.of(docs).candidates(labels.max_width).words
    resolve_overlaps(labels.probabilities, words)
    return labels


def score_docs(
    teacher: Pipeline, docs: Sequence[Doc], tables: Sequence[NDArray[np.floating]] = ()
) -> PseudoLabels:
    """Find the class probabilities of all candidates with a maral_ner pipeline, overlaps included.

    tables (Sequence[NDArray]): Those of the chunks, if workers have found them.
    RAISES (MaralError): If the documents have no words.
    """
    if not any_visible(docs):
        raise MaralError(Errors.M303.format(name="target", n_docs=len(docs)))
    tables = tables or [label_chunk(teacher, chunk) for chunk in split(docs)]
    width = teacher.network.span_model.max_width
    return PseudoLabels(np.concatenate(tables), teacher.labels, width, digest_docs(docs))


def label_chunk(teacher: Pipeline, docs: Sequence[Doc]) -> NDArray[np.floating]:
    """Class probabilities of the candidates of documents, shape (n_spans, K)."""
    if not any_visible(docs):
        return np.zeros((0, len(teacher.labels) + 1), dtype=np.float16)
    return teacher.class_probabilities(docs, name="Pseudo-label", dtype=torch.float16)


def split(docs: Sequence[Doc]) -> list[Sequence[Doc]]:
    """Split documents into chunks."""
    return [docs[i : i + CHUNK_DOCS] for i in range(0, len(docs), CHUNK_DOCS)]


def pack(docs: Sequence[Doc]) -> bytes:
    """Pack the words and spaces of documents, without any annotation."""
    return DocBin(attrs=["ORTH", "SPACY"], docs=docs).to_bytes()
