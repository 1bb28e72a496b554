"""Batches of word pieces: group rows of similar length, and join the outputs of the groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

Output = TypeVar("Output", bound=Mapping[str, Any])
# a row shorter than this share of the longest row of a group may begin a new group
LIKE_LENGTH = 0.8


def group_rows(
    order: NDArray[np.int64],
    lengths: NDArray[np.integer],
    rows: NDArray[np.integer] | None = None,
    *,
    most: int,
    max_items: int = 0,
    least: int | None = None,
) -> list[NDArray[np.int64]]:
    """Cut ordered items into groups with a bounded number of word pieces.

    order (NDArray): Numbers of the items, with items of similar length next to each other.
    lengths (NDArray): Length of the longest row of each item, in pieces.
    rows (NDArray): Number of rows of each item; None for one row each.
    most (int): Maximum number of pieces of a group, padding included. A larger item forms a group
        of its own.
    max_items (int): Maximum number of items of a group; 0 for no limit.
    least (int): Number of pieces from which a group is closed when a much shorter item follows;
        None to ignore the lengths.
    RETURNS (list): Numbers of the items of each group, in the given order.
    """
    counts = np.ones(len(order), dtype=np.int64) if rows is None else rows[order]
    groups: list[NDArray[np.int64]] = []
    start = longest = n_rows = 0
    for end, (length, count) in enumerate(zip(lengths[order], counts, strict=True)):
        length, count = int(length), int(count)
        full = max(longest, length) * (n_rows + count) > most
        full |= 0 < max_items <= end - start
        if least is not None and longest * n_rows >= least:
            full |= length < LIKE_LENGTH * longest
        if full and end > start:
            groups.append(order[start:end])
            start, longest, n_rows = end, 0, 0
        longest, n_rows = max(longest, length), n_rows + count
    return [*groups, order[start:]] if len(order) else groups


def row_lengths(mask: torch.Tensor) -> torch.Tensor:
    """Number of pieces of each row without its padding; the full length for left padding."""
    if not bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return torch.full_like(mask[:, 0], mask.shape[1])
    return mask.sum(1)


def concat_outputs(outputs: list[Output], places: torch.Tensor, length: int) -> Output:
    """Join the outputs for groups of rows.

    outputs (list): Output of each group: tensors, or tuples of tensors, by name.
    places (Tensor): Position of each row in the concatenated outputs.
    length (int): Number of pieces of a row; shorter outputs are padded with 0 to this length.
    RETURNS (Output): One output for all rows.
    """

    def join(values: list[Any]) -> Any:
        if isinstance(values[0], torch.Tensor):
            return torch.cat([filled(value, length) for value in values])[places]
        return tuple(join(list(column)) for column in zip(*values, strict=True))

    return type(outputs[0])(**{name: join([part[name] for part in outputs]) for name in outputs[0]})


def filled(output: torch.Tensor, length: int) -> torch.Tensor:
    """Pad states (rows, pieces, width) or attentions (rows, heads, pieces, pieces) to a length."""
    if output.dim() == 3:
        return pad(output, (0, 0, 0, length - output.shape[1]))
    if output.dim() == 4:
        missing = length - output.shape[2]
        return pad(output, (0, missing, 0, missing))
    return output
