"""How an encoder's weights are kept: in float32, or in numbers of fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .errors import Errors, MaralError

WEIGHTS = ("float32", "float16", "bfloat16", "int8")
# an encoder that is kept in these computes in them on a CPU, and cannot be trained
FOR_INFERENCE = ("int8", "bfloat16")
# what floats are kept in; int8 is for the matrices of linear layers only
FLOATS = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int8": torch.float16,
}  # fmt: skip
SCALE = "_scale"
LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer whose weights have 8 bits, for inference on a CPU.

    Inputs are rounded row by row, each to a scale of its own, so that what a row gives does not depend
    on the others of its batch.

    weight (Tensor): Rounded weights, int8, shape (nO, nI).
    scale (Tensor): What they are to be multiplied by, shape (nO,).
    bias (Tensor | None): Shape (nO,).
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale.float())
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        rounded, scale = rounded_rows(rows)
        found = torch._int_mm(rounded, self.weight.t()) * scale.unsqueeze(1)
        found *= self.weight_scale
        if self.bias is not None:
            found += self.bias
        return found.reshape(*x.shape[:-1], -1)


def rounded_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to 8 bits, each row to a scale of its own.

    matrix (Tensor): Floats, shape (n, m).
    RETURNS (tuple): int8, shape (n, m), and what rows are to be multiplied by, shape (n,).
    """
    scale = matrix.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
    return (matrix / scale.unsqueeze(1)).round_().to(torch.int8), scale


def stored_tensors(encoder: nn.Module, weights: str) -> dict[str, Tensor]:
    """All tensors of an encoder as they are saved.

    encoder (nn.Module): The encoder.
    weights (str): One of WEIGHTS. Floats that are too large for the type stay as they are.
    RETURNS (dict): Tensors on the CPU by name; rounded matrices have their scales beside them.
    """
    found = {}
    linear = {f"{name}.weight" for name, m in encoder.named_modules() if isinstance(m, nn.Linear)}
    for name, tensor in encoder.state_dict().items():
        tensor = tensor.detach().cpu()
        if weights == "int8" and name in linear:
            found[name], found[name + SCALE] = rounded_rows(tensor.float())
        elif name.endswith(SCALE):
            found[name] = tensor
        else:
            found[name] = _in_format(tensor, FLOATS[weights])
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _in_format(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    converted = tensor.to(dtype)
    return converted if bool(converted.isfinite().all()) else tensor


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in float32, from those that `stored_tensors` gave.

    tensors (Mapping): Tensors by name.
    RETURNS (dict): Tensors by name, without scales.
    """
    found = {}
    for name, tensor in tensors.items():
        if name + SCALE in tensors:
            found[name] = tensor.float() * tensors[name + SCALE].unsqueeze(1)
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) in tensors):
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def prepare_inference(encoder: nn.Module, weights: str, tensors: Mapping[str, Tensor]) -> None:
    """Let an encoder on a CPU compute in what it is kept in, if it is kept for inference.

    encoder (nn.Module): The encoder, changed in place; what it gives stays float32.
    weights (str): One of WEIGHTS.
    tensors (Mapping): What `stored_tensors` gave.
    """
    if weights == "bfloat16":
        encoder.to(torch.bfloat16)
        encoder.register_forward_hook(_to_float32)
    elif weights == "int8":
        for name, module in list(encoder.named_modules()):
            key = f"{name}.weight"
            if isinstance(module, nn.Linear) and key + SCALE in tensors:
                rounded = Int8Linear(tensors[key], tensors[key + SCALE], module.bias)
                parent, _, own = name.rpartition(".")
                setattr(encoder.get_submodule(parent), own, rounded)


def check_trainable(encoder: nn.Module) -> None:
    """Refuse to train an encoder whose numbers are too coarse for small steps.

    encoder (nn.Module): The encoder.
    RAISES (MaralError): If it computes in bfloat16 or int8.
    """
    if any(isinstance(module, Int8Linear) for module in encoder.modules()):
        raise MaralError(Errors.M463.format(weights="int8"))
    if any(parameter.dtype == torch.bfloat16 for parameter in encoder.parameters()):
        raise MaralError(Errors.M463.format(weights="bfloat16"))


def _to_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Give the vectors in float32, which arrays have a type for."""
    for name, value in output.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            output[name] = value.float()
    return output
