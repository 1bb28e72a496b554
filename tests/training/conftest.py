from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from worlds import CONFIG, make_docs, write

from spacy_maral.training import pseudo_label, train_teacher


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums have one order, and tiny matrices are not shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def world(tmp_path_factory, encoder_dir):
    """Data, configuration, a trained teacher and its pseudo-labels; one thread for all of it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    config = folder / "toy.cfg"
    config.write_text(CONFIG.replace("ENCODER", str(encoder_dir)), encoding="utf8")
    paths = {
        "source": write(folder / "source.spacy", make_docs("source", 80, 0)),
        "dev": write(folder / "dev.spacy", make_docs("source", 30, 1)),
        "target": write(folder / "target.spacy", make_docs("target", 60, 2)),
    }
    teacher = train_teacher(
        config, source=paths["source"], dev=paths["dev"], output=folder / "teacher"
    )
    labels = pseudo_label(teacher, paths["target"], folder / "labels.npz")
    torch.set_num_threads(before)
    return {"config": config, **paths, "teacher": teacher, "labels": labels}
