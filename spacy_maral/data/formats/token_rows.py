"""Rows with words: datasets of Hugging Face, with a tag for each word, and GLiNER, with spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import Errors, MaralError
from ..annotated import REPAIR_TWICE, WITHOUT_WORDS, short
from ..rows import check_text
from ..sentences import (
    REPAIR_LABEL,
    Entity,
    ReadSettings,
    Sentence,
    find_words,
    join_words,
    spaces_between,
    spaces_of,
)  # fmt: skip
from ..tags import BIOES_TAG, TagDecoder, encode_tags

WORD_KEYS, TAG_KEYS = ("tokens", "words"), ("ner_tags", "tags", "labels")
GLINER_WORDS, GLINER_ENTITIES = "tokenized_text", "ner"


def fits_huggingface(row: Any) -> bool:
    """Whether a row has words and tags, as many lists of plain values."""
    return isinstance(row, dict) and bool(_key(row, WORD_KEYS, (str,)) and _key(row, TAG_KEYS))


def read_huggingface(row: dict[str, Any], place: str, reading: ReadSettings) -> Sentence | str:
    """Read a row of words and tags, as texts or as numbers.

    row (dict): The row.
    place (str): Its place, for messages.
    reading (ReadSettings): How it is read.
    RETURNS (Sentence | str): The sentence, or why there is none.
    RAISES (MaralError): If tags have no names, or there are more or fewer of them than words.
    """
    sentence = _sentence(row, _key(row, WORD_KEYS, (str,)) or WORD_KEYS[0], place, reading)
    if not isinstance(sentence, Sentence) or not reading.labelled:
        return sentence
    key = _key(row, TAG_KEYS) or TAG_KEYS[0]
    tags, places = row.get(key) or [], [place] * len(sentence.words)
    if len(tags) != len(places):
        found = {"n_tags": len(tags), "n_words": len(places)}
        raise MaralError(Errors.M161.format(place=place, **found))
    tags = [_tag(tag, reading.tag_names or (), place) for tag in tags]
    is_bioes = any(BIOES_TAG.fullmatch(tag) and tag[0] in "ESLUM" for tag in tags)
    decoder = TagDecoder("huggingface", "bioes" if is_bioes else "iob", reading)
    sentence.entities = reading.map_labels(decoder.decode(tags, places), places)
    return sentence


def write_huggingface(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row of words and IOB2 tags, and the text if the language does not give it."""
    tags = encode_tags(len(sentence.words), sentence.entities)
    return {"tokens": sentence.words, "ner_tags": tags, **_text(sentence, lang)}


def fits_gliner(row: Any) -> bool:
    """Whether a row has words and spans of words."""
    return isinstance(row, dict) and isinstance(row.get(GLINER_WORDS), list)


def read_gliner(row: dict[str, Any], place: str, reading: ReadSettings) -> Sentence | str:
    """Read a row of words and [first, last, label].

    RETURNS (Sentence | str): The sentence, or why there is none.
    RAISES (MaralError): If there are no such spans.
    """
    sentence = _sentence(row, GLINER_WORDS, place, reading)
    if not isinstance(sentence, Sentence) or not reading.labelled:
        return sentence
    items = row.get(GLINER_ENTITIES)
    if not isinstance(items, list):
        raise MaralError(Errors.M144.format(place=place, known=GLINER_ENTITIES))
    found: list[Entity] = []
    for entity in sorted(_gliner_entity(item, sentence.words, place, reading) for item in items):
        if found and entity == found[-1]:
            reading.report.repair(REPAIR_TWICE, place, str(items))
        elif found and entity.start <= found[-1].end:
            texts = [" ".join(sentence.words[e.start : e.end + 1]) for e in (entity, found[-1])]
            overlap = {"found": texts[0], "before": texts[1]}
            reading.report.problem(MaralError(Errors.M148.format(place=place, **overlap)))
        else:
            found.append(entity)
    sentence.entities = reading.map_labels(found, [place] * len(sentence.words))
    return sentence


def write_gliner(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row of words and spans, and the text if the language does not give it."""
    entities = [list(entity) for entity in sentence.entities]
    return {GLINER_WORDS: sentence.words, GLINER_ENTITIES: entities, **_text(sentence, lang)}


def _key(row: dict[str, Any], keys: tuple[str, ...], kinds: tuple[type, ...] = (str, int)) -> str:
    """The first key with a list of plain values, or ""."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, list) and all(isinstance(item, kinds) for item in value):
            return key
    return ""


def _sentence(row: dict[str, Any], key: str, place: str, reading: ReadSettings) -> Sentence | str:
    """The words of a row, with the spaces of its text if it has one."""
    words = row[key]
    if not words:
        return WITHOUT_WORDS
    for word in words:
        if not isinstance(word, str) or not word:
            raise MaralError(Errors.M111.format(place=place, text=short(words)))
        check_text(word, place)
    sentence = Sentence(words, labelled=reading.labelled)
    if isinstance(text := row.get("text"), str) and (offsets := find_words(words, text)):
        sentence.spaces = spaces_between(offsets, text)
    return sentence


def _tag(tag: str | int, names: Sequence[str], place: str) -> str:
    """The text of a tag."""
    if isinstance(tag, str):
        return tag.strip()
    if isinstance(tag, bool) or not 0 <= tag < len(names):
        raise MaralError(Errors.M160.format(place=place, found=repr(tag)))
    return str(names[tag])


def _gliner_entity(item: Any, words: list[str], place: str, reading: ReadSettings) -> Entity:
    problem = ""
    values: list[Any] = item if isinstance(item, list) and len(item) == 3 else [None] * 3
    first, last, label = values
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < len(words):
        problem = f"first and last word are numbers from 0 to {len(words) - 1}"
    elif not isinstance(label, str) or not label.strip() or label.strip() == "O":
        problem = "the label is a text other than O"
    if problem:
        raise MaralError(Errors.M145.format(place=place, found=short(item), problem=problem))
    if label != label.strip():
        reading.report.repair(REPAIR_LABEL, place, repr(label))
    return Entity(first, last, label.strip())


def _text(sentence: Sentence, lang: str) -> dict[str, str]:
    """The text of a sentence, unless the language gives its spaces."""
    spaces = spaces_of(sentence, lang)
    if spaces == spaces_of(Sentence(sentence.words), lang):
        return {}
    return {"text": join_words(sentence.words, spaces)[0]}
