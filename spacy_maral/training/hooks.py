"""Hooks that a run calls around its epochs and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..model.span_model import SpanOutput
from .corpus import Batch
from .network import Network
from .streams import Stream


class StepReport(NamedTuple):
    """One stream's part of a step: the epoch, the stream, the batch and the network's output."""

    epoch: int
    stream: Stream
    batch: Batch
    output: SpanOutput


class Hook:
    """Base class of hooks: a run calls these methods, and a hook overrides those it needs."""

    def on_epoch_start(self, epoch: int) -> None:
        """Called before the first step of an epoch."""

    def on_step(self, report: StepReport) -> None:
        """Called after each stream's forward and backward pass, with this process's part."""

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        """Called after evaluation; the run adds the returned dict to the epoch's row of the log."""
        return {}

    def on_row(self, row: dict[str, Any]) -> None:
        """Called with the complete row of an epoch."""

    def arrays(self) -> dict[str, NDArray]:
        """Return the hook's state over all processes, for a checkpoint."""
        return {}

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Restore the hook's state from a checkpoint."""


Evaluate = Callable[[Network], dict[str, float]]
