"""Trained pipelines made smaller and faster: fewer word pieces, smaller numbers."""

from __future__ import annotations

from .optimising import optimise
from .trimming import trim_vocab

__all__ = ["optimise", "trim_vocab"]
