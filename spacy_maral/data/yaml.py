"""Read YAML files whose aliases cannot grow beyond all bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import srsly

MOST_BYTES, MOST_VALUES = 1 << 20, 100_000
"""Limits of a file that a person writes: its size, and its values once all aliases are written out."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    path (Path): The file.
    RETURNS (Any): Its content.
    RAISES (ValueError): If it is no YAML, or larger than a person would write, aliases written out.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    text = path.read_text(encoding="utf8")
    try:
        constructor, parser = srsly.ruamel_yaml.YAML(typ="safe", pure=True).get_constructor_parser(
            text
        )
        try:
            node = constructor.composer.get_single_node()
        finally:
            parser.dispose()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise ValueError(
                f"with its aliases written out it has more than {MOST_VALUES:,} values"
            )
        return srsly.ruamel_yaml.YAML(typ="safe", pure=True).load(text)
    except ValueError:
        raise
    except Exception as error:
        # the errors of the YAML reader have a base class that srsly does not export
        raise ValueError(str(error)) from error


def _size(node: Any, known: dict[int, int]) -> int:
    """Values of a node with all aliases written out; an alias of what it is in counts as too many."""
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1
        found = node.value if isinstance(node.value, list) else []
        parts = [p for part in found for p in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
