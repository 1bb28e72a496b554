"""The progress of a run over a corpus, shown by tqdm."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from .shard import ShardSummary

LINE_SECONDS = 30.0
"""Time between two lines where stderr is a file."""


@dataclass
class Progress:
    """What a run has done since it was started, in all shards that it has begun.

    shards (int): Shards to do.
    size (int): Bytes of these shards.
    shards_done (int): Shards that are done.
    shards_failed (int): Shards that failed.
    size_done, documents, words, rejected (int): As in `ShardSummary`.
    seconds (float): Time since the start.
    """

    shards: int
    size: int
    shards_done: int = 0
    shards_failed: int = 0
    size_done: int = 0
    documents: int = 0
    words: int = 0
    rejected: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter, repr=False)

    def add(self, step: ShardSummary) -> None:
        """Add the counts of a step, and take the time."""
        self.documents += step.documents
        self.words += step.words
        self.rejected += step.rejected
        self.size_done += step.size
        self.seconds = time.perf_counter() - self.started

    @property
    def documents_per_second(self) -> float:
        return self.documents / self.seconds if self.seconds else 0.0

    @property
    def words_per_second(self) -> float:
        return self.words / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        parts = [
            f"{self.shards_done:,} of {self.shards:,} shards", f"{self.documents:,} documents",
            f"{self.documents_per_second:,.0f} documents/s",
            f"{self.words_per_second:,.0f} words/s",
        ]  # fmt: skip
        if self.rejected:
            parts.append(f"{self.rejected:,} set aside")
        if self.shards_failed:
            parts.append(f"{self.shards_failed:,} shards failed")
        return ", ".join(parts)


def progress_bar(size: int) -> Any:
    """A bar on stderr over the bytes of the input; into a file, one line every half minute."""
    wait = 0.0 if sys.stderr.isatty() else LINE_SECONDS
    return tqdm(
        total=size, mininterval=max(wait, 0.5), miniters=1, delay=wait,
        bar_format="{percentage:.1f} %|{bar:10}| {remaining} left{postfix}",
    )  # fmt: skip
