"""Number formats of an encoder's saved weights: float32, or 16-bit floats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import Errors, MaralError

WEIGHTS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# an encoder saved in this format computes in it on a CPU that can, and cannot be trained
FOR_INFERENCE = "bfloat16"


def has_bfloat16() -> bool:
    """Whether the processor computes bfloat16 natively; otherwise it is slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def stored_tensors(encoder: nn.Module, weights: str) -> dict[str, Tensor]:
    """Convert all tensors of an encoder to the format in which they are saved.

    encoder (nn.Module): The encoder.
    weights (str): Format of all floats, one of WEIGHTS. A tensor with numbers that are too large
        for the format keeps its own.
    RETURNS (dict): Tensors on the CPU by name.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in encoder.state_dict().items()}
    return {name: _converted(tensor, WEIGHTS[weights]) for name, tensor in tensors.items()}


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    converted = tensor.to(dtype)
    return converted if bool(converted.isfinite().all()) else tensor


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of tensors and their names, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(name.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        sha.update(flat.view(torch.uint8).numpy().data)
    return sha.hexdigest()


def inference_dtype(weights: str, device: torch.device) -> torch.dtype:
    """Number format in which a loaded encoder computes.

    weights (str): Format of the saved weights, one of WEIGHTS.
    device (torch.device): The encoder's device.
    RETURNS (torch.dtype): bfloat16 if it was saved so and the device is a CPU that can, else float32.
    """
    native = weights == FOR_INFERENCE and device.type == "cpu" and has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def prepare_inference(encoder: nn.Module, weights: str) -> None:
    """Let an encoder on a CPU compute in bfloat16, if it was saved so and the processor can.

    encoder (nn.Module): The encoder, changed in place; its output stays float32.
    weights (str): Format of the saved weights, one of WEIGHTS.
    """
    if weights != FOR_INFERENCE:
        return
    encoder.inference_only = True  # type: ignore[assignment]
    dtype = inference_dtype(weights, next(encoder.parameters()).device)
    if dtype != torch.float32:
        encoder.to(dtype)
        encoder.register_forward_hook(to_float32)


def check_trainable(encoder: nn.Module) -> None:
    """Refuse to train an encoder whose weights are too coarse for small updates.

    encoder (nn.Module): The encoder.
    RAISES (MaralError): If the encoder was saved for inference only.
    """
    if getattr(encoder, "inference_only", False):
        raise MaralError(Errors.M463.format(weights=FOR_INFERENCE))


def to_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Convert the output to float32, since NumPy has no bfloat16."""
    for name, value in output.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            output[name] = value.float()
    return output
