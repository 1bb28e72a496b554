"""The encoder: as spacy-transformers' own, bounded, without pickle, and the same in all threads."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
import spacy
import srsly
import torch
from installed import OURS, THEIRS, needs_spacy_transformers
from safetensors.torch import load as load_tensors
from sentences import LABELS, TEXTS
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_encoder
from spacy_maral.model.encoder.shim import FORMAT_VERSION, PART_PIECES
from spacy_maral.model.encoder.transformer import (
    build_transformer,
    replace_listener_cfg,
    window_getter,
)

WINDOW = {
    "@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24, "stride": 16, "max_chars": 60,
}  # fmt: skip
EXTRA = ["", "   ", "x" * 5000, "Zürich ist " * 60, "👩🚀 ● ..."]


def pipeline(encoder, architecture=OURS, **settings):
    nlp = spacy.blank("xx")
    model = {
        "@architectures": architecture, "name": str(encoder), "get_spans": WINDOW,
        "tokenizer_config": {"use_fast": True}, **settings,
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    nlp.initialize()
    return nlp


def outputs(nlp, texts):
    return [doc._.trf_data for doc in nlp.pipe(texts)]


def vectors(data):
    """Vectors of pieces; what stands at padding means nothing."""
    return data.tensors[0] * data.wordpieces.attention_mask[..., None]


@pytest.fixture(scope="module")
def ours(encoder_dir):
    return pipeline(encoder_dir)


@needs_spacy_transformers
def test_only_our_architecture_changes_what_is_read(encoder_dir, ours):
    words = ["Zu\u0308rich", "\n", "Bonn"]
    for nlp, wanted in ((ours, ["Zürich", "Bonn"]), (pipeline(encoder_dir, THEIRS), words)):
        get_windows = window_getter(nlp.get_pipe("transformer").model)
        (windows,) = get_windows([Doc(nlp.vocab, words=words)])
        assert [token.text for window in windows for token in window] == wanted


@needs_spacy_transformers
def test_gives_what_spacy_transformers_gives(encoder_dir, ours):
    texts = [text for text, _ in TEXTS] + EXTRA
    for found, wanted in zip(
        outputs(ours, texts), outputs(pipeline(encoder_dir, THEIRS), texts), strict=True
    ):
        if not wanted.model_output:
            assert not found.model_output
            continue
        np.testing.assert_array_equal(found.align.lengths, wanted.align.lengths)
        np.testing.assert_array_equal(found.align.dataXd, wanted.align.dataXd)
        # the pooler is not pretrained, and different in each pipeline
        np.testing.assert_allclose(vectors(found), vectors(wanted), atol=1e-5)


@needs_spacy_transformers
def test_loading_shows_no_warning_of_transformers(encoder_dir):
    shown = logging.Handler()
    shown.records = []
    shown.emit = shown.records.append
    logger = logging.getLogger("transformers")
    logger.addHandler(shown)
    level = logger.level
    pipeline(encoder_dir, THEIRS)
    assert shown.records.pop().getMessage().count("TRAIN"), "the encoder has no pooler"
    pipeline(encoder_dir)
    logger.removeHandler(shown)
    assert not shown.records and logger.level == level


def test_reads_rows_in_parts_with_the_same_result(encoder_dir, ours):
    texts = ["Angela visited Paris in May . " * 40, "Zürich"]
    seen = []
    parts = pipeline(encoder_dir, max_batch_pieces=200)
    encoder, _, _ = get_encoder(parts)
    encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    for found, wanted in zip(outputs(parts, texts), outputs(ours, texts), strict=True):
        # the pooler is not pretrained, and different in each pipeline
        np.testing.assert_allclose(vectors(found), vectors(wanted), atol=1e-5)
    assert len(seen) > 3 and max(seen) <= 200


def test_rows_are_read_with_others_of_their_length(encoder_dir, ours, monkeypatch):
    monkeypatch.setitem(PART_PIECES, "cpu", 16)
    texts = ["Zürich", "Angela visited Paris in May . " * 4, "a b", "Bern is in the Alps .", "x"]
    read, nlp = [], pipeline(encoder_dir)
    encoder, _, _ = get_encoder(nlp)
    encoder.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["attention_mask"]), with_kwargs=True
    )
    for found, text in zip(outputs(nlp, texts), texts, strict=True):
        alone = ours(text)._.trf_data
        length = alone.tensors[0].shape[1]
        np.testing.assert_allclose(vectors(found)[:, :length], alone.tensors[0], atol=1e-5)
    assert len(read) > 1
    assert sum(mask.numel() for mask in read) < 1.5 * sum(int(mask.sum()) for mask in read)


def test_states_of_all_layers_and_attentions_are_filled_up(encoder_dir, monkeypatch):
    settings = {"transformer_config": {"output_attentions": True, "output_hidden_states": True}}
    texts = ["Zürich", "Angela visited Paris in May . " * 3, "a b c"]
    wanted = pipeline(encoder_dir, **settings)(" ".join(texts[:1]))._.trf_data.model_output
    whole = outputs(pipeline(encoder_dir, **settings), texts)
    monkeypatch.setitem(PART_PIECES, "cpu", 1)
    for found, one in zip(outputs(pipeline(encoder_dir, **settings), texts), whole, strict=True):
        for name in ("hidden_states", "attentions"):
            layers, others = found.model_output[name], one.model_output[name]
            assert len(layers) == len(wanted[name])
            for layer, other in zip(layers, others, strict=True):
                assert layer.shape == other.shape
        np.testing.assert_allclose(vectors(found), vectors(one), atol=1e-5)


def test_padding_at_the_start_is_read(ours, monkeypatch):
    monkeypatch.setitem(PART_PIECES, "cpu", 1)
    nlp = ours.from_bytes(ours.to_bytes())
    texts = ["Zürich", "Angela visited Paris in May ."]
    monkeypatch.setattr(nlp.get_pipe("transformer").model.tokenizer, "padding_side", "left")
    found = outputs(nlp, texts)
    mask = found[0].wordpieces.attention_mask[0]
    assert mask[0] == 0 and mask[-1] == 1
    alone = ours(texts[0])._.trf_data.tensors[0][0]
    assert not np.allclose(found[0].tensors[0][0], 0)
    assert found[0].tensors[0].shape[1] == len(mask) > len(alone)


def test_refuses_a_bound_of_nothing():
    with pytest.raises(MaralError, match="M222"):
        build_transformer("x", lambda docs: [], max_batch_pieces=0)


def test_a_long_word_does_not_lengthen_other_rows(ours):
    doc = Doc(ours.vocab, words=["a"] * 50 + ["x" * 100_000] + ["b"] * 50)
    data = ours(doc)._.trf_data
    assert data.model_output.last_hidden_state.shape[1] <= 64
    assert data.align.lengths.sum() >= 101


def test_saved_without_pickle_and_loaded_the_same(ours, encoder_dir, tmp_path):
    ours.to_disk(tmp_path)
    message = srsly.msgpack_loads((tmp_path / "transformer" / "model").read_bytes())
    shim = srsly.msgpack_loads(message["shims"][1][0])
    assert shim["version"] == 1
    assert load_tensors(shim["state"]).keys() == get_encoder(ours)[0].state_dict().keys()
    for name, content in shim["tokenizer"].items():
        assert name.endswith(".json") and json.loads(content)
    texts = [text for text, _ in TEXTS]
    for found, wanted in zip(
        outputs(spacy.load(tmp_path), texts), outputs(ours, texts), strict=True
    ):
        for one, other in zip(found.tensors, wanted.tensors, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_uninitialised_pipeline_is_saved_too(encoder_dir):
    nlp = spacy.blank("xx")
    model = {"@architectures": OURS, "name": str(encoder_dir), "get_spans": WINDOW}
    nlp.add_pipe("transformer", config={"model": model})
    again = spacy.blank("xx")
    again.add_pipe("transformer", config={"model": model})
    again.from_bytes(nlp.to_bytes())
    again.initialize()
    assert get_encoder(again)


def shim_of(nlp):
    return nlp.get_pipe("transformer").model.layers[0].shims[0]


def changed(shim, **values):
    """A message with other values, and without a checksum, as those of release 0.1."""
    message = srsly.msgpack_loads(shim.to_bytes())
    del message["sha256"]
    return srsly.msgpack_dumps({**message, **values})


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"version": FORMAT_VERSION + 1}, "M225"),
        ({"state": b"\x80\x05K\x01."}, "M224"),
        ({"state": b""}, "M224"),
        ({"tokenizer": {"../outside.json": b"{}"}}, r"M224.*\.\./outside"),
        ({"tokenizer": {"..\\outside.json": b"{}"}}, "M224"),
        ({"config": {"model_type": "no such model"}}, "M224"),
    ],
)
def test_refuses_what_it_cannot_read(ours, values, code):
    shim = shim_of(ours)
    with pytest.raises(MaralError, match=code):
        shim.from_bytes(changed(shim, **values))


@needs_spacy_transformers
def test_refuses_bytes_of_spacy_transformers(ours, encoder_dir):
    theirs = shim_of(pipeline(encoder_dir, THEIRS))
    with pytest.raises(MaralError, match="M224"):
        shim_of(ours).from_bytes(theirs.to_bytes())


def test_prediction_leaves_no_dropout_for_other_threads(ours):
    encoder, _, _ = get_encoder(ours)
    encoder.train()
    ours("Angela visited Paris")
    assert not any(module.training for module in encoder.modules())


def test_trains_and_is_copied(encoder_dir):
    model = pipeline(encoder_dir).get_pipe("transformer").model
    copied = model.copy()
    before = {name: tensor.clone() for name, tensor in copied.transformer.state_dict().items()}
    docs = [Doc(Vocab(), words=["Angela", "visited", "Paris"])]
    batch, backprop = model.begin_update(docs)
    assert model.transformer.training
    ones = type(batch.model_output)(last_hidden_state=torch.ones_like(batch.model_output[0]))
    backprop(type(batch)(batch.spans, batch.wordpieces, ones, batch.align))
    assert any(p.grad is not None for p in model.transformer.parameters())
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.add_(1)
    for name, tensor in copied.transformer.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert copied.predict(docs).tensors


def test_listener_of_the_span_model_is_replaced_and_no_other():
    encoder = {"@architectures": OURS, "name": "x"}
    found = replace_listener_cfg(encoder, {"@architectures": "spacy-maral.WordPieceEnds.v1"})
    assert found == encoder
    with pytest.raises(MaralError, match="M223"):
        replace_listener_cfg(
            encoder, {"@architectures": "spacy-transformers.TransformerListener.v1"}
        )


def test_span_model_with_an_encoder_of_its_own(encoder_dir, train_examples, tmp_path):
    nlp = pipeline(encoder_dir)
    settings = {"model": {"hidden_width": 32, "dim": 16, "max_width": 4}, "keep_trf_data": True}
    nlp.add_pipe("maral_ner", config=settings)
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": LABELS}}
    nlp.initialize(lambda: train_examples(nlp))
    texts = [text for text, _ in TEXTS]
    wanted = [nlp.get_pipe("maral_ner").predict([doc]).scores for doc in nlp.pipe(texts)]
    nlp.replace_listeners("transformer", "maral_ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    for text, scores in zip(texts, wanted, strict=True):
        found = again.get_pipe("maral_ner").predict([again.make_doc(text)]).scores
        np.testing.assert_allclose(found, scores, atol=1e-4)


@pytest.mark.parametrize(
    "damage", ["no folder", "empty", "config", "weights", "tokenizer", "short"]
)
def test_an_encoder_that_cannot_be_loaded_is_a_coded_error(encoder_dir, tmp_path, damage):
    folder = tmp_path / "encoder"
    if damage != "no folder":
        shutil.copytree(encoder_dir, folder)
    if damage == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    files = {"config": "config.json", "weights": "model.safetensors", "tokenizer": "tokenizer.json"}
    if damage in files:
        (folder / files[damage]).write_bytes(b"{")
    if damage == "short":
        (folder / "tokenizer.json").unlink()
        for path in folder.glob("*sentencepiece*"):
            path.unlink()
    with pytest.raises(MaralError) as error:
        pipeline(folder)
    message = str(error.value)
    assert message.startswith(f"[M346] The encoder '{folder}' cannot be loaded (")
    assert "Set paths.encoder to a folder" in message and "\n" not in message
