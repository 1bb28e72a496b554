"""A student beside its teacher, on the labelled target sentences that are held out of both trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .metrics import Score

BEHIND = 0.01
"""A student whose F1 is lower than the teacher's by more than this is behind."""


def compare_scores(teacher: Score, student: Score, n_docs: int) -> dict[str, Any]:
    """Compare the scores of a teacher and its student on the same labelled documents.

    RETURNS (dict): F1 in [0, 1] of "teacher" and "student", and the numbers of "documents" and "entities".
    """
    return {
        "teacher": teacher.f1, "student": student.f1, "documents": n_docs,
        "entities": student.support,
    }  # fmt: skip


def describe_comparison(found: Mapping[str, Any]) -> str:
    """Say in a sentence which F1 both have; `found` is the result of `compare_scores`."""
    return (
        f"On the {found['documents']:,} labelled target sentences that are held out "
        f"({found['entities']:,} entities), the student has an F1 of {100 * found['student']:.1f} and "
        f"its teacher {100 * found['teacher']:.1f}."
    )


def is_behind(found: Mapping[str, Any]) -> bool:
    """Whether a student has a lower F1 than its teacher, by more than `BEHIND`."""
    return bool(found["student"] < found["teacher"] - BEHIND)
