"""What an earlier version saved still loads and says the same; what a later one saved is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import spacy
import srsly
import torch
from make_golden import GOLDEN, found_in

from spacy_maral.adaptation import pseudo_labels
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.data import layout
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.report import run_record
from spacy_maral.model import architectures
from spacy_maral.model.encoder import shim
from spacy_maral.model.maral_ner import set_names
from spacy_maral.model.names import NameMemory
from spacy_maral.training import checkpoint
from spacy_maral.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
MOST_BYTES = 300_000


def read_predictions(version: str) -> list[dict]:
    return json.loads((GOLDEN / version / "predictions.json").read_text(encoding="utf8"))


def test_there_is_a_golden_model():
    assert "0.1" in VERSIONS
    sizes = [p.stat().st_size for p in GOLDEN.rglob("*") if p.is_file()]
    assert sum(sizes) < MOST_BYTES * len(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_model_says_the_same(version):
    nlp = spacy.load(GOLDEN / version / "model")
    wanted = read_predictions(version)
    assert sum(len(row["ents"]) for row in wanted) > 10
    for row in wanted:
        found = found_in(nlp, row["text"])
        assert found["words"] == row["words"]
        assert [e[:3] for e in found["ents"]] == [e[:3] for e in row["ents"]], row["text"]
        scores, known = ([e[3] for e in ents["ents"]] for ents in (found, row))
        np.testing.assert_allclose(scores, known, rtol=0, atol=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_model_in_one_batch(version):
    """Texts read together, padded, and after a round trip through bytes."""
    nlp = spacy.load(GOLDEN / version / "model")
    wanted = read_predictions(version)
    again = spacy.load(GOLDEN / version / "model").from_bytes(nlp.to_bytes())
    for row, doc in zip(wanted, again.pipe([row["text"] for row in wanted]), strict=True):
        assert [[e.start, e.end, e.label_] for e in doc.ents] == [e[:3] for e in row["ents"]]
        known = [e[3] for e in row["ents"]]
        np.testing.assert_allclose([e._.maral_score for e in doc.ents], known, rtol=0, atol=1e-4)


def test_weights_decide_what_the_golden_model_says(monkeypatch):
    """The comparison above is one that other weights fail."""
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    module = architectures.get_span_module(nlp.get_pipe("maral_ner").model)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)
    rows = read_predictions("0.1")
    assert any(found_in(nlp, row["text"]) != row for row in rows)


def test_newer_span_model_is_refused(tmp_path, monkeypatch):
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    monkeypatch.setattr(architectures, "FORMAT_VERSION", 99)
    nlp.to_disk(tmp_path / "newer")
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M205\].*99.*newer release"):
        spacy.load(tmp_path / "newer")


def test_newer_encoder_is_refused(tmp_path, monkeypatch):
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    monkeypatch.setattr(shim, "FORMAT_VERSION", 99)
    nlp.to_disk(tmp_path / "newer")
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M225\].*99"):
        spacy.load(tmp_path / "newer")


def test_newer_checkpoint_is_refused(tmp_path, monkeypatch):
    saved = Checkpoint(1, {"a": torch.zeros(2)}, {"b": np.zeros(2)}, {"fingerprint": {}})
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    save_checkpoint(tmp_path, saved)
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M308\].*99"):
        load_checkpoint(tmp_path)


def test_newer_pseudo_labels_are_refused(tmp_path, monkeypatch):
    labels = PseudoLabels(np.ones((3, 2)) / 2, ["LOC"], 2, "digest")
    monkeypatch.setattr(pseudo_labels, "FORMAT_VERSION", 99)
    labels.save(tmp_path / "labels.npz")
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M305\].*99"):
        PseudoLabels.load(tmp_path / "labels.npz", digest="digest")
    labels.save(tmp_path / "labels.npz")
    assert PseudoLabels.load(tmp_path / "labels.npz", digest="digest").labels == ["LOC"]


def test_newer_diagnostics_are_refused(tmp_path):
    place = tmp_path / "training"
    row = dict.fromkeys(run_record.ROW_KEYS, 0.0)
    (place / "diagnostics").mkdir(parents=True)
    (place / "log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf8")
    newer = {"format_version": layout.DIAGNOSTICS_VERSION + 1, "epoch": 1}
    srsly.write_json(place / "diagnostics" / ".epoch-0001.json", newer)
    with pytest.raises(MaralError, match=r"^\[M442\]"):
        run_record.read_run(tmp_path)


def test_settings_that_a_later_version_adds_are_defaults(tmp_path):
    """A model without a setting that came later gets its default."""
    shutil.copytree(GOLDEN / "0.1" / "model", tmp_path / "old")
    path: Path = tmp_path / "old" / "config.cfg"
    text = path.read_text(encoding="utf8")
    assert "threshold = 0.0\n" in text
    path.write_text(text.replace("threshold = 0.0\n", "", 1), encoding="utf8")
    nlp = spacy.load(tmp_path / "old")
    assert nlp.get_pipe("maral_ner").cfg["threshold"] == 0.0
    row = read_predictions("0.1")[0]
    assert [e[:3] for e in found_in(nlp, row["text"])["ents"]] == [e[:3] for e in row["ents"]]


@pytest.mark.parametrize("missing", ["offset", "names", "spans_threshold"])
def test_a_checksum_covers_the_settings_that_were_saved(tmp_path, missing):
    """A later version adds settings; the checksum of a pipeline from before is that of its own."""
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    nlp.to_disk(tmp_path)
    file = tmp_path / "maral_ner" / "cfg"
    cfg = srsly.read_json(file)
    del cfg["sha256"], cfg[missing], cfg["configured"][missing]
    text = srsly.json_dumps(cfg, sort_keys=True)
    srsly.write_json(file, {**cfg, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    loaded = spacy.load(tmp_path)
    assert loaded.get_pipe("maral_ner").cfg == nlp.get_pipe("maral_ner").cfg
    srsly.write_json(file, {**cfg, "threshold": 0.25, "sha256": srsly.read_json(file)["sha256"]})
    with pytest.raises(MaralError, match="checksum"):
        spacy.load(tmp_path)


def test_a_pipeline_of_0_1_takes_a_name_memory(tmp_path):
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.names is None and pipe.cfg["names"] is None
    sums = np.ones((1, len(pipe.labels) + 1))
    memory = NameMemory(np.array([7], dtype=np.uint64), sums, np.array([4], dtype=np.uint64))
    set_names(nlp, "maral_ner", memory, {})
    nlp.to_disk(tmp_path / "new")
    assert len(spacy.load(tmp_path / "new").get_pipe("maral_ner").names) == 1
