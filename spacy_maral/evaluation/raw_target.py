"""What an adapted student finds in raw target text, beside the labels that it has learned from.

There is no gold in raw text. But a student that finds much more or much less than its teacher's labels, or
other things, has departed from them, and its user should know before gold tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.spans import OUTSIDE, UNKNOWN

MORE, FEWER = 1.25, 0.8
"""Ratios of the student's entities to those of the labels, outside of which the number departs."""
CLASS_MORE, CLASS_FEWER = 1.6, 0.6
"""The same for one class, if it has at least `ENOUGH` entities more or fewer."""
ENOUGH = 20
AGREEMENT, MANY = 0.6, 100
"""Agreement below which student and labels are two different opinions, if they have so many entities together."""


def compare_on_raw(
    before: NDArray[np.integer], after: NDArray[np.integer], labels: Sequence[str], n_words: int
) -> dict[str, Any]:
    """Count the entities that labels and student find in the same text.

    before (NDArray[np.integer]): Class of each candidate span by the labels that a student started
        with, shape (n,); entities do not overlap. Spans whose label is missing (UNKNOWN) do not count.
    after (NDArray[np.integer]): The same by the student's decisions.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    n_words (int): Number of words of the text.
    RETURNS (dict): "words"; the entities by label of "labels" and "student"; "same", the number of
        entities that both have.
    """
    n, known = len(labels) + 1, before != UNKNOWN
    before, after = before[known], after[known]
    counted = {
        name: dict(zip(labels, np.bincount(classes, minlength=n)[1:].tolist(), strict=True))
        for name, classes in (("labels", before), ("student", after))
    }
    same = int(((before == after) & (before != OUTSIDE)).sum())
    return {"words": n_words, **counted, "same": same}


def agreement(found: Mapping[str, Any]) -> float:
    """F1 of the student's entities against those of the labels, in [0, 1]; 1 without any."""
    n = sum(found["labels"].values()) + sum(found["student"].values())
    return 2 * found["same"] / n if n else 1.0


def departures(found: Mapping[str, Any]) -> list[str]:
    """Say in words where a student departs from the labels that it has learned from.

    found (Mapping): The result of `compare_on_raw`.
    RETURNS (list[str]): Sentences; none if it does not depart.
    """
    before, after = found["labels"], found["student"]
    n_before, n_after = sum(before.values()), sum(after.values())
    sentences = []
    if departs(n_before, n_after, MORE, FEWER):
        rates = [f"{1000 * n / max(1, found['words']):.0f}" for n in (n_after, n_before)]
        sentences.append(
            f"The student finds {change(n_before, n_after)} entities than its pseudo-labels in the raw "
            f"target text: {rates[0]} per 1,000 words, not {rates[1]}."
        )
    for label in before:
        if departs(before[label], after[label], CLASS_MORE, CLASS_FEWER):
            sentences.append(
                f"It finds {change(before[label], after[label])} {label}: {after[label]:,}, where the "
                f"pseudo-labels have {before[label]:,}."
            )
    same = agreement(found)
    if same < AGREEMENT and n_before + n_after >= MANY:
        sentences.append(
            f"Student and pseudo-labels agree on {100 * same:.0f} % of the entities (F1)."
        )
    return sentences


def departs(before: int, after: int, more: float, fewer: float) -> bool:
    """Whether a number has changed by at least `ENOUGH`, and beyond the ratios."""
    return abs(after - before) >= ENOUGH and not fewer * before <= after <= more * before


def change(before: int, after: int) -> str:
    """A change of a number in words, such as "31 % more"."""
    if not before:
        return "more"
    share = 100 * abs(after - before) / before
    return f"{share:.0f} % {'more' if after > before else 'fewer'}"
