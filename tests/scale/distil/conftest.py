"""Raw text of the toy world's target language, labelled text of it, and short trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds import make_docs, write

from spacy_maral.scale.shrink import pipelines

SHORT = {
    "training.max_steps": 120, "training.eval_frequency": 40, "training.patience": 0,
    "components.tok2vec.model.encode.width": 32, "components.tok2vec.model.encode.depth": 2,
    "components.tok2vec.model.embed.rows": [500, 100, 100, 100],
}  # fmt: skip
LOADING = {"seconds": 1.0, "resident_bytes": 2**30, "pipeline_bytes": None, "peak_bytes": 2**31}


@pytest.fixture(scope="session")
def short() -> dict:
    """Settings of a training that takes seconds."""
    return SHORT


@pytest.fixture(autouse=True, scope="module")
def loading():
    """Loading is measured in new processes, which take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "measure_loading", lambda models: [LOADING for _ in models])
        yield


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    """Two shards of raw text, with a line that a labelled file has too."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [doc.text for doc in make_docs("target", 600, 5)]
    (folder / "a.txt").write_text("\n".join(lines[:400]) + "\n", encoding="utf8")
    (folder / "b.txt").write_text("\n".join(lines[400:]) + "\n", encoding="utf8")
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Path:
    """Labelled sentences of the target."""
    return write(tmp_path_factory.mktemp("labelled") / "de.spacy", make_docs("target", 60, 6))
