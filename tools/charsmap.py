"""Write SentencePiece's `precompiled_charsmap`: a Darts double-array trie, then the outputs.

A unit of the trie is label | has_leaf << 8 | offset << 10; its child with label x lies at
(own index ^ offset) ^ x; a leaf (label 0) is value | 1 << 31, and the value is where its output
starts among the outputs, which end with a zero byte each.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

RUN = 256
MAX_OFFSET = 1 << 21

Node = dict[int, Any]


def composition_keys(single: Mapping[str, str]) -> dict[str, str]:
    """List the multi-character keys of NFKC that the `Precompiled` normaliser can reach.

    It looks up whole grapheme clusters only when they are under six UTF-8 bytes, and takes the
    shortest key that is a prefix of the cluster. What can be reached is therefore a plain letter
    with one combining mark (or a singleton variant of that mark) that compose to one letter;
    SentencePiece lists no sequence that starts with a composed letter.

    single (Mapping[str, str]): The single-character keys and their outputs.
    RETURNS (dict[str, str]): Two-character keys and the letters that they compose to.
    """
    letters, marks = set(), set()
    for char in map(chr, range(0x110000)):
        parts = unicodedata.decomposition(char).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFKC", char) == char:
            letter, mark = (chr(int(part, 16)) for part in parts)
            marks.add(mark)
            if not unicodedata.decomposition(letter):
                letters.add(letter)
    marks |= {char for char, output in single.items() if output in marks}
    keys = {}
    for pair in (letter + mark for letter in letters for mark in marks):
        composed = unicodedata.normalize("NFKC", pair)
        if len(composed) == 1 and len(pair.encode("utf8")) < 6:
            keys[pair] = composed
    return keys


def pack_charsmap(mapping: Mapping[str, str]) -> bytes:
    """Pack a table of replacements.

    mapping (Mapping[str, str]): What is replaced, and by what.
    RETURNS (bytes): The trie's size in bytes (u32), the trie, the outputs.
    """
    outputs, where = bytearray(), {}
    root: Node = {}
    for key, value in sorted(mapping.items()):
        if value not in where:
            where[value] = len(outputs)
            outputs += value.encode("utf8") + b"\0"
        node = root
        for byte in key.encode("utf8"):
            node = node.setdefault(byte, {})
        node[0] = where[value]
    units = _DoubleArray().pack(root)
    trie = np.asarray(units, "<u4").tobytes()
    return struct.pack("<I", len(trie)) + trie + bytes(outputs)


class _DoubleArray:
    """Places the nodes of a trie, the first fit from a moving lower bound."""

    def __init__(self) -> None:
        self.units = [0] * RUN
        self.used = [True] + [False] * (RUN - 1)
        self.bases: set[int] = set()
        self.free = 1

    def pack(self, root: Node) -> list[int]:
        """Place all nodes and return the units."""
        todo = [(0, root)]
        while todo:
            at, node = todo.pop()
            base = self._place(node)
            self.bases.add(base)
            offset = at ^ base
            if offset >= MAX_OFFSET:
                raise OverflowError(f"offset {offset} does not fit in the trie's short form")
            self.units[at] |= offset << 10 | (0 in node) << 8
            for label, child in node.items():
                self.used[base ^ label] = True
                if label == 0:
                    self.units[base] = child | 1 << 31
                else:
                    self.units[base ^ label] = label
                    todo.append((base ^ label, child))
        return self.units

    def _place(self, node: Node) -> int:
        """Find a base under which all children of a node fall on unused units.

        No two nodes may share a base, or one would see the other's children.
        """
        while self.used[self.free]:
            self.free += 1
            self._make_room(self.free)
        slot = self.free
        while True:
            self._make_room(slot)
            base = slot ^ min(node)
            if base not in self.bases and not any(self.used[base ^ label] for label in node):
                return base
            slot += 1

    def _make_room(self, index: int) -> None:
        while len(self.units) <= index:
            self.units.extend([0] * RUN)
            self.used.extend([False] * RUN)
