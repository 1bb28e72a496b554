"""Mistakes of a trained pipeline on labelled documents: the most confident ones, and missed entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.sentences import Entity
from .evaluate import (
    Row,
    compare_entities,
    judged_entities,
    read_entities,
    read_gold,
    show_progress,
    without_labels,
)
from .metrics import EntityReport

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

CONTEXT = 20


@dataclass
class Mistake:
    """A wrong prediction, or a missed entity, with the words around it.

    doc: Number of the document, from 0. words: The entity with up to CONTEXT words on each side.
    entity: The wrong prediction or the missed entity. predicted, gold: All entities that lie within
    `words`. Entities are numbered by their places in `words`. confidence: In [0, 1]; None if missed.
    kind: The kind of error, in words.
    """

    doc: int
    words: list[str]
    entity: Entity
    predicted: list[Entity]
    gold: list[Entity]
    confidence: float | None
    kind: str


@dataclass
class Judgement:
    """Scores of a pipeline on labelled documents, and its mistakes.

    mistakes: The most confident wrong predictions. missed: Gold entities that no prediction overlaps,
    each text once, the most frequent ones first.
    """

    report: EntityReport
    mistakes: list[Mistake]
    missed: list[Mistake]
    n_docs: int
    n_words: int


def judge(nlp: Language, data: str | Path | Iterable[Doc], *, n_mistakes: int = 10) -> Judgement:
    """Score a pipeline on labelled documents and collect its mistakes.

    The pipeline gets fresh documents with the same words and spaces.

    nlp (Language): The pipeline, with a maral_ner.
    data (str | Path | Iterable[Doc]): Gold documents, or a .spacy file of them.
    n_mistakes (int): The largest number of mistakes, and of missed entities, to keep.
    RETURNS (Judgement): Scores and mistakes.
    RAISES (MaralError): If the documents cannot be read, or none has entity annotation.
    """
    docs = read_gold(data)
    gold = list(read_entities(docs))
    found = _predict(nlp, docs)
    judged = judged_entities(list(found), docs)
    report = compare_entities(nlp, gold, judged)
    right = set(gold)
    wrong = sorted(
        (-confidence, row)
        for row in judged
        if (confidence := found[row]) is not None and row not in right
    )
    mistakes = [
        _describe(docs[row[0]], row, -negative, list(found), gold, _kind(row, gold))
        for negative, row in wrong[:n_mistakes]
    ]
    missed = [
        _describe(docs[row[0]], row, None, list(found), gold, kind)
        for row, kind in _missed(docs, gold, judged)[:n_mistakes]
    ]
    return Judgement(report, mistakes, missed, len(docs), sum(map(len, docs)))


def _missed(
    docs: Sequence[Doc], gold: Sequence[Row], predicted: Sequence[Row]
) -> list[tuple[Row, str]]:
    """Find the gold entities that no prediction overlaps, each text once, with the kind of error."""
    covered = {(doc, word) for doc, first, last, _ in predicted for word in range(first, last + 1)}
    missed = [
        row
        for row in gold
        if not any((row[0], word) in covered for word in range(row[1], row[2] + 1))
    ]
    texts = [docs[doc][first : last + 1].text.casefold() for doc, first, last, _ in missed]
    counts, by_text = Counter(texts), dict(zip(reversed(texts), reversed(missed), strict=True))
    return [
        (by_text[text], "missed" if n == 1 else f"missed {n:,} times")
        for text, n in counts.most_common()
    ]


def _predict(nlp: Language, docs: Sequence[Doc]) -> dict[Row, float | None]:
    """Return the predicted entities with their confidences, None if unknown."""
    cfg = nlp.get_pipe("maral_ner").cfg  # type: ignore[attr-defined]
    wanted, cfg["scores"] = cfg["scores"], True
    labelled = nlp.pipe(without_labels(nlp, docs))
    try:
        return {
            (number, ent.start, ent.end - 1, ent.label_): ent._.maral_score
            for number, doc in enumerate(show_progress(labelled, len(docs)))
            for ent in doc.ents
        }
    finally:
        cfg["scores"] = wanted


def _describe(
    doc: Doc,
    wrong: Row,
    confidence: float | None,
    predicted: Sequence[Row],
    gold: Sequence[Row],
    kind: str,
) -> Mistake:
    number, first, last, label = wrong
    begin, stop = max(0, first - CONTEXT), min(len(doc), last + 1 + CONTEXT)

    def near(rows: Sequence[Row]) -> list[Entity]:
        return sorted(
            Entity(start - begin, end - begin, name)
            for where, start, end, name in rows
            if where == number and begin <= start and end < stop
        )

    return Mistake(
        doc=number,
        words=[token.text for token in doc[begin:stop]],
        entity=Entity(first - begin, last - begin, label),
        predicted=near(predicted),
        gold=near(gold),
        confidence=confidence,
        kind=kind,
    )


def _kind(wrong: Row, gold: Sequence[Row]) -> str:
    """Name the kind of error of a wrong prediction, as `metrics.EntityReport` defines it."""
    doc, start, end, label = wrong
    touched = [row for row in gold if row[0] == doc and row[1] <= end and row[2] >= start]
    if not touched:
        return "no entity here"
    if any(row[:3] == wrong[:3] for row in touched):
        return "wrong type"
    return "wrong ends" if any(row[3] == label for row in touched) else "wrong ends and type"
