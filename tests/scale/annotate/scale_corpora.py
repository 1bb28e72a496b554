"""Texts, a model that needs no training, what it must find, and readers of what was written."""

from __future__ import annotations

import json
from pathlib import Path

import spacy
from sentences import TEXTS

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "0.1" / "model"
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


def read(path: Path) -> list[dict]:
    """Lines of an output in JSON."""
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """All that is not about the run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_run" not in path.parts
    }
