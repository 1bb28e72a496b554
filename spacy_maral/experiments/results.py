"""Results of runs: which runs they belong to, which are compared, and means over some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple, TypeVar

from ..evaluation.tables import MISSING

T = TypeVar("T")
Result = dict[str, Any]
"""The scores, costs and settings of a finished run, as results.json lists them."""


class Mean(NamedTuple):
    """Mean and sample standard deviation of n values; None where n is too small."""

    mean: float | None
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean:
        known = [value for value in values if value is not None]
        n = len(known)
        return cls(mean(known) if n else None, stdev(known) if n > 1 else None, n)

    def show(self, form: str = ".2f", *, scale: float = 100, sd: bool = False) -> str:
        """The mean as text, by default in percent; with `sd` as in "61.20 ± 0.41"."""
        if self.mean is None:
            return MISSING
        text = f"{scale * self.mean:{form}}"
        if self.sd is None or not sd:
            return text
        return f"{text} ± {scale * self.sd:{form.lstrip('+')}}"


def pair_of(result: Result) -> str:
    return f"{result['dataset']} {result['source']}→{result['target']}"


def variant_of(result: Result) -> str:
    return str(result["variant"])


def grouped(results: Iterable[T], of: Callable[[T], str]) -> dict[str, list[T]]:
    """The results of each pair or variant, in their order."""
    groups: dict[str, list[T]] = {}
    for result in results:
        groups.setdefault(of(result), []).append(result)
    return groups


def delta(result: Result) -> float:
    """F1 minus that of the run's own teacher."""
    return float(result["f1"] - result["teacher_f1"])


def is_changed(result: Result) -> bool:
    """Whether anything differs from the configuration."""
    changes = ("overrides", "teacher_overrides", "target_sentences", "target_gold", "translate")
    return any(result.get(name) for name in changes)


def is_plain(result: Result) -> bool:
    """Whether a student was trained by the configuration without any change."""
    return result["adapted"] and not is_changed(result)


def is_ceiling(result: Result) -> bool:
    """Whether a run was trained on the target's gold labels, which the others are measured against."""
    return result.get("trained_on") == "target"


def is_teacher(result: Result) -> bool:
    """Whether a run is the teacher itself."""
    return not result["adapted"] and not is_ceiling(result)


class Gap(NamedTuple):
    """How much of the way from the teacher to the ceiling some runs have come.

    gained: Sum over the runs of their F1 minus the teacher's. whole: Sum over the same pairs and
    seeds of the ceiling's F1 minus the teacher's.
    """

    gained: float
    whole: float

    @property
    def closed(self) -> float | None:
        """The share that is closed; None without a ceiling above the teacher."""
        return self.gained / self.whole if self.whole > 0 else None


def gaps(results: Iterable[Result]) -> Callable[[Sequence[Result]], Gap]:
    """Make the function that measures runs against teachers and ceilings of their pairs and seeds.

    results (Iterable[Result]): All results.
    RETURNS (Callable): The gap of some of them. Runs without a ceiling of the unchanged configuration
        do not count.
    """
    ceilings = {
        (pair_of(r), r["seed"]): (r["f1"], r["teacher_f1"])
        for r in results
        if is_ceiling(r) and not is_changed(r)
    }

    def gap(runs: Sequence[Result]) -> Gap:
        known = [(r["f1"], of) for r in runs if (of := ceilings.get((pair_of(r), r["seed"])))]
        return Gap(
            sum(f1 - teacher for f1, (_, teacher) in known),
            sum(ceiling - teacher for _, (ceiling, teacher) in known),
        )

    return gap


def against_plain(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Match each changed student with the student of the unchanged configuration.

    results (Sequence[Result]): The results.
    RETURNS (list[tuple]): The result of the changed student, and that of the unchanged one on the
        same pair with the same seed. Students without a counterpart are left out.
    """
    plain = {(pair_of(r), r["seed"]): r for r in results if is_plain(r)}
    changed = [r for r in results if r["adapted"] and not is_plain(r)]
    return [(r, base) for r in changed if (base := plain.get((pair_of(r), r["seed"])))]
