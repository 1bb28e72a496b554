"""The encoder's share of a student's step, and its speed as a share of the machine's.

ours: The encoder alone over the same batches, with forward and backward pass and the update of its
weights. other: Whole steps. The ratio is the encoder's share of the time. A large matrix product in
the same number format measures the speed of the machine. Two further measurements say what larger
batches, and PyTorch's compiler, would gain for the upper half of the layers.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from spacy_maral.model.encoder.layers import UpperLayers, layer_stack, split_encoder
from spacy_maral.training.network import PRECISIONS, Network

from ..setting import Setting
from ..timing import Trials, alternate, compare
from ..world import Student, Text, student_plan

MAX_WIDTH = 8
# operations per weight and word piece: forward, and backward by the input and by the weights
FORWARD, BACKWARD = 2, 4
TRIALS = 7
# sizes of a batch, in rows of so many pieces; the configuration has 384
BATCH_PIECES, ROW_PIECES = (192, 384, 768, 1536), 24


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case."""
    text = Text.read(setting, MAX_WIDTH)
    student = Student.build(setting, text, student_plan(setting, MAX_WIDTH))
    steps, turn = setting.sizes.steps, [0]
    pieces: list[int] = []

    def passes(update: bool) -> float:
        for number in range(turn[0], turn[0] + steps):
            pieces.append(encode(student, number % len(student.plan), update=update))
        turn[0] += steps
        return steps

    def whole() -> float:
        student.steps(steps)
        return steps

    sides = {"ours": lambda: passes(True), "passes": lambda: passes(False), "other": whole}
    trials = alternate(sides, setting.repeats)
    seconds = float(np.median(trials.cost("passes")))
    parts = seconds_of_parts(trials)
    dtype = PRECISIONS.get(student.pipeline.network.precision, torch.float32)
    achieved = float(np.mean(pieces)) * operations(student) / seconds / 1e9
    possible = matrix_product(setting.sizes.product, dtype)
    return compare(trials, unit="s a step", rate=False) | {
        "ratio": float(np.median(trials.cost("ours") / trials.cost("other"))),
        "other_is": "whole steps; the ratio is the encoder's share",
        "precision": student.pipeline.network.precision,
        "pieces_per_step": float(np.mean(pieces)),
        "tables": {
            "milliseconds of a step": [["part", "ms", "share"], *parts],
            "billions of operations a second": [
                ["what", "GFLOP/s"],
                ["matrix products of the encoder, all of its time counted", achieved],
                [f"a product of matrices of side {setting.sizes.product}", possible],
                ["share", achieved / possible],
            ],
            "word pieces a second of the upper half of the layers, forward and backward": [
                ["pieces of a batch", "pieces/s", "compiled"],
                *layers_by_size(student.pipeline.network, setting.half_of_layers),
            ],
        },
    }


def layers_by_size(network: Network, below: int) -> list[list[Any]]:
    """Pieces per second of the upper layers, as they are and compiled, by the size of a batch.

    below (int): Number of layers below them.
    RETURNS (list): Rows; "-" where PyTorch cannot compile.
    """
    layers = layer_stack(network.encoder)[1][below:]
    upper = split_encoder(network.encoder, below)[1]
    plain = [layers_rate(network, upper, n) for n in BATCH_PIECES]
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        compiled: list[Any] = [layers_rate(network, upper, n) for n in BATCH_PIECES]
    # without a C++ compiler, or for a release that cannot compile the layer, of any kind
    except Exception:
        compiled = ["-"] * len(plain)
    finally:
        for layer in layers:
            layer._compiled_call_impl = None
    return [list(row) for row in zip(BATCH_PIECES, plain, compiled, strict=True)]


def layers_rate(network: Network, upper: UpperLayers, pieces: int) -> float:
    """Pieces per second of CPU time, forward and backward, of a batch of rows of ROW_PIECES."""
    width = network.span_model.input_width
    states = torch.randn(pieces // ROW_PIECES, ROW_PIECES, width, device=network.device)
    mask = torch.ones(states.shape[:2], dtype=torch.long, device=network.device)
    seconds = []
    for number in range(-1, TRIALS):
        started = time.process_time()
        with network.autocast():
            last = upper(states, mask)
        last.backward(torch.ones_like(last))
        if number >= 0:
            seconds.append(time.process_time() - started)
        network.zero_grad()
    return pieces / float(np.median(seconds))


def seconds_of_parts(trials: Trials) -> list[list[Any]]:
    """Milliseconds of each part of a step, and its share of the step, as medians over rounds."""
    whole, encoder, passes = (trials.cost(side) for side in ("other", "ours", "passes"))
    parts = {
        "encoder, forward and backward": passes,
        "encoder, update of its weights": encoder - passes,
        "span model, loss, class means, batches": whole - encoder,
    }
    return [
        [name, 1000 * float(np.median(cost)), float(np.median(cost / whole))]
        for name, cost in parts.items()
    ]


def encode(student: Student, number: int, *, update: bool) -> int:
    """Run the encoder forward and backward over a step's batches.

    update (bool): Whether to clip gradients and let the optimiser make a step of length 0.
    RETURNS (int): Word pieces, with padding.
    """
    network, pieces = student.pipeline.network, 0
    for stream, docs in zip(student.run.streams, student.plan[number], strict=True):
        batch, _ = stream.batch(docs, network.pad_id)
        with network.autocast():
            states = network._states(batch)
        states.backward(torch.ones_like(states))
        pieces += batch.input_ids.size
    optimiser = student.run.optimiser
    if update:
        for group in optimiser.param_groups:
            group["lr"] = 0.0
        nn.utils.clip_grad_norm_(network.encoder.parameters(), student.run.settings.grad_clip)
        optimiser.step()
    optimiser.zero_grad()
    return pieces


def operations(student: Student) -> int:
    """Floating-point operations of the trained linear layers per word piece, both passes."""
    encoder = student.pipeline.network.encoder
    layers = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    trained = sum(m.weight.numel() for m in layers if m.weight.requires_grad)
    pooler = getattr(encoder, "pooler", None)
    unused = 0 if pooler is None else sum(p.numel() for p in pooler.parameters() if p.dim() > 1)
    return (FORWARD + BACKWARD) * (trained - unused)


def matrix_product(side: int, dtype: torch.dtype) -> float:
    """GFLOP/s of a product of two square matrices."""
    a, b = torch.randn(side, side, dtype=dtype), torch.randn(side, side, dtype=dtype)
    seconds = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / float(np.median(seconds)) / 1e9
