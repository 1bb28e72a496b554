"""The commands of `python -m spacy maral`: each parses its options, calls one function and shows the result."""

from __future__ import annotations

from . import (  # noqa: F401
    benchmark,
    calibration,
    card,
    data,
    debug_data,
    distilling,
    evaluation,
    init_config,
    labelling,
    names,
    projecting,
    shrinking,
    suggest,
    training,
    translating,
)
from ._util import app

__all__ = ["app"]
