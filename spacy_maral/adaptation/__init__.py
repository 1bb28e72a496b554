"""The paper's method: pseudo-labels of target text, their filter and refinery, and the student."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .label_target import pseudo_label
    from .student import adapt

_HOMES = {"adapt": "student", "pseudo_label": "label_target"}

__all__ = ["adapt", "pseudo_label"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
