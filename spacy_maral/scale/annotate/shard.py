"""The numeric work: one shard in, one shard out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors, MaralError
from .corpus_files import FORMATS, REJECTED, Places, kind_of
from .readers import Document, Rejected, ShardReader, set_aside
from .storage import absolute, join
from .writers import Annotated, Entity, RejectedWriter, open_writer

WINDOW_WORDS, WINDOW_BATCHES = 16_384, 4
"""Documents of about the same length are looked for among this many words, and batches, at least."""


@dataclass(frozen=True)
class ShardSettings:
    """How shards are annotated.

    model (str): Version of the model, to be written with each document.
    format (str): Of the output: "jsonl", "jsonl.gz" or "parquet".
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id.
    score_attr (str | None): Extension attribute of an entity with its score; None for
        ent._.maral_score or ent._.score, where there is one.
    batch_words (int): Words of a batch; a longer document is a batch of its own.
    give_up (int): Documents that the model may fail on, one after the other, before the shard fails.
    """

    model: str
    format: str = "jsonl"
    text_field: str = "text"
    id_field: str = "id"
    score_attr: str | None = None
    batch_words: int = 1024
    give_up: int = 100

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("format", self.format in FORMATS, f"one of {', '.join(FORMATS)}"),
            ("batch_words", self.batch_words >= 1, "at least 1"),
            ("give_up", self.give_up >= 1, "at least 1"),
        ):
            if not holds:
                value = getattr(self, name)
                raise MaralError(Errors.M481.format(name=name, rule=rule, value=value))

    def fingerprint(self) -> dict[str, Any]:
        """RETURNS (dict): What two runs must have in common to be one."""
        return {k: v for k, v in asdict(self).items() if k not in ("batch_words", "give_up")}


@dataclass
class ShardSummary:
    """What became of a shard.

    documents: That are in the output. words: Of these. entities: By label. rejected: Documents that
    were set aside. size: Bytes of the input. seconds: From its beginning to its end.
    """

    documents: int = 0
    words: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    size: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): Ready for JSON."""
        return asdict(self)


@dataclass
class Step:
    """What was done since the step before: documents, words, rejected documents, bytes of input."""

    documents: int = 0
    words: int = 0
    rejected: int = 0
    size: int = 0


def annotate_shard(
    nlp: Language, input_address: str, output_address: str, settings: ShardSettings
) -> ShardSummary:
    """Find the entities of all documents of a shard.

    Documents keep their order. The output is written whole or not at all; what cannot be annotated
    is set aside, in _rejected/ beside the output.

    EXAMPLE: annotate_shard(load("student"), "de-00.jsonl", "out/de-00.jsonl", ShardSettings("v1"))

    nlp (Language): Any pipeline that sets doc.ents.
    input_address (str): The shard: .txt, .jsonl (both also .gz) or .parquet.
    output_address (str): File to write, in the format of the settings.
    settings (ShardSettings): How.
    RETURNS (ShardSummary): What became of it.
    RAISES (MaralError): If the shard is damaged, or the model fails on too many documents.
    """
    address, output = absolute(input_address), absolute(output_address)
    name = address.rpartition("/")[2].removesuffix(".gz").removesuffix(kind_of(address))
    folder, _, file = output.rpartition("/")
    rejected = join(folder, REJECTED, f"{file.partition('.')[0]}.jsonl")
    summary = ShardSummary()
    for _ in annotate_steps(nlp, address, name, Places(output, rejected), settings, summary):
        pass
    return summary


def annotate_steps(
    nlp: Language,
    address: str,
    name: str,
    places: Places,
    settings: ShardSettings,
    summary: ShardSummary,
) -> Iterator[Step]:
    """Annotate a shard and say from time to time how far it is; see `annotate_shard`.

    The steps are the same each time.

    summary (ShardSummary): Filled; it is complete when the steps have ended.
    YIELDS (Step): What was done since the step before.
    """
    started = time.perf_counter()
    labels: Counter[str] = Counter()
    annotator = Annotator(nlp, settings)
    reader = ShardReader(address, name, text_field=settings.text_field, id_field=settings.id_field)
    # what is set aside is there before the output says that the shard is done
    with (
        open_writer(places.output, settings.format) as write,
        RejectedWriter(places.rejected) as reject,
        closing(reader.__iter__()) as documents,
    ):
        for window in annotator.windows(documents):
            step = Step()
            for row in window:
                if isinstance(row, Rejected):
                    reject(row)
                    step.rejected += 1
                    continue
                found, n_words = row
                write(found)
                labels.update(entity.label for entity in found.entities)
                step.documents += 1
                step.words += n_words
            step.size = reader.position - summary.size
            summary.documents += step.documents
            summary.words += step.words
            summary.rejected += step.rejected
            summary.size = reader.position
            yield step
    summary.entities = dict(sorted(labels.items()))
    summary.seconds = time.perf_counter() - started


Row = tuple[Annotated, int] | Rejected


class Annotator:
    """Find the entities of documents, batch by batch.

    nlp (Language): The pipeline.
    settings (ShardSettings): How.
    """

    def __init__(self, nlp: Language, settings: ShardSettings) -> None:
        self.nlp, self.settings = nlp, settings
        self.failed = 0

    def windows(self, documents: Iterator[Document | Rejected]) -> Iterator[list[Row]]:
        """Annotate documents, a number of batches at a time.

        documents (Iterator): The documents, and what was set aside before.
        YIELDS (list): What became of some of them, in their order, with their words.
        RAISES (MaralError): If the model fails on too many in a row.
        """
        budget = max(WINDOW_WORDS, WINDOW_BATCHES * self.settings.batch_words)
        more = True
        while more:
            # strings and vectors of these documents are let go of together
            with self.nlp.memory_zone():
                window: list[Document | Rejected] = []
                docs: list[Doc | None] = []
                n_words = 0
                more = False
                for item in documents:
                    doc = None
                    if isinstance(item, Document):
                        item, doc = self._make_doc(item)
                    window.append(item)
                    docs.append(doc)
                    # what is set aside takes memory too
                    n_words += len(doc) + 1 if doc is not None else 1
                    if n_words >= budget:
                        more = True
                        break
                rows = self._annotate(window, docs)
                docs.clear()
            if rows:
                yield rows

    def _make_doc(self, document: Document) -> tuple[Document | Rejected, Doc | None]:
        try:
            return document, self.nlp.make_doc(document.text)
        except Exception as error:
            # whatever a tokenizer raises
            return set_aside(document.id, document.line, error, document.text), None

    def _annotate(
        self, window: Sequence[Document | Rejected], docs: Sequence[Doc | None]
    ) -> list[Row]:
        """Annotate the documents of a window, those of about the same length together."""
        rows: dict[int, Row] = {}
        lengths = {}
        for place, (item, doc) in enumerate(zip(window, docs, strict=True)):
            if isinstance(item, Rejected):
                rows[place] = item
            elif doc is not None:
                lengths[place] = len(doc)
        texts = {i: item for i, item in enumerate(window) if isinstance(item, Document)}
        for batch in token_batches(lengths, self.settings.batch_words):
            for place, row in self._batch({i: texts[i] for i in batch}, [docs[i] for i in batch]):
                rows[place] = row
        return [rows[place] for place in range(len(window))]

    def _batch(
        self, texts: dict[int, Document], docs: Sequence[Doc | None]
    ) -> Iterator[tuple[int, Row]]:
        """Annotate a batch; if that fails, its halves, down to the documents that it fails on."""
        try:
            given = [doc for doc in docs if doc is not None]
            found = [
                (self._read(document, doc), len(doc))
                for document, doc in zip(
                    texts.values(), self.nlp.pipe(given, batch_size=len(given)), strict=True
                )
            ]
        except Exception as error:
            # whatever a component raises; a batch may also have been too large for the memory
            if len(texts) > 1:
                places = list(texts)
                for half in (places[: len(places) // 2], places[len(places) // 2 :]):
                    part = {i: texts[i] for i in half}
                    yield from self._batch(part, [self.nlp.make_doc(d.text) for d in part.values()])
                return
            ((place, document),) = texts.items()
            self._count_failure(document, error)
            yield place, set_aside(document.id, document.line, error, document.text)
            return
        self.failed = 0
        yield from zip(texts, found, strict=True)

    def _read(self, document: Document, doc: Doc) -> Annotated:
        """The entities of a document, as plain values: kept documents keep the encoder's output."""
        from ...model.predictions import entity_score

        entities = [
            Entity(
                ent.start_char, ent.end_char, ent.label_,
                entity_score(ent, self.settings.score_attr),
            )
            for ent in doc.ents
        ]  # fmt: skip
        return Annotated(document.id, document.text, entities, self.settings.model)

    def _count_failure(self, document: Document, error: Exception) -> None:
        """RAISES (MaralError): If the model has failed on too many documents in a row."""
        self.failed += 1
        if self.failed >= self.settings.give_up:
            problem = f"{type(error).__name__}: {error}"
            found = {"n": self.failed, "id": document.id, "problem": problem}
            raise MaralError(Errors.M476.format(**found)) from error


def token_batches(lengths: dict[int, int], budget: int) -> Iterator[list[int]]:
    """Put documents of about the same length into batches, as little of which as can be is padding.

    lengths (dict): Words of each document.
    budget (int): Most words of a batch; a longer document is a batch of its own.
    YIELDS (list[int]): Documents of a batch.
    """
    batch: list[int] = []
    for place in sorted(lengths, key=lambda i: (lengths[i], i)):
        # the last one is the longest, and one without words takes something too
        if batch and (len(batch) + 1) * max(lengths[place], 1) > budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
