from __future__ import annotations

import pytest

from spacy_maral.scale.shrink import pipelines


@pytest.fixture
def quick_loading(monkeypatch) -> None:
    """Loading is measured in six new processes, which take half a minute: not what is tested here."""
    found = {"seconds": 1.0, "resident_bytes": 2**30, "pipeline_bytes": None, "peak_bytes": 2**31}
    monkeypatch.setattr(pipelines, "measure_loading", lambda models: [found for _ in models])
