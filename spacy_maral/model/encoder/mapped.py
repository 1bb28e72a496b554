"""Read a saved encoder without copies: a file in memory, its nested messages, and its tensors."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

# shorter byte strings of a message are copied
LARGE_BYTES = 1 << 20
# a larger tensor stays in the file: of a table of embeddings, few rows are used
LARGE_TENSOR = 1 << 26
BLOCK = 1 << 24
# tensors start at a multiple of so many bytes, of a file that is mapped and of a safetensors block
ALIGNED = 8
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# kinds of what has a length, by the code for lengths of each number of bytes
SIZED = {
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4),
    0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("dict", 2), 0xDF: ("dict", 4),
}  # fmt: skip


def map_file(path: Path) -> memoryview:
    """Map a file into memory, so that only what is used of it is read.

    Changes stay in memory. The file must not be changed in place; to replace it is fine. Where files in
    use cannot be replaced, as on Windows, the file is read.

    path (Path): The file.
    RETURNS (memoryview): Its bytes.
    """
    with path.open("rb") as file:
        if os.name == "posix" and os.fstat(file.fileno()).st_size:
            try:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            except OSError:
                # not every file system can
                pass
        return memoryview(file.read())


def forget(data: memoryview) -> None:
    """Let the system take back the memory of what was read of a mapped file and has no changes."""
    if isinstance(data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and len(data):
        start = _address(data) - _address(memoryview(data.obj))
        begin = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        if begin < start + len(data):
            data.obj.madvise(mmap.MADV_DONTNEED, begin, start + len(data) - begin)


def digest_view(data: memoryview) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits; a mapped file takes little memory meanwhile."""
    sha = sha256()
    for start in range(0, len(data), BLOCK):
        block = data[start : start + BLOCK]
        sha.update(block)
        forget(block)
    return sha.hexdigest()


def unpack(data: memoryview) -> Any:
    """Read a MessagePack message, without copies of its long byte strings.

    data (memoryview): The message.
    RETURNS (Any): What srsly.msgpack_loads returns, with a memoryview for each byte string of at least
        1 MiB.
    RAISES (ValueError): If the message is damaged, or holds an extension type.
    """
    found, end = _unpack(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow its end")
    return found


def _unpack(data: memoryview, at: int) -> tuple[Any, int]:
    """The value at a place, and the place after it."""
    code, at = _part(data, at, 1)[0], at + 1
    if code <= 0x7F or code >= 0xE0:
        return (code if code <= 0x7F else code - 0x100), at
    if code in CONSTANTS:
        return CONSTANTS[code], at
    if code in NUMBERS:
        form = NUMBERS[code]
        size = struct.calcsize(form)
        return struct.unpack(form, _part(data, at, size))[0], at + size
    if code in SIZED:
        kind, width = SIZED[code]
        size, at = int.from_bytes(_part(data, at, width), "big"), at + width
    elif code <= 0xBF:
        kind = "dict" if code <= 0x8F else "list" if code <= 0x9F else "text"
        size = code & (0x1F if kind == "text" else 0x0F)
    else:
        raise ValueError(f"it has a value of the type {code:#x}")
    if kind in ("bytes", "text"):
        part = _part(data, at, size)
        if kind == "text":
            return str(part, "utf8"), at + size
        return (part if size >= LARGE_BYTES else bytes(part)), at + size
    values = []
    for _ in range(size * (2 if kind == "dict" else 1)):
        value, at = _unpack(data, at)
        values.append(value)
    return (dict(zip(values[::2], values[1::2], strict=True)) if kind == "dict" else values), at


def _part(data: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(data):
        raise ValueError("it ends too early")
    return data[at : at + size]


def read_tensors(data: memoryview) -> dict[str, torch.Tensor]:
    """Read tensors from a safetensors block.

    data (memoryview): The block.
    RETURNS (dict): Tensors by name. Each has memory of its own, apart from large ones of a mapped file:
        their memory is the file, as long as nobody changes them.
    RAISES (ValueError): If the block is damaged.
    """
    size = int.from_bytes(_part(data, 0, 8), "little")
    header, values = json.loads(bytes(_part(data, 8, size))), data[8 + size :]
    return {name: _tensor(values, **entry) for name, entry in _entries(header)}


def _entries(header: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, entry) for name, entry in header.items() if name != "__metadata__")


def _tensor(
    values: memoryview, *, dtype: str, shape: list[int], data_offsets: list[int]
) -> torch.Tensor:
    kind, (start, end) = DTYPES[dtype], data_offsets
    wanted = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if not 0 <= start <= end <= len(values) or end - start != wanted:
        raise ValueError(f"a tensor of the shape {shape} has {end - start} bytes")
    part = values[start:end]
    if (
        isinstance(part.obj, mmap.mmap)
        and len(part) >= LARGE_TENSOR
        and _address(part) % ALIGNED == 0
    ):
        return torch.frombuffer(part, dtype=kind).reshape(shape)
    own = torch.empty(shape, dtype=kind)
    flat = own.reshape(-1).view(torch.uint8).numpy()
    for i in range(0, len(part), BLOCK):
        block = part[i : i + BLOCK]
        flat[i : i + BLOCK] = np.frombuffer(block, np.uint8)
        forget(block)
    return own


def _address(data: memoryview) -> int:
    return np.frombuffer(data, np.uint8).ctypes.data
