"""Pseudo-labels from any annotator: the entities of a spaCy pipeline or of a file, or a name memory."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup

from ..data.annotated import ScoredEntity
from ..data.docs import read_docs
from ..data.formats.registry import read_texts
from ..data.labels import LabelMap
from ..data.raw import describe_counts, is_docbin
from ..data.tokens import Splitter
from ..errors import Errors, MaralError, Warnings
from ..evaluation.evaluate import without_labels
from ..model.name_files import names_from_bytes
from ..model.names import span_keys
from ..model.predictions import checked_score, entity_score
from ..model.spans import OUTSIDE, Candidates, overlap_losers, touching
from ..model.visible import VisibleWords
from ..training.corpus import digest_docs
from .pseudo_labels import PseudoLabels, resolve_overlaps

logger = logging.getLogger("spacy")

MAPPED_OUT = "left out by the label map"


class Mention(NamedTuple):
    """An entity that an annotator found: document, first word, last word (inclusive), label, score."""

    doc: int
    start: int
    end: int
    label: str
    score: float | None = None


@dataclass(frozen=True)
class Reading:
    """Settings that turn the entities of an annotator into labels of candidate spans.

    labels: Entity labels of the model; class i + 1 is labels[i]. max_width: Longest candidate, in
    words. confidence: Probability of an entity without a score of its own, and of outside.
    label_map: New names for some of the annotator's labels. score_attr: Extension attribute that
    holds the score of an entity; None for the first of SCORES that is set. spans_key: Read
    doc.spans[spans_key] and its scores in place of doc.ents; None to read doc.ents. langs:
    Languages of silver text to be split into sentences. partial: Whether the annotator names some
    entities only, so that it says nothing about the words of no entity. may_be_empty: Whether the
    documents are few, so that to find no entity in them is an answer.
    """

    labels: list[str]
    max_width: int
    confidence: float = 0.9
    label_map: LabelMap | None = None
    score_attr: str | None = None
    spans_key: str | None = None
    langs: tuple[str, ...] = ("xx",)
    partial: bool = False
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence <= 1:
            raise MaralError(Errors.M342.format(value=self.confidence))


def find_mentions(nlp: Language, docs: Sequence[Doc], reading: Reading, name: str) -> list[Mention]:
    """Let any pipeline find entities in tokenised documents, whose own entities are ignored.

    RAISES (MaralError): If a score is not a number from 0 to 1.
    """
    return [
        Mention(number, span.start, span.end - 1, span.label_, score)
        for number, doc in enumerate(nlp.pipe(without_labels(nlp, docs)))
        for span, score in scored_spans(doc, reading, name)
    ]


def read_silver(path: str | Path, docs: Sequence[Doc], reading: Reading) -> PseudoLabels:
    """Read the entities that a file holds for the text of documents.

    The file's texts are matched with the documents by their characters, so that the tokens may
    differ. A text that is not a whole document is split into sentences, as in `read_raw`. A partial
    annotator says nothing about the documents that the file lacks; a warning counts them.

    path (str | Path): Documents with entities (.spacy) or rows of texts (see `read_texts`).
    docs (Sequence[Doc]): The documents to label.
    reading (Reading): How entities become labels.
    RETURNS (PseudoLabels): Labels of the candidate spans.
    RAISES (MaralError): If the file is not in its format, or lacks a document and is not partial.
    """
    wanted: dict[str, list[int]] = {}
    for number, doc in enumerate(docs):
        if text := doc.text.strip():
            wanted.setdefault(text, []).append(number)
    splitters = [Splitter(lang) for lang in dict.fromkeys(reading.langs)]
    counts: Counter[str] = Counter()
    mentions: list[Mention] = []
    for text, entities in silver_texts(path, reading):
        for start, end in pieces(text, wanted, splitters):
            # a document gets its entities from the first text in which it is found
            for number in wanted.pop(text[start:end], ()):
                inside = [e for e in entities if e.start < end and e.end > start]
                mentions += place(inside, number, docs[number], start, end, counts)
    missing = sorted(number for numbers in wanted.values() for number in numbers)
    if missing:
        found = {"n": len(missing), "n_docs": len(docs), "path": path}
        if not reading.partial:
            raise MaralError(Errors.M154.format(**found, text=docs[missing[0]].text[:80]))
        logger.warning(Warnings.W610.format(**found))
    return as_labels(mentions, docs, reading, str(path), counts)


def read_names(path: str | Path, docs: Sequence[Doc], reading: Reading) -> PseudoLabels:
    """Let a saved name memory label the strings that it holds, each by the mean of its mentions.

    path (str | Path): The memory, a file in the folder of a component.
    docs (Sequence[Doc]): The documents to label.
    reading (Reading): The labels, which have to be those of the memory, and the longest span.
    RETURNS (PseudoLabels): Labels of the candidate spans, missing where the memory lacks the string.
    RAISES (MaralError): If the file is damaged, or has other labels.
    """
    memory = names_from_bytes(Path(path).read_bytes(), reading.labels)
    visible = VisibleWords.of(docs)
    candidates = visible.candidates(reading.max_width)
    rows, places = memory.find(span_keys(visible.texts, candidates))
    table = np.tile(np.eye(1, len(reading.labels) + 1, OUTSIDE), (len(candidates), 1))
    sums = memory.sums[places].astype(np.float64)
    table[rows] = sums / sums.sum(1, keepdims=True)
    resolve_overlaps(table, candidates.words)
    known = np.zeros(len(candidates), dtype=bool)
    known[rows] = True
    return PseudoLabels(table, reading.labels, reading.max_width, digest_docs(docs), known=known)


def silver_texts(path: str | Path, reading: Reading) -> Iterator[tuple[str, list[ScoredEntity]]]:
    """Yield the texts of a file of silver entities, with the entities as character offsets."""
    if not is_docbin(path):
        for annotated in read_texts(path):
            yield annotated.text, annotated.entities
        return
    for doc in read_docs(path):
        if reading.spans_key is not None or doc.has_annotation("ENT_IOB"):
            found = scored_spans(doc, reading, str(path))
            yield (
                doc.text,
                [ScoredEntity(s.start_char, s.end_char, s.label_, score) for s, score in found],
            )


def pieces(
    text: str, wanted: dict[str, list[int]], splitters: Sequence[Splitter]
) -> Iterator[tuple[int, int]]:
    """Yield the first character and end of the whole text, if wanted, or else of each sentence."""
    start = len(text) - len(text.lstrip())
    whole = text.strip()
    if whole in wanted:
        yield start, start + len(whole)
        return
    for splitter in splitters:
        for words in splitter(text):
            length = sum(map(len, words.words)) + sum(words.spaces)
            yield words.start, words.start + length


def place(
    entities: Iterable[ScoredEntity],
    number: int,
    doc: Doc,
    start: int,
    end: int,
    counts: Counter[str],
) -> Iterator[Mention]:
    """Convert the entities of a text to mentions in the document found at [start, end)."""
    shift = len(doc.text) - len(doc.text.lstrip()) - start
    for entity in entities:
        if entity.start < start or entity.end > end:
            counts["reaches beyond a document"] += 1
            continue
        span = doc.char_span(entity.start + shift, entity.end + shift)
        if span is None:
            counts["does not begin and end where words do"] += 1
            continue
        yield Mention(number, span.start, span.end - 1, entity.label, entity.score)


def scored_spans(doc: Doc, reading: Reading, name: str) -> Iterator[tuple[Span, float | None]]:
    """Yield the entities of a document and their scores; None for an entity without a score."""
    if reading.spans_key is None:
        for ent in doc.ents:
            yield ent, entity_score(ent, reading.score_attr)
        return
    if reading.spans_key not in doc.spans:
        raise MaralError(Errors.M344.format(annotator=name, key=reading.spans_key))
    group: SpanGroup = doc.spans[reading.spans_key]
    scores = group.attrs.get("scores")
    if scores is None or len(scores) != len(group):
        scores = [None] * len(group)
    where = f"doc.spans['{reading.spans_key}'].attrs['scores']"
    for span, score in zip(group, scores, strict=True):
        yield span, None if score is None else checked_score(span, score, where)


def as_labels(
    mentions: Sequence[Mention],
    docs: Sequence[Doc],
    reading: Reading,
    name: str,
    counts: Counter[str],
) -> PseudoLabels:
    """Turn entities into class probabilities of all candidate spans.

    The class of an entity gets its score (or the reading's confidence), and outside gets the rest.
    A candidate that is not an entity is outside with the reading's confidence; the entity classes
    share the rest. If the annotator is partial, the labels of candidates that share no word with an
    entity are missing. A warning reports the entities that cannot become labels, by reason.

    name (str): Name of the annotator in messages.
    counts (Counter): Entities lost so far by reason; updated in place.
    RAISES (MaralError): If no entity is left, unless the reading allows it and there was none, or none
        but those that the label map leaves out and those that no label can have.
    """
    n_all = len(mentions) + counts.total()
    visible = VisibleWords.of(docs)
    shown = visible_mentions(mentions, visible, counts)
    usable = [m for m in (read_label(m, reading, counts) for m in shown) if m is not None]
    n_wrong = counts.total() - counts[MAPPED_OUT] - counts[too_wide(reading)]
    if not usable and (n_wrong or not reading.may_be_empty):
        reasons = describe_counts(dict(counts)) or "it found none at all"
        labels = ", ".join(reading.labels)
        raise MaralError(Errors.M341.format(annotator=name, labels=labels, counts=reasons))
    candidates = visible.candidates(reading.max_width)
    table, named = write_table(usable, candidates, reading, counts)
    lost = {reason: n for reason, n in counts.most_common() if n}
    if lost:
        found = {"n": sum(lost.values()), "n_all": n_all, "counts": describe_counts(lost)}
        words = "missing" if reading.partial else "outside"
        logger.warning(Warnings.W335.format(annotator=name, **found, words=words))
    known = touching(*candidates.words, named) if reading.partial else None
    return PseudoLabels(table, reading.labels, reading.max_width, digest_docs(docs), known=known)


def visible_mentions(
    mentions: Sequence[Mention], visible: VisibleWords, counts: Counter[str]
) -> list[Mention]:
    """Convert entities to the numbers of visible words; count those that have none."""
    owner, start, end = np.array([m[:3] for m in mentions], dtype=np.int64).reshape(-1, 3).T
    start, end = visible.renumber(owner, start, end)
    if n_blank := int((end < start).sum()):
        counts["only white space"] = n_blank
    return [
        mention._replace(start=i, end=j)
        for mention, i, j in zip(mentions, start.tolist(), end.tolist(), strict=True)
        if j >= i
    ]


def write_table(
    mentions: list[Mention], candidates: Candidates, reading: Reading, counts: Counter[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Class probabilities of the candidates of documents, and the candidates that are entities.

    RETURNS (tuple): Shape (n_spans, K), see `as_labels`, and shape (n,).
    """
    n_labels = len(reading.labels)
    nothing = np.full(n_labels + 1, (1 - reading.confidence) / n_labels, dtype=np.float32)
    nothing[OUTSIDE] = reading.confidence
    table = np.tile(nothing, (len(candidates), 1))
    owner, start, end = np.array([m[:3] for m in mentions], dtype=np.int64).reshape(-1, 3).T
    classes = np.array([reading.labels.index(m.label) + 1 for m in mentions], dtype=np.int64)
    scores = np.array([mention.score for mention in mentions], dtype=np.float32)
    rows = candidates.find(owner, start, end)
    # of several labels of a span, keep the one with the highest score
    order = np.lexsort((-scores, rows))
    kept = order[np.unique(rows[order], return_index=True)[1]]
    counts["another label of the same span is surer"] += len(rows) - len(kept)
    rows, classes, scores = rows[kept], classes[kept], scores[kept]
    table[rows] = 0
    table[rows, OUTSIDE] = 1 - scores
    table[rows, classes] = scores
    counts["score of 0.5 or less"] += int((scores <= 0.5).sum())
    losers = overlap_losers(table, *candidates.words)
    table[losers] = nothing
    counts["overlaps a surer one"] += len(losers)
    return table, np.setdiff1d(rows, losers)


def too_wide(reading: Reading) -> str:
    """RETURNS (str): Why an entity that is longer than the longest candidate is lost."""
    return f"more than {reading.max_width} words"


def read_label(mention: Mention, reading: Reading, counts: Counter[str]) -> Mention | None:
    """Apply the reading to an entity's label and score; count it and return None if it is lost."""
    label: str | None = mention.label
    if reading.label_map is not None:
        label = reading.label_map.get(mention.label, mention.label)
    if label is None:
        counts[MAPPED_OUT] += 1
    elif label not in reading.labels:
        counts[f"label {label}"] += 1
    elif mention.end - mention.start >= reading.max_width:
        counts[too_wide(reading)] += 1
    else:
        score = reading.confidence if mention.score is None else mention.score
        return mention._replace(label=label, score=score)
    return None
