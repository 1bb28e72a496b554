"""Silver text: what a teacher has annotated, as the documents that spaCy's own training reads."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from tqdm.auto import tqdm

from ...data.convert import write_bytes
from ...data.docs import SUFFIX
from ...data.tokens import tokenize
from ...errors import Errors, MaralError
from ...training.target_gold import is_held_out, text_key
from ..annotate.storage import open_read
from ..shrink.pipelines import GoldFile

TRAIN, DEV = "train", f"dev{SUFFIX}"
FILE_DOCS = 2000
DEV_SHARE, DEV_DOCS = 0.05, 2000
"""Share of the silver text that is held out, and most documents of it."""

MOST_WORDS = 1_000_000
"""Different words that are counted at once."""

NO_WORDS, EVALUATED, DOUBTFUL = "no words", "in the labelled data", "with doubtful words"
LISTED = 10
ATTRS = ("ENT_IOB", "ENT_TYPE")


class Labelled(NamedTuple):
    """Documents with gold labels: to train on, to choose the epoch by (None to hold silver text out),
    and to compare the pipelines on, and the keys of all texts that the model is measured on."""

    gold: list[Doc]
    dev: list[Doc] | None
    test: GoldFile | None
    measured: AbstractSet[str]

    def held_out_share(self, n_documents: int) -> float:
        """The share of silver documents that chooses the epoch; 0 if there are labelled ones for it."""
        return 0.0 if self.dev is not None else min(DEV_SHARE, DEV_DOCS / max(1, n_documents))


@dataclass
class SilverCounts:
    """Counts over the silver text that is trained on.

    documents, words, entities (int): What is trained on.
    doubtful_words (int): Words among these whose annotation is missing.
    held_out (int): Documents that choose the epoch.
    left_out (dict): Documents that were left out, by reason.
    """

    documents: int = 0
    words: int = 0
    entities: int = 0
    doubtful_words: int = 0
    held_out: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)


class SilverCorpus:
    """Turns annotated shards into files of documents, without ever holding all of them.

    nlp (Language): Its tokenizer is that of the teacher.
    labelled (Labelled): Gold documents, which are spread over the files.
    spans_key (str | None): Key of doc.spans for the entities, for a component without a notion of
        missing annotation: documents with doubtful words are left out. None for doc.ents.
    n_documents (int): Documents of the shards.
    seed (int): Seed of the order of the documents.
    count_words (bool): Whether to count the words of the documents, in `words`.
    """

    def __init__(
        self,
        nlp: Language,
        labelled: Labelled,
        *,
        spans_key: str | None,
        n_documents: int,
        seed: int,
        count_words: bool = False,
    ) -> None:
        self.nlp, self.labelled, self.spans_key = nlp, labelled, spans_key
        self.n_files = max(1, -(-n_documents // FILE_DOCS))
        self.share = labelled.held_out_share(n_documents)
        self.rng = np.random.default_rng(seed)
        self.counts, self.left_out = SilverCounts(), Counter[str]()
        self.count_words, self.words = count_words, Counter[str]()
        self.dev, self.dev_entities = DocBin(attrs=ATTRS), 0
        for doc in labelled.dev or ():
            self._hold_out(doc)

    def write(self, shards: Iterable[str], folder: Path) -> SilverCounts:
        """Write the documents of shards.

        shards (Iterable[str]): Addresses of what `annotate` has written as .jsonl.gz.
        folder (Path): Gets the folder train and the file dev.spacy.
        RETURNS (SilverCounts): Counts.
        RAISES (MaralError): If no document is left to train on or to choose the epoch by.
        """
        docs = self._docs(tqdm(rows(shards), desc="Silver text", unit=" texts", disable=None))
        for number in range(self.n_files):
            # the strings of a file's documents are freed together
            with self.nlp.memory_zone():
                chunk = list(islice(docs, FILE_DOCS))
                every = [*chunk, *self.labelled.gold[number :: self.n_files]]
                if self.count_words:
                    self._count_words(every)
                if every:
                    self._write(folder / TRAIN / f"{number:05d}{SUFFIX}", every)
        self.counts.left_out = dict(sorted(self.left_out.items()))
        self._check()
        self.counts.held_out = 0 if self.labelled.dev is not None else len(self.dev)
        write_bytes(folder / DEV, self.dev.to_bytes())
        return self.counts

    def _count_words(self, docs: list[Doc]) -> None:
        """Count the words of documents; of very many different ones, the rarest are forgotten."""
        self.words.update(token.text for doc in docs for token in doc)
        if len(self.words) > MOST_WORDS:
            self.words = Counter(dict(self.words.most_common(MOST_WORDS // 2)))

    def _check(self) -> None:
        """RAISES (MaralError): If too little is left."""
        if self.counts.entities and self.dev_entities:
            return
        left_out = [f"{reason} {n:,}" for reason, n in self.left_out.most_common(LISTED)]
        found = {"n": self.counts.documents, "entities": self.counts.entities}
        reasons = ", ".join(left_out) or "none"
        raise MaralError(Errors.M571.format(**found, held_out=self.dev_entities, left_out=reasons))

    def _docs(self, found: Iterable[dict[str, Any]]) -> Iterator[Doc]:
        """The documents to train on; sets aside those to choose the epoch by."""
        for row in found:
            doc = tokenize(self.nlp, row["text"])
            n_missing = annotate_silver(doc, row)
            key = text_key(doc)
            if reason := self._unusable(doc, key, n_missing):
                self.left_out[reason] += 1
            elif is_held_out(key, self.share):
                self._hold_out(doc)
            else:
                self.counts.documents += 1
                self.counts.words += len(doc)
                self.counts.entities += len(doc.ents)
                self.counts.doubtful_words += n_missing
                yield doc

    def _unusable(self, doc: Doc, key: str, n_missing: int) -> str:
        """Why a document cannot be used; "" if it can."""
        if not key:
            return NO_WORDS
        if key in self.labelled.measured:
            return EVALUATED
        return DOUBTFUL if n_missing and self.spans_key is not None else ""

    def _hold_out(self, doc: Doc) -> None:
        """Add a document to those that choose the epoch."""
        self.dev.add(self._as_spans(doc))
        self.dev_entities += len(doc.ents)

    def _write(self, path: Path, docs: list[Doc]) -> None:
        """Write a file of documents in a random order."""
        order = self.rng.permutation(len(docs)).tolist()
        docs = [self._as_spans(docs[place]) for place in order]
        write_bytes(path, DocBin(attrs=ATTRS, docs=docs).to_bytes())

    def _as_spans(self, doc: Doc) -> Doc:
        """A document whose entities are also spans, if the component reads these."""
        if self.spans_key is not None:
            doc.spans[self.spans_key] = list(doc.ents)
        return doc


def rows(shards: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Read annotated documents, one at a time."""
    for address in shards:
        with open_read(address) as file, gzip.GzipFile(fileobj=file, mode="rb") as lines:
            yield from map(json.loads, lines)


def annotate_silver(doc: Doc, row: dict[str, Any]) -> int:
    """Write a teacher's entities to a document; doubtful words have missing annotation.

    doc (Doc): The document.
    row (dict): Its row of the teacher's output.
    RETURNS (int): Number of words with missing annotation.
    """
    missing = np.zeros(len(doc), dtype=bool)
    for place in row["doubtful"]:
        span = doc.char_span(place["start"], place["end"], alignment_mode="expand")
        if span is not None:
            missing[span.start : span.end] = True
    entities = []
    for entity in row["entities"]:
        span = doc.char_span(
            entity["start"], entity["end"], entity["label"], alignment_mode="expand"
        )
        if span is not None and not missing[span.start : span.end].any():
            entities.append(span)
    unknown = [Span(doc, place, place + 1) for place in np.flatnonzero(missing).tolist()]
    doc.set_ents(entities, missing=unknown, default="outside")
    return len(unknown)
