from __future__ import annotations

import pytest
from worlds import make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory, encoder_dir):
    """See `worlds.make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), encoder_dir)
