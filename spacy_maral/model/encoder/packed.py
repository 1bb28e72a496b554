"""The forward pass of BERT-like encoders on a CPU, with matrices stored as oneDNN multiplies them.

PyTorch brings a matrix into that order for each product, which takes as long as the product for the few
pieces of a short text. The layers of transformers also spend milliseconds of a text on calls in Python.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .weights import has_bfloat16, to_float32

FAMILIES = {"bert": "BertModel", "roberta": "RobertaModel", "xlm_roberta": "XLMRobertaModel"}
# processors that this was tried on
TRIED = ("x86_64", "AMD64")
# number of pieces that the order of the matrices is chosen for; all others are multiplied, too
PIECES = 256
# up to so many pieces, their number is rounded up to a multiple
STEPS = ((32, 2), (128, 8), (384, 16), (1 << 62, 64))
# fused optimisers do not count their changes in the version of a tensor
_n_steps = [0]


def _count_step(*arguments: Any) -> None:
    _n_steps[0] += 1


register_optimizer_step_post_hook(_count_step)


def pack(encoder: nn.Module) -> PackedEncoder | None:
    """Pack an encoder for prediction.

    encoder (nn.Module): A Hugging Face encoder.
    RETURNS (PackedEncoder | None): The packed encoder; None for another kind of encoder, one with
        settings or changes that it does not know, and on machines without oneDNN.
    """
    return PackedEncoder(encoder) if _has_packing() and _is_known(encoder) else None


def _has_packing() -> bool:
    if platform.machine() not in TRIED:
        return False
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, n) for n in names)


def _is_known(encoder: nn.Module) -> bool:
    """Whether an encoder computes what `PackedEncoder` does."""
    known = [f"transformers.models.{n}.modeling_{n}.{model}" for n, model in FAMILIES.items()]
    if f"{type(encoder).__module__}.{type(encoder).__qualname__}" not in known:
        return False
    # releases of transformers differ in the settings that they have
    usual = {
        "hidden_act": "gelu", "is_decoder": False, "return_dict": True,
        "position_embedding_type": "absolute", "output_hidden_states": False,
        "output_attentions": False,
    }  # fmt: skip
    if any(getattr(encoder.config, name, value) != value for name, value in usual.items()):
        return False
    linears = [module for layer in _layers(encoder) for module in _linears(layer)]
    # oneDNN refuses to reorder bfloat16 on most other processors
    dtypes = {torch.float32, torch.bfloat16} if has_bfloat16() else {torch.float32}
    return (
        all(type(m) is nn.Linear and m.weight.device.type == "cpu" for m in linears)
        and {m.weight.dtype for m in linears} <= dtypes
        and not any(_has_hooks(module) for module in encoder.modules())
    )


def _has_hooks(module: nn.Module) -> bool:
    """Whether a module calls functions of others, apart from what `weights` adds to it."""
    after = [hook for hook in module._forward_hooks.values() if hook is not to_float32]
    return bool(after or module._forward_pre_hooks)


def _layers(encoder: nn.Module) -> list[Any]:
    return list(cast(Any, encoder).encoder.layer)


def _linears(layer: Any) -> tuple[nn.Linear, ...]:
    own = layer.attention.self
    return (
        own.query, own.key, own.value, layer.attention.output.dense, layer.intermediate.dense,
        layer.output.dense,
    )  # fmt: skip


class PackedEncoder:
    """Computes what an encoder computes in evaluation, up to rounding.

    encoder (nn.Module): An encoder that `pack` accepts. It keeps its weights.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder: Any = encoder
        self.n_heads: int = cast(Any, encoder).config.num_attention_heads
        # an attribute of a module takes a microsecond, and these are asked for with each text
        self._parameters = [m._parameters for layer in _layers(encoder) for m in _linears(layer)]
        self._packed_from = self._versions()
        self._matrices = [_pack_layer(layer) for layer in _layers(encoder)]
        self._norms = [
            (layer.attention.output.LayerNorm, layer.output.LayerNorm) for layer in _layers(encoder)
        ]

    def __reduce__(self) -> tuple[Any, tuple]:
        # copies and other processes pack their own
        return type(None), ()

    def is_current(self, encoder: nn.Module) -> bool:
        """Whether this is the encoder, with the weights that it has now, and no hooks.

        Changes through `tensor.data` are not noticed, nor those of thinc's optimisers.
        """
        same = encoder is self.encoder and not _has_hooks(encoder)
        return same and self._versions() == self._packed_from

    def _versions(self) -> list[int]:
        found = [_n_steps[0]]
        for parameters in self._parameters:
            for tensor in cast(Iterable[Tensor], parameters.values()):
                found += (tensor.data_ptr(), tensor._version)
        return found

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, **kwargs: Tensor) -> Any:
        """Compute the states of word pieces, without gradients.

        input_ids, attention_mask (Tensor): Shape (rows, length).
        kwargs (Tensor): Further arguments of the embeddings, such as token_type_ids.
        RETURNS (BaseModelOutputWithPooling): Output as that of the encoder, in float32.
        """
        embedded = self.encoder.embeddings(input_ids=input_ids, **kwargs)
        mask = _score_mask(attention_mask, embedded.dtype)
        shape, n = embedded.shape, attention_mask.numel()
        states = _padded(embedded)
        for matrices, norms in zip(self._matrices, self._norms, strict=True):
            states = self._layer(states, shape, mask, matrices, norms)
        last: Any = states[:n].view(shape)
        pooler = self.encoder.pooler
        pooled = None if pooler is None else pooler(last).float()
        return BaseModelOutputWithPooling(last_hidden_state=last.float(), pooler_output=pooled)

    def _layer(
        self,
        states: Tensor,
        shape: torch.Size,
        mask: Tensor | None,
        matrices: list[tuple[Tensor, Tensor]],
        norms: Any,
    ) -> Tensor:
        """The next states of pieces, one after another, with rows that mean nothing behind them."""
        rows, length = shape[:2]
        to_heads, from_heads, to_inner, from_inner = matrices
        heads = _linear(states, to_heads)
        if rows > 1:
            heads = heads[: rows * length]
        heads = heads.view(rows, -1, 3, self.n_heads, shape[2] // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        # what is behind a single row is read by nothing, but may read
        key, value = key[:, :, :length], value[:, :, :length]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        read = _padded(read.transpose(1, 2))
        states = _normalised(_linear_plus(read, from_heads, states), norms[0])
        # as a part of the product it is as fast with AVX-512, and takes twice as long without
        inner = torch.ops.aten.gelu_(_linear(states, to_inner))
        return _normalised(_linear_plus(inner, from_inner, states), norms[1])


def _padded(states: Tensor) -> Tensor:
    """Put pieces one after another, and rows behind them, so that there are few numbers of rows.

    oneDNN keeps some 0.2 MiB for each number of rows that it has multiplied a matrix with.

    states (Tensor): Shape (rows, length, ...).
    RETURNS (Tensor): Shape (at least rows * length, width).
    """
    rows, length = states.shape[:2]
    n = rows * length
    missing = -n % next(step for most, step in STEPS if n <= most)
    if not missing:
        return states.reshape(n, -1)
    flat = states.new_empty(n + missing, states[0, 0].numel())
    flat[:n].view(states.shape).copy_(states)
    flat[n:].zero_()
    return flat


def _pack_layer(layer: Any) -> list[tuple[Tensor, Tensor]]:
    """Matrices and biases of a layer, those to queries, keys and values as one."""
    *to_heads, from_heads, to_inner, from_inner = _linears(layer)
    reorder = torch.ops.mkldnn._reorder_linear_weight
    return [
        (
            reorder(torch.cat([m.weight.detach() for m in group]), PIECES),
            torch.cat([m.bias.detach() for m in group]),
        )
        for group in (to_heads, [from_heads], [to_inner], [from_inner])
    ]


def _linear(x: Tensor, matrix: tuple[Tensor, Tensor]) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, *matrix, "none", [], "none")


def _linear_plus(x: Tensor, matrix: tuple[Tensor, Tensor], other: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, *matrix, "add")


def _normalised(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _score_mask(mask: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores of attention, shape (rows, 1, 1, length); None for nothing."""
    if bool(mask.all()):
        return None
    least = torch.zeros(mask.shape, dtype=dtype).masked_fill_(mask == 0, torch.finfo(dtype).min)
    return least[:, None, None]
