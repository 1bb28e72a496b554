"""Trials of several sides in turn, so that other load on the machine affects all sides alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Trial = Callable[[], float]


@dataclass
class Trials:
    """Work, seconds and seconds of CPU time of each side's trials, by round."""

    work: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, side: str, *, cpu: bool = False) -> np.ndarray:
        """Work per second, by round."""
        seconds = self.cpu_seconds if cpu else self.seconds
        return np.array(self.work[side]) / np.array(seconds[side])

    def cost(self, side: str, *, cpu: bool = False) -> np.ndarray:
        """Seconds per unit of work, by round."""
        return 1 / self.rate(side, cpu=cpu)


def alternate(sides: Mapping[str, Trial], rounds: int, *, warm: int = 1) -> Trials:
    """Run a trial of each side in every round, in an order that rotates from round to round.

    sides (Mapping): By name, a function that runs a trial and returns its amount of work.
    rounds (int): Measured rounds.
    warm (int): Rounds before, which are not measured.
    RETURNS (Trials): The measurements.
    """
    trials = Trials(*({name: [] for name in sides} for _ in range(3)))
    names = list(sides)
    for number in range(-warm, rounds):
        for name in names:
            gc.collect()
            started, cpu_started = time.perf_counter(), time.process_time()
            work = sides[name]()
            cpu, seconds = time.process_time() - cpu_started, time.perf_counter() - started
            if number >= 0:
                trials.work[name].append(float(work))
                trials.seconds[name].append(seconds)
                trials.cpu_seconds[name].append(max(cpu, 1e-9))
        names = [*names[1:], names[0]] if len(names) > 2 else names[::-1]
    return trials


def compare(
    trials: Trials, *, unit: str, ours: str = "ours", other: str = "other", rate: bool = True,
    cpu: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Medians of two sides, and the median over rounds of the ratio of their speeds.

    trials (Trials): The trials.
    unit (str): Unit of the medians.
    rate (bool): Whether the medians are work per second; otherwise seconds per unit of work.
    cpu (bool): Whether seconds are those of CPU time, throughout.
    RETURNS (dict): ratio, ours, other, unit, cpu_ratio, and quartiles of the ratio.
    """
    ratios = trials.rate(ours, cpu=cpu) / trials.rate(other, cpu=cpu)
    cpu_ratios = trials.rate(ours, cpu=True) / trials.rate(other, cpu=True)
    read = trials.rate if rate else trials.cost
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {
        "ratio": float(np.median(ratios)),
        "ours": float(np.median(read(ours, cpu=cpu))),
        "other": float(np.median(read(other, cpu=cpu))),
        "unit": unit,
        "cpu_ratio": float(np.median(cpu_ratios)),
        "ratio_quartiles": [float(low), float(high)],
        "trials": len(ratios),
    }
