"""A pipeline compared with the one that it was made from: scores, pieces and speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc

from ...evaluation.evaluate import as_entities, read_entities, without_labels
from ...evaluation.metrics import EntityReport, score_entities
from ...model.architectures import get_encoder

BLOCK_WORDS = 3000
WARM_UP = 16

Row = tuple[int, int, int, str]


@dataclass
class Pieces:
    """How two tokenizers cut the same documents.

    words, documents: How many there are, and how many of them are cut otherwise by the second.
    pieces: Word pieces by the first and by the second. unknown: How many of these are unknown.
    """

    words: int = 0
    words_changed: int = 0
    documents: int = 0
    documents_changed: int = 0
    pieces: tuple[int, int] = (0, 0)
    unknown: tuple[int, int] = (0, 0)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): Counts and shares, ready for JSON."""
        return {
            "words": self.words,
            "words_changed": self.words_changed / max(1, self.words),
            "documents": self.documents,
            "documents_changed": self.documents_changed / max(1, self.documents),
            "pieces": _pair(self.pieces),
            "unknown_pieces": _pair(self.unknown),
        }


@dataclass
class Parity:
    """A pipeline before and after.

    reports: Scores on the same documents. agreement: Share of the entities of either that both
    find. pieces: How they cut these documents. words_per_second: Speed of either on them. speed_up:
    Median over blocks of documents, which the two read in turn, of the ratio of their times.
    """

    reports: tuple[EntityReport, EntityReport]
    agreement: float
    pieces: Pieces
    words_per_second: tuple[float, float]
    speed_up: float

    @property
    def f1_change(self) -> float:
        """RETURNS (float): F1 after minus F1 before, in points of 100."""
        return 100 * (self.reports[1].f1 - self.reports[0].f1)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): Fractions, ready for JSON."""
        before, after = self.reports
        types = {
            label: _pair((before.per_type[label].f1, after.per_type[label].f1))
            for label in before.labels
        }
        return {
            "precision": _pair((before.precision, after.precision)),
            "recall": _pair((before.recall, after.recall)),
            "f1": _pair((before.f1, after.f1)),
            "f1_by_type": types,
            "entities": before.micro.support,
            "agreement": self.agreement,
            "tokenisation": self.pieces.to_dict(),
            "words_per_second": _pair(self.words_per_second),
            "speed_up": self.speed_up,
        }


def _pair(values: tuple[Any, Any]) -> dict[str, Any]:
    return {"before": values[0], "after": values[1]}


def compare_pipelines(before: Language, after: Language, docs: Sequence[Doc]) -> Parity:
    """Let two pipelines label the same documents, block by block in turn.

    before (Language): The pipeline that the other was made from.
    after (Language): The other.
    docs (Sequence[Doc]): Gold documents.
    RETURNS (Parity): What differs.
    """
    both = (before, after)
    for nlp in both:
        list(nlp.pipe(without_labels(nlp, docs[:WARM_UP])))
    gold = list(read_entities(docs))
    found: tuple[list[Row], list[Row]] = ([], [])
    times: tuple[list[float], list[float]] = ([], [])
    done = 0
    for number, block in enumerate(blocks(docs)):
        # who is first changes, as what a machine does besides may favour one
        for side in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            rows = list(read_entities(both[side].pipe(without_labels(both[side], block))))
            times[side].append(time.perf_counter() - started)
            found[side].extend((doc + done, start, end, label) for doc, start, end, label in rows)
        done += len(block)
    labels = sorted({label for *_, label in [*gold, *found[0], *found[1]]})
    wanted = as_entities(gold, labels)
    reports = [score_entities(wanted, as_entities(rows, labels), labels) for rows in found]
    n_words = sum(map(len, docs))
    either = set(found[0]) | set(found[1])
    return Parity(
        (reports[0], reports[1]),
        len(set(found[0]) & set(found[1])) / len(either) if either else 1.0,
        compare_pieces(get_encoder(before)[1], get_encoder(after)[1], docs),
        (n_words / sum(times[0]), n_words / sum(times[1])),
        statistics.median(b / a for b, a in zip(*times, strict=True)),
    )


def blocks(docs: Sequence[Doc]) -> Iterator[list[Doc]]:
    """Documents in blocks of at least BLOCK_WORDS words, but for the last."""
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


def compare_pieces(before: Any, after: Any, docs: Sequence[Doc]) -> Pieces:
    """Cut documents by two fast tokenizers, and count the words that are cut in different ways.

    before (PreTrainedTokenizerBase): The one.
    after (PreTrainedTokenizerBase): The other.
    docs (Sequence[Doc]): The documents.
    RETURNS (Pieces): Counts.
    """
    result = Pieces()
    texts = [doc.text for doc in docs]
    cuts = [_cut(tokenizer, texts) for tokenizer in (before, after)]
    for doc, *pair in zip(docs, *cuts, strict=True):
        only = set(pair[0]) ^ set(pair[1])
        touched = {place for _, start, end in only for place in range(start, end)}
        changed = sum(not touched.isdisjoint(range(w.idx, w.idx + len(w))) for w in doc)
        result.words += len(doc)
        result.words_changed += changed
        result.documents += 1
        result.documents_changed += bool(only)
    result.pieces = (_count(cuts[0]), _count(cuts[1]))
    unknown = [
        sum(piece == tokenizer.unk_token for cut in cuts_of for piece, _, _ in cut)
        for tokenizer, cuts_of in zip((before, after), cuts, strict=True)
    ]
    result.unknown = (unknown[0], unknown[1])
    return result


def _count(cuts: Sequence[Sequence[Any]]) -> int:
    return sum(map(len, cuts))


def _cut(tokenizer: Any, texts: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """Pieces of texts, each with its first character and that after its last."""
    if not texts:
        return []
    found = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    return [
        [
            (piece, *place)
            for piece, place in zip(tokenizer.convert_ids_to_tokens(row), places, strict=True)
        ]
        for row, places in zip(found["input_ids"], found["offset_mapping"], strict=True)
    ]
