"""The layers of any Hugging Face encoder, split into the lowest ones and those above them."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import Errors, MaralError

# modules that ModernBERT applies after its last layer
LAST = ("final_norm",)


def input_embeddings(encoder: nn.Module) -> nn.Module:
    """Find the word embeddings of a Hugging Face encoder."""
    return cast(Any, encoder).get_input_embeddings()


def layer_stack(encoder: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the layers of an encoder: the list of as many modules as its configuration has layers.

    encoder (nn.Module): A Hugging Face encoder, such as BERT, DistilBERT, DeBERTa or ModernBERT.
    RETURNS (tuple): Name of the list within the encoder, and the list; "" and an empty list for an
        encoder without one, such as ALBERT, whose layers are one module.
    """
    n_layers = getattr(cast(Any, encoder).config, "num_hidden_layers", 0)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return name, module
    return "", nn.ModuleList()


def split_encoder(encoder: nn.Module, layers: int) -> tuple[LowerLayers, UpperLayers]:
    """Split an encoder into its lowest layers and those above; both parts share its modules.

    encoder (nn.Module): A Hugging Face encoder.
    layers (int): Number of layers of the lower part, at least 1.
    RETURNS (tuple): The lower part, which takes piece ids, and the upper part, which takes the
        states that the lower part returns.
    RAISES (MaralError): If the encoder has no list of layers, or no layer for the upper part.
    """
    name, stack = layer_stack(encoder)
    if layers >= len(stack):
        raise MaralError(Errors.M309.format(wanted=layers, n_layers=len(stack)))
    lower = LowerLayers(encoder, name, nn.ModuleList([*stack[:layers], _Leave(stack[layers])]))
    return lower, UpperLayers(encoder, name, stack[layers:])


class _Reached(Exception):
    """Leaves the encoder with the states that its lower part has computed."""

    def __init__(self, states: Tensor) -> None:
        self.states = states


class _StandIn(nn.Module):
    """Takes the place of a layer, with its plain settings: an encoder may ask for the layer's kind."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        settings = {key: value for key, value in vars(layer).items() if isinstance(value, str)}
        self.__dict__.update(settings)


class _Leave(_StandIn):
    """Stands above the lower layers."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _Reached(args[0] if args else next(iter(kwargs.values())))


class _Enter(_StandIn):
    """The first upper layer, which reads given states in place of what comes from below."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.layer = layer
        self.states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            return self.layer(self.states, *args[1:], **kwargs)
        return self.layer(**{**kwargs, next(iter(kwargs)): self.states})


class LowerLayers(nn.Module):
    """The embeddings and the lowest layers of an encoder, and whatever else these layers use.

    encoder (nn.Module): The encoder.
    name (str): Name of its list of layers.
    layers (nn.ModuleList): The lowest layers, and what stands above them.
    """

    def __init__(self, encoder: nn.Module, name: str, layers: nn.ModuleList) -> None:
        super().__init__()
        self.encoder = _with_layers(encoder, name, layers)
        for last in LAST:
            self.encoder._modules.pop(last, None)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the states of the highest of the layers, shape (rows, length, h)."""
        try:
            self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        except _Reached as reached:
            return reached.states
        raise AssertionError("an encoder calls its layers")


class UpperLayers(nn.Module):
    """The layers of an encoder above the lowest ones.

    encoder (nn.Module): The encoder.
    name (str): Name of its list of layers.
    layers (nn.ModuleList): The upper layers.
    """

    def __init__(self, encoder: nn.Module, name: str, layers: nn.ModuleList) -> None:
        super().__init__()
        self.entry = _Enter(layers[0])
        self.encoder = _with_layers(encoder, name, nn.ModuleList([self.entry, *layers[1:]]))
        # DeBERTa applies this module after its lowest layer, the first of the list
        parent = self.encoder.get_submodule(name.rpartition(".")[0])
        if "conv" in parent._modules:
            parent._modules["conv"] = None
        self.width = cast(Any, input_embeddings(encoder)).embedding_dim

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the last hidden states from those of the lower part, shape (rows, length, h)."""
        # the result of the embeddings is not used
        nothing = torch.zeros(*states.shape[:2], self.width, device=states.device)
        self.entry.states = states
        try:
            output = self.encoder(inputs_embeds=nothing, attention_mask=attention_mask)
        finally:
            self.entry.states = None
        return output.last_hidden_state


def _with_layers(encoder: nn.Module, name: str, layers: nn.ModuleList) -> nn.Module:
    """Copy an encoder with other layers; the copy shares all other modules."""
    *path, last = name.split(".")
    shell = parent = _shell(encoder)
    for part in path:
        parent._modules[part] = inner = _shell(cast(nn.Module, parent._modules[part]))
        parent = inner
    parent._modules[last] = layers
    return shell


def _shell(module: nn.Module) -> nn.Module:
    """Copy a module that shares its children, in a list of its own."""
    shell = copy.copy(module)
    shell._modules = dict(module._modules)
    return shell
