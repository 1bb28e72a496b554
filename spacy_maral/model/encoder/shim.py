"""What holds an encoder and its tokenizer: bounded in memory, thread-safe, saved without pickle."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import srsly
import torch
from safetensors.torch import save as save_tensors
from thinc.api import ArgsKwargs, PyTorchGradScaler, PyTorchShim
from transformers.utils import ModelOutput

from ...errors import Errors, MaralError
from .batches import concat_outputs, group_rows, row_lengths
from .files import (
    PLACE,
    EncoderObjects,
    apart,
    bytes_start,
    load_objects,
    message_digest,
    tokenizer_files,
)
from .mapped import ALIGNED, unpack
from .packed import PackedEncoder, pack
from .weights import check_trainable, stored_tensors

FORMAT_VERSION = 1
# shorter rows begin a new part once a part has this many pieces: smaller parts would leave a GPU
# idle
PART_PIECES = {"cpu": 256, "cuda": 8192}
# larger parts have more padding, and a CPU is not faster with them
MOST_PIECES = {"cpu": 384}


class EncoderShim(PyTorchShim):
    """Holds the encoder and its tokenizer; predicts in parts, and is saved without pickle."""

    def __init__(
        self,
        objects: EncoderObjects,
        *,
        max_batch_pieces: int,
        weights: str = "float32",
        mixed_precision: bool = False,
        grad_scaler_config: dict[str, Any] | None = None,
    ) -> None:
        self.objects = objects
        self.max_batch_pieces = max_batch_pieces
        self.weights = weights
        # placeholder for the bytes of the shim, and their place in the file (see `BoundedTransformer`)
        self.stand_in: bytes | None = None
        self.start = 0
        self._packed: PackedEncoder | None = None
        scaler = PyTorchGradScaler(**{"enabled": mixed_precision, **(grad_scaler_config or {})})
        super().__init__(objects.encoder, mixed_precision=mixed_precision, grad_scaler=scaler)

    def hold(self, objects: EncoderObjects) -> None:
        """Take another encoder and tokenizer.

        objects (EncoderObjects): Encoder and tokenizer.
        """
        self.objects = objects
        self._model = objects.encoder

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
        encoder = self.objects.encoder
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
        objects = self.objects
        if state is None:
            return {
                "version": FORMAT_VERSION,
                "tokenizer_config": dict(objects.tokenizer_config),
                "transformer_config": dict(objects.encoder_config),
            }
        config = objects.encoder.config.to_dict()
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
            self.hold(load_objects(message, self.weights))
        except MaralError:
            raise
        except Exception as error:
            # msgpack, transformers, tokenizers and torch each raise exceptions of their own
            raise MaralError(Errors.M224.format(problem=error)) from error
        return self
