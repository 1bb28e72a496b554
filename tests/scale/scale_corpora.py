"""Texts, a model that needs no training, and what it must find."""

from __future__ import annotations

from pathlib import Path

import spacy
from sentences import TEXTS

LINES = [text for text, _ in TEXTS]
PATTERNS = [
    {"label": "PER", "pattern": "Angela Merkel"},
    {"label": "PER", "pattern": "Pedro Sánchez"},
    {"label": "LOC", "pattern": "Paris"},
    {"label": "LOC", "pattern": "北京"},
]


def save_ruler(path: Path, name: str = "ruler") -> Path:
    """A pipeline that finds a few names, for tests that are not about a model."""
    nlp = spacy.blank("xx", meta={"name": name, "version": "1.2.0"})
    nlp.add_pipe("entity_ruler").add_patterns(PATTERNS)
    nlp.to_disk(path)
    return path


def expected_ents(text: str) -> list[tuple[int, int, str]]:
    """What the ruler finds, by another way."""
    found = []
    for pattern in PATTERNS:
        start = text.find(pattern["pattern"])
        if start >= 0:
            found.append((start, start + len(pattern["pattern"]), pattern["label"]))
    return sorted(found)
