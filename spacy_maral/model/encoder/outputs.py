"""What an encoder gives to components: word pieces, their vectors, and which pieces a word has.

The classes are those that components know from spacy-transformers, where it is not installed (see
`shared`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import srsly
from numpy.typing import NDArray
from spacy.tokens import Span
from thinc.api import get_array_module, xp2torch
from thinc.types import Ints1d, Ragged
from transformers.utils import ModelOutput

# the key under which both packages write the output of a document
KEY = "__transformerdata__"


@dataclass
class WordpieceBatch:
    """The word pieces of windows, padded to one length.

    strings: Texts of the pieces of each window. input_ids: Their numbers. attention_mask: 1 for pieces,
    0 for padding. lengths: Number of pieces of each window. token_type_ids: None for encoders that
    take none.
    """

    strings: list[list[str]]
    input_ids: NDArray[np.integer]
    attention_mask: NDArray[np.floating]
    lengths: list[int]
    token_type_ids: NDArray[np.integer] | None

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, rows: slice) -> WordpieceBatch:
        types = None if self.token_type_ids is None else self.token_type_ids[rows]
        return WordpieceBatch(
            self.strings[rows], self.input_ids[rows], self.attention_mask[rows],
            self.lengths[rows], types,
        )  # fmt: skip

    @classmethod
    def empty(cls) -> WordpieceBatch:
        """RETURNS (WordpieceBatch): No pieces."""
        return cls([], np.zeros((0, 0), dtype=np.int64), np.zeros((0, 0), dtype="f"), [], None)


@dataclass
class TransformerData:
    """The encoder's output for one document, in `doc._.trf_data`.

    wordpieces: Its pieces. model_output: The encoder's output for them, arrays of the shape (windows,
    length, width), and lists of them; nothing for a document without words. align: Number of each
    word's pieces, windows following one another.
    """

    wordpieces: WordpieceBatch
    model_output: ModelOutput
    align: Ragged

    @classmethod
    def empty(cls) -> TransformerData:
        """RETURNS (TransformerData): Output for a document without words."""
        return cls(WordpieceBatch.empty(), ModelOutput(), _no_alignment())

    @classmethod
    def zeros(cls, length: int, width: int, *, xp: Any = np) -> TransformerData:
        """Make output of zeros, for a document that the encoder has not read.

        length (int): Number of words; each gets a piece.
        width (int): Width of the vectors.
        xp (ModuleType): NumPy or CuPy.
        RETURNS (TransformerData): The output.
        """
        ids, mask = np.zeros((1, length), dtype=np.int64), np.ones((1, length), dtype="f")
        pieces = WordpieceBatch([[""] * length], ids, mask, [length], None)
        hidden = xp.zeros((1, length, width), dtype="f")
        align = _alignment(np.arange(length), np.ones(length, dtype=np.int32))
        return cls(pieces, ModelOutput(last_hidden_state=hidden), align)

    @property
    def tensors(self) -> tuple:
        """RETURNS (tuple): The arrays of the output."""
        return self.model_output.to_tuple()

    @property
    def width(self) -> int:
        """RETURNS (int): Width of the vectors."""
        return int(self.model_output["last_hidden_state"].shape[-1])

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): Its parts, for MessagePack."""
        return {
            "wordpieces": {
                f.name: getattr(self.wordpieces, f.name) for f in fields(WordpieceBatch)
            },
            "model_output": self.model_output,
            "align": [self.align.dataXd, self.align.lengths],
        }

    def from_dict(self, parts: dict[str, Any]) -> TransformerData:
        """Take the parts that `to_dict` returned.

        parts (dict): The parts.
        RETURNS (TransformerData): Itself.
        """
        self.wordpieces = WordpieceBatch(**parts["wordpieces"])
        self.model_output = ModelOutput(parts["model_output"])
        self.align = Ragged(*parts["align"])
        return self

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Its parts as MessagePack."""
        return srsly.msgpack_dumps(self.to_dict())

    def from_bytes(self, data: bytes) -> TransformerData:
        """Take the bytes that `to_bytes` returned.

        data (bytes): The bytes.
        RETURNS (TransformerData): Itself.
        """
        return self.from_dict(srsly.msgpack_loads(data))


@dataclass
class FullTransformerBatch:
    """The encoder's output for a batch of documents.

    spans: Windows of each document. wordpieces: Their pieces. model_output: The encoder's output,
    tensors. align: Numbers of the pieces of each word of the documents that have windows.
    cached_doc_data: The output of each document; None for a gradient.
    """

    spans: list[list[Span]]
    wordpieces: WordpieceBatch
    model_output: ModelOutput
    align: Ragged
    cached_doc_data: list[TransformerData] | None = None

    @classmethod
    def empty(cls, n_docs: int) -> FullTransformerBatch:
        """RETURNS (FullTransformerBatch): Output for documents without words."""
        nothing = [TransformerData.empty() for _ in range(n_docs)]
        spans: list[list[Span]] = [[] for _ in range(n_docs)]
        return cls(spans, WordpieceBatch.empty(), ModelOutput(), _no_alignment(), nothing)

    @property
    def tensors(self) -> tuple:
        """RETURNS (tuple): The tensors of the output."""
        return self.model_output.to_tuple()

    @property
    def doc_data(self) -> list[TransformerData]:
        """RETURNS (list[TransformerData]): The output of each document."""
        return self.cached_doc_data or []

    def unsplit_by_doc(self, arrays: list[list[Any]]) -> FullTransformerBatch:
        """Join the gradients of documents.

        arrays (list[list]): Gradients of the output of each document that has any, one of an array.
        RETURNS (FullTransformerBatch): The gradient of this batch.
        """
        columns = list(zip(*arrays, strict=True))
        xp = get_array_module(arrays[0][0])
        joined = {f"output_{i}": xp2torch(xp.vstack(column)) for i, column in enumerate(columns)}
        return FullTransformerBatch(self.spans, self.wordpieces, ModelOutput(**joined), self.align)


def _no_alignment() -> Ragged:
    return _alignment(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))


def _alignment(pieces: NDArray[np.integer], lengths: NDArray[np.integer]) -> Ragged:
    return Ragged(cast(Ints1d, pieces), cast(Ints1d, lengths))


def register_messages() -> None:
    """Let documents be saved and loaded with their output, as those of spacy-transformers are."""
    srsly.msgpack_encoders("transformerdata", func=_encode)
    srsly.msgpack_decoders("transformerdata", func=_decode)


def _encode(value: Any, chain: Callable | None = None) -> Any:
    if isinstance(value, TransformerData):
        return {KEY: value.to_dict()}
    return value if chain is None else chain(value)


def _decode(value: Any, chain: Callable | None = None) -> Any:
    if KEY in value:
        return TransformerData.empty().from_dict(value[KEY])
    return value if chain is None else chain(value)
