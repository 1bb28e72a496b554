"""Sentences of a run's report: the least reliable pseudo-labels, the most confident mistakes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from spacy import displacy

from ...data.tags import Entity
from ..mistakes import Mistake
from .svg import clean, colour_class, percent, printable

N_SHOWN = 10
TEMPLATE = '<mark class="ent {css}" style="--c:{bg}">{text}<b>{label}</b></mark>'


class Marked(NamedTuple):
    """An entity: first and last word, label, number of its class, and whether to point it out."""

    start: int
    end: int
    label: str
    number: int
    pointed_out: bool = False


def doubtful_sentences(epoch: dict[str, Any]) -> str:
    """Render the least reliable pseudo-labels of an epoch.

    epoch (dict): Its diagnostics, with the words that the run kept.
    RETURNS (str): A list in HTML; empty if there are none.
    """
    names = epoch["classes"]
    items = []
    for span in epoch["doubtful"][:N_SHOWN]:
        label = names[span["class"]]
        marked = Marked(span["start"], span["end"], label, span["class"], True)
        facts = [
            ("score ρ", f"{span['rho']:.2f}".replace("-", "−")),
            ("probability", percent(span["probability"])),
            ("the student's best", names[span["student"]]),
            ("filter", "reliable" if span["reliable"] else "unreliable"),
            ("after refinement", names[span["refined"]]),
        ]
        if span["gold"] is not None:
            facts.append(("gold", names[span["gold"]]))
        items.append(mark_entities(span["words"], [marked]) + _chips(facts))
    return _list(items)


def mistake_sentences(mistakes: Sequence[Mistake], numbers: dict[str, int]) -> str:
    """Render mistakes, with what was predicted and what is right.

    mistakes (Sequence[Mistake]): The mistakes.
    numbers (dict): Number of each class by its name, for the colours.
    RETURNS (str): A list in HTML; empty if there are none.
    """
    items = []
    for mistake in mistakes:
        lines = "".join(
            f"<span>{name}</span><div>{_marked(mistake, entities, numbers, mistake.entity)}</div>"
            for name, entities in (("predicted", mistake.predicted), ("gold", mistake.gold))
        )
        facts = [
            ("confidence", percent(mistake.confidence)),
            ("mistake", mistake.kind),
            ("document", f"{mistake.doc:,}"),
        ]
        items.append(f'<div class="row">{lines}</div>{_chips(facts)}')
    return _list(items)


def _marked(
    mistake: Mistake, entities: Sequence[Entity], numbers: dict[str, int], wrong: Entity
) -> str:
    marked = [
        Marked(e.start, e.end, e.label, numbers.get(e.label, len(numbers)), e == wrong)
        for e in entities
    ]
    return mark_entities(mistake.words, marked)


def _chips(facts: Sequence[tuple[str, str]]) -> str:
    shown = "".join(f"<span>{clean(name)} <b>{clean(value)}</b></span>" for name, value in facts)
    return f'<div class="chips">{shown}</div>'


def _list(items: Sequence[str]) -> str:
    if not items:
        return ""
    entries = "".join(f'<li class="card">{item}</li>' for item in items)
    return f'<ol class="sentences">{entries}</ol>'


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
