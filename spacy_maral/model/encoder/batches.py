"""Rows of word pieces: grouped with rows of about their length, and their outputs put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

Output = TypeVar("Output", bound=Mapping[str, Any])
# rows shorter than this share of the longest one may have a group of their own
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
    """Cut items in an order into groups of a bounded number of word pieces.

    order (NDArray): Numbers of the items, those of about one length next to each other.
    lengths (NDArray): Longest row of every item, in pieces.
    rows (NDArray): Number of its rows; None for one each.
    most (int): Most pieces of a group, padding included; a larger item is alone.
    max_items (int): Most items of a group; 0 for any number.
    least (int): Pieces that a group has before shorter items get one of their own; None for no such
        groups.
    RETURNS (list): Items of each group, in order.
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
    """Pieces of each row without the padding at its end; all of them where padding is elsewhere."""
    if not bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return torch.full_like(mask[:, 0], mask.shape[1])
    return mask.sum(1)


def concat_outputs(outputs: list[Output], places: torch.Tensor, length: int) -> Output:
    """Outputs for groups of the rows as one.

    outputs (list): Tensors by name, or tuples of them, for each group.
    places (Tensor): Where each row is in the outputs, one after the other.
    length (int): Pieces of a row, which shorter outputs are filled up to with 0.
    """

    def join(values: list[Any]) -> Any:
        if isinstance(values[0], torch.Tensor):
            return torch.cat([filled(value, length) for value in values])[places]
        return tuple(join(list(column)) for column in zip(*values, strict=True))

    return type(outputs[0])(**{name: join([part[name] for part in outputs]) for name in outputs[0]})


def filled(output: torch.Tensor, length: int) -> torch.Tensor:
    """States (rows, pieces, width) or attentions (rows, heads, pieces, pieces), filled up."""
    if output.dim() == 3:
        return pad(output, (0, 0, 0, length - output.shape[1]))
    if output.dim() == 4:
        missing = length - output.shape[2]
        return pad(output, (0, missing, 0, missing))
    return output
