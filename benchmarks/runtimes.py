"""An encoder in ONNX Runtime and OpenVINO, exported to ONNX."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel
from transformers.modeling_outputs import BaseModelOutput

# the word pieces' numbers, and 1 for pieces and 0 for padding; states of pieces
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "last_hidden_state"

Encoder = Callable[..., BaseModelOutput]


def export(encoder: Path, path: Path) -> Path:
    """Write an encoder as ONNX, for any number of rows of any length.

    Its attention is that of matrix products and softmax, a pattern that ONNX Runtime knows; that of
    PyTorch's own function is slower there.

    encoder (Path): Folder of the encoder.
    path (Path): The file.
    RETURNS (Path): The file.
    """
    settings = {"attn_implementation": "eager", "return_dict": False}
    model = AutoModel.from_pretrained(encoder, **settings).eval()
    # tracing leaves out what a mask without padding does not need
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    axes = {name: {0: "rows", 1: "length"} for name in (*INPUTS, OUTPUT)}
    torch.onnx.export(
        model, (torch.full_like(mask, 5), mask), str(path), input_names=list(INPUTS),
        output_names=[OUTPUT], dynamic_axes=axes, dynamo=False,
    )  # fmt: skip
    return path


def onnx_runtime(path: Path, threads: int) -> Encoder:
    """Let ONNX Runtime compute, with all of its optimisations, as it does by default.

    path (Path): The file.
    threads (int): Number of threads.
    RETURNS (Callable): Takes the encoder's arguments of the shape (rows, length), and gives the states.
    """
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _encoder(lambda given: session.run([OUTPUT], given)[0])


def open_vino(path: Path, threads: int, precision: str) -> Encoder:
    """Let OpenVINO compute.

    path (Path): The file.
    threads (int): Number of threads.
    precision (str): "f32", or "bf16", which it chooses by itself on processors that have it.
    RETURNS (Callable): See `onnx_runtime`.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    compiled = import_module("openvino").Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    return _encoder(lambda given: request.infer(given, share_inputs=True)[OUTPUT])


def _encoder(compute: Callable[[dict[str, Any]], Any]) -> Encoder:
    def encoder(**given: Tensor) -> BaseModelOutput:
        arrays = {name: given[name].numpy().astype(np.int64, copy=False) for name in INPUTS}
        states: Any = torch.from_numpy(compute(arrays))
        return BaseModelOutput(last_hidden_state=states)

    return encoder
