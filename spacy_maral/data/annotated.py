"""Texts with entities by character offsets, and the words that these entities are made of."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import Errors, MaralError
from .labels import OUTSIDE_TAG
from .sentences import REPAIR_LABEL, Entity, ReadSettings, Sentence, find_words, spaces_between
from .tokens import Splitter, Words

REPAIR_BLANKS = "blanks at the ends of an entity left out of it"
REPAIR_TWICE = "entity that is listed twice, kept once"
REPAIR_UTF16 = "offsets that count UTF-16 units, brought to characters"
WITHOUT_WORDS = "row without words left out"
OTHER_ENTITIES = "text of an earlier row with other entities, both kept"
MISALIGNED = {
    "drop": "entity that does not begin and end where words do, left out",
    "expand": "entity that does not begin and end where words do, expanded to whole words",
}


class ScoredEntity(NamedTuple):
    """An entity: first character, end (exclusive), label, and score if it has one."""

    start: int
    end: int
    label: str
    score: float | None = None


@dataclass
class AnnotatedText:
    """A text with its entities.

    text (str): The text.
    entities (list[ScoredEntity]): Its entities, without white space at their ends.
    place (str): Its place as file:line, for messages.
    offsets (list[tuple]): First character and end (exclusive) of its own words, if it has any.
    annotator (str): Who annotated it, if the row says so.
    """

    text: str
    entities: list[ScoredEntity]
    place: str
    offsets: list[tuple[int, int]] = field(default_factory=list)
    annotator: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it has neither words nor entities."""
        return not (self.text.strip() or self.offsets or self.entities)


class KnownTexts:
    """The texts of a file, to find those that come again with other entities."""

    def __init__(self) -> None:
        self.first: dict[int, tuple[int, str, str]] = {}

    def add(self, annotated: AnnotatedText, reading: ReadSettings) -> None:
        """Compare a text with the first that has its characters.

        Of two annotators it is one text, which may be annotated in one way. Otherwise it may be two
        sentences, or one that was corrected: both are kept and counted.

        RAISES (MaralError): If two annotators differ.
        """
        who, place = annotated.annotator, annotated.place
        entities = hash(frozenset(entity[:3] for entity in annotated.entities))
        known = (entities, who, place if who else "")
        before, by, where = self.first.setdefault(hash(annotated.text), known)
        if before == entities:
            return
        if by and who and by != who:
            raise MaralError(Errors.M163.format(place=f"{where} and {place}", n=2))
        reading.report.repair(OTHER_ENTITIES, place, short(annotated.text))


def to_sentence(annotated: AnnotatedText, splitter: Splitter, reading: ReadSettings) -> Sentence:
    """Find the words of a text and of its entities.

    annotated (AnnotatedText): The text.
    splitter (Splitter): Tokenizes a text without words of its own; must not split sentences.
    reading (ReadSettings): How it is read.
    RETURNS (Sentence): Words and entities.
    RAISES (MaralError): If the text has no words.
    """
    text, place = annotated.text, annotated.place
    offsets = annotated.offsets
    words = words_of(text, offsets) if offsets else next(splitter(text), None)
    if words is None:
        raise MaralError(Errors.M142.format(place=place, found="white space"))
    offsets = offsets or word_offsets(words)
    entities: list[Entity] = []
    # not by score: some have none
    for entity in sorted(annotated.entities, key=lambda one: one[:3]):
        found = _align(entity, annotated, offsets, reading)
        if found is None or (entities and found == entities[-1]):
            if found is not None:
                reading.report.repair(REPAIR_TWICE, place, text[entity.start : entity.end])
            continue
        if entities and found.start <= entities[-1].end:
            before = text[offsets[entities[-1].start][0] : offsets[entities[-1].end][1]]
            names = {"found": text[entity.start : entity.end], "before": before}
            reading.report.problem(MaralError(Errors.M148.format(place=place, **names)))
            continue
        entities.append(found)
    entities = reading.map_labels(entities, [place] * len(words.words))
    return Sentence(words.words, entities, words.spaces, labelled=reading.labelled)


def _align(
    entity: ScoredEntity, annotated: AnnotatedText, offsets: Sequence[tuple[int, int]],
    reading: ReadSettings,
) -> Entity | None:  # fmt: skip
    """The words of an entity; None for one that is left out, or a problem."""
    text, place = annotated.text, annotated.place
    # the first word that ends after the entity's start, the last that starts before its end
    first = bisect_right(offsets, entity.start, key=lambda word: word[1])
    last = bisect_left(offsets, entity.end, key=lambda word: word[0]) - 1
    if first <= last and (offsets[first][0], offsets[last][1]) == (entity.start, entity.end):
        return Entity(first, last, entity.label)
    found = text[entity.start : entity.end]
    if reading.misaligned == "refuse":
        near = _words_near(text, offsets, first, last)
        where = {"start": entity.start, "end": entity.end, "words": near}
        error = Errors.M147.format(place=place, found=found, **where)
        reading.report.problem(MaralError(error))
        return None
    kind = reading.misaligned if first <= last else "drop"
    reading.report.repair(MISALIGNED[kind], place, found)
    return Entity(first, last, entity.label) if kind == "expand" else None


def _words_near(text: str, offsets: Sequence[tuple[int, int]], first: int, last: int) -> str:
    """Some words and their neighbours, in brackets, and where the words begin and end."""
    if first > last:
        return "no word there"
    shown = " ".join(f"[{text[start:end]}]" for start, end in offsets[max(0, first - 1) : last + 2])
    return f"{shown}; whole words are {offsets[first][0]} to {offsets[last][1]}"


def word_offsets(words: Words) -> list[tuple[int, int]]:
    """First character and end (exclusive) of each word in its text."""
    offsets, place = [], words.start
    for word, space in zip(words.words, words.spaces, strict=True):
        offsets.append((place, place + len(word)))
        place += len(word) + space
    return offsets


def words_of(text: str, offsets: Sequence[tuple[int, int]]) -> Words:
    """Words by their offsets, with a space between words that do not touch."""
    words = [text[start:end] for start, end in offsets]
    return Words(offsets[0][0], words, spaces_between(offsets, text))


def read_entity(item: Any, text: str, place: str, reading: ReadSettings) -> ScoredEntity:
    """Read an entity: a list, or an object with keys of spaCy, doccano or Label Studio.

    item (Any): The entity.
    text (str): The text that it is in.
    place (str): Its place as file:line, for messages.
    reading (ReadSettings): How it is read.
    RETURNS (ScoredEntity): The entity, without white space at its ends.
    RAISES (MaralError): If it is no entity of this text.
    """
    given = item if isinstance(item, dict) else {}
    if given:
        label = given.get("label")
        if label is None and isinstance(given.get("labels"), list) and len(given["labels"]) == 1:
            label = given["labels"][0]
        item = [given.get("start", given.get("start_offset")), given.get("end", given.get("end_offset")),
                label, given.get("score")]  # fmt: skip
    is_list = isinstance(item, list) and len(item) in (3, 4)
    values: list[Any] = [*item, None] if is_list else [None] * 4
    start, end, label, score = values[:4]
    if problem := _problem(is_list, start, end, label, score):
        raise MaralError(Errors.M145.format(place=place, found=short(item), problem=problem))
    start, end = _in_characters(start, end, given.get("text"), text, place, reading)
    if label != label.strip():
        reading.report.repair(REPAIR_LABEL, place, repr(label))
    found = text[start:end]
    first = start + len(found) - len(found.lstrip())
    last = first + len(found.strip())
    if (first, last) != (start, end):
        reading.report.repair(REPAIR_BLANKS, place, repr(found))
    return ScoredEntity(first, last, label.strip(), None if score is None else float(score))


def _problem(is_list: bool, start: Any, end: Any, label: Any, score: Any) -> str:
    """What is wrong with an entity, or ""."""
    if not is_list:
        return "neither a list of three or four nor an object"
    if type(start) is not int or type(end) is not int:
        return "start and end are whole numbers"
    if not isinstance(label, str) or not label.strip() or label.strip() == OUTSIDE_TAG:
        return "the label is a text other than O"
    if score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
        return "the score is a number from 0 to 1"
    return ""


def _in_characters(
    start: int, end: int, found: Any, text: str, place: str, reading: ReadSettings
) -> tuple[int, int]:
    """Offsets in characters: tools in JavaScript count UTF-16 units, which the entity's text shows."""
    first, last = start, end
    if isinstance(found, str) and text[start:end].split() != found.split():
        units = text.encode("utf-16-le")
        first = len(units[: 2 * max(start, 0)].decode("utf-16-le", errors="ignore"))
        last = len(units[: 2 * max(end, 0)].decode("utf-16-le", errors="ignore"))
        if text[first:last] != found:
            item, problem = short([start, end, found]), f"the text has {text[start:end]!r} there"
            raise MaralError(Errors.M145.format(place=place, found=item, problem=problem))
        reading.report.repair(REPAIR_UTF16, place, found)
    if not 0 <= first < last <= len(text) or not text[first:last].strip():
        problem = f"there is no word, the text has {len(text)} characters"
        item = short([start, end])
        raise MaralError(Errors.M145.format(place=place, found=item, problem=problem))
    return first, last


def read_tokens(tokens: Any, text: str, place: str) -> list[tuple[int, int]]:
    """Find the words that a text brings with it.

    tokens (Any): The words, or objects with their "start" and "end" and, optionally, their "text".
    text (str): The text.
    place (str): Its place as file:line, for messages.
    RETURNS (list[tuple]): First character and end (exclusive) of each.
    RAISES (MaralError): If they are not the words of the text.
    """
    listed: list[Any] = tokens if isinstance(tokens, list) else [None]
    if listed and all(isinstance(token, str) for token in listed):
        if (found := find_words(listed, text)) is not None:
            return found
        problem = "the text is not made of these words"
        raise MaralError(Errors.M146.format(place=place, problem=problem))
    offsets: list[tuple[int, int]] = []
    for number, token in enumerate(listed):
        keys = token if isinstance(token, dict) else {}
        start, end = keys.get("start"), keys.get("end")
        after = offsets[-1][1] if offsets else 0
        if type(start) is not int or type(end) is not int or not after <= start < end <= len(text):
            problem = f"token {number} is {short(token)}"
        elif text[after:start].strip():
            problem = f"{text[after:start].strip()!r} before token {number} is in none of them"
        elif text[start:end] != keys.get("text", text[start:end]):
            problem = f"token {number} is {keys['text']!r}, the text has {text[start:end]!r} there"
        else:
            offsets.append((start, end))
            continue
        raise MaralError(Errors.M146.format(place=place, problem=problem))
    if not offsets:
        raise MaralError(Errors.M146.format(place=place, problem="there are none"))
    if rest := text[offsets[-1][1] :].strip():
        problem = f"{rest!r} after the last one is in none of them"
        raise MaralError(Errors.M146.format(place=place, problem=problem))
    return offsets


def short(value: Any) -> str:
    """A value as JSON, cut to 80 characters."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
