from __future__ import annotations

import json

import pytest
import spacy
import srsly
import torch
from transformers import AutoModel

from spacy_maral.model.architectures import get_encoder
from spacy_maral.model.encoder.files import (
    PLACE,
    apart,
    make_objects,
    tokenizer_files,
    write_nested,
)
from spacy_maral.model.encoder.transformer import build_transformer

WINDOW = {
    "@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24, "stride": 16, "max_chars": 60,
}  # fmt: skip


def blank(encoder_dir, **settings):
    nlp = spacy.blank("xx")
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": str(encoder_dir),
        "get_spans": WINDOW, "tokenizer_config": {"use_fast": True}, **settings,
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    return nlp


def pipeline(encoder_dir, **settings):
    nlp = blank(encoder_dir, **settings)
    nlp.initialize()
    return nlp


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16"])
def test_a_file_is_what_the_bytes_are(encoder_dir, tmp_path, weights):
    model = pipeline(encoder_dir, weights=weights).get_pipe("transformer").model
    model.to_disk(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == model.to_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_without_an_encoder_yet(tmp_path):
    model = build_transformer("nowhere", lambda docs: [], {"use_fast": True})
    model.to_disk(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == model.to_bytes()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536, 70000])
def test_nested_messages_of_all_lengths(tmp_path, size):
    content = tmp_path / "content"
    content.write_bytes(bytes(i % 251 for i in range(size)))
    inner = srsly.msgpack_dumps({"a": "x" * 40, "state": PLACE, "z": [1, 2]})
    outer = srsly.msgpack_dumps({"shims": [[], [PLACE]], "nodes": [{"name": "n"}]})
    write_nested(tmp_path / "out", outer, inner, content)
    expected = srsly.msgpack_dumps({"a": "x" * 40, "state": content.read_bytes(), "z": [1, 2]})
    expected = srsly.msgpack_dumps({"shims": [[], [expected]], "nodes": [{"name": "n"}]})
    assert (tmp_path / "out").read_bytes() == expected


def test_nothing_is_left_of_a_file_that_could_not_be_written(encoder_dir, tmp_path, monkeypatch):
    model = pipeline(encoder_dir).get_pipe("transformer").model
    expected = model.to_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "_to_bytes", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.to_disk(tmp_path / "model")
    assert not [*tmp_path.iterdir()]
    assert model.to_bytes() == expected, "nothing stands in for the encoder any more"


def test_tensors_that_share_memory_are_set_apart():
    a = torch.arange(4.0)
    found = apart({"a": a, "b": a, "c": torch.arange(3.0)})
    assert found["a"] is a and torch.equal(found["b"], a)
    assert found["b"].data_ptr() != a.data_ptr()


def test_a_loaded_encoder_can_be_trained_and_is_its_own(encoder_dir):
    data = pipeline(encoder_dir, weights="float16").to_bytes()
    first, second = (blank(encoder_dir).from_bytes(data) for _ in range(2))
    weights = [get_encoder(again)[0].embeddings.word_embeddings.weight for again in (first, second)]
    assert all(w.requires_grad and w.is_leaf and w.dtype == torch.float32 for w in weights)
    before = weights[1].clone()
    with torch.no_grad():
        weights[0].add_(1)
    assert torch.equal(weights[1], before)


def test_tensors_that_this_release_lacks_are_left_out_with_a_warning(encoder_dir):
    encoder = AutoModel.from_pretrained(encoder_dir)
    tensors = {**encoder.state_dict(), "embeddings.of_another_release": torch.ones(2)}
    names = ("tokenizer.json", "tokenizer_config.json")
    files = {name: (encoder_dir / name).read_bytes() for name in names}
    with pytest.warns(UserWarning, match=r"W205.*embeddings\.of_another_release"):
        found = make_objects(encoder.config.to_dict(), files, tensors, "float32").encoder
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), encoder.parameters(), strict=True)
    )


def test_a_saved_tokenizer_has_a_class_that_all_releases_know(encoder_dir):
    """transformers 5 would write a name of its own, which transformers 4 does not have."""
    shim = pipeline(encoder_dir).get_pipe("transformer").model.shim
    settings = json.loads(tokenizer_files(shim.objects)["tokenizer_config.json"])
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
