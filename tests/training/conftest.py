from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from worlds import make_world


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums have one order, and tiny matrices are not shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def world(tmp_path_factory, encoder_dir):
    """See `worlds.make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), encoder_dir)
