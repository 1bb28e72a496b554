"""Colours of the classes: a class has the same one in every figure, and as far as possible in every report."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from ..metrics import OUTSIDE_NAME
from .svg import N_COLOURS

KNOWN = {
    "PER": 1, "PERSON": 1, "ORG": 2, "CORP": 2, "LOC": 3, "GPE": 3, "MISC": 4, "DATE": 5,
    "PROD": 6, "CW": 5, "GRP": 7, "MED": 4, "NORP": 7,
}  # fmt: skip
"""Colours of common labels."""


def class_colours(names: Iterable[str]) -> dict[str, int]:
    """Choose a colour for each class, by its name rather than by its place in a list.

    names (Iterable[str]): Names of the classes.
    RETURNS (dict): Number of the colour by name: 0 for outside, else from 1 to N_COLOURS. Two classes
        share a colour only if there are more classes than colours.
    """
    colours = {OUTSIDE_NAME: 0}
    labels = sorted(set(names) - {OUTSIDE_NAME}, key=lambda name: (name not in KNOWN, name))
    for name in labels:
        wanted = KNOWN.get(name, crc32(name.encode("utf8", "replace")) % N_COLOURS + 1)
        taken = set(colours.values())
        following = [(wanted + i - 1) % N_COLOURS + 1 for i in range(N_COLOURS)]
        colours[name] = next((c for c in following if c not in taken), wanted)
    return colours
