"""The most confident mistakes of a trained pipeline on labelled documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.tags import Entity
from .evaluate import compare_entities, read_entities, read_gold, without_labels
from .metrics import EntityReport

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

CONTEXT = 20


@dataclass
class Mistake:
    """A wrong prediction with the words around it.

    doc: Number of the document, from 0. words: The prediction with up to CONTEXT words on each side.
    entity: The wrong prediction. predicted, gold: All entities that lie within `words`. Entities are
    numbered by their places in `words`. confidence: In [0, 1]. kind: The kind of error, in words.
    """

    doc: int
    words: list[str]
    entity: Entity
    predicted: list[Entity]
    gold: list[Entity]
    confidence: float
    kind: str


@dataclass
class Judgement:
    """Scores of a pipeline on labelled documents, and its most confident mistakes."""

    report: EntityReport
    mistakes: list[Mistake]
    n_docs: int
    n_words: int


def judge(nlp: Language, data: str | Path | Iterable[Doc], *, n_mistakes: int = 10) -> Judgement:
    """Score a pipeline on labelled documents and collect its most confident mistakes.

    The pipeline gets fresh documents with the same words and spaces.

    nlp (Language): The pipeline, with a maral_ner.
    data (str | Path | Iterable[Doc]): Gold documents, or a .spacy file of them.
    n_mistakes (int): The largest number of mistakes to keep.
    RETURNS (Judgement): Scores and mistakes.
    RAISES (MaralError): If the documents cannot be read, or one has no entity annotation.
    """
    docs = read_gold(data)
    gold = [_entities(doc) for doc in docs]
    found = list(_predict(nlp, docs))
    rows = (
        [(i, *entity) for i, row in enumerate(side) for entity in row] for side in (gold, found)
    )
    report = compare_entities(nlp, *rows)
    wrong = [
        (confidence, i, entity)
        for i, entities in enumerate(found)
        for entity, confidence in entities.items()
        if confidence is not None and entity not in gold[i]
    ]
    wrong.sort(key=lambda item: (-item[0], item[1], item[2]))
    mistakes = [
        _describe(docs[i], i, entity, confidence, list(found[i]), gold[i])
        for confidence, i, entity in wrong[:n_mistakes]
    ]
    return Judgement(report, mistakes, len(docs), sum(map(len, docs)))


def _entities(doc: Doc) -> list[Entity]:
    return [Entity(*row[1:]) for row in read_entities([doc])]


def _predict(nlp: Language, docs: Sequence[Doc]) -> Iterator[dict[Entity, float | None]]:
    """Yield the predicted entities of each document with their confidences, None if unknown."""
    cfg = nlp.get_pipe("maral_ner").cfg  # type: ignore[attr-defined]
    wanted, cfg["scores"] = cfg["scores"], True
    try:
        for doc in nlp.pipe(without_labels(nlp, docs)):
            yield {
                entity: ent._.maral_score
                for entity, ent in zip(_entities(doc), doc.ents, strict=True)
            }
    finally:
        cfg["scores"] = wanted


def _describe(
    doc: Doc,
    number: int,
    entity: Entity,
    confidence: float,
    predicted: Sequence[Entity],
    gold: Sequence[Entity],
) -> Mistake:
    begin, stop = max(0, entity.start - CONTEXT), min(len(doc), entity.end + 1 + CONTEXT)

    def near(entities: Sequence[Entity]) -> list[Entity]:
        inside = [e for e in entities if begin <= e.start and e.end < stop]
        return [Entity(e.start - begin, e.end - begin, e.label) for e in sorted(inside)]

    return Mistake(
        doc=number,
        words=[token.text for token in doc[begin:stop]],
        entity=near([entity])[0],
        predicted=near(predicted),
        gold=near(gold),
        confidence=confidence,
        kind=_kind(entity, gold),
    )


def _kind(entity: Entity, gold: Sequence[Entity]) -> str:
    """Name the kind of error of a wrong prediction, as `metrics.EntityReport` defines it."""
    touched = [e for e in gold if e.start <= entity.end and e.end >= entity.start]
    if not touched:
        return "no entity here"
    if any(e[:2] == entity[:2] for e in touched):
        return "wrong type"
    same = any(e.label == entity.label for e in touched)
    return "wrong ends" if same else "wrong ends and type"
