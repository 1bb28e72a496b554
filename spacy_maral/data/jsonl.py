"""Read JSON Lines: texts, and entities in them by character offsets."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Errors, MaralError
from .formats import Sentence, map_labels
from .labels import OUTSIDE_TAG, LabelMap
from .tags import Entity
from .text import read_lines, unique_keys
from .tokens import Splitter, Words

ENTITY_KEYS = ("entities", "ents", "spans", "label")
ACCEPT = "accept"
REPAIR_BLANKS = "blanks at the ends of an entity left out of it"
LEFT_OUT = "row without the answer 'accept' left out"


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
    answer (str | None): The answer of a reviewer; None without review.
    trimmed (int): Entities that had white space at their ends.
    """

    text: str
    entities: list[ScoredEntity]
    place: str
    offsets: list[tuple[int, int]] = field(default_factory=list)
    answer: str | None = None
    trimmed: int = 0


def read_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the objects of a .jsonl file; skip blank lines.

    path (str | Path): The file, gzipped if its name ends in .gz.
    YIELDS (tuple): Place as file:line, and object.
    RAISES (MaralError): If a line is no JSON object.
    """
    for number, line in read_lines(path):
        if not line:
            continue
        place = f"{path}:{number}"
        yield place, parse_row(line, place)


def parse_row(line: str, place: str) -> dict[str, Any]:
    """Read a line of JSON.

    line (str): The line.
    place (str): Its place as file:line, for messages.
    RETURNS (dict): Its object.
    RAISES (MaralError): If it is no JSON object.
    """
    try:
        row = json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise MaralError(Errors.M140.format(place=place, problem=error)) from error
    if not isinstance(row, dict):
        raise MaralError(Errors.M141.format(place=place, found=_short(row)))
    return row


def row_text(row: dict[str, Any], place: str, key: str = "text") -> str:
    """The text of an object.

    RAISES (MaralError): If the key is missing, or its value is no text.
    """
    text = row.get(key)
    if not isinstance(text, str):
        found = _short(text) if key in row else f"the keys {', '.join(row)}; no '{key}'"
        raise MaralError(Errors.M142.format(place=place, found=found))
    for char in text:
        if char == "\0" or unicodedata.category(char) == "Cs":
            found = f"U+{ord(char):04X} at position {text.index(char) + 1}"
            raise MaralError(Errors.M143.format(place=place, found=found))
    return text


def read_annotated(path: str | Path) -> Iterator[AnnotatedText]:
    """Read texts with entities: spaCy's, Prodigy's or doccano's JSON Lines.

    Each line has a "text" and, under "entities", "ents", "spans" or "label", a list of
    [start, end, label], [start, end, label, score] or objects with these keys. "tokens", as in
    Prodigy, hold the words of the text.

    path (str | Path): The file, gzipped if its name ends in .gz.
    YIELDS (AnnotatedText): The texts.
    RAISES (MaralError): At the first line that breaks the format; names file and line.
    """
    empty = True
    for place, row in read_rows(path):
        empty = False
        text = row_text(row, place)
        found = [_entity(item, text, place) for item in _entity_list(row, place)]
        trimmed = [_trim(entity, text) for entity in found]
        annotated = AnnotatedText(text, trimmed, place, answer=row.get("answer"))
        annotated.trimmed = sum(a != b for a, b in zip(found, trimmed, strict=True))
        if row.get("tokens") is not None:
            annotated.offsets = _tokens(row["tokens"], text, place)
        yield annotated
    if empty:
        raise MaralError(Errors.M104.format(path=path))


def read_jsonl(
    path: str | Path,
    lang: str,
    *,
    label_map: LabelMap | None = None,
    reviewed: bool = False,
    segmenter: str | None = None,
) -> Iterator[Sentence]:
    """Read labelled texts, one sentence per line.

    Rows with an "answer", as in Prodigy, are gold only if it is "accept".

    path (str | Path): See `read_annotated`.
    lang (str): Language code, for the tokenizer of texts without tokens.
    label_map (LabelMap | None): New label of each label; None for no map.
    reviewed (bool): Whether to leave rows without an answer out too.
    segmenter (str | None): How Chinese words are found in texts without tokens.
    YIELDS (Sentence): Words and entities of the texts.
    RAISES (MaralError): If an entity does not begin and end where words do, or two overlap.
    """
    splitter = Splitter(lang, split=False, segmenter=segmenter)
    left_out: Counter[str] = Counter()
    before: Sentence | None = None
    for annotated in read_annotated(path):
        if annotated.answer != ACCEPT and (reviewed or annotated.answer is not None):
            left_out[LEFT_OUT] += 1
            continue
        sentence = to_sentence(annotated, splitter)
        map_labels(sentence, label_map, [annotated.place] * len(sentence.words))
        if before is not None:
            yield before
        before = sentence
    if before is None:
        found = f"{left_out[LEFT_OUT]} rows with another answer or none"
        raise MaralError(Errors.M155.format(path=path, found=found))
    before.repairs.update(left_out)
    yield before


def to_sentence(annotated: AnnotatedText, splitter: Splitter) -> Sentence:
    """Find the words of a text and of its entities.

    annotated (AnnotatedText): The text.
    splitter (Splitter): Tokenizes a text without words of its own; must not split sentences.
    RETURNS (Sentence): Words and entities.
    RAISES (MaralError): If an entity does not begin and end where words do, or two overlap.
    """
    text, place = annotated.text, annotated.place
    offsets = annotated.offsets
    words = words_of(text, offsets) if offsets else next(splitter(text), None)
    if words is None:
        raise MaralError(Errors.M142.format(place=place, found="white space"))
    offsets = offsets or word_offsets(words)
    starts = {start: i for i, (start, _) in enumerate(offsets)}
    ends = {end: i for i, (_, end) in enumerate(offsets)}
    entities: list[Entity] = []
    for entity in sorted(annotated.entities):
        first, last = starts.get(entity.start), ends.get(entity.end)
        found = text[entity.start : entity.end]
        if first is None or last is None:
            near = _words_near(text, offsets, entity)
            where = {"start": entity.start, "end": entity.end, "words": near}
            raise MaralError(Errors.M147.format(place=place, found=found, **where))
        if entities and first <= entities[-1].end:
            before = text[offsets[entities[-1].start][0] : offsets[entities[-1].end][1]]
            raise MaralError(Errors.M148.format(place=place, found=found, before=before))
        entities.append(Entity(first, last, entity.label))
    repairs = Counter({REPAIR_BLANKS: annotated.trimmed}) if annotated.trimmed else Counter()
    return Sentence(words.words, entities, words.spaces, repairs=repairs)


def word_offsets(words: Words) -> list[tuple[int, int]]:
    """First character and end (exclusive) of each word in its text."""
    offsets, place = [], words.start
    for word, space in zip(words.words, words.spaces, strict=True):
        offsets.append((place, place + len(word)))
        place += len(word) + space
    return offsets


def words_of(text: str, offsets: Sequence[tuple[int, int]]) -> Words:
    """Words by their offsets, with a space between words that do not touch."""
    following = [start for start, _ in offsets[1:]]
    spaces = [end < start for (_, end), start in zip(offsets[:-1], following, strict=True)]
    return Words(offsets[0][0], [text[start:end] for start, end in offsets], [*spaces, False])


def _entity_list(row: dict[str, Any], place: str) -> list[Any]:
    for key in ENTITY_KEYS:
        if isinstance(row.get(key), list):
            return row[key]
    raise MaralError(Errors.M144.format(place=place, known=", ".join(ENTITY_KEYS)))


def _entity(item: Any, text: str, place: str) -> ScoredEntity:
    """Read an entity, a list or an object."""
    if isinstance(item, dict):
        item = [item.get(key) for key in ("start", "end", "label", "score")]
    is_list, problem = isinstance(item, list) and len(item) in (3, 4), ""
    values: list[Any] = [*item, None] if is_list else [None] * 4
    start, end, label, score = values[:4]
    if not is_list:
        problem = "neither a list of three or four nor an object"
    elif type(start) is not int or type(end) is not int:
        problem = "start and end are whole numbers"
    elif not 0 <= start < end <= len(text) or not text[start:end].strip():
        problem = f"there is no word, the text has {len(text)} characters"
    elif not isinstance(label, str) or not label.strip() or label == OUTSIDE_TAG:
        problem = "the label is a text other than O"
    elif score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
        problem = "the score is a number from 0 to 1"
    if problem:
        raise MaralError(Errors.M145.format(place=place, found=_short(item), problem=problem))
    return ScoredEntity(start, end, label, None if score is None else float(score))


def _trim(entity: ScoredEntity, text: str) -> ScoredEntity:
    """An entity without the white space at its ends."""
    found = text[entity.start : entity.end]
    start = entity.start + len(found) - len(found.lstrip())
    return entity._replace(start=start, end=start + len(found.strip()))


def _tokens(tokens: Any, text: str, place: str) -> list[tuple[int, int]]:
    """First character and end (exclusive) of the words that a text brings with it."""
    offsets: list[tuple[int, int]] = []
    for number, token in enumerate(tokens if isinstance(tokens, list) else [None]):
        keys = token if isinstance(token, dict) else {}
        start, end, word = (keys.get(key) for key in ("start", "end", "text"))
        after = offsets[-1][1] if offsets else 0
        if type(start) is not int or type(end) is not int or not after <= start < end <= len(text):
            problem = f"token {number} is {_short(token)}"
        elif text[after:start].strip():
            problem = f"{text[after:start].strip()!r} before token {number} is in none of them"
        elif text[start:end] != word:
            problem = f"token {number} is {word!r}, the text has {text[start:end]!r} there"
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


def _words_near(text: str, offsets: Sequence[tuple[int, int]], entity: ScoredEntity) -> str:
    """The words that an entity touches and their neighbours, in brackets."""
    touched = [i for i, (s, e) in enumerate(offsets) if s < entity.end and e > entity.start]
    if not touched:
        return "none"
    shown = offsets[max(0, touched[0] - 1) : touched[-1] + 2]
    return " ".join(f"[{text[start:end]}]" for start, end in shown)


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
