"""Annotate a shard: documents in, documents with entities out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...data.annotated import ScoredEntity
from ...data.tokens import tokenize
from ...errors import Errors, MaralError
from ...model.encoder.batches import group_rows
from ...model.memory import give_back_memory
from ...model.predictions import entity_score
from .corpus_files import FORMATS, REJECTED, Places, ending_of
from .doubtful import doubtful_spans, doubtful_words
from .readers import Document, Rejected, ShardReader, set_aside
from .storage import absolute, describe, join
from .time_limit import time_limit
from .writers import Annotated, open_writer, rejected_writer

NAMES = (TWO_PASS, OFF) = ("two-pass", "off")
WINDOW_WORDS, WINDOW_BATCHES = 16_384, 4
"""Least size of a window, the documents that batches of similar length are chosen from."""


FREE = ("batch_words", "give_up", "text_seconds")
"""Settings that do not determine the output."""


@dataclass(frozen=True)
class ShardSettings:
    """How to annotate shards.

    model (str): Version of the model, written with each document.
    format (str): Of the output: "jsonl", "jsonl.gz" or "parquet".
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id.
    score_attr (str | None): Extension attribute of an entity with its score; None for
        ent._.maral_score or ent._.score, where there is one.
    batch_words (int): Words of a batch; a longer document is a batch of its own.
    give_up (int): Documents in a row that the model may fail on before the shard fails.
    names (str | None): Name memory of maral_ner: "two-pass" for that of the corpus, "off" for none;
        None for what the pipeline says.
    text_seconds (float): Seconds after which a text is set aside; 0 for no limit.
    doubt (float | None): Probability from which other readings of a text make its words doubtful (see
        `doubtful_words`), and are written as such; None to write no doubtful words.
    """

    model: str
    format: str = "jsonl"
    text_field: str = "text"
    id_field: str = "id"
    score_attr: str | None = None
    batch_words: int = 1024
    give_up: int = 100
    names: str | None = None
    text_seconds: float = 600.0
    doubt: float | None = None

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("format", self.format in FORMATS, f"one of {', '.join(FORMATS)}"),
            ("batch_words", self.batch_words >= 1, "at least 1"),
            ("give_up", self.give_up >= 1, "at least 1"),
            ("names", self.names in (None, *NAMES), f"one of {', '.join(NAMES)}"),
            ("text_seconds", self.text_seconds >= 0, "at least 0"),
            ("doubt", self.doubt is None or 0 < self.doubt <= 1, "above 0, at most 1"),
        ):
            if not holds:
                value = getattr(self, name)
                raise MaralError(Errors.M481.format(name=name, rule=rule, value=value))

    def fingerprint(self) -> dict[str, Any]:
        """RETURNS (dict): The settings that determine the output."""
        found = {k: v for k, v in asdict(self).items() if k not in FREE}
        # runs of earlier releases do not have them
        later = [name for name in ("names", "doubt") if found[name] is None]
        return {name: value for name, value in found.items() if name not in later}


@dataclass
class ShardSummary:
    """Counts over a shard, or over a part of it.

    documents (int): Documents written to the output.
    words (int): Words of these documents.
    entities (dict): Entities of these documents, by label.
    rejected (int): Documents that were set aside.
    size (int): Bytes of the input, as stored.
    seconds (float): Time taken.
    """

    documents: int = 0
    words: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    size: int = 0
    seconds: float = 0.0

    def add(self, other: ShardSummary) -> None:
        """Add the counts of another part or shard."""
        for name in ("documents", "words", "rejected", "size", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.entities = dict(sorted((Counter(self.entities) + Counter(other.entities)).items()))

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)


def read_summary(found: dict[str, Any]) -> ShardSummary:
    """Read what `ShardSummary.to_dict` has made.

    RAISES (TypeError): If it has not.
    """
    summary = ShardSummary(**found)
    for name, value in vars(ShardSummary()).items():
        kind = type(getattr(summary, name))
        if kind is not type(value) and (kind, type(value)) != (int, float):
            raise TypeError(f"{name} is a {kind.__name__}")
    return summary


def annotate_shard(
    nlp: Language, input_address: str, output_address: str, settings: ShardSettings
) -> ShardSummary:
    """Find the entities of all documents of a shard.

    Documents keep their order. The output is written whole or not at all. Documents that cannot be
    annotated are set aside in the folder _rejected/ beside the output.

    EXAMPLE: annotate_shard(load("student"), "de-00.jsonl", "out/de-00.jsonl", ShardSettings("v1"))

    nlp (Language): Any pipeline that sets doc.ents.
    input_address (str): The shard: .txt, .jsonl (both also .gz) or .parquet.
    output_address (str): File to write, in the format of the settings.
    settings (ShardSettings): How to annotate it.
    RETURNS (ShardSummary): Counts over the shard.
    RAISES (MaralError): If the shard is damaged, or the model fails on too many documents.
    """
    address, output = absolute(input_address), absolute(output_address)
    name = address.rpartition("/")[2].removesuffix(ending_of(address))
    folder, _, file = output.rpartition("/")
    rejected = join(folder, REJECTED, f"{file.removesuffix(FORMATS[settings.format])}.jsonl")
    summary = ShardSummary()
    for step in annotate_steps(nlp, address, name, Places(output, rejected), settings):
        summary.add(step)
    return summary


def annotate_steps(
    nlp: Language, address: str, name: str, places: Places, settings: ShardSettings
) -> Iterator[ShardSummary]:
    """Annotate a shard step by step; see `annotate_shard`. The steps are the same each time.

    YIELDS (ShardSummary): Counts since the step before.
    """
    started, position = time.perf_counter(), 0
    reader = ShardReader(address, name, text_field=settings.text_field, id_field=settings.id_field)
    # the output is the last to get its name: it must not exist without the rejected documents
    with (
        doubtful_spans(nlp, settings.doubt),
        open_writer(places.output, settings.format, doubt=settings.doubt is not None) as write,
        rejected_writer(places.rejected) as reject,
        closing(reader.__iter__()) as documents,
    ):
        for window in Annotator(nlp, settings).windows(documents):
            step, labels = ShardSummary(), Counter[str]()
            for result in window:
                if isinstance(result, Rejected):
                    reject(result)
                    step.rejected += 1
                    continue
                annotated, n_words = result
                write(annotated)
                labels.update(entity.label for entity in annotated.entities)
                step.documents += 1
                step.words += n_words
            step.entities = dict(labels)
            step.size, position = reader.position - position, reader.position
            now = time.perf_counter()
            step.seconds, started = now - started, now
            yield step
    yield ShardSummary(seconds=time.perf_counter() - started)


Result = tuple[Annotated, int] | Rejected
"""A document with its number of words, or one that was set aside."""


def make_doc(nlp: Language, text: str, settings: ShardSettings) -> Doc:
    """Tokenize a text, within the time limit of the settings.

    nlp (Language): The pipeline.
    text (str): The text.
    settings (ShardSettings): How to annotate.
    RETURNS (Doc): The document.
    RAISES (ValueError): If the text is longer than the pipeline allows, or takes too long.
    """
    if len(text) > nlp.max_length:
        # spaCy's own error
        return nlp.make_doc(text)
    with time_limit(settings.text_seconds):
        return tokenize(nlp, text)


class Annotator:
    """Find the entities of documents, batch by batch.

    nlp (Language): The pipeline.
    settings (ShardSettings): How to annotate.
    """

    def __init__(self, nlp: Language, settings: ShardSettings) -> None:
        self.nlp, self.settings = nlp, settings
        self.failed = 0
        """Documents in a row that the model has failed on."""

    def windows(self, documents: Iterator[Document | Rejected]) -> Iterator[list[Result]]:
        """Annotate documents, several batches at a time.

        documents (Iterator): The documents, and what the reader has set aside.
        YIELDS (list): The results for some of them, in their order.
        RAISES (MaralError): If the model fails on too many in a row.
        """
        while True:
            # the strings and vectors of a window are freed together
            with self.nlp.memory_zone():
                window = list(self._window(documents))
                results = self._annotate(window)
                window.clear()
            give_back_memory()
            if not results:
                return
            yield results

    def _window(
        self, documents: Iterator[Document | Rejected]
    ) -> Iterator[tuple[Document | Rejected, Doc | None]]:
        """Tokenize documents until there are enough words for several batches."""
        n_left = max(WINDOW_WORDS, WINDOW_BATCHES * self.settings.batch_words)
        while n_left > 0 and (item := next(documents, None)) is not None:
            doc = None
            if isinstance(item, Document):
                try:
                    doc = make_doc(self.nlp, item.text, self.settings)
                except Exception as error:
                    # tokenizers raise errors of any kind
                    item = set_aside(item.id, item.line, error, item.text)
            # an item without words takes memory too
            n_left -= 1 + len(doc or ())
            yield item, doc

    def _annotate(self, window: Sequence[tuple[Document | Rejected, Doc | None]]) -> list[Result]:
        """Annotate the documents of a window, those of similar length together."""
        results: list[Any] = [item for item, _ in window]
        # a document without words counts as one word
        lengths = np.array([0 if doc is None else max(len(doc), 1) for _, doc in window], dtype=int)
        order = np.argsort(lengths, kind="stable")[sum(lengths == 0) :]
        for batch in group_rows(order, lengths, most=self.settings.batch_words):
            pairs = cast(list[tuple[Document, Doc]], [window[place] for place in batch])
            for place, result in zip(batch, self._batch(pairs), strict=True):
                results[place] = result
        return results

    def _batch(self, batch: Sequence[tuple[Document, Doc]]) -> list[Result]:
        """Annotate a batch. If that fails, try its halves, down to single documents."""
        try:
            with time_limit(self.settings.text_seconds):
                docs = self.nlp.pipe([doc for _, doc in batch], batch_size=len(batch))
                results: list[Result] = [
                    (self._read(document, doc), len(doc))
                    for (document, _), doc in zip(batch, docs, strict=True)
                ]
        except Exception as error:
            # components raise errors of any kind, also for a batch too large for the memory
            document, _ = batch[0]
            if len(batch) == 1:
                self.failed += 1
                if self.failed >= self.settings.give_up:
                    found = {"n": self.failed, "id": document.id, "problem": describe(error)}
                    raise MaralError(Errors.M476.format(**found)) from error
                return [set_aside(document.id, document.line, error, document.text)]
            fresh = [
                (document, make_doc(self.nlp, document.text, self.settings))
                for document, _ in batch
            ]
            half = len(batch) // 2
            return self._batch(fresh[:half]) + self._batch(fresh[half:])
        self.failed = 0
        return results

    def _read(self, document: Document, doc: Doc) -> Annotated:
        """The entities of a document as plain values: a Doc would keep the encoder's output alive."""
        entities = [
            ScoredEntity(
                ent.start_char, ent.end_char, ent.label_,
                entity_score(ent, self.settings.score_attr),
            )
            for ent in doc.ents
        ]  # fmt: skip
        doubt = self.settings.doubt
        doubtful = None if doubt is None else doubtful_words(doc, doubt)
        return Annotated(document.id, document.text, entities, self.settings.model, doubtful)
