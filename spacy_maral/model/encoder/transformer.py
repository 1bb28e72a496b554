"""The architecture of the encoder: documents in, word pieces with their vectors out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
import torch
from safetensors.torch import save_file
from spacy.tokens import Doc, Span
from thinc.api import ArgsKwargs, Model, chain, torch2xp, xp2torch
from thinc.types import Ragged
from transformers.utils import ModelOutput
from transformers.utils import logging as hf_logging

from ...errors import Errors, MaralError
from ..checks import check_choice
from .files import (
    HUB_NAME,
    PLACE,
    EncoderObjects,
    apart,
    bytes_start,
    digest_file,
    load_pretrained,
    write_nested,
)
from .mapped import forget, map_file, unpack
from .pieces import tokenize
from .reading import readable, restore
from .shared import FullTransformerBatch, TransformerData, WordpieceBatch
from .shim import EncoderShim
from .weights import WEIGHTS, stored_tensors


def build_transformer(
    name: str,
    get_spans: Callable[[list[Doc]], list[list[Span]]],
    tokenizer_config: dict[str, Any] | None = None,
    transformer_config: dict[str, Any] | None = None,
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, Any] | None = None,
    max_batch_pieces: int = 32768,
    weights: str = "float32",
) -> BoundedTransformer:
    """Make the encoder of a transformer component, like spacy-transformers.TransformerModel.v3.

    Unlike that model, this encoder reads the windows of a long document in parts, truncates
    extremely long words before padding, can predict in several threads, and is saved without
    pickle. It reads words in Unicode NFC, and any white space between them as one space.

    name (str): Name or folder of the pretrained encoder.
    get_spans (Callable): Cuts documents into windows.
    tokenizer_config (dict): Settings of the tokenizer.
    transformer_config (dict): Settings of the encoder.
    mixed_precision (bool): Whether a GPU computes in half precision.
    grad_scaler_config (dict): Settings of the gradient scaler.
    max_batch_pieces (int): Maximum number of word pieces read at once during prediction, padding
        included.
    weights (str): Number format of the saved weights: "float32", or "float16" or "bfloat16", which
        are rounded and take half the space. A pipeline loaded from "bfloat16" can only predict; on
        CPUs with native bfloat16 it computes in bfloat16, which is faster. In all other cases the
        weights are float32 in memory.
    RETURNS (Model): Maps documents to the vectors of their word pieces.
    RAISES (MaralError): If max_batch_pieces is below 1, or weights has another value.
    """
    check_choice("weights", weights, list(WEIGHTS))
    if max_batch_pieces < 1:
        raise MaralError(Errors.M222.format(found=max_batch_pieces))
    objects = EncoderObjects(
        tokenizer_config=dict(tokenizer_config or {}), encoder_config=dict(transformer_config or {})
    )
    shim = EncoderShim(
        objects, max_batch_pieces=max_batch_pieces, weights=weights,
        mixed_precision=mixed_precision, grad_scaler_config=grad_scaler_config,
    )  # fmt: skip
    layer: Model = Model("hf-pytorch", _read, shims=[shim], dims={"nI": None, "nO": None})
    return BoundedTransformer(name, get_spans, layer)


class BoundedTransformer(Model[list[Doc], FullTransformerBatch]):
    """See `build_transformer`.

    name (str): Name or folder of the pretrained encoder.
    get_spans (Callable): Cuts documents into windows.
    layer (Model): Holds the encoder.
    """

    def __init__(self, name: str, get_spans: Callable, layer: Model) -> None:
        # by has_transformer, others know a transformer without importing this file
        attrs = {
            "name": name, "get_spans": get_spans, "has_transformer": False,
            "replace_listener": replace_listener, "replace_listener_cfg": replace_listener_cfg,
        }  # fmt: skip
        super().__init__(
            "transformer", _forward, init=_init, layers=[layer], dims={"nO": None}, attrs=attrs
        )

    @property
    def shim(self) -> EncoderShim:
        """RETURNS (EncoderShim): Holds the encoder and its tokenizer."""
        return cast(EncoderShim, self.layers[0].shims[0])

    @property
    def tokenizer(self) -> Any:
        """RETURNS (PreTrainedTokenizerBase): The encoder's tokenizer; None before initialisation."""
        return self.shim.objects.tokenizer

    @property
    def transformer(self) -> Any:
        """RETURNS (nn.Module): The encoder; None before initialisation."""
        return self.shim.objects.encoder

    def to_disk(self, path: Path | str) -> None:
        """Write the bytes that `to_bytes` returns, with the tensors written directly to the disk.

        Copies of the tensors would take several times the encoder's memory.

        path (Path | str): The file.
        """
        path, shim, encoder = Path(path), self.shim, self.transformer
        if encoder is None:
            super().to_disk(path)
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            state = Path(folder) / "state"
            save_file(apart(stored_tensors(encoder, shim.weights)), state)
            outer = self._without_encoder()
            inner = srsly.msgpack_dumps(shim.message(PLACE, digest_file(state)))
            write_nested(path, outer, inner, state)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The model, without the path of the folder that its encoder came from."""
        self._without_encoder()
        return self._to_bytes()

    def _to_bytes(self) -> bytes:
        name = self.attrs["name"]
        if not HUB_NAME.fullmatch(name):
            self.attrs["name"] = Path(name).name
        try:
            return super().to_bytes()
        finally:
            self.attrs["name"] = name

    def _without_encoder(self) -> bytes:
        """The bytes of the model with PLACE for those of its encoder, which learns where they start."""
        shim = self.shim
        shim.stand_in = PLACE
        try:
            outer = self._to_bytes()
        finally:
            shim.stand_in = None
        shim.start = bytes_start(outer)
        return outer

    def from_bytes(self, bytes_data: bytes) -> BoundedTransformer:
        """Load the bytes that `to_bytes` returned; the encoder's name stays that of the configuration.

        bytes_data (bytes): The bytes.
        RETURNS (BoundedTransformer): Itself.
        RAISES (MaralError): See `EncoderShim.from_bytes`.
        """
        return self._from_view(memoryview(bytes_data))

    def from_disk(self, path: Path | str) -> BoundedTransformer:
        """Load a file that `to_disk` wrote; large tables of embeddings stay in it (see `map_file`).

        path (Path | str): The file.
        RETURNS (BoundedTransformer): Itself.
        RAISES (MaralError): See `EncoderShim.from_bytes`.
        """
        data = map_file(Path(path))
        self._from_view(data)
        forget(data)
        return self

    def _from_view(self, data: memoryview) -> BoundedTransformer:
        name = self.attrs["name"]
        try:
            message = unpack(data)
        except Exception as error:
            raise MaralError(Errors.M224.format(problem=error)) from error
        self.from_dict(message)
        self.attrs["name"] = name
        return self

    def copy(self) -> BoundedTransformer:
        """RETURNS (BoundedTransformer): A copy that shares no weights with this model."""
        layer = deepcopy(self.layers[0])
        copied = BoundedTransformer(self.attrs["name"], self.attrs["get_spans"], layer)
        copied.attrs["has_transformer"] = self.attrs["has_transformer"]
        copied._dims = deepcopy(self._dims)
        return copied


def replace_listener(model: BoundedTransformer) -> Model[list[Doc], list[TransformerData]]:
    """Let a copy of the encoder give what the listener gave in whose place it is put."""
    return chain(model, split_batch())


def split_batch() -> Model[FullTransformerBatch, list[TransformerData]]:
    """RETURNS (Model): Maps the output for a batch to the output for each document."""
    return Model("split-trf-batch", _forward_split)


def _forward_split(
    model: Model, batch: FullTransformerBatch, is_train: bool
) -> tuple[list[TransformerData], Callable]:
    def backprop(d_outputs: list[TransformerData]) -> FullTransformerBatch:
        return batch.unsplit_by_doc([list(d_output.tensors) for d_output in d_outputs])

    return batch.doc_data, backprop


def replace_listener_cfg(transformer: dict[str, Any], listener: dict[str, Any]) -> dict[str, Any]:
    """Make the settings of a component whose listener is replaced by its own copy of the encoder.

    transformer (dict): Settings of this model.
    listener (dict): Settings of the listener.
    RETURNS (dict): Settings that replace those of the listener.
    RAISES (MaralError): If the listener belongs to another package, which cannot use it.
    """
    found = listener["@architectures"]
    if found != "spacy-maral.WordPieceEnds.v1":
        raise MaralError(Errors.M223.format(found=found))
    return transformer.copy()


def _init(model: BoundedTransformer, X: Any = None, Y: Any = None) -> None:
    """Load the pretrained encoder.

    RAISES (MaralError): If the encoder does not exist, or its files cannot be read.
    """
    if model.attrs["has_transformer"]:
        return
    shim, verbosity = model.shim, hf_logging.get_verbosity()
    configs = (shim.objects.tokenizer_config, shim.objects.encoder_config)
    # without its advice to "TRAIN this model", as happens anyway
    hf_logging.set_verbosity_error()
    try:
        shim.hold(load_pretrained(model.attrs["name"], *configs))
    finally:
        hf_logging.set_verbosity(verbosity)
    model.attrs["has_transformer"] = True
    model.set_dim("nO", model.transformer.config.hidden_size)


@cache
def _argument_names(encoder: type) -> frozenset[str]:
    """Names of the arguments that encoders of a class take."""
    return frozenset(signature(cast(Any, encoder).forward).parameters)


def _forward(
    model: BoundedTransformer, docs: list[Doc], is_train: bool
) -> tuple[FullTransformerBatch, Callable]:
    read = readable(docs)
    windows = model.attrs["get_spans"](read)
    pieces, align = tokenize(model.tokenizer, windows)
    windows, align = restore(docs, read, windows, align)
    output, backprop_encoder = model.layers[0](pieces, is_train)

    def backprop(d_output: FullTransformerBatch) -> list[Doc]:
        backprop_encoder(d_output.model_output)
        return docs

    by_doc = split_by_doc(windows, pieces, output, align)
    return FullTransformerBatch(windows, pieces, output, align, by_doc), backprop


def _read(
    layer: Model, pieces: WordpieceBatch, is_train: bool
) -> tuple[ModelOutput, Callable[[ModelOutput], list]]:
    """Give word pieces to the encoder, without those arguments that it does not take.

    Some tokenizers make token_type_ids for encoders without them, such as ModernBERT.
    """
    shim = cast(EncoderShim, layer.shims[0])
    taken = _argument_names(type(shim._model))  # type: ignore[arg-type]
    device = shim.device
    arguments: dict[str, Any] = {
        name: xp2torch(array, device=device)
        for name in ("input_ids", "attention_mask", "token_type_ids")
        if name in taken and (array := getattr(pieces, name)) is not None
    }
    output, backprop_encoder = shim(ArgsKwargs(args=(), kwargs=arguments), is_train)

    def backprop(d_output: ModelOutput) -> list:
        gradients = {"grad_tensors": tuple(d_output.values())}
        backprop_encoder(ArgsKwargs(args=(output.last_hidden_state,), kwargs=gradients))
        return []

    return output, backprop


def split_by_doc(
    windows: list[list[Span]], pieces: WordpieceBatch, output: ModelOutput, align: Ragged
) -> list[TransformerData]:
    """Split the encoder's output for a batch by documents.

    windows (list): Windows of each document.
    pieces (WordpieceBatch): The pieces of all windows.
    output (ModelOutput): The encoder's output for them, tensors.
    align (Ragged): Numbers of the pieces of each word of the documents that have windows.
    RETURNS (list[TransformerData]): The output for each document, arrays.
    """
    arrays, length = _arrays(output, len(pieces)), pieces.input_ids.shape[1]
    bounds = np.concatenate([[0], np.cumsum(np.asarray(align.lengths))])
    found, row, word = [], 0, 0
    for spans in windows:
        if not spans:
            found.append(TransformerData.empty())
            continue
        rows, words = slice(row, row + len(spans)), slice(word, word + len(spans[0].doc))
        inner = align.dataXd[bounds[words.start] : bounds[words.stop]] - row * length
        own = {
            name: [a[rows] for a in array] if isinstance(array, list) else array[rows]
            for name, array in arrays.items()
        }
        places = Ragged(inner, align.lengths[words])
        found.append(TransformerData(pieces[rows], ModelOutput(**own), places))
        row, word = rows.stop, words.stop
    return found


def _arrays(output: ModelOutput, n_rows: int) -> dict[str, Any]:
    """Tensors, and tuples of tensors, that have a row for each window, as arrays and lists of them."""
    found: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, torch.Tensor):
            found[name] = torch2xp(value)
        elif isinstance(value, tuple) and all(
            isinstance(part, torch.Tensor) and len(part) == n_rows for part in value
        ):
            found[name] = [torch2xp(part) for part in value]
    return found


def window_getter(model: Model) -> Callable[[list[Doc]], list[list[Span]]]:
    """Get the function that cuts documents into the windows that a transformer reads.

    model (Model): The transformer. spacy-maral.TransformerModel.v1 reads documents as
        `reading.readable` makes them; the architectures of spacy-transformers read all words.
    RETURNS (Callable): Maps documents to windows, whose documents have all words of the given ones,
        or the visible words only.
    """
    get_spans: Callable = model.attrs["get_spans"]
    if not isinstance(model, BoundedTransformer):
        return get_spans
    return lambda docs: get_spans(readable(docs))
