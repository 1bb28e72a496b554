"""The labels that a student starts with: the teacher's, shifted and corrected without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..model.names import NameSettings, refine_labels
from ..model.spans import OUTSIDE
from ..training.settings import AdaptationSettings
from .operating_point import OperatingPoint
from .pseudo_labels import resolve_overlaps
from .target_names import Strings


def start_labels(
    probabilities: NDArray[np.floating],
    strings: Strings,
    settings: AdaptationSettings,
    parts: Sequence[slice] | None = None,
    known: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], list[OperatingPoint]]:
    """Shift a teacher's labels to the operating point of the text, and let names correct them.

    probabilities (NDArray): The teacher's soft labels, shape (n, K).
    strings (Strings): The strings of the candidates.
    settings (AdaptationSettings): `label_offset`, `names` and its weights.
    parts (Sequence[slice] | None): Candidates of each file of the target; None for a single file.
    known (NDArray[np.bool_] | None): Which labels are not missing, shape (n,); None for all. Missing
        ones have no say, and their rows become outside.
    RETURNS (tuple): Soft labels without overlaps, shape (n, K), and the operating point of each file
        where the offset is "auto".
    """
    new = probabilities.astype(np.float32)
    rows_known = slice(None) if known is None else np.flatnonzero(known)
    if known is not None:
        strings = replace(strings, once=strings.once & known)
        new[~known] = np.eye(1, new.shape[1], OUTSIDE)
    points: list[OperatingPoint] = []
    for rows in parts or [slice(0, len(new))]:
        offset = settings.label_offset
        if offset == "auto":
            points.append(strings.operating_point(probabilities, rows))
            offset = points[-1].offset
        new[rows] = shift_entities(new[rows], offset)
    if settings.names != "off":
        weights = NameSettings(settings.names_type_weight, settings.names_mixed_weight)
        new[rows_known] = refine_labels(strings.keys[rows_known], new[rows_known], weights)
    resolve_overlaps(new, strings.words)
    return new, points


def shift_entities(probabilities: NDArray[np.float32], offset: float) -> NDArray[np.float32]:
    """Add an offset to the log probabilities of the entity classes, shape (n, K)."""
    if not offset:
        return probabilities
    new = probabilities.copy()
    new[:, OUTSIDE + 1 :] *= np.float32(np.exp(offset))
    return new / new.sum(1, keepdims=True)
