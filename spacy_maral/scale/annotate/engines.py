"""Engines run the worker: here in this process, in `ray_engine` on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .corpus_files import Shard
from .worker import Report, Work, Worker


class Engine(Protocol):
    """Gives shards to workers."""

    @property
    def name(self) -> str:
        """Its name in the summary."""

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Annotate shards, and yield the reports of the workers."""


class LocalEngine:
    """One worker, this process."""

    name = "local"

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Annotate shards one after the other.

        work (Work): What to do.
        shards (Sequence[Shard]): The shards.
        YIELDS (Report): The reports of the worker.
        RAISES (MaralError): If the model cannot be loaded.
        """
        worker = Worker(work)
        for shard in shards:
            yield from worker(shard)
