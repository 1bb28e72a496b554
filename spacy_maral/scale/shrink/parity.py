"""Compare a pipeline with its original: scores, word pieces and speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...evaluation.evaluate import (
    Row,
    as_entities,
    judged_entities,
    read_entities,
    without_labels,
)
from ...evaluation.metrics import EntityReport, score_entities
from ...model.architectures import get_encoder
from ...model.spans import resolve_overlaps
from ...training.pipelines import COMPONENT

BLOCK_WORDS = 3000
WARM_UP = 16


@dataclass
class Parity:
    """A pipeline before and after the change, on the same documents.

    reports (tuple): Scores of both.
    agreement (float): Share of the entities found by either that both find.
    tokenisation (dict | None): See `compare_pieces`; None if one of them has no word pieces.
    words_per_second (tuple): Speed of both.
    speed_up (float): Ratio of their times, the median over blocks of documents.
    """

    reports: tuple[EntityReport, EntityReport]
    agreement: float
    tokenisation: dict[str, Any] | None
    words_per_second: tuple[float, float]
    speed_up: float

    @property
    def f1_change(self) -> float:
        """RETURNS (float): F1 after minus F1 before, in percentage points."""
        return 100 * (self.reports[1].f1 - self.reports[0].f1)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The comparison, ready for JSON; scores in [0, 1]."""
        before, after = self.reports
        types = [(before.per_type[label].f1, after.per_type[label].f1) for label in before.labels]
        return {
            "precision": pair(before.precision, after.precision),
            "recall": pair(before.recall, after.recall),
            "f1": pair(before.f1, after.f1),
            "f1_by_type": {
                label: pair(*f1) for label, f1 in zip(before.labels, types, strict=True)
            },
            "entities": before.micro.support,
            "agreement": self.agreement,
            "tokenisation": self.tokenisation,
            "words_per_second": pair(*self.words_per_second),
            "speed_up": self.speed_up,
        }


def pair(before: Any, after: Any) -> dict[str, Any]:
    """A value of the original and of the new pipeline, as the reports hold it."""
    return {"before": before, "after": after}


def compare_pipelines(
    before: Language, after: Language, docs: Sequence[Doc], *, spans_key: str | None = None
) -> Parity:
    """Let two pipelines label the same documents, taking turns block by block.

    before (Language): The original pipeline.
    after (Language): The pipeline made from it.
    docs (Sequence[Doc]): Gold documents.
    spans_key (str | None): Key of doc.spans under which the second pipeline writes its entities; None
        for doc.ents.
    RETURNS (Parity): The comparison.
    """
    both, keys = (before, after), (None, spans_key)
    for nlp in both:
        list(nlp.pipe(without_labels(nlp, docs[:WARM_UP])))
    gold = list(read_entities(docs))
    found: tuple[list[Row], list[Row]] = ([], [])
    times: tuple[list[float], list[float]] = ([], [])
    done = 0
    for number, block in enumerate(blocks(docs)):
        # the first changes, as other work of the machine may favour one
        for side in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            labelled = both[side].pipe(without_labels(both[side], block))
            key = keys[side]
            ents = list(read_entities(labelled) if key is None else read_spans(labelled, key))
            times[side].append(time.perf_counter() - started)
            found[side].extend((doc + done, start, end, label) for doc, start, end, label in ents)
        done += len(block)
    labels = sorted({label for *_, label in [*gold, *found[0], *found[1]]})
    wanted = as_entities(gold, labels)
    reports = [
        score_entities(wanted, as_entities(judged_entities(ents, docs), labels), labels)
        for ents in found
    ]
    n_words = sum(map(len, docs))
    either = set(found[0]) | set(found[1])
    return Parity(
        (reports[0], reports[1]),
        len(set(found[0]) & set(found[1])) / len(either) if either else 1.0,
        _compare_tokenizers(before, after, docs),
        (n_words / sum(times[0]), n_words / sum(times[1])),
        statistics.median(b / a for b, a in zip(*times, strict=True)),
    )


def read_spans(docs: Iterable[Doc], key: str) -> Iterator[Row]:
    """Yield the best spans without overlaps of documents that spaCy's spancat has labelled.

    docs (Iterable[Doc]): The documents.
    key (str): Key of doc.spans.
    YIELDS (Row): The spans, as entities.
    """
    for number, doc in enumerate(docs):
        group = doc.spans[key]
        places = np.array([(span.start, span.end - 1) for span in group], dtype=np.int64)
        starts, ends = places.reshape(-1, 2).T
        scores = np.asarray(group.attrs["scores"], dtype=np.float64)
        for kept in resolve_overlaps(starts, ends, scores).tolist():
            yield number, int(starts[kept]), int(ends[kept]), group[kept].label_


def _compare_tokenizers(
    before: Language, after: Language, docs: Sequence[Doc]
) -> dict[str, Any] | None:
    """See `compare_pieces`; None if a pipeline has no maral_ner, and so perhaps no word pieces."""
    if COMPONENT not in before.pipe_names or COMPONENT not in after.pipe_names:
        return None
    return compare_pieces(get_encoder(before)[1], get_encoder(after)[1], docs)


def blocks(docs: Sequence[Doc]) -> Iterator[list[Doc]]:
    """Documents in blocks of at least BLOCK_WORDS words; the last may have fewer."""
    block: list[Doc] = []
    n_words = 0
    for doc in docs:
        block.append(doc)
        n_words += len(doc)
        if n_words >= BLOCK_WORDS:
            yield block
            block, n_words = [], 0
    if block:
        yield block


def compare_pieces(before: Any, after: Any, docs: Sequence[Doc]) -> dict[str, Any]:
    """Split documents by two fast tokenizers, and count the words that they split differently.

    before (PreTrainedTokenizerBase): The first tokenizer.
    after (PreTrainedTokenizerBase): The second tokenizer.
    docs (Sequence[Doc]): The documents.
    RETURNS (dict): Counts, and the shares of words and documents that changed, ready for JSON.
    """
    old, new = (_split(tokenizer, [doc.text for doc in docs]) for tokenizer in (before, after))
    n_words = sum(map(len, docs))
    words_changed = documents_changed = 0
    for doc, pieces, other in zip(docs, old, new, strict=True):
        only = set(pieces) ^ set(other)
        touched = {place for _, start, end in only for place in range(start, end)}
        words_changed += sum(not touched.isdisjoint(range(w.idx, w.idx + len(w))) for w in doc)
        documents_changed += bool(only)
    return {
        "words": n_words,
        "words_changed": words_changed / max(1, n_words),
        "documents": len(docs),
        "documents_changed": documents_changed / max(1, len(docs)),
        "pieces": pair(sum(map(len, old)), sum(map(len, new))),
        "unknown_pieces": pair(_count(old, before.unk_token), _count(new, after.unk_token)),
    }


def _count(pieces: list[list[tuple[str, int, int]]], wanted: str) -> int:
    return sum(piece == wanted for text in pieces for piece, _, _ in text)


def _split(tokenizer: Any, texts: list[str]) -> list[list[tuple[str, int, int]]]:
    """Pieces of texts, each with its first character and end (exclusive)."""
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        [(piece, *place) for piece, place in zip(found.tokens(number), places, strict=True)]
        for number, places in enumerate(found["offset_mapping"])
    ]
