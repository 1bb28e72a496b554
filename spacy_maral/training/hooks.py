"""What may happen around the epochs and steps of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..model.span_model import SpanOutput
from .corpus import Batch
from .network import Network
from .streams import Stream


class StepReport(NamedTuple):
    """One stream's part of a step: which epoch, which batch, what the network said."""

    epoch: int
    stream: Stream
    batch: Batch
    output: SpanOutput


class Hook:
    """What may happen around the epochs and steps of a run; a hook overrides what it needs."""

    def on_epoch_start(self, epoch: int) -> None:
        """Called before the first step of an epoch."""

    def on_step(self, report: StepReport) -> None:
        """Called after each stream's forward and backward pass, with this process's part of it."""

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        """Called after evaluation; what it returns goes into the epoch's row of the log."""
        return {}

    def on_row(self, row: dict[str, Any]) -> None:
        """Called with the finished row of an epoch."""

    def arrays(self) -> dict[str, NDArray]:
        """State that a checkpoint must hold, of all processes."""
        return {}

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Take the state of a checkpoint over."""


Evaluate = Callable[[Network], dict[str, float]]
