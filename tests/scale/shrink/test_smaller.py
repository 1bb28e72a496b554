"""Pipelines made smaller: what is written loads, predicts, and is what the report says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
import torch
from sentences import TEXTS
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.data import docs
from spacy_maral.errors import MaralError
from spacy_maral.model.encoder import weights
from spacy_maral.scale.shrink import footprint, pipelines
from spacy_maral.scale.shrink.optimising import optimise
from spacy_maral.scale.shrink.pipelines import find_encoder
from spacy_maral.scale.shrink.trimming import trim_vocab

LATIN = [text for text, _ in TEXTS if not any(character > "\u0900" for character in text)]
LOADING = {
    "seconds": 1.0, "resident_bytes": 2**30, "pipeline_bytes": None, "peak_bytes": 2**31,
}  # fmt: skip


@pytest.fixture(autouse=True)
def loading(monkeypatch):
    """Loading is measured in new processes, which take their time."""
    monkeypatch.setattr(pipelines, "measure_loading", lambda models: [LOADING for _ in models])


@pytest.fixture(scope="module")
def trimmed(model, corpus, test_set, tmp_path_factory):
    output = tmp_path_factory.mktemp("trimmed") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "measure_loading", lambda models: [LOADING for _ in models])
        return output, trim_vocab(model, [corpus], output, test=test_set)


@pytest.fixture(scope="module")
def optimised(model, test_set, tmp_path_factory):
    output = tmp_path_factory.mktemp("optimised") / "fast"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "measure_loading", lambda models: [LOADING for _ in models])
        return output, optimise(model, output, test=test_set)


def vectors(nlp, texts):
    """What the encoder gives for the word pieces of texts, one text at a time."""
    found = [nlp.get_pipe("transformer").predict([nlp.make_doc(text)]) for text in texts]
    return [batch.model_output.last_hidden_state for batch in found]


def n_rows(nlp):
    return len(find_encoder(nlp)[0]._model.get_input_embeddings().weight)


def test_trimmed_text_is_read_as_before(model, trimmed):
    before, after = spacy.load(model), spacy.load(trimmed[0])
    assert n_rows(after) < n_rows(before)
    for old, new in zip(vectors(before, LATIN), vectors(after, LATIN), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)


def test_a_trimmed_pipeline_is_an_ordinary_one(trimmed, tmp_path):
    nlp = spacy.load(trimmed[0])
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    copied = spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes())
    wanted = vectors(nlp, LATIN)
    for other in (again, copied):
        for old, new in zip(wanted, vectors(other, LATIN), strict=True):
            np.testing.assert_array_equal(old, new)
    doc = nlp.make_doc(LATIN[0])
    losses = nlp.update([Example(doc, nlp.make_doc(LATIN[0]))], sgd=nlp.resume_training())
    assert "maral_ner" in losses


def test_what_the_report_says(model, trimmed):
    output, result = trimmed
    report = json.loads((output / "trim-vocab.json").read_text())
    assert report == json.loads(json.dumps(result.facts))
    assert report["rows"] == {
        "before": n_rows(spacy.load(model)), "after": n_rows(spacy.load(output))
    }  # fmt: skip
    assert report["bytes"]["before"] == sum(
        p.stat().st_size for p in model.rglob("*") if p.is_file()
    )
    assert report["test"]["data"] == "test.spacy"
    assert report["test"]["f1"]["before"] == result.parity.reports[0].f1
    assert list(report["scripts"]) == ["LATIN"]
    # the test set has words in other scripts
    assert 0 < report["test"]["tokenisation"]["words_changed"] < 1
    meta = json.loads((output / "meta.json").read_text())
    assert meta["maral_smaller"]["trim-vocab"] == report
    assert "### Made smaller" in meta["notes"] and "word pieces" in meta["notes"]


def test_halves_take_half_the_space(model, corpus, tmp_path):
    full = trim_vocab(model, [corpus], tmp_path / "full").facts["bytes"]["after"]
    half = trim_vocab(model, [corpus], tmp_path / "half", weights="float16").facts["bytes"]["after"]
    assert half < 0.8 * full
    nlp = spacy.load(tmp_path / "half")
    assert {p.dtype for p in find_encoder(nlp)[0]._model.parameters()} == {torch.float32}
    pairs = zip(vectors(spacy.load(tmp_path / "full"), LATIN), vectors(nlp, LATIN), strict=True)
    for old, new in pairs:
        np.testing.assert_allclose(old, new, atol=0.02)
    # and once more, from what was rounded
    nlp.to_disk(tmp_path / "again")
    sizes = [n_bytes(tmp_path / name / "transformer") for name in ("half", "again")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def n_bytes(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_an_optimised_pipeline_predicts_alike(model, optimised):
    output, result = optimised
    before, after = spacy.load(model), spacy.load(output)
    encoder = find_encoder(after)[0]._model
    wanted = torch.bfloat16 if weights.has_bfloat16() else torch.float32
    assert {p.dtype for p in encoder.parameters()} == {wanted}
    for old, new in zip(vectors(before, LATIN), vectors(after, LATIN), strict=True):
        assert new.dtype == torch.float32
        np.testing.assert_allclose(old, new, atol=0.15)
    assert result.facts["weights"] == "bfloat16"
    assert n_bytes(output / "transformer") < 0.8 * n_bytes(model / "transformer")


def test_pipe_and_call_agree_when_optimised(optimised):
    nlp = spacy.load(optimised[0])
    one_by_one = [nlp(text) for text in LATIN]
    for batch_size in (2, 64):
        for a, b in zip(one_by_one, nlp.pipe(LATIN, batch_size=batch_size), strict=True):
            assert [(e.start, e.end, e.label_) for e in a.ents] == [
                (e.start, e.end, e.label_) for e in b.ents
            ]


def test_an_optimised_pipeline_is_not_trained(optimised):
    nlp = spacy.load(optimised[0])
    with pytest.raises(MaralError, match="M463"):
        nlp.update([Example(nlp.make_doc("a"), nlp.make_doc("a"))])


@pytest.mark.parametrize("native", [False, True])
def test_a_processor_without_bfloat16_is_named(native, monkeypatch, tmp_path):
    monkeypatch.setattr("spacy_maral.model.encoder.weights.has_bfloat16", lambda: native)
    result = CliRunner().invoke(app, ["optimise", "nowhere", "-o", str(tmp_path / "fast")])
    assert ("[W452]" in result.output) != native and result.exit_code == 1


def test_nothing_is_optimised_twice(optimised, corpus, tmp_path):
    with pytest.raises(MaralError, match="M463"):
        optimise(optimised[0], tmp_path / "again")
    with pytest.raises(MaralError, match="M463"):
        trim_vocab(optimised[0], [corpus], tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_without_bfloat16_it_computes_in_float32(optimised, monkeypatch):
    monkeypatch.setattr(weights, "has_bfloat16", lambda: False)
    nlp = spacy.load(optimised[0])
    assert {p.dtype for p in find_encoder(nlp)[0]._model.parameters()} == {torch.float32}
    with pytest.raises(MaralError, match="M463"):
        nlp.update([Example(nlp.make_doc("a"), nlp.make_doc("a"))])


def test_other_files_are_not_overwritten(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MaralError, match=r"M406.*something else"):
        optimise(model, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_other_pipelines_are_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match="M464"):
        optimise(tmp_path / "blank", tmp_path / "out")


def test_loading_is_measured(model, monkeypatch):
    monkeypatch.setattr(footprint, "RUNS", 1)
    [found] = footprint.measure_loading([model])
    assert found["seconds"] > 0
    if found["peak_bytes"] is not None:
        assert found["peak_bytes"] >= found["resident_bytes"] > 2**26


def test_commands(model, corpus, test_set, tmp_path):
    small, fast = tmp_path / "small", tmp_path / "fast"
    words = [
        "trim-vocab",
        str(model),
        "--corpus",
        str(corpus),
        "-o",
        str(small),
        "--dtype",
        "float16",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "LATIN 100.0 %" in result.output and "W451" in result.output
    result = CliRunner().invoke(app, ["optimise", str(small), "-o", str(fast), "-E", str(test_set)])
    assert result.exit_code == 0, result.output
    assert "speed-up" in result.output and "W451" not in result.output
    meta = json.loads((fast / "meta.json").read_text())
    assert list(meta["maral_smaller"]) == ["trim-vocab", "optimise"]
    result = CliRunner().invoke(app, ["optimise", str(fast), "-o", str(tmp_path / "again")])
    assert result.exit_code == 1 and "M463" in result.output


def test_the_test_data_are_read_once(model, test_set, tmp_path, monkeypatch):
    read = []
    real = docs.read_docs
    monkeypatch.setattr(docs, "read_docs", lambda path: read.append(path) or real(path))
    result = optimise(model, tmp_path / "fast", test=test_set)
    assert read == [test_set] and result.facts["test"]["data"] == "test.spacy"


def test_test_data_that_measure_nothing_are_refused_before_the_work(model, tmp_path, monkeypatch):
    nlp = spacy.blank("xx")
    DocBin(docs=[nlp("lebt nach")]).to_disk(tmp_path / "raw.spacy")
    monkeypatch.setattr(pipelines, "measure_loading", lambda models: pytest.fail("worked"))
    with pytest.raises(MaralError, match="M402"):
        optimise(model, tmp_path / "fast", test=tmp_path / "raw.spacy")
    assert not (tmp_path / "fast").exists()


def test_what_is_lost_is_said(model, test_set, tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines.Parity, "f1_change", -0.31)
    words = ["optimise", str(model), "-o", str(tmp_path / "out"), "-E", str(test_set)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "W450" in result.output and "-0.31" in result.output
