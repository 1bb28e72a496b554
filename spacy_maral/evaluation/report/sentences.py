"""Sentences of a run's report: the least reliable pseudo-labels, mistakes, missed entities."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..mistakes import Mistake
from .colours import class_colours
from .svg import clean, colour_class, percent

N_SHOWN = 10
SENTENCE = Markup('<div class="entities" style="line-height: 2.5; direction: {}">{}</div>')
MARK = Markup('<mark class="ent {}" style="--c:var(--{})">{}<b>{}</b></mark>')


class Marked(NamedTuple):
    """An entity to mark: first and last word, label, number of its class, whether to outline it."""

    start: int
    end: int
    label: str
    number: int
    pointed_out: bool = False


class Sentence(NamedTuple):
    """A sentence with its predicted entities, with its gold ones if they are known, and facts."""

    predicted: Markup
    gold: Markup | None
    facts: list[tuple[str, str]]


def doubtful_sentences(epoch: dict[str, Any]) -> list[Sentence]:
    """Mark the least reliable pseudo-labels of an epoch.

    epoch (dict): Its diagnostics, with the words that the run kept.
    RETURNS (list[Sentence]): At most N_SHOWN sentences.
    """
    names = epoch["classes"]
    colours = class_colours(names)
    found = []
    for span in epoch["doubtful"][:N_SHOWN]:
        label = names[span["class"]]
        marked = Marked(span["start"], span["end"], label, colours[label], True)
        facts = [
            ("score ρ", f"{span['rho']:.2f}".replace("-", "−")),
            ("probability", percent(span["probability"])),
            ("the student's best", names[span["student"]]),
            ("filter", "reliable" if span["reliable"] else "unreliable"),
            ("after refinement", names[span["refined"]]),
        ]
        if span["gold"] is not None:
            facts.append(("gold", names[span["gold"]]))
        found.append(Sentence(mark_entities(span["words"], [marked]), None, facts))
    return found


def mistake_sentences(mistakes: Sequence[Mistake], colours: Mapping[str, int]) -> list[Sentence]:
    """Mark the predicted and the gold entities around mistakes.

    mistakes (Sequence[Mistake]): The mistakes.
    colours (Mapping[str, int]): Colours of the classes (see `class_colours`).
    RETURNS (list[Sentence]): One sentence for each mistake.
    """
    found = []
    for mistake in mistakes:
        predicted, gold = (
            mark_entities(
                mistake.words,
                [Marked(*e, colours[e.label], e == mistake.entity) for e in side],
            )
            for side in (mistake.predicted, mistake.gold)
        )
        facts = [("mistake", mistake.kind), ("document", f"{mistake.doc:,}")]
        if mistake.confidence is not None:
            facts.insert(0, ("confidence", percent(mistake.confidence)))
        found.append(Sentence(predicted, gold, facts))
    return found


def mark_entities(words: Sequence[str], entities: Sequence[Marked]) -> Markup:
    """Render a sentence with its entities as HTML, in displaCy's layout.

    words (Sequence[str]): The words. They are escaped.
    entities (Sequence[Marked]): The entities, without overlaps.
    RETURNS (Markup): A div element, written from right to left if the script is.
    """
    parts: list[Markup] = []
    place = 0
    for e in sorted(entities):
        parts += map(clean, words[place : e.start])
        css = "pointed" if e.pointed_out else "plain"
        text = clean(" ".join(words[e.start : e.end + 1]))
        parts.append(MARK.format(css, colour_class(e.number), text, clean(e.label)))
        place = e.end + 1
    parts += map(clean, words[place:])
    return SENTENCE.format(direction(" ".join(words)), Markup(" ").join(parts))


def direction(text: str) -> str:
    """Return the direction of most letters of a text: "ltr" or "rtl"."""
    kinds = [unicodedata.bidirectional(c) for c in text]
    to_left = sum(kind in ("R", "AL") for kind in kinds)
    return "rtl" if to_left > kinds.count("L") else "ltr"
