"""AdamW for encoder and span model, and the schedule of its learning rates."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .settings import TrainingSettings

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


def make_optimiser(
    network: nn.Module, encoder: nn.Module, settings: TrainingSettings
) -> torch.optim.AdamW:
    """Make AdamW with separate learning rates for the encoder and the rest, no decay on vectors.

    network (nn.Module): Module with all trained parameters.
    encoder (nn.Module): The part of it with the encoder's learning rate.
    settings (TrainingSettings): Learning rates and weight decay.
    RETURNS (torch.optim.AdamW): The optimiser; each parameter group has its peak rate as "peak".
    """
    inside = {id(parameter) for parameter in encoder.parameters()}
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in inside, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    specs = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if matrices else 0.0,
            "peak": settings.learn_rate if in_encoder else settings.head_learn_rate,
            "lr": 0.0,
        }
        for (in_encoder, matrices), parameters in groups.items()
    ]
    return torch.optim.AdamW(specs, fused=True)


def set_learn_rate(
    optimiser: torch.optim.Optimizer, step: int, n_steps: int, warmup: float
) -> float:
    """Set the learning rates of a step: a linear rise in the warm-up, then a linear fall to zero.

    A function of the step alone, unlike the schedulers of torch and transformers: a checkpoint need not hold
    its state. The first step has a rate above 0 already.

    optimiser (torch.optim.Optimizer): The optimiser of `make_optimiser`.
    step (int): Number of steps done so far.
    n_steps (int): Number of steps of the whole run.
    warmup (float): Share of the steps in which the rates rise.
    RETURNS (float): The rates of this step as a share of the peak rates.
    """
    rising = warmup * n_steps
    if step < rising:
        factor = (step + 1) / (rising + 1)
    else:
        factor = max(0.0, (n_steps - step) / max(1.0, n_steps - rising))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    return factor


def trained_tensors(
    network: nn.Module, optimiser: torch.optim.Optimizer
) -> Iterator[tuple[str, Tensor]]:
    """Yield trained weights, buffers and optimiser state by name; frozen weights are left out."""
    yield from model_tensors(network)
    for name, parameter in network.named_parameters():
        if parameter in optimiser.state:
            for key in ADAM_STATE:
                yield f"optimiser.{key}.{name}", optimiser.state[parameter][key]


def model_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield trained weights and buffers by name."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            yield f"model.{name}", parameter
    for name, buffer in network.named_buffers():
        yield f"buffer.{name}", buffer


def restore_tensors(
    network: nn.Module, tensors: dict[str, Tensor], optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Restore the tensors of `trained_tensors`; without an optimiser, those of `model_tensors`."""
    with torch.no_grad():
        for name, tensor in model_tensors(network):
            tensor.copy_(tensors[name])
    if optimiser is None:
        return
    for name, parameter in network.named_parameters():
        state = {
            key: tensors[f"optimiser.{key}.{name}"].to(parameter.device)
            for key in ADAM_STATE
            if f"optimiser.{key}.{name}" in tensors
        }
        if state:
            optimiser.state[parameter] = state
