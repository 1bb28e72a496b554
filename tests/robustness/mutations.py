"""Damage to bytes and to nested values, drawn from a random generator."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

SPECIALS = (
    b"\0", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b"\t", b" ", b"\xff", b"\xed\xa0\x80", b"\xc3",
    b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", b"\x0b", b"\xc2\xa0", b"\xe2\x80\x8d", b"e\xcc\x81",
    b"\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80", b"#", b"# ", b"-DOCSTART- O\n", b"O", b"B-", b"I-PER",
    b"E-LOC", b"S-X", b"B-O", b"99999999999999999999999", b"-1", b"1e999", b"NaN", b"null", b"[", b"{",
    b'"', b"\\ud800", b"${x.y}", b"%(x)s", b"__proto__", b"a" * 300, b"[" * 2000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "O", "x", "\0", "\ud800", "a" * 1000, [], [[]], {}, {"": None}, "1", "true",
)  # fmt: skip


def _place(draw: random.Random, data: bytes) -> tuple[int, int]:
    """A slice of up to 40 bytes."""
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.randrange(1, 40))


def _flip(draw: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 4, 16))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(draw: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _place(draw, data)
    return data[:start] + draw.randbytes(end - start) + data[end:]


def _truncate(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _cut(draw: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _place(draw, data)
    return data[:start] + data[end:]


def _insert(draw: random.Random, data: bytes, other: bytes) -> bytes:
    start, _ = _place(draw, data)
    return data[:start] + draw.choice(SPECIALS) + data[start:]


def _repeat(draw: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _place(draw, data)
    return data[:end] + data[start:end] * draw.randrange(1, 4) + data[end:]


def _splice(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


def _lines(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Repeat, remove, exchange or take over a line."""
    lines = data.split(b"\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            lines.insert(i, lines[j])
        case 1:
            del lines[i]
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines.insert(i, draw.choice(other.split(b"\n")))
    return b"\n".join(lines)


def _columns(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Exchange the last columns of two lines, or put something else into one."""
    lines = data.split(b"\n")
    separator = draw.choice((b"\t", b" ", b'"', b","))
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    first, second = lines[i].rpartition(separator), lines[j].rpartition(separator)
    wanted = draw.choice((second[2], draw.choice(SPECIALS)))
    lines[i] = first[0] + first[1] + wanted
    return b"\n".join(lines)


KINDS = (_flip, _overwrite, _truncate, _cut, _insert, _repeat, _splice, _lines, _columns, _columns)


def damaged(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Bytes with one to four kinds of damage.

    draw (random.Random): Where chance comes from.
    data (bytes): What is damaged.
    other (bytes): Where parts are taken from.
    RETURNS (bytes): The damaged bytes.
    """
    for _ in range(draw.choice((1, 1, 2, 4))):
        data = draw.choice(KINDS)(draw, data, other)
    return data


def damaged_value(draw: random.Random, value: Any, values: Sequence[Any] = VALUES) -> Any:
    """A nested value of which one part is something else, missing or repeated."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        changed = dict(value)
        match draw.randrange(5):
            case 0:
                del changed[key]
            case 1:
                changed[draw.choice(("x", "", "labels", "text", 7))] = draw.choice(values)
            case _:
                changed[key] = damaged_value(draw, value[key], values)
        return changed
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        match draw.randrange(5):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value[: place + 1], *value[place:]]
            case _:
                part = damaged_value(draw, value[place], values)
                return [*value[:place], part, *value[place + 1 :]]
    if isinstance(value, bytes) and value and draw.random() < 0.9:
        return damaged(draw, value, value)
    if type(value) in (int, float) and draw.random() < 0.5:
        return draw.choice((-value, value + 1, value - 1, value * 10**6, str(value), value / 2))
    return draw.choice(values)
