"""What a report says first: a verdict in words, the teacher beside the student, every target language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..against_teacher import describe_comparison
from ..metrics import OUTSIDE_NAME, EntityReport, Score
from ..mistakes import Judgement
from ..raw_target import departures
from ..tables import MISSING
from .run_record import RunRecord
from .svg import percent

DEV = "source development set"
# smaller differences of a class are within the noise of small test sets
WORSE = 0.005
FEW_RELIABLE = 0.05
NO_TEACHER = (
    "Give the teacher's folder with --teacher and labelled text of the target with --gold to see "
    "what the adaptation gained."
)
Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class Scored:
    """Scores of a run's pipeline on labelled documents, and its teacher's if that is known."""

    name: str
    student: Judgement
    teacher: EntityReport | None = None

    @property
    def gain(self) -> float | None:
        """F1 of the student minus that of the teacher."""
        return None if self.teacher is None else self.student.report.f1 - self.teacher.f1


def verdict(record: RunRecord, tests: Sequence[Scored]) -> list[str]:
    """Say in words what the run has achieved, and what went wrong.

    record (RunRecord): The run.
    tests (Sequence[Scored]): Scores on labelled documents.
    RETURNS (list[str]): Sentences, the most important first.
    """
    found = [*_gains(record, tests), *_classes_that_lost(tests)]
    if record.is_adaptation:
        if compared := record.summary.get("held_out_target"):
            found.append(describe_comparison(compared))
        found += _missing_labels(record)
        if raw := record.summary.get("raw_target"):
            found += departures(raw)
    return found


def _gains(record: RunRecord, tests: Sequence[Scored]) -> list[str]:
    gains = [(test.name, test.gain) for test in tests if test.gain is not None]
    if len(gains) > 1:
        mean = sum(gain for _, gain in gains) / len(gains)
        each = ", ".join(f"{name} {points(gain)}" for name, gain in gains)
        return [f"{points(mean)} F1 {over(mean)} the teacher on average: {each}."]
    if gains:
        name, gain = gains[0]
        return [f"{points(gain)} F1 {over(gain)} the teacher on {name}."]
    scores = ", ".join(f"{100 * test.student.report.f1:.1f} on {test.name}" for test in tests)
    dev = record.dev_f1
    found = [f"F1 is {scores or f'{100 * dev:.1f} on the {DEV}'}."]
    if record.is_adaptation:
        teacher = record.summary.get("teacher", {}).get("dev_f1")
        if teacher is not None:
            change = dev - teacher
            found.append(f"{points(change)} F1 {over(change)} the teacher on the {DEV}.")
        found.append(NO_TEACHER)
    return found


def _classes_that_lost(tests: Sequence[Scored]) -> list[str]:
    """Name the classes that the student finds less well than the teacher."""
    found = []
    for test in tests:
        if test.teacher is None:
            continue
        scores = test.student.report.per_type
        lost = [
            f"{label} ({points(score.f1 - before.f1)})"
            for label, score in scores.items()
            if (before := test.teacher.per_type.get(label)) and before.f1 - score.f1 > WORSE
        ]
        if lost:
            where = f" on {test.name}" if len(tests) > 1 else ""
            found.append(f"{', '.join(lost)} got worse{where}.")
    return found


def _missing_labels(record: RunRecord) -> list[str]:
    """Name the targets and classes without pseudo-labels, and those that the filter leaves out."""
    every = dict(target_rows(record))
    empty = [name for name, row in every.items() if not sum(_entities(row).values())]
    found = [f"{', '.join(empty)} got no labels."] if empty else []
    for name, row in every.items():
        where = f" in {name}" if len(every) > 1 else ""
        none = [label for label, n in _entities(row).items() if not n]
        if none and name not in empty:
            found.append(f"No pseudo-label is {' or '.join(none)}{where}.")
        shares = row.get("reliable", {})
        few = [
            f"{percent(share)} of the labels {label}"
            for label in _entities(row)
            if (share := shares.get(label)) is not None and share < FEW_RELIABLE
        ]
        if few:
            found.append(f"The filter keeps only {' and '.join(few)}{where}.")
    return found


def target_rows(record: RunRecord) -> list[tuple[str, dict[str, Any]]]:
    """Name the targets of an adaptation, with the figures of their pseudo-labels after the saved epoch.

    record (RunRecord): The run.
    RETURNS (list[tuple]): A pair for each target file; one named "target" if there is only one.
    """
    row = record.selected
    return list((row.get("targets") or {"target": row}).items()) if "pseudo_labels" in row else []


def comparison_table(record: RunRecord, tests: Sequence[Scored]) -> Table:
    """Tabulate F1 of teacher and student on each test set, by class too.

    record (RunRecord): The run, for the scores on the source's development set.
    tests (Sequence[Scored]): Scores on labelled documents.
    RETURNS (tuple): Header and rows.
    """
    header = ["", "class", "teacher F1", "student F1", "difference", "gold"]
    if not record.is_adaptation:
        header[2:5] = ["F1"]
    rows = []
    for test in tests:
        before = test.teacher
        pairs: list[tuple[str, Score | None, Score]] = [
            ("all", before.micro if before else None, test.student.report.micro)
        ]
        for label, score in test.student.report.per_type.items():
            pairs.append((label, before.per_type.get(label) if before else None, score))
        rows += [
            [test.name if i == 0 else "", label, *_cells(record, old and old.f1, new.f1), f"{new.support:,}"]
            for i, (label, old, new) in enumerate(pairs)
        ]  # fmt: skip
    teacher = record.summary.get("teacher", {}).get("dev_f1")
    rows.append([DEV, "all", *_cells(record, teacher, record.dev_f1), MISSING])
    return header, rows


def label_table(record: RunRecord) -> Table:
    """Tabulate the pseudo-labels of each class in each target, those that there are none of too.

    record (RunRecord): The run.
    RETURNS (tuple): Header and rows.
    """
    rows, noisy = [], False
    for name, row in target_rows(record):
        shares = row.get("reliable", {})
        for i, (label, n) in enumerate(row["pseudo_labels"].items()):
            kept = shares.get(label)
            rows.append(
                [
                    name if i == 0 else "",
                    label,
                    f"{n:,}",
                    MISSING if kept is None else percent(kept),
                ]
            )
            if "noise_ratio" in row:
                noisy = True
                rows[-1].append(percent(row["noise_ratio"]) if i == 0 else "")
    return ["", "class", "pseudo-labels", "reliable", *(["noise ratio"] if noisy else [])], rows


def _cells(record: RunRecord, old: float | None, new: float) -> list[str]:
    if not record.is_adaptation:
        return [f"{100 * new:.2f}"]
    known = old is not None
    return [
        f"{100 * old:.2f}" if known else MISSING,  # type: ignore[operator]
        f"{100 * new:.2f}",
        points(new - old, 2) if known else MISSING,  # type: ignore[operator]
    ]


def _entities(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: n for name, n in row["pseudo_labels"].items() if name != OUTSIDE_NAME}


def points(change: float, digits: int = 1) -> str:
    """Format a difference of fractions in points, with its sign."""
    value = round(100 * change, digits) + 0.0
    return f"{value:+.{digits}f}".replace("-", "−")


def over(change: float) -> str:
    """The word between a difference and what it is compared with."""
    return "over" if round(100 * change, 1) > 0 else "against"
