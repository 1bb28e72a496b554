from __future__ import annotations

import json
from pathlib import Path

import pytest
from scale_corpora import LINES, save_ruler


@pytest.fixture(scope="session")
def ruler(tmp_path_factory) -> Path:
    return save_ruler(tmp_path_factory.mktemp("ruler") / "model")


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A folder of two shards: plain text, and JSON Lines with ids and two broken rows."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("\n".join(LINES) + "\n", encoding="utf8")
    rows = [json.dumps({"id": f"doc{i}", "text": text}) for i, text in enumerate(LINES)]
    lines = [*rows[:3], "{broken", *rows[3:], '{"no": "text"}']
    (folder / "more" / "b.jsonl").write_text("\n".join(lines), encoding="utf8")
    return folder
