"""Decode sequences of tags to entities, and encode them: IOB1, IOB2, BIOES, BILOU and BMES."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Literal

from ..errors import Errors, MaralError, Warnings
from .sentences import Entity, ReadSettings

IOB_TAG = re.compile(r"(?:O|([BI])-(\S(?:.*\S)?))")
BIOES_TAG = re.compile(r"(?:O|([BIESLUM])-(\S(?:.*\S)?))")
REPAIR_IOB1 = "I- read as B- (IOB1)"
REPAIR_BEGIN = "entity without a begin tag, which begins where its label does"
REPAIR_END = "entity without an end tag, which ends where its label does"

Scheme = Literal["iob", "iob2", "bioes"]


class TagDecoder:
    """Decodes the tags of one file.

    An entity begins at B-, S- and U-, and where the label changes or a begin tag is missing. It goes
    on as long as tags with its label follow that begin nothing, and ends after E-, L-, S- and U-.
    Tags that do not fit together are repaired like this and counted; with `tags = "strict"` they are
    problems. An entity that begins with I- needs no repair in IOB1.

    format (str): Name of the file's format, for messages.
    scheme (str): "iob" (IOB1 or IOB2), "iob2", or "bioes" (also BILOU and BMES).
    reading (ReadSettings): How the file is read.
    """

    def __init__(self, format: str, scheme: Scheme, reading: ReadSettings) -> None:
        self.format, self.scheme, self.reading = format, scheme, reading
        self.begin = 0
        self.inside: list[str] = []

    def decode(self, tags: Sequence[str], places: Sequence[str]) -> list[Entity]:
        """Decode the tags of a sentence.

        tags (Sequence[str]): Tags of the words.
        places (Sequence[str]): Place of each tag as file:line, for messages.
        RETURNS (list[Entity]): The entities.
        """
        found: list[Entity] = []
        # label of the entity that the next word may continue
        going = ""
        for i, tag in enumerate(tags):
            prefix, label = self._split(tag, places[i])
            begins = prefix in "BSU" or label != going
            if going and begins:
                self._end(places[i], tag, tags[i - 1])
            if prefix != "O" and begins:
                found.append(Entity(i, i, label))
                self._begin(places[i], tag, tags[i - 1] if i else "", prefix, going)
            elif prefix != "O":
                found[-1] = found[-1]._replace(end=i)
            going = "" if prefix in "OESLU" else label
        if going:
            self._end(places[-1], "the end of the sentence", tags[-1])
        return found

    def warn(self, path: object) -> None:
        """Warn of a file that mixes IOB1 and IOB2, once all of it is decoded."""
        if self.begin and self.inside:
            found = {"inside": len(self.inside), "place": self.inside[0], "begin": self.begin}
            warnings.warn(Warnings.W101.format(path=path, **found), stacklevel=2)

    def _split(self, tag: str, place: str) -> tuple[str, str]:
        pattern = BIOES_TAG if self.scheme == "bioes" else IOB_TAG
        match = pattern.fullmatch(tag)
        if match is None:
            known = "B-, I-" if pattern is IOB_TAG else "B-, I-, E-, S- (or L-, U-, M-)"
            error = Errors.M112.format(place=place, found=tag, format=self.format, known=known)
            self.reading.report.problem(MaralError(error))
            return "O", ""
        return match[1] or "O", match[2] or ""

    def _begin(self, place: str, tag: str, before: str, prefix: str, going: str) -> None:
        """Note an entity that begins without a begin tag."""
        if prefix in "BSU":
            # IOB1 has B- only between two entities of a type
            self.begin += tag[2:] != going
        elif self.scheme == "iob":
            self.inside.append(place)
            self.reading.report.repair(REPAIR_IOB1, place, tag)
        elif self.scheme == "iob2":
            error = Errors.M113.format(place=place, found=tag, format=self.format)
            self._mismatch(REPAIR_BEGIN, place, tag, before, error)
        elif not going:
            self._mismatch(REPAIR_BEGIN, place, tag, before)

    def _end(self, place: str, tag: str, before: str) -> None:
        """Note an entity that ends without an end tag."""
        if self.scheme == "bioes":
            self._mismatch(REPAIR_END, place, tag, before)

    def _mismatch(self, kind: str, place: str, tag: str, before: str, error: str = "") -> None:
        """Repair a tag that does not fit to the one before it, or note a problem."""
        before = before or "the start of a sentence"
        if self.reading.tags == "repair":
            self.reading.report.repair(kind, place, f"{tag} after {before}")
            return
        message = error or Errors.M114.format(place=place, found=tag, before=before)
        self.reading.report.problem(MaralError(message))


def encode_tags(n_words: int, entities: Sequence[Entity], scheme: Scheme = "iob2") -> list[str]:
    """Encode entities as tags.

    n_words (int): Number of words.
    entities (Sequence[Entity]): Entities that share no word.
    scheme (str): "iob2" or "bioes".
    RETURNS (list[str]): A tag for each word.
    """
    tags = ["O"] * n_words
    for start, end, label in entities:
        tags[start : end + 1] = [f"B-{label}", *[f"I-{label}"] * (end - start)]
        if scheme == "bioes":
            tags[end] = f"{'S' if start == end else 'E'}-{label}"
    return tags
