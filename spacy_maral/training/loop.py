"""The training loop: batches, gradients, optimiser steps, epochs, checkpoints.

It knows streams and hooks, and nothing of pseudo-labels.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from ..errors import Errors, MaralError
from ..geometry import centroid_cosine, mean_off_diagonal
from ..span_model import SpanOutput
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint, write_text
from .corpus import Batch
from .network import Network
from .optimiser import (
    make_optimiser,
    model_tensors,
    restore_tensors,
    set_learn_rate,
    trained_tensors,
)
from .schemas import TrainingSettings
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
        """Called after each stream's forward and backward pass."""

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        """Called after evaluation; what it returns goes into the epoch's row of the log."""
        return {}

    def on_row(self, row: dict[str, Any]) -> None:
        """Called with the finished row of an epoch."""

    def arrays(self) -> dict[str, NDArray]:
        """State that a checkpoint must hold."""
        return {}

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Take the state of a checkpoint over."""


@dataclass
class Run:
    """One training run.

    network (Network): Trained in place.
    streams (list[Stream]): What each step learns from.
    settings (TrainingSettings): How.
    evaluate (Callable): From the network to a dict of scores; "score" selects the model.
    folder (Path): Where checkpoints and the log are kept.
    fingerprint (dict): What a resumed run must have in common with this one.
    seed (int): Seeds batches and dropout.
    hooks (list[Hook]): Called around epochs and steps.
    extra (nn.Module): Trained along with the network, such as an LM head.
    """

    network: Network
    streams: list[Stream]
    settings: TrainingSettings
    evaluate: Callable[[Network], dict[str, float]]
    folder: Path
    fingerprint: dict[str, str]
    seed: int = 0
    hooks: Sequence[Hook] = ()
    extra: nn.Module | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module = nn.ModuleDict({"network": self.network})
        if self.extra is not None:
            self.module["extra"] = self.extra
        self.optimiser = make_optimiser(self.module, self.network.encoder, self.settings)
        self.scaler = torch.amp.GradScaler(
            self.network.device.type, enabled=self.network.precision == "float16"
        )
        self.epoch_steps = [len(self._plan(epoch)) for epoch in range(self.settings.epochs)]

    @property
    def best_file(self) -> Path:
        return self.folder / "best.safetensors"

    def train(self, *, resume: bool) -> list[dict[str, Any]]:
        """Run all epochs, or those that are left, and put the selected weights into the network.

        resume (bool): Go on from the newest checkpoint, if there is one.
        RETURNS (list): The log, one row an epoch.
        RAISES (MaralError): If a loss is not finite, or the checkpoint belongs to another run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for epoch in range(self._restore() if resume else 0, self.settings.epochs):
            row = self._epoch(epoch)
            self._select(row)
            for hook in self.hooks:
                row.update(hook.on_epoch_end(epoch))
            self.rows.append(row)
            self._save(epoch + 1)
            write_text(self.folder / "log.jsonl", "".join(json.dumps(r) + "\n" for r in self.rows))
            for hook in self.hooks:
                hook.on_row(row)
        if self.settings.select != "last":
            if not self.best_file.is_file():
                raise MaralError(Errors.M319.format(path=self.best_file))
            restore_tensors(self.module, load_file(self.best_file))
        self.network.eval()
        return self.rows

    def _plan(self, epoch: int) -> list[tuple[NDArray[np.int64] | None, ...]]:
        """Each step's batch of each stream; the longest stream is passed over once."""
        plans: list[list[NDArray[np.int64]]] = []
        for i, stream in enumerate(self.streams):
            plans.append(stream.plan(self.settings, np.random.default_rng([self.seed, epoch, i])))
        n_steps = max(len(plan) for plan in plans)
        for i, stream in enumerate(self.streams):
            again = 0
            while len(plans[i]) < n_steps:
                again += 1
                rng = np.random.default_rng([self.seed, epoch, i, again])
                plans[i] = plans[i] + stream.plan(self.settings, rng)
        return list(zip(*(plan[:n_steps] for plan in plans), strict=True))

    def _epoch(self, epoch: int) -> dict[str, Any]:
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch]).integers(2**62)))
        self.network.span_model.statistics.reset_counts()
        for hook in self.hooks:
            hook.on_epoch_start(epoch)
        self.module.train()
        started, n_spans = time.perf_counter(), 0
        sums: dict[str, list[float]] = {}
        plan = self._plan(epoch)
        bar = tqdm(plan, desc=f"Epoch {epoch + 1}/{self.settings.epochs}", disable=None)
        for step, batches in enumerate(bar):
            parts, spans = self._step(epoch, step, batches)
            n_spans += spans
            for name, value in parts.items():
                sums.setdefault(name, []).append(value)
            rate = n_spans / (time.perf_counter() - started)
            bar.set_postfix({"loss": f"{sum(parts.values()):.3f}", "spans/s": f"{rate:,.0f}"})
        seconds = time.perf_counter() - started
        losses = {name: float(np.mean(values)) for name, values in sums.items()}
        scores = self.evaluate(self.network)
        return {
            "epoch": epoch + 1,
            "steps": len(plan),
            "losses": losses,
            **scores,
            **self._geometry(),
            "spans_per_second": n_spans / seconds,
            "seconds": seconds,
        }

    def _step(self, epoch: int, step: int, batches) -> tuple[dict[str, float], int]:  # type: ignore[no-untyped-def]
        done = sum(self.epoch_steps[:epoch]) + step
        parts: dict[str, float] = {}
        n_spans = 0
        for stream, docs in zip(self.streams, batches, strict=True):
            batch = self.network.batch(stream.corpus, docs)
            loss = stream.step(self.network, batch, self.settings)
            if not math.isfinite(loss.total.item()):
                self._refuse(epoch, step, stream, docs)
            self.scaler.scale(loss.total / self.settings.accumulate).backward()
            parts.update(loss.parts)
            n_spans += len(batch.span_ids)
            for hook in self.hooks:
                hook.on_step(StepReport(epoch, stream, batch, loss.output))
        last = step + 1 == self.epoch_steps[epoch]
        if (step + 1) % self.settings.accumulate == 0 or last:
            set_learn_rate(self.optimiser, done, sum(self.epoch_steps), self.settings.warmup)
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.grad_clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.optimiser.zero_grad(set_to_none=True)
        return parts, n_spans

    def _refuse(self, epoch: int, step: int, stream: Stream, docs: NDArray[np.int64]) -> None:
        shown = ", ".join(map(str, docs[:20])) + (" …" if len(docs) > 20 else "")
        raise MaralError(
            Errors.M310.format(
                step=step + 1, epoch=epoch + 1, stream=stream.name, docs=shown, folder=self.folder
            )
        )

    def _geometry(self) -> dict[str, Any]:
        statistics = self.network.span_model.statistics
        concentration = statistics.concentration
        cosines = centroid_cosine(statistics.direction.cpu().numpy())
        return {
            "kappa": [float(concentration.min()), float(concentration.max())],
            "centroid_cosine": mean_off_diagonal(cosines),
        }

    def _select(self, row: dict[str, Any]) -> None:
        """Keep the weights of the best epoch so far; of equals, the later."""
        if self.settings.select == "last":
            return
        if row["score"] >= max((r["score"] for r in self.rows), default=-math.inf):
            tensors = {n: t.detach().cpu().contiguous() for n, t in model_tensors(self.module)}
            temporary = self.best_file.with_suffix(".tmp")
            save_file(tensors, temporary)
            temporary.replace(self.best_file)

    def _save(self, epoch: int) -> None:
        arrays = {}
        for i, hook in enumerate(self.hooks):
            arrays.update({f"{i}.{name}": value for name, value in hook.arrays().items()})
        state = {
            "fingerprint": self.fingerprint, "rows": self.rows, "scaler": self.scaler.state_dict()
        }  # fmt: skip
        tensors = dict(trained_tensors(self.module, self.optimiser))
        save_checkpoint(self.folder, Checkpoint(epoch, tensors, arrays, state))

    def _restore(self) -> int:
        """Take the newest checkpoint over; RETURNS (int): Epochs done."""
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is None:
            return 0
        changed = [
            f"{key}: {value} is now {self.fingerprint.get(key)}"
            for key, value in checkpoint.state["fingerprint"].items()
            if self.fingerprint.get(key) != value
        ]
        if changed:
            raise MaralError(Errors.M311.format(folder=self.folder, changed="\n  ".join(changed)))
        restore_tensors(self.module, checkpoint.tensors, self.optimiser)
        self.scaler.load_state_dict(checkpoint.state["scaler"])
        self.rows[:] = checkpoint.state["rows"]
        for i, hook in enumerate(self.hooks):
            prefix = f"{i}."
            hook.restore(
                {
                    name.removeprefix(prefix): value
                    for name, value in checkpoint.arrays.items()
                    if name.startswith(prefix)
                }
            )
        return checkpoint.epoch
