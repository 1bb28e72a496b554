"""Training of a teacher, and the training loop that teacher and student share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .teacher import train_teacher

__all__ = ["train_teacher"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".teacher", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
