"""The training loop: batches, gradients, optimiser steps, epochs, checkpoints.

The loop handles streams and hooks; it does not know about pseudo-labels.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm

from ..data.files import differences, write_text
from ..data.layout import LOG
from ..errors import Errors, MaralError, Warnings
from ..model.checks import make_loss
from ..model.geometry import centroid_cosine, mean_off_diagonal
from ..model.machine import deterministic
from .checkpoint import (
    BEST,
    THREADS,
    Checkpoint,
    describe_newest,
    load_checkpoint,
    save_checkpoint,
    save_tensors,
    writing,
)
from .hooks import Evaluate, Hook, StepReport
from .interrupts import Interrupted, StopRequest
from .network import Network
from .objective import ExtraLoss, batch_loss
from .optimiser import (
    make_optimiser,
    model_tensors,
    restore_tensors,
    set_learn_rate,
    trained_tensors,
)
from .processes import ALONE, Ranks
from .settings import SELECTION, TrainingSettings
from .steps import plan_epoch
from .streams import Stream

logger = logging.getLogger("spacy")

# about 29 halvings below the scaler's initial scale, 2**16
SMALLEST_SCALE = 1e-4
# marks a due checkpoint; signals that stop a run have larger numbers
DUE = 1
# 368 sentences in 96 updates ended at an F1 of 29
FEW_UPDATES = 200


@dataclass
class Progress:
    """Progress within an epoch.

    step: Steps done. n_spans: Candidate spans seen. seconds: Time taken. sums: Sums of the steps'
    losses by name.
    """

    step: int = 0
    n_spans: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """One training run, by one process or by several together.

    network (Network): The network, trained in place.
    streams (list[Stream]): The training data; each step takes a batch of every stream.
    settings (TrainingSettings): The settings of the training.
    evaluate (Callable | None): Function from the network to a dict of scores, for the log and for
        `settings.select`; None in all processes but the first.
    folder (Path): Folder for checkpoints and the log.
    fingerprint (dict): Settings and data digests that a resumed run must share (see `fingerprint`).
    seed (int): Seed of batches and dropout.
    hooks (list[Hook]): Hooks that the run calls around epochs and steps.
    extra (ExtraLoss | None): A further loss, such as masked language modelling.
    ranks (Ranks): The processes of the run.
    log (list[dict]): One row for each finished epoch.
    """

    network: Network
    streams: list[Stream]
    settings: TrainingSettings
    evaluate: Evaluate | None
    folder: Path
    fingerprint: dict[str, Any]
    seed: int = 0
    hooks: Sequence[Hook] = ()
    extra: ExtraLoss | None = None
    ranks: Ranks = ALONE
    log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # all trained modules as one
        self.module = nn.ModuleDict({"network": self.network})
        if self.extra is not None:
            self.module["extra"] = self.extra.head
        self.span_loss = make_loss(self.settings.loss)
        self.optimiser = make_optimiser(self.module, self.network.encoder, self.settings)
        self.scaler = torch.amp.GradScaler(
            self.network.device.type, enabled=self.network.precision == "float16"
        )
        self.epoch_steps = [len(self._plan(epoch)) for epoch in range(self.settings.epochs)]
        self.frozen = self.network.frozen_digest()
        self.stop = StopRequest()
        self.saved_at = time.perf_counter()
        # stream name and documents of each batch whose gradients the next update will use
        self.pending: list[tuple[str, NDArray[np.int64]]] = []
        # file with the weights of the best epoch; each checkpoint has a copy
        self.best_file: Path | None = None

    @property
    def n_updates(self) -> int:
        """Number of updates of the weights in all epochs."""
        return sum(math.ceil(n / self.settings.accumulate) for n in self.epoch_steps)

    def train(self, *, resume: bool) -> list[dict[str, Any]]:
        """Train all remaining epochs, and load the selected weights into the network.

        resume (bool): Resume from the newest checkpoint, if there is one.
        RETURNS (list): The log, one row per epoch. If there are several processes, only the first
            one's network gets the selected weights.
        RAISES (MaralError): If a loss or gradient is not finite, the checkpoint belongs to another
            run, or a file cannot be written.
        RAISES (Interrupted): After Ctrl-C or SIGTERM, when the run has saved its state.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if self.n_updates < FEW_UPDATES and self.ranks.is_first:
            logger.warning(
                Warnings.W308.format(
                    n=self.n_updates, epochs=self.settings.epochs, size=self.settings.batch_tokens
                )
            )
        first, progress = self._restore() if resume else (0, Progress())
        on_cpu = self.network.device.type == "cpu"
        with StopRequest() as self.stop, deterministic(on_cpu or self.settings.deterministic):
            for row in self.epochs(first, progress):
                self._select(row)
                with writing(self.folder):
                    for hook in self.hooks:
                        row.update(hook.on_epoch_end(row["epoch"] - 1))
                self.log.append(row)
                path = self._save(row["epoch"], Progress())
                self._write_log()
                for hook in self.hooks:
                    hook.on_row(row)
                self._heed(path, f"after epoch {row['epoch']}")
        self._take_selected()
        self.network.eval()
        return self.log

    def epochs(self, first: int, progress: Progress) -> Iterator[dict[str, Any]]:
        """Train epoch by epoch; YIELDS (dict): The row of each epoch, with losses and scores."""
        for epoch in range(first, self.settings.epochs):
            yield self._epoch(epoch, progress)
            progress = Progress()

    def _take_selected(self) -> None:
        """Load the weights of the selected epoch into the network of the first process."""
        if self.settings.select == "last" or not self.ranks.is_first:
            return
        if self.best_file is None or not self.best_file.is_file():
            raise MaralError(Errors.M319.format(path=self.best_file or self.folder / BEST))
        restore_tensors(self.module, load_file(self.best_file))

    def _write_log(self) -> None:
        if not self.ranks.is_first:
            return
        with writing(self.folder / LOG):
            write_text(self.folder / LOG, "".join(json.dumps(row) + "\n" for row in self.log))

    def _plan(self, epoch: int) -> list[tuple[NDArray[np.int64], ...]]:
        """Plan each step's batch of each stream (see `plan_epoch`)."""
        shares = [stream.share for stream in self.streams]
        return plan_epoch(shares, self.settings, self.seed, epoch)

    def _epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        """Do the remaining steps of an epoch, and evaluate; RETURNS (dict): Its row."""
        if not progress.step:
            if self.settings.reset_means:
                self.network.span_model.statistics.reset_counts()
            for hook in self.hooks:
                hook.on_epoch_start(epoch)
        self.module.train()
        started = time.perf_counter() - progress.seconds
        plan = self._plan(epoch)
        bar = tqdm(
            plan[progress.step :], desc=f"Epoch {epoch + 1}/{self.settings.epochs}",
            initial=progress.step, total=len(plan), disable=None,
        )  # fmt: skip
        for batches in bar:
            parts, n_spans = self._step(epoch, progress.step, batches)
            progress.step += 1
            progress.n_spans += n_spans
            progress.seconds = time.perf_counter() - started
            for name, value in parts.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            rate = progress.n_spans / progress.seconds
            bar.set_postfix({"loss": f"{sum(parts.values()):.3f}", "spans/s": f"{rate:,.0f}"})
            self._pause(epoch, progress)
        scores = self.ranks.say(self.evaluate(self.network) if self.evaluate else None)
        return {
            "epoch": epoch + 1,
            "steps": len(plan),
            "losses": {name: total / len(plan) for name, total in progress.sums.items()},
            **scores,
            **self._geometry(),
            "spans_per_second": progress.n_spans / progress.seconds,
            "seconds": progress.seconds,
        }

    def _pause(self, epoch: int, progress: Progress) -> None:
        """Save within an epoch if a checkpoint is due or the run is to stop, but only after a
        complete update of the weights."""
        minutes = self.settings.checkpoint_minutes
        due = minutes > 0 and time.perf_counter() - self.saved_at >= 60 * minutes
        # if any process has a request to stop or a due checkpoint, all save after the same step
        asked = self.ranks.largest(self.stop.signum or DUE * due)
        if asked > DUE:
            self.stop.signum = asked
        if not self.pending and asked:
            path = self._save(epoch, progress)
            self._heed(path, f"after step {progress.step} of epoch {epoch + 1}")

    def _heed(self, path: Path, when: str) -> None:
        """RAISES (Interrupted): If a signal has requested a stop."""
        if self.stop.signum is not None:
            raise Interrupted(Warnings.W306.format(when=when, path=path), self.stop.signum)

    def _step(self, epoch: int, step: int, batches) -> tuple[dict[str, float], int]:  # type: ignore[no-untyped-def]
        parts: dict[str, float] = {}
        n_spans = 0
        # each step has its own seed, so that a resumed run draws the same random numbers
        seed = [self.seed, epoch, step, self.ranks.rank]
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**62)))
        last = step + 1 == self.epoch_steps[epoch]
        updates = (step + 1) % self.settings.accumulate == 0 or last
        for stream, docs in zip(self.streams, batches, strict=True):
            self.pending.append((stream.name, docs))
            batch, counts = stream.batch(docs, self.network.pad_id)
            output = self.network(batch)
            loss = batch_loss(
                self.network, output, stream, batch, self.span_loss,
                outside_weight=self.settings.outside_weight, counts=counts, extra=self.extra,
            )  # fmt: skip
            if not all(map(math.isfinite, loss.parts.values())):
                self.pending = self.pending[-1:]
                self._refuse(Errors.M310, epoch, step)
            self.scaler.scale(loss.total / self.settings.accumulate).backward()
            self.network.span_model.statistics.update(loss.z, loss.classes)
            parts.update(loss.parts)
            n_spans += len(loss.z)
            for hook in self.hooks if counts else ():
                hook.on_step(StepReport(epoch, stream, batch, output))
        if updates:
            self.ranks.sum_gradients(self.module.parameters())
            self._update(epoch, step)
        return parts, n_spans

    def _update(self, epoch: int, step: int) -> None:
        """Update the weights with the accumulated gradients."""
        done = sum(self.epoch_steps[:epoch]) + step
        set_learn_rate(self.optimiser, done, sum(self.epoch_steps), self.settings.warmup)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.grad_clip)
        # scaled gradients overflow occasionally: the scaler skips such an update
        if not self.scaler.is_enabled() and not norm.isfinite():
            self._refuse(Errors.M321, epoch, step)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            self._refuse(Errors.M325, epoch, step)
        self.optimiser.zero_grad(set_to_none=True)
        self.pending.clear()

    def _refuse(self, message: str, epoch: int, step: int) -> None:
        """Stop a run whose numbers are no longer usable.

        RAISES (MaralError): Always; names the step, the update's documents and the last checkpoint.
        """
        docs = "; ".join(
            f"{name} documents {', '.join(map(str, numbers))}" for name, numbers in self.pending
        )
        found = {"docs": docs, "checkpoint": describe_newest(self.folder)}
        raise MaralError(message.format(step=step + 1, epoch=epoch + 1, **found))

    def _geometry(self) -> dict[str, Any]:
        statistics = self.network.span_model.statistics
        concentration = statistics.concentration
        cosines = centroid_cosine(statistics.direction.cpu().numpy())
        return {
            "kappa": [float(concentration.min()), float(concentration.max())],
            "centroid_cosine": mean_off_diagonal(cosines),
        }

    def _select(self, row: dict[str, Any]) -> None:
        """Keep the weights of the best epoch so far; if epochs tie, those of the later one."""
        if self.settings.select == "last":
            return
        key = SELECTION[self.settings.select]
        best = row[key] >= max((r[key] for r in self.log), default=-math.inf)
        if best and self.ranks.is_first:
            self.best_file = self.folder / f"{BEST}.tmp"
            with writing(self.folder):
                save_tensors(self.best_file, dict(model_tensors(self.module)))

    def _save(self, epoch: int, progress: Progress) -> Path:
        """Write a checkpoint; RETURNS (Path): Its folder."""
        arrays = {}
        for i, hook in enumerate(self.hooks):
            arrays.update({f"{i}.{name}": value for name, value in hook.arrays().items()})
        state = {
            "fingerprint": self.fingerprint,
            "frozen": self.frozen,
            "rows": self.log,
            "progress": asdict(progress),
            "scaler": self.scaler.state_dict(),
        }
        tensors = dict(trained_tensors(self.module, self.optimiser))
        checkpoint = Checkpoint(epoch, tensors, arrays, state, progress.step, self.best_file)
        path = self.folder / checkpoint.name
        if self.ranks.is_first:
            with writing(self.folder):
                save_checkpoint(self.folder, checkpoint)
        # no process continues or stops before the checkpoint is written
        self.ranks.say(None)
        if self.best_file is not None:
            self.best_file = path / BEST
            (self.folder / f"{BEST}.tmp").unlink(missing_ok=True)
        self.saved_at = time.perf_counter()
        return path

    def _restore(self) -> tuple[int, Progress]:
        """Restore the newest checkpoint; RETURNS (tuple): Epochs done, and progress in the next."""
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is None:
            return 0, Progress()
        state = checkpoint.state
        found = state["fingerprint"] | {"frozen layers": state["frozen"]}
        wanted = self.fingerprint | {"frozen layers": self.frozen}
        threads = found.pop(THREADS, None), wanted.pop(THREADS, None)
        if None not in threads and threads[0] != threads[1] and self.ranks.is_first:
            logger.warning(Warnings.W533.format(before=threads[0], now=threads[1]))
        changed = differences(found, wanted)
        if changed:
            raise MaralError(Errors.M311.format(folder=self.folder, changed="\n  ".join(changed)))
        restore_tensors(self.module, checkpoint.tensors, self.optimiser)
        self.scaler.load_state_dict(state["scaler"])
        self.log[:] = state["rows"]
        self.best_file = checkpoint.best if self.ranks.is_first else None
        for i, hook in enumerate(self.hooks):
            prefix = f"{i}."
            if checkpoint.step:
                hook.on_epoch_start(checkpoint.epoch)
            own = [name for name in checkpoint.arrays if name.startswith(prefix)]
            hook.restore({name.removeprefix(prefix): checkpoint.arrays[name] for name in own})
        self._write_log()
        return checkpoint.epoch, Progress(**state["progress"])
