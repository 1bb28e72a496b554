"""Decode sequences of tags to entities: IOB1, IOB2, BIOES and BILOU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import Errors, MaralError

IOB_TAG = re.compile(r"(?:O|([BI])-(\S+))")
BIOES_TAG = re.compile(r"(?:O|([BIESLU])-(\S+))")


class Entity(NamedTuple):
    """An entity: first word, last word (inclusive) and label."""

    start: int
    end: int
    label: str


class TaggedEntities(NamedTuple):
    """The entities of a sentence, and the first words of those that tell IOB1 from IOB2.

    inside: Entities that begin with I-, as in IOB1. begin: Those with B- where IOB1 would have I-.
    """

    entities: list[Entity]
    inside: list[int]
    begin: list[int]


def _split(tag: str, pattern: re.Pattern[str], place: str, format: str) -> tuple[str, str]:
    match = pattern.fullmatch(tag)
    if match is None:
        known = "B-, I-" if pattern is IOB_TAG else "B-, I-, E-, S- (or L-, U-)"
        raise MaralError(Errors.M112.format(place=place, found=tag, format=format, known=known))
    return match[1] or "O", match[2] or ""


def decode_iob(
    tags: Sequence[str], places: Sequence[str], *, format: str, strict: bool
) -> TaggedEntities:
    """Decode IOB tags. B- always begins an entity; I- continues an entity of its label.

    An I- without such an entity begins one in IOB1, and is an error in IOB2.

    tags (Sequence[str]): Tags of the words.
    places (Sequence[str]): Place of each tag as file:line, for messages.
    format (str): Name of the file's format, for messages.
    strict (bool): Whether to accept IOB2 only; otherwise IOB1 or IOB2.
    RETURNS (TaggedEntities): The entities.
    RAISES (MaralError): For anything that is no IOB tag, and (strict) for an I- without a B-.
    """
    found: list[Entity] = []
    inside: list[int] = []
    begin: list[int] = []
    before = ""
    for i, tag in enumerate(tags):
        prefix, label = _split(tag, IOB_TAG, places[i], format)
        if prefix == "I" and label == before:
            found[-1] = found[-1]._replace(end=i)
        elif prefix != "O":
            if prefix == "I" and strict:
                raise MaralError(Errors.M113.format(place=places[i], found=tag, format=format))
            if prefix == "I":
                inside.append(i)
            elif label != before:
                begin.append(i)
            found.append(Entity(i, i, label))
        before = label
    return TaggedEntities(found, inside, begin)


def decode_bioes(tags: Sequence[str], places: Sequence[str], *, format: str) -> list[Entity]:
    """Decode BIOES or BILOU tags; every entity must be complete.

    tags (Sequence[str]): Tags of the words.
    places (Sequence[str]): Place of each tag as file:line, for messages.
    format (str): Name of the file's format, for messages.
    RETURNS (list[Entity]): The entities.
    RAISES (MaralError): For anything that is no such tag, and for a tag that cannot follow another.
    """
    found: list[Entity] = []
    start, open_label = -1, ""
    for i, tag in enumerate(tags):
        prefix, label = _split(tag, BIOES_TAG, places[i], format)
        continues = prefix in "IEL"
        if continues != (start >= 0) or (continues and label != open_label):
            before = tags[i - 1] if i else "the start of a sentence"
            raise MaralError(Errors.M114.format(place=places[i], found=tag, before=before))
        if prefix == "B":
            start, open_label = i, label
        elif prefix in "ELSU":
            found.append(Entity(i if start < 0 else start, i, label))
            start, open_label = -1, ""
    if start >= 0:
        end = "the end of the sentence"
        raise MaralError(Errors.M114.format(place=places[-1], found=end, before=tags[-1]))
    return found
