"""Cut layers out of an encoder."""

from __future__ import annotations

import copy
import re

import torch
from torch import nn

from ...errors import Errors, MaralError
from ...model.encoder.files import make_objects, tokenizer_files
from ...model.encoder.layers import layer_stack
from ...model.encoder.shim import EncoderShim
from ...model.encoder.weights import stored_tensors


def choose_layers(keep: str, n_layers: int) -> list[int]:
    """Read which layers are to be kept.

    A number of layers stands for as many of equal distance, the lowest and the highest among them.

    keep (str): A number of layers, or several numbers of layers from 0, separated by commas.
    n_layers (int): Number of layers of the encoder.
    RETURNS (list[int]): Numbers of the layers, ascending.
    RAISES (MaralError): If it is no such list, or not fewer layers than there are.
    """

    def refuse(rule: str) -> MaralError:
        return MaralError(Errors.M574.format(found=keep, rule=rule, n_layers=n_layers))

    parts = [part.strip() for part in keep.split(",")]
    if not all(re.fullmatch("[0-9]+", part) for part in parts):
        raise refuse("these are no numbers separated by commas")
    numbers = [int(part) for part in parts]
    if "," not in keep:
        if not 1 <= numbers[0] < n_layers:
            raise refuse(f"the number must be from 1 to {n_layers - 1}")
        # one layer is the lowest
        step = (n_layers - 1) / max(1, numbers[0] - 1)
        return [round(step * place) for place in range(numbers[0])]
    if sorted({*numbers}) != numbers:
        raise refuse("the numbers do not ascend")
    if numbers[-1] >= n_layers or len(numbers) == n_layers:
        raise refuse(f"they must be some of the numbers from 0 to {n_layers - 1}")
    return numbers


def cut_layers(shim: EncoderShim, keep: list[int]) -> None:
    """Replace an encoder by one that has only some of its layers, with the same weights.

    shim (EncoderShim): Holds the encoder.
    keep (list[int]): Numbers of the layers to keep, ascending.
    RAISES (MaralError): If the encoder has no list of layers, or they differ in kind by their place.
    """
    objects = shim.objects
    encoder = objects.encoder
    name, layers = layer_stack(encoder)
    problem = f"{type(encoder).__name__} has no list of layers"
    if len(layers):
        problem = problem_of_places(layers, keep)
    if problem:
        raise MaralError(Errors.M575.format(problem=problem))
    config = copy.deepcopy(encoder.config)
    config.num_hidden_layers = len(keep)
    if isinstance(kinds := getattr(config, "layer_types", None), list):
        config.layer_types = [kinds[number] for number in keep]
    files = tokenizer_files(objects)
    objects = make_objects(
        config.to_dict(), files, kept_tensors(encoder, name, keep), "float32",
        use_fast=objects.tokenizer.is_fast,
    )  # fmt: skip
    shim.hold(objects)


def problem_of_places(layers: nn.ModuleList, keep: list[int]) -> str:
    """Describe a layer that would be of another kind at its new place, as in ModernBERT; "" if none."""
    for new, old in enumerate(keep):
        if kind_of(layers[new]) != kind_of(layers[old]):
            return f"its layers {old} and {new} differ in kind, and {old} would take the place of {new}"
    return ""


def kind_of(layer: nn.Module) -> list[tuple[str, str]]:
    """What a layer is besides its weights: its modules, and plain settings apart from its number."""
    found = []
    for name, module in layer.named_modules():
        plain = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, bool | int | float | str | tuple) and not key.startswith("_")
            if key not in ("layer_id", "layer_idx", "training")
        }
        found.append((name, f"{type(module).__name__} {sorted(plain.items())}"))
    return found


def kept_tensors(encoder: nn.Module, name: str, keep: list[int]) -> dict[str, torch.Tensor]:
    """The tensors of an encoder without those of the layers that go; the others are renumbered.

    name (str): Name of the list of layers within the encoder.
    keep (list[int]): Numbers of the layers to keep, ascending.
    """
    new = {str(old): number for number, old in enumerate(keep)}
    tensors = {}
    for key, tensor in stored_tensors(encoder, "float32").items():
        if not key.startswith(f"{name}."):
            tensors[key] = tensor
            continue
        number, _, rest = key.removeprefix(f"{name}.").partition(".")
        if number in new:
            tensors[f"{name}.{new[number]}.{rest}"] = tensor
    return tensors
