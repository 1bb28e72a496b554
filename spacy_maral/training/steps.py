"""The steps of a run: which documents a batch has, and how large a batch may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .corpus import plan_batches
from .settings import TrainingSettings
from .shares import Share

SMALLEST_BATCH = 64
Settings = TypeVar("Settings", bound=TrainingSettings)


def plan_epoch(
    shares: Sequence[Share], settings: TrainingSettings, seed: int, epoch: int
) -> list[tuple[NDArray[np.int64], ...]]:
    """Plan each step's batch of each side; the longest side is read once, others repeat.

    shares (Sequence[Share]): The sides of the training data.
    settings (TrainingSettings): Sizes of the batches.
    seed (int): Seed of the run.
    epoch (int): Number of the epoch, from 0.
    RETURNS (list[tuple]): For each step the documents of each side's batch, numbered over all
        processes.
    """

    def plan(share: Share, *place: int) -> list[NDArray[np.int64]]:
        return plan_batches(
            share.doc_lengths, share.doc_rows, max_tokens=settings.batch_tokens,
            max_docs=settings.batch_docs, rng=np.random.default_rng([seed, epoch, *place]),
        )  # fmt: skip

    plans = [plan(share, i) for i, share in enumerate(shares)]
    n_steps = max(map(len, plans))
    for i, share in enumerate(shares):
        again = 0
        while len(plans[i]) < n_steps:
            again += 1
            plans[i] += plan(share, i, again)
    return list(zip(*(plan[:n_steps] for plan in plans), strict=True))


def count_updates(shares: Sequence[Share], settings: TrainingSettings, seed: int) -> int:
    """Count the updates of a run."""
    steps = (len(plan_epoch(shares, settings, seed, epoch)) for epoch in range(settings.epochs))
    return sum(math.ceil(n / settings.accumulate) for n in steps)


def _are_many(shares: Sequence[Share], settings: TrainingSettings) -> bool:
    """Whether there are certainly enough updates, without planning the batches of a large corpus."""
    most = settings.batch_tokens
    pieces = max(int((s.doc_lengths * s.doc_rows).clip(max=most).sum()) for s in shares)
    return settings.epochs * (pieces // most) // settings.accumulate >= settings.min_updates


def fit_batches(shares: Sequence[Share], settings: Settings, seed: int) -> tuple[Settings, str]:
    """Make batches smaller where a run would have fewer than `min_updates` updates.

    The result follows from settings and data alone, so a resumed run has the same steps. Epochs stay
    as they are, and so does about the time of a run.

    shares (Sequence[Share]): The sides of the training data.
    settings (TrainingSettings): The settings as they were given.
    seed (int): Seed of the run.
    RETURNS (tuple): The settings, of the same section, with other batch_tokens and accumulate where
        needed; and a line that says what has changed, empty if nothing has.
    """
    if _are_many(shares, settings):
        return settings, ""
    given = count_updates(shares, settings, seed)
    fitted, n = settings, given
    while n < settings.min_updates:
        if fitted.accumulate > 1:
            smaller = {"accumulate": fitted.accumulate // 2}
        else:
            # at most by half: with few documents in a batch the number does not grow in proportion
            share = max(0.5, n / settings.min_updates)
            wanted = min(int(fitted.batch_tokens * share), fitted.batch_tokens - 1)
            smaller = {"batch_tokens": max(wanted, SMALLEST_BATCH)}
            if fitted.batch_tokens <= SMALLEST_BATCH:
                break
        fitted = fitted.model_copy(update=smaller)
        n = count_updates(shares, fitted, seed)
    if fitted == settings:
        return settings, ""
    changed = f"batch_tokens = {fitted.batch_tokens}"
    if fitted.accumulate != settings.accumulate:
        changed += f", accumulate = {fitted.accumulate}"
    return fitted, (
        f"Little text: {changed} make {n:,} updates; batch_tokens = {settings.batch_tokens} would make "
        f"only {given:,} (min_updates = {settings.min_updates}; 0 keeps the batches as they are)"
    )
