"""What runs a corpus: this process, or a Ray cluster. Both run the same worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .corpus_files import Shard
from .worker import Report, Work, Worker


class Engine(Protocol):
    """Gives shards to workers."""

    @property
    def name(self) -> str:
        """What it is called in the summary."""

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Work on shards, and give what the workers report."""


class LocalEngine:
    """One worker, this process."""

    name = "local"

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Work on shards, one after the other.

        work (Work): What to do.
        shards (Sequence[Shard]): The shards.
        YIELDS (Report): What the worker reports.
        RAISES (MaralError): If the model cannot be loaded.
        """
        worker = Worker(work)
        for shard in shards:
            yield from worker(shard)
