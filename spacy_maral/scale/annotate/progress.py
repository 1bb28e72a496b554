"""How far a run is, how fast, and how long it will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from .shard import Step


@dataclass
class Progress:
    """What a run has done since it was started.

    shards, size: All that is to be done, and its bytes. shards_done, size_done: Of these, what is.
    shards_failed: Shards that were given up. documents, words, rejected: Of the shards done and
    begun. seconds: Since the start.
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

    def add(self, step: Step) -> None:
        """Count what a step has done."""
        self.documents += step.documents
        self.words += step.words
        self.rejected += step.rejected
        self.size_done += step.size
        self.tick()

    def tick(self) -> None:
        """Look at the clock."""
        self.seconds = time.perf_counter() - self.started

    @property
    def share(self) -> float:
        """Share of the bytes that are done, in [0, 1]."""
        return self.size_done / self.size if self.size else 1.0

    @property
    def documents_per_second(self) -> float:
        return self.documents / self.seconds if self.seconds else 0.0

    @property
    def words_per_second(self) -> float:
        return self.words / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at this speed; None if nothing is done yet."""
        if not self.size_done:
            return None
        return self.seconds * max(self.size - self.size_done, 0) / self.size_done

    def __str__(self) -> str:
        left = "?" if self.seconds_left is None else clock(self.seconds_left)
        parts = [
            f"{100 * self.share:.1f} %", f"{self.shards_done:,} of {self.shards:,} shards",
            f"{self.documents:,} documents", f"{self.documents_per_second:,.0f} documents/s",
            f"{self.words_per_second:,.0f} words/s", f"{left} left",
        ]  # fmt: skip
        if self.rejected:
            parts.append(f"{self.rejected:,} set aside")
        if self.shards_failed:
            parts.append(f"{self.shards_failed:,} shards failed")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
