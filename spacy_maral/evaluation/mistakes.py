"""What a trained pipeline gets wrong on labelled documents, the most confident mistakes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .evaluate import as_entities, check_labelled, span_model_facts, without_labels
from .metrics import EntityReport, score_entities

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

SPANS_KEY = "maral_report"
CONTEXT = 20


class Entity(NamedTuple):
    """First and last word, and label."""

    start: int
    end: int
    label: str


@dataclass
class Mistake:
    """A predicted entity that is wrong, with the words around it.

    entity: The mistake; its words and those of the others are numbered within `words`.
    confidence: From 0 to 1. kind: What is wrong with it, in words.
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
    """How a pipeline does on labelled documents, and its most confident mistakes."""

    report: EntityReport
    mistakes: list[Mistake]
    n_docs: int
    n_words: int


def judge(nlp: Language, docs: Sequence[Doc], *, n_mistakes: int = 10, name: str = "") -> Judgement:
    """Let a pipeline predict the entities of labelled documents and look at what is wrong.

    The pipeline gets fresh documents with the same words and spaces.

    nlp (Language): The pipeline, with a maral_ner.
    docs (Sequence[Doc]): Gold documents.
    n_mistakes (int): Most mistakes that are kept.
    name (str): What the documents are, for messages.
    RETURNS (Judgement): Scores and mistakes.
    RAISES (MaralError): If there are no gold entities to compare with.
    """
    check_labelled(docs, name)
    max_width, known = span_model_facts(nlp)
    gold = [[Entity(e.start, e.end - 1, e.label_) for e in doc.ents] for doc in docs]
    predicted = list(_predict(nlp, docs))
    found = [list(entities) for entities in predicted]
    labels = sorted(known | {e.label for side in (gold, found) for row in side for e in row})
    wanted, given = (
        as_entities([(i, *entity) for i, row in enumerate(side) for entity in row], labels)
        for side in (gold, found)
    )
    report = score_entities(wanted, given, labels, max_width=max_width)
    wrong = [
        (confidence, i, entity)
        for i, entities in enumerate(predicted)
        for entity, confidence in entities.items()
        if confidence is not None and entity not in gold[i]
    ]
    wrong.sort(key=lambda item: (-item[0], item[1], item[2]))
    mistakes = [
        _describe(docs[i], i, entity, confidence, found[i], gold[i])
        for confidence, i, entity in wrong[:n_mistakes]
    ]
    return Judgement(report, mistakes, len(docs), sum(map(len, docs)))


def _predict(nlp: Language, docs: Sequence[Doc]) -> Iterator[dict[Entity, float | None]]:
    """Entities of each document with their confidences, None where there is none."""
    pipe = nlp.get_pipe("maral_ner")
    options = {"spans_key": SPANS_KEY, "spans_threshold": None}
    before = {name: pipe.cfg[name] for name in options}  # type: ignore[attr-defined]
    pipe.cfg.update(options)  # type: ignore[attr-defined]
    try:
        for doc in nlp.pipe(without_labels(nlp, docs)):
            group = doc.spans[SPANS_KEY]
            scores = [float(score) for score in group.attrs["scores"]]
            known = {
                Entity(span.start, span.end - 1, span.label_): score
                for span, score in zip(group, scores, strict=True)
            }
            entities = [Entity(e.start, e.end - 1, e.label_) for e in doc.ents]
            yield {entity: known.get(entity) for entity in entities}
    finally:
        pipe.cfg.update(before)  # type: ignore[attr-defined]


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
        entity=Entity(entity.start - begin, entity.end - begin, entity.label),
        predicted=near(predicted),
        gold=near(gold),
        confidence=confidence,
        kind=_kind(entity, gold),
    )


def _kind(entity: Entity, gold: Sequence[Entity]) -> str:
    """What is wrong with a predicted entity, as `metrics.EntityReport` counts it."""
    touched = [e for e in gold if e.start <= entity.end and e.end >= entity.start]
    if not touched:
        return "no entity here"
    if any(e[:2] == entity[:2] for e in touched):
        return "wrong type"
    same = any(e.label == entity.label for e in touched)
    return "wrong ends" if same else "wrong ends and type"
