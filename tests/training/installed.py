"""Whether spacy-transformers is installed, and processes in which it is as if it were not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

OURS, THEIRS = "spacy-maral.TransformerModel.v1", "spacy-transformers.TransformerModel.v3"
IS_INSTALLED = find_spec("spacy_transformers") is not None
ARCHITECTURE = THEIRS if IS_INSTALLED else OURS
"""The encoder's architecture, for tests that hold for both."""

needs_spacy_transformers = pytest.mark.skipif(
    not IS_INSTALLED, reason="compares with spacy-transformers, which is not installed"
)

_WITHOUT = """
import importlib.metadata, sys

names = {names!r}
for name in names:
    sys.modules[name] = None
distributions = importlib.metadata.distributions
importlib.metadata.distributions = lambda **given: (
    d for d in distributions(**given) if d.metadata["Name"].replace("-", "_") not in names
)
"""


def without(*names: str) -> str:
    """Code to begin a process with, in which some modules and what their packages declare are missing."""
    return _WITHOUT.format(names=names)
