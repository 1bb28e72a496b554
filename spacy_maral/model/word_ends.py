"""Layers that take the vectors of words from a transformer's output and return their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model, chain
from transformers.utils import ModelOutput

from ..errors import Errors, MaralError
from .encoder.shared import TransformerData, TransformerListener
from .encoder.transformer import split_batch
from .spans import blank_pieces, word_piece_ends
from .word_vectors import WordEnds

# name of the layer over a transformer's word pieces
WORD_PIECE_ENDS = "word_piece_ends"


def build_word_piece_ends(
    grad_factor: float = 1.0, upstream: str = "*"
) -> Model[list[Doc], WordEnds]:
    """Give each word the transformer's vectors at its first and at its last word piece.

    grad_factor (float): Factor on the gradient passed to the transformer; 0 stops the gradient.
    upstream (str): Name of the transformer component to listen to, "*" for any.
    RETURNS (Model): Maps documents to two arrays of shape (n_words, width). The words of all
        documents follow one another; the rows of a word without a piece are zeros.
    """
    listener = TransformerListener(upstream_name=upstream)
    model: Model[list[Doc], WordEnds] = chain(listener, word_ends(grad_factor))
    model.set_ref("listener", listener)
    return model


def over_own_transformer(transformer: Model) -> Model[list[Doc], WordEnds]:
    """Make the layers that `nlp.replace_listeners` leaves in memory.

    transformer (Model): The component's own copy of the transformer, which `replace_listeners`
        writes to the configuration in place of the listener.
    RETURNS (Model): Maps documents to what `build_word_piece_ends` gives.
    """
    return chain(chain(transformer, split_batch()), word_ends(1.0))


def word_ends(grad_factor: float) -> Model[list[TransformerData], WordEnds]:
    """Take each word's vectors at its first and at its last word piece from a transformer's output.

    grad_factor (float): Factor on the gradient passed to the transformer.
    RETURNS (Model): Maps the output for documents to two arrays of shape (n_words, width).
    """
    return Model(WORD_PIECE_ENDS, _forward_ends, attrs={"grad_factor": grad_factor})


def _forward_ends(
    model: Model, data: list[TransformerData], is_train: bool
) -> tuple[WordEnds, Callable]:
    xp = model.ops.xp
    pieces = [_locate(model, item) for item in data]
    vectors: list[list[Any]] = [[], []]
    for item, places in zip(data, pieces, strict=True):
        if places is None:
            continue
        hidden = _hidden(item)
        flat = hidden.reshape(-1, hidden.shape[-1])
        for side, (place, found) in zip(vectors, places, strict=True):
            side.append(flat[place].astype("float32") * found[:, None])
    if not vectors[0]:
        nothing = model.ops.alloc2f(0, 0)
        return (nothing, nothing), lambda d_ends: []

    def backprop(d_ends: WordEnds) -> list[TransformerData]:
        factor, row, result = model.attrs["grad_factor"], 0, []
        for item, places in zip(data, pieces, strict=True):
            # documents without words have no gradient
            if places is None:
                continue
            hidden = _hidden(item)
            gradient: Any = model.ops.alloc2f(hidden.shape[0] * hidden.shape[1], hidden.shape[2])
            next_row = row + len(places[0][0])
            for d_side, (place, found) in zip(d_ends, places, strict=True):
                weight = factor * found[:, None]
                model.ops.scatter_add(gradient, place, d_side[row:next_row] * weight)
            row = next_row
            gradient = gradient.reshape(hidden.shape).astype(hidden.dtype)
            output = ModelOutput(last_hidden_state=gradient)
            result.append(TransformerData(item.wordpieces, output, item.align))
        return result

    return (xp.concatenate(vectors[0]), xp.concatenate(vectors[1])), backprop


def _locate(model: Model, data: TransformerData) -> list[tuple[Any, Any]] | None:
    """Index of each word's first and last piece in the flattened rows, and whether it has any."""
    if not isinstance(data, TransformerData):
        raise MaralError(Errors.M203.format(found=type(data).__name__))
    hidden = _hidden(data)
    if hidden is None or not hidden.size:
        return None
    ops: Any = model.ops
    ends = word_piece_ends(
        ops.to_numpy(data.align.dataXd), ops.to_numpy(data.align.lengths), hidden.shape[1],
        blank_pieces(data.wordpieces.strings, hidden.shape[1]),
    )  # fmt: skip
    return [(ops.asarray1i(np.maximum(end, 0)), ops.asarray1f(end >= 0)) for end in ends]


def _hidden(data: TransformerData) -> Any:
    """Last hidden states, shape (rows, length, width); None for a document without words."""
    return data.model_output.get("last_hidden_state")
