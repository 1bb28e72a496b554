from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from spacy.language import Language

from spacy_maral.data import tokens


@pytest.fixture(scope="session")
def known_pipelines() -> Callable[..., Language]:
    return cache(tokens.blank_pipeline)


@pytest.fixture
def one_tokenizer(monkeypatch, known_pipelines) -> None:
    """A tokenizer of each language for all files: reading a file makes one, which takes up to 0.1 s."""
    monkeypatch.setattr(tokens, "blank_pipeline", known_pipelines)
