"""A transformer for spacy-transformers: bounded in memory, thread-safe, saved without pickle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
import torch
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file
from spacy.tokens import Doc, Span
from spacy_transformers.align import get_alignment, get_alignment_via_offset_mapping
from spacy_transformers.data_classes import FullTransformerBatch, HFObjects, WordpieceBatch
from spacy_transformers.layers import TransformerModel
from spacy_transformers.layers.hf_shim import HFShim
from spacy_transformers.layers.transformer_model import huggingface_tokenize
from spacy_transformers.truncate import truncate_oversize_splits
from thinc.api import ArgsKwargs
from thinc.types import Ragged
from transformers.file_utils import ModelOutput
from transformers.utils import logging as hf_logging

from ...errors import Errors, MaralError
from ..checks import check_choice
from .batches import concat_outputs, group_rows, row_lengths
from .files import (
    HUB_NAME,
    PLACE,
    apart,
    bytes_start,
    digest_file,
    load_objects,
    load_pretrained,
    message_digest,
    tokenizer_files,
    write_nested,
)
from .mapped import ALIGNED, forget, map_file, unpack
from .packed import PackedEncoder, pack
from .reading import readable, restore
from .weights import WEIGHTS, check_trainable, stored_tensors

FORMAT_VERSION = 1
# tokenizers without a limit report a huge number
NO_LIMIT = 1 << 20
# shorter rows begin a new part once a part has this many pieces: smaller parts would leave a GPU
# idle
PART_PIECES = {"cpu": 256, "cuda": 8192}
# larger parts have more padding, and a CPU is not faster with them
MOST_PIECES = {"cpu": 384}


def build_transformer(
    name: str,
    get_spans: Callable[[list[Doc]], list[list[Span]]],
    tokenizer_config: dict[str, Any] | None = None,
    transformer_config: dict[str, Any] | None = None,
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, Any] | None = None,
    max_batch_pieces: int = 32768,
    weights: str = "float32",
) -> TransformerModel:
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
    RETURNS (TransformerModel): Maps documents to the vectors of their word pieces.
    RAISES (MaralError): If max_batch_pieces is below 1, or weights has another value.
    """
    check_choice("weights", weights, list(WEIGHTS))
    if max_batch_pieces < 1:
        raise MaralError(Errors.M222.format(found=max_batch_pieces))
    return BoundedTransformer(
        name, get_spans, max_batch_pieces, weights, mixed_precision=mixed_precision,
        tokenizer_config=dict(tokenizer_config or {}),
        transformer_config=dict(transformer_config or {}),
        grad_scaler_config=dict(grad_scaler_config or {}),
    )  # fmt: skip


class BoundedTransformer(TransformerModel):
    """See `build_transformer`."""

    def __init__(
        self, name: str, get_spans: Callable, max_batch_pieces: int, weights: str, **settings: Any
    ) -> None:
        super().__init__(name, get_spans, **settings)
        self._func = _forward
        self.init = _init
        convert = self.layers[0].attrs["convert_inputs"]
        self.layers[0].attrs["convert_inputs"] = partial(_convert_inputs, convert=convert)
        objects = cast(HFShim, self.layers[0].shims[0])._hfmodel
        mixed = {key: settings[key] for key in ("mixed_precision", "grad_scaler_config")}
        self.layers[0].shims[0] = EncoderShim(
            objects, max_batch_pieces=max_batch_pieces, weights=weights, **mixed
        )
        self.attrs["replace_listener_cfg"] = replace_listener_cfg

    def to_disk(self, path: Path | str) -> None:
        """Write the bytes that `to_bytes` returns, with the tensors written directly to the disk.

        Copies of the tensors would take several times the encoder's memory.

        path (Path | str): The file.
        """
        path, shim = Path(path), cast(EncoderShim, self.layers[0].shims[0])
        encoder = shim._hfmodel.transformer
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
        shim = cast(EncoderShim, self.layers[0].shims[0])
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
        shim = cast(EncoderShim, self.layers[0].shims[0])
        copied = BoundedTransformer(
            self.attrs["name"], self.attrs["get_spans"], shim.max_batch_pieces, shim.weights,
            mixed_precision=False, grad_scaler_config={},
        )  # fmt: skip
        copied.attrs["has_transformer"] = self.attrs["has_transformer"]
        copied._dims = deepcopy(self._dims)
        copied.layers[0] = deepcopy(self.layers[0])
        return copied


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
    configs = (model._init_tokenizer_config, model._init_transformer_config)
    verbosity = hf_logging.get_verbosity()
    # without its advice to "TRAIN this model", as happens anyway
    hf_logging.set_verbosity_error()
    try:
        model.attrs["set_transformer"](model, load_pretrained(model.attrs["name"], *configs))
    finally:
        hf_logging.set_verbosity(verbosity)


def _convert_inputs(
    model: Any, pieces: WordpieceBatch, is_train: bool, *, convert: Callable
) -> tuple[ArgsKwargs, Callable]:
    """Convert word pieces to the encoder's arguments; leave out those that it does not take.

    Some tokenizers make token_type_ids for encoders without them, such as ModernBERT.
    """
    arguments, backprop = convert(model, pieces, is_train)
    taken = _argument_names(type(model.shims[0]._model))  # type: ignore[arg-type]
    given = {name: tensor for name, tensor in arguments.kwargs.items() if name in taken}
    return ArgsKwargs(args=(), kwargs=given), backprop


@cache
def _argument_names(encoder: type) -> frozenset[str]:
    """Names of the arguments that encoders of a class take."""
    return frozenset(signature(cast(Any, encoder).forward).parameters)


def _forward(
    model: TransformerModel, docs: list[Doc], is_train: bool
) -> tuple[FullTransformerBatch, Callable]:
    read = readable(docs)
    windows = model.attrs["get_spans"](read)
    pieces, align = tokenize(model.tokenizer, [w for spans in windows for w in spans])
    windows, align = restore(docs, read, windows, align)
    output, backprop_encoder = model.layers[0](pieces, is_train)

    def backprop(d_output: FullTransformerBatch) -> list[Doc]:
        backprop_encoder(d_output.model_output)
        return docs

    return FullTransformerBatch(windows, pieces, output, align), backprop


def window_getter(model: TransformerModel) -> Callable[[list[Doc]], list[list[Span]]]:
    """Get the function that cuts documents into the windows that a transformer reads.

    model (TransformerModel): The transformer. spacy-maral.TransformerModel.v1 reads documents as
        `reading.readable` makes them; the architectures of spacy-transformers read all words.
    RETURNS (Callable): Maps documents to windows, whose documents have all words of the given ones,
        or the visible words only.
    """
    get_spans: Callable = model.attrs["get_spans"]
    if not isinstance(model, BoundedTransformer):
        return get_spans
    return lambda docs: get_spans(readable(docs))


def tokenize(tokenizer: Any, windows: list[Span]) -> tuple[WordpieceBatch, Ragged]:
    """Cut windows into word pieces, as spacy-transformers does.

    Rows are truncated before padding, so that one extremely long word does not lengthen all rows.

    tokenizer (PreTrainedTokenizerBase): The encoder's tokenizer.
    windows (list[Span]): The windows of a batch of documents.
    RETURNS (tuple): The pieces, and the alignment of the words of the windows to them.
    """
    texts, limit = [window.text for window in windows], tokenizer.model_max_length
    if tokenizer.is_fast:
        # keep one piece more than the limit: spacy-transformers drops the last one
        cut = {"truncation": True, "max_length": limit + 1} if limit < NO_LIMIT else {}
        encoding = tokenizer(
            texts, padding="longest", return_tensors="np", return_offsets_mapping=True,
            return_attention_mask=True, **cut,
        )  # fmt: skip
        rows = encoding["input_ids"]
        encoding["input_texts"] = [tokenizer.convert_ids_to_tokens(row) for row in rows]
        encoding["pad_token"] = tokenizer.pad_token
        pieces = WordpieceBatch.from_batch_encoding(encoding)
        align = get_alignment_via_offset_mapping(windows, encoding["offset_mapping"])
    else:
        pieces = WordpieceBatch.from_batch_encoding(huggingface_tokenize(tokenizer, texts))
        align = get_alignment(windows, pieces.strings, tokenizer.all_special_tokens)
    return truncate_oversize_splits(pieces, align, limit)


class EncoderShim(HFShim):
    """Holds the encoder and its tokenizer; predicts in parts, and is saved without pickle."""

    def __init__(
        self, model: HFObjects, *, max_batch_pieces: int, weights: str = "float32", **settings: Any
    ) -> None:
        self.max_batch_pieces = max_batch_pieces
        self.weights = weights
        # placeholder for the bytes of the shim, and their place in the file (see `BoundedTransformer`)
        self.stand_in: bytes | None = None
        self.start = 0
        self._packed: PackedEncoder | None = None
        super().__init__(model, **settings)

    def begin_update(self, inputs: ArgsKwargs) -> tuple[ModelOutput, Callable]:
        """Read word pieces in a training step.

        RAISES (MaralError): If the encoder can only predict.
        """
        check_trainable(self._model)
        self._packed = None
        return super().begin_update(inputs)

    def predict(self, inputs: ArgsKwargs) -> ModelOutput:
        """Read rows of word pieces in parts, each of rows of similar length.

        Each part is padded to its own longest row and has at most `max_batch_pieces` pieces, unless
        a single row is longer. Vectors beyond the padded length of a part are 0. Unlike thinc's
        shim, this one does not switch the encoder back to training mode, which would affect other
        threads that predict with it; `begin_update` switches it.

        inputs (ArgsKwargs): Tensors of the shape (rows, length).
        RETURNS (ModelOutput): Output of the encoder for all rows.
        """
        if self._model.training:
            self._model.eval()
        encoder = self._fastest()
        mask = inputs.kwargs["attention_mask"]
        lengths = row_lengths(mask).cpu().numpy()
        least = PART_PIECES.get(mask.device.type, PART_PIECES["cuda"])
        bound = self.max_batch_pieces
        most = min(bound, MOST_PIECES.get(mask.device.type, bound))
        order = np.argsort(-lengths, kind="stable")
        parts = group_rows(order, lengths, most=most, least=least) or [order]
        parts = [np.sort(part) for part in parts]
        outputs = []
        with torch.no_grad(), torch.autocast("cuda", enabled=self._mixed_precision):
            for rows in parts:
                longest = max(1, int(lengths[rows].max(initial=0)))
                chosen = torch.as_tensor(rows, device=mask.device)
                given = {k: tensor[chosen, :longest] for k, tensor in inputs.kwargs.items()}
                outputs.append(encoder(**given))
        if len(parts) == 1 and longest == mask.shape[1]:
            return outputs[0]
        places = torch.as_tensor(np.argsort(np.concatenate(parts)), device=mask.device)
        return concat_outputs(outputs, places, mask.shape[1])

    def _fastest(self) -> Any:
        """The encoder, packed where this is possible."""
        if self._packed is None or not self._packed.is_current(self._model):
            self._packed = pack(self._model)
        return self._packed or self._model

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Encoder and tokenizer: safetensors within a MessagePack message."""
        if self.stand_in is not None:
            return self.stand_in
        encoder = self._hfmodel.transformer
        if encoder is None:
            return srsly.msgpack_dumps(self.message(None, ""))
        state = save_tensors(apart(stored_tensors(encoder, self.weights)))
        return srsly.msgpack_dumps(self.message(state, sha256(state).hexdigest()))

    def message(self, state: bytes | None, digest: str) -> dict[str, Any]:
        """Make the message that `to_bytes` packs.

        state (bytes | None): The tensors; None without an encoder.
        digest (str): SHA-256 of the tensors.
        RETURNS (dict): Configuration, tokenizer, tensors and the SHA-256 of all. Padding lets the
            tensors start at a multiple of 8 bytes of the file, so that it can be mapped into memory.
        """
        objects = self._hfmodel
        if state is None:
            return {
                "version": FORMAT_VERSION,
                "tokenizer_config": dict(objects._init_tokenizer_config),
                "transformer_config": dict(objects._init_transformer_config),
            }
        config = objects.transformer.config.to_dict()
        # the folder that it was loaded from means nothing elsewhere
        config.pop("_name_or_path", None)
        message = {
            "version": FORMAT_VERSION,
            "config": config,
            "tokenizer": tokenizer_files(objects),
            "use_fast": objects.tokenizer.is_fast,
            "padding": b"",
        }
        probe = srsly.msgpack_dumps({**message, "sha256": digest, "state": PLACE})
        message["padding"] = bytes(-(self.start + bytes_start(probe)) % ALIGNED)
        return {**message, "sha256": message_digest(message, digest), "state": state}

    def from_bytes(self, bytes_data: bytes | memoryview) -> EncoderShim:
        """Load the bytes that `to_bytes` returned.

        bytes_data (bytes | memoryview): The bytes.
        RETURNS (EncoderShim): Itself.
        RAISES (MaralError): If the bytes are damaged, or of a newer format or another architecture.
        """
        try:
            message = unpack(memoryview(bytes_data))
            version = message["version"]
            if version > FORMAT_VERSION:
                raise MaralError(Errors.M225.format(found=version, known=FORMAT_VERSION))
            self._hfmodel = load_objects(message, self.weights)
        except MaralError:
            raise
        except Exception as error:
            # msgpack, transformers, tokenizers and torch each raise exceptions of their own
            raise MaralError(Errors.M224.format(problem=error)) from error
        self._model = self._hfmodel.transformer
        return self
