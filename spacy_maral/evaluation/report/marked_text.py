"""Sentences with marked entities, by displaCy, safe to put into a page whatever they say."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from spacy import displacy

from .svg import clean, colour_class, printable

TEMPLATE = '<mark class="ent {css}" style="--c:{bg}">{text}<b>{label}</b></mark>'


class Marked(NamedTuple):
    """An entity: first and last word, label, number of its class, and whether to point it out."""

    start: int
    end: int
    label: str
    number: int
    pointed_out: bool = False


def mark_entities(words: Sequence[str], entities: Sequence[Marked]) -> str:
    """Render a sentence with its entities as HTML.

    words (Sequence[str]): The words; nothing in them is taken for HTML.
    entities (Sequence[Marked]): Without overlaps.
    RETURNS (str): A div element, from right to left for such scripts.
    """
    shown = [printable(word) for word in words]
    begins, place = [], 0
    for word in shown:
        begins.append(place)
        place += len(word) + 1
    spans = [
        {
            "start": begins[e.start],
            "end": begins[e.end] + len(shown[e.end]),
            # displaCy escapes the text, but not the label
            "label": clean(e.label),
            "params": {
                "bg": f"var(--{colour_class(e.number)})",
                "css": "pointed" if e.pointed_out else "plain",
            },
        }
        for e in entities
    ]
    text = " ".join(shown)
    sentence = {"text": text, "ents": spans, "settings": {"direction": direction(text)}}
    return displacy.render(
        sentence, style="ent", manual=True, jupyter=False, options={"template": TEMPLATE}
    )


def direction(text: str) -> str:
    """Which way most letters of a text run: "ltr" or "rtl"."""
    kinds = [unicodedata.bidirectional(c) for c in text]
    to_left = sum(kind in ("R", "AL") for kind in kinds)
    return "rtl" if to_left > kinds.count("L") else "ltr"
