"""What leaves this machine says nothing of it, and is the same each time."""

from __future__ import annotations

from pathlib import Path

import build_package
import pytest
import spacy
from installed import ARCHITECTURE, OURS
from test_damage import digests
from worlds import CONFIG

from spacy_maral.training.teacher import train_teacher


@pytest.fixture(scope="module")
def trained(world, encoder_dir, tmp_path_factory) -> Path:
    """A pipeline of our own transformer, with the encoder's folder in [paths]."""
    folder = tmp_path_factory.mktemp("trained")
    text = CONFIG.replace(ARCHITECTURE, OURS)
    text = text.replace('name = "ENCODER"', "name = ${paths.encoder}").replace(
        "epochs = 4", "epochs = 1"
    )
    config = folder / "config.cfg"
    config.write_text(f'[paths]\nencoder = "{encoder_dir}"\n{text}', encoding="utf8")
    given = {"source": world["source"], "dev": world["dev"]}
    return train_teacher(config, output=folder / "model", **given)


def test_a_trained_pipeline_is_saved_alike_after_it_was_loaded(trained, tmp_path):
    for name in ("one", "two"):
        spacy.load(trained).to_disk(tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    spacy.load(tmp_path / "one").to_disk(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "one")


def test_only_the_configuration_knows_where_the_encoder_was(trained, encoder_dir):
    place = str(encoder_dir.parent).encode()
    files = [p for p in trained.rglob("*") if p.is_file() and "training" not in p.parts]
    assert [p.name for p in files if place in p.read_bytes()] == ["config.cfg"]


def test_a_package_says_nothing_of_this_machine(
    trained, encoder_dir, tmp_path, monkeypatch, caplog
):
    seen = {}

    def package(pipeline, out, **settings):
        seen.update({p.relative_to(pipeline).as_posix(): p.read_bytes()
                     for p in pipeline.rglob("*") if p.is_file()})  # fmt: skip
        nlp = spacy.load(pipeline)
        seen["ents"] = [str(ent) for ent in nlp("Merkel visited Paris").ents]
        raise InterruptedError

    monkeypatch.setattr(build_package, "package", package)
    with pytest.raises(InterruptedError):
        build_package.build_package(trained, tmp_path / "out", name="x", version="1.0.0")
    assert seen.pop("ents") == [str(e) for e in spacy.load(trained)("Merkel visited Paris").ents]
    assert {"config.cfg", "meta.json", "maral_ner/model"} <= seen.keys()
    assert not [name for name in seen if name.startswith("training")]
    places = {str(encoder_dir.parent), str(trained.parent), str(tmp_path), str(Path.home())}
    for place in map(str.encode, places - {"/"}):
        assert not [name for name, data in seen.items() if place in data]
    assert f'name = "{encoder_dir.name}"'.encode() in seen["config.cfg"]
    # the changed configuration has its checksum
    assert "[W532]" not in caplog.text
    assert not list((tmp_path / "out").iterdir())
