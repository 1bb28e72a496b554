"""The Thinc glue: word vectors and their gradient, the span model's life and its bytes."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Ragged
from transformers.utils import ModelOutput

from spacy_maral.errors import MaralError
from spacy_maral.model import architectures
from spacy_maral.model.architectures import (
    HEADER,
    build_span_model,
    class_scores,
    deserialize,
    get_encoder,
    get_span_module,
    serialize,
)
from spacy_maral.model.encoder.shared import TransformerData, TransformerListener, WordpieceBatch
from spacy_maral.model.span_model import SpanModel
from spacy_maral.model.spans import enumerate_spans
from spacy_maral.model.word_ends import build_word_piece_ends, word_ends

LONG = "Angela Merkel visited Paris in May . " * 12


def trf_data(hidden, pieces):
    rows, length = hidden.shape[:2]
    align = Ragged(
        np.array([p for word in pieces for p in word], dtype="i"),
        np.array([len(word) for word in pieces], dtype="i"),
    )
    ids, mask = np.zeros((rows, length), dtype="i8"), np.ones((rows, length), dtype="f")
    wordpieces = WordpieceBatch([[""] * length] * rows, ids, mask, [length] * rows, None)
    return TransformerData(wordpieces, ModelOutput(last_hidden_state=hidden), align)


@pytest.fixture
def batch():
    """Two documents with words between them: pieces in two rows, none at all, one, and shared."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(2, 5, 3)).astype("f")
    second = rng.normal(size=(1, 4, 3)).astype("f")
    return [
        trf_data(first, [[1, 2], [2, 3], [3, 6], [], [7, 8]]),
        TransformerData.empty(),
        trf_data(second, [[1], [2, 3]]),
    ]


def test_word_ends_are_first_and_last_pieces(batch):
    (first, last), _ = word_ends(1.0)(batch, True)
    x = batch[0].model_output.last_hidden_state.reshape(-1, 3)
    y = batch[2].model_output.last_hidden_state.reshape(-1, 3)
    zero = np.zeros(3)
    # the first word's second piece is the second word's own first one
    np.testing.assert_array_equal(first[:2], [x[1], x[2]])
    np.testing.assert_array_equal(last[:2], [x[1], x[2]])
    np.testing.assert_array_equal(first[3:], [zero, x[7], y[1], y[2]])
    np.testing.assert_array_equal(last[3:], [zero, x[8], y[1], y[3]])


@pytest.mark.parametrize("grad_factor", [1.0, 0.25, 0.0])
def test_word_ends_gradient(batch, grad_factor):
    """Central differences of a random linear function of the output, in every input."""
    rng = np.random.default_rng(1)
    model = word_ends(grad_factor)
    (first, _), backprop = model(batch, True)
    d_first, d_last = rng.normal(size=(2, *first.shape)).astype("f")
    gradients = backprop((d_first, d_last))
    filled = [data for data in batch if data.model_output]
    assert len(gradients) == len(filled)
    for data, gradient in zip(filled, gradients, strict=True):
        hidden = data.model_output.last_hidden_state
        found = gradient.model_output.last_hidden_state
        assert found.shape == hidden.shape and found.dtype == hidden.dtype
        for place in np.ndindex(hidden.shape):
            values = []
            for step in (0.5, -0.5):
                kept = hidden[place]
                hidden[place] = kept + step
                y_first, y_last = model.predict(batch)
                hidden[place] = kept
                values.append((y_first * d_first).sum() + (y_last * d_last).sum())
            assert found[place] == pytest.approx(grad_factor * (values[0] - values[1]), abs=2e-5)


def test_half_precision_hidden_states(batch):
    for data in batch:
        if data.model_output:
            data.model_output["last_hidden_state"] = data.model_output["last_hidden_state"].astype(
                "float16"
            )
    (first, last), backprop = word_ends(1.0)(batch, True)
    assert first.dtype == last.dtype == np.float32
    gradients = backprop((np.ones_like(first), np.ones_like(last)))
    assert gradients[0].model_output.last_hidden_state.dtype == np.float16


def test_no_words_at_all():
    (first, last), backprop = word_ends(1.0)([TransformerData.empty()], True)
    assert len(first) == len(last) == 0
    assert backprop((first, last)) == []


def test_wrong_upstream_output():
    with pytest.raises(MaralError, match="M203"):
        word_ends(1.0)([np.zeros(3)], True)


def test_listener_is_found():
    model = build_word_piece_ends(upstream="encoder")
    listener = model.get_ref("listener")
    assert isinstance(listener, TransformerListener) and listener.upstream_name == "encoder"


def test_words_of_the_encoder(make_nlp):
    """Vectors are those of the pieces that the tokenizer gives to the word's own characters."""
    nlp = make_nlp()
    encoder, tokenizer, _ = get_encoder(nlp)
    nlp.get_pipe("maral_ner").cfg["keep_trf_data"] = True
    doc = nlp("Angela Merkel visited Paris")
    tok2vec = nlp.get_pipe("maral_ner").model.get_ref("tok2vec")
    first, last = tok2vec.predict([doc])
    encoded = tokenizer(doc.text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = encoder.eval()(**encoded).last_hidden_state[0].numpy()
    for i, token in enumerate(doc):
        middle = [token.idx + 0.5, token.idx + len(token) - 0.5]
        at = [next(j for j, (a, b) in enumerate(offsets) if a < m < b) for m in middle]
        np.testing.assert_allclose(first[i], states[at[0]], atol=1e-5)
        np.testing.assert_allclose(last[i], states[at[1]], atol=1e-5)


def test_gradient_reaches_the_encoder(make_nlp, train_examples):
    """The whole glue against torch: the encoder's gradient is that of the pieces' states."""
    nlp = make_nlp()
    pipe, transformer = nlp.get_pipe("maral_ner"), nlp.get_pipe("transformer")
    examples = train_examples(nlp)
    transformer.update(examples)
    batch, backprop = pipe.model.begin_update([eg.predicted for eg in examples])
    _, d_output = pipe.get_loss(examples, batch)
    backprop(d_output)
    encoder = get_encoder(nlp)[0]
    weight = encoder.embeddings.word_embeddings.weight
    found = weight.grad.clone()
    place = np.unravel_index(int(found.abs().argmax()), found.shape)

    def loss_at(step):
        with torch.no_grad():
            weight[place] += step
        transformer.update(examples)
        batch, backprop = pipe.model.begin_update([eg.predicted for eg in examples])
        result, d_output = pipe.get_loss(examples, batch)
        backprop(d_output)
        with torch.no_grad():
            weight[place] -= step
        return result

    slope = (loss_at(1e-3) - loss_at(-1e-3)) / 2e-3
    assert found[place].item() == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_grad_factor(make_nlp, train_examples, factor):
    nlp = make_nlp(model={"tok2vec": {"grad_factor": factor}})
    nlp.update(train_examples(nlp), sgd=False)
    gradients = [p.grad for p in get_encoder(nlp)[0].parameters() if p.grad is not None]
    assert gradients and any(bool(g.any()) for g in gradients) == bool(factor)


def test_span_batch(make_nlp):
    nlp = make_nlp(keep_trf_data=True)
    pipe = nlp.get_pipe("maral_ner")
    docs = [nlp("Paris"), nlp(""), nlp("The United Nations met in New York .")]
    batch = pipe.model.predict(docs)
    starts, ends, offsets = enumerate_spans([1, 0, 8], 4)
    np.testing.assert_array_equal(batch.candidates.starts, starts)
    np.testing.assert_array_equal(batch.candidates.ends, ends)
    np.testing.assert_array_equal(batch.candidates.offsets, offsets)
    assert batch.z.shape == (len(starts), 16) and batch.logits.shape == (len(starts), 4)
    np.testing.assert_allclose(np.linalg.norm(batch.z, axis=1), 1, atol=1e-5)
    scores = class_scores(pipe.model, batch)
    assert scores.shape == (len(starts), 4)
    # no span of any class was ever trained on
    assert np.isinf(scores[:, 1:]).all() and np.isfinite(scores[:, 0]).all()


def test_chunks_do_not_change_scores(make_nlp):
    nlp = make_nlp(keep_trf_data=True)
    model = nlp.get_pipe("maral_ner").model
    docs = [nlp(LONG), nlp("Paris"), nlp("The United Nations met .")]
    whole = model.predict(docs)
    model.attrs["max_batch_spans"] = 7
    parts = model.predict(docs)
    np.testing.assert_allclose(parts.z, whole.z, atol=1e-5)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


def test_serialize_is_safetensors(make_nlp):
    module = get_span_module(make_nlp().get_pipe("maral_ner").model)
    module.decision = "posterior"
    data = serialize(module)
    again = deserialize(torch.nn.Module(), data, torch.device("cpu"))
    assert isinstance(again, SpanModel) and again.decision == "posterior"
    assert again.state_dict().keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
        assert again.state_dict()[name].dtype == tensor.dtype
    assert serialize(again) == data
    assert serialize(torch.nn.Module()) == b""
    assert not isinstance(deserialize(module, b"", torch.device("cpu")), SpanModel)


def test_every_setting_survives():
    settings = {
        "max_width": 3, "dim": 6, "hidden_width": 7, "dropout": 0.25, "width_embedding": 4,
        "shape_embedding": 5, "temperature": 0.2, "pseudo_count": 11.0, "decision": "linear",
    }  # fmt: skip
    module = SpanModel(10, 4, **settings)
    header = json.loads(header_of(serialize(module)))
    assert header["settings"] == {"input_width": 10, "n_classes": 4, **settings}
    again = deserialize(torch.nn.Module(), serialize(module), torch.device("cpu"))
    assert again.statistics.temperature == 0.2 and again.statistics.pseudo_count == 11.0


def header_of(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"][HEADER]


def test_damaged_and_newer_bytes(make_nlp, monkeypatch):
    module = get_span_module(make_nlp().get_pipe("maral_ner").model)
    data = serialize(module)
    for damaged in (data[:-10], data[:100], b"\x80\x04pickle" * 20, data.replace(b"dim", b"din")):
        with pytest.raises(MaralError, match="saved span model cannot be read"):
            deserialize(module, damaged, torch.device("cpu"))
    monkeypatch.setattr(architectures, "FORMAT_VERSION", 99)
    newer = serialize(module)
    monkeypatch.undo()
    with pytest.raises(MaralError, match="format version 99, but this release reads only up to 1"):
        deserialize(module, newer, torch.device("cpu"))


def test_copy_is_independent(make_nlp):
    model = make_nlp().get_pipe("maral_ner").model
    copied = model.copy()
    module = get_span_module(copied)
    assert module is not get_span_module(model)
    with torch.no_grad():
        module.head.weight.fill_(1.0)
    assert not torch.equal(module.head.weight, get_span_module(model).head.weight)


def test_not_initialised(make_nlp):
    nlp = make_nlp(labels=None)
    with pytest.raises(MaralError, match=r"M201.*no classes yet. Call nlp.initialize"):
        get_span_module(nlp.get_pipe("maral_ner").model)
    with pytest.raises(MaralError, match=r"M206.*no initialised transformer"):
        get_encoder(nlp)
    with pytest.raises(MaralError, match=r"\(it has: none\)"):
        get_encoder(spacy.blank("xx"))
    with pytest.raises(MaralError, match=r"M201.*no classes yet"):
        nlp.get_pipe("maral_ner").predict([Doc(nlp.vocab, words=["a"])])


def test_means_without_a_start_of_their_own_are_warned_of(make_nlp, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    make_nlp(model={"pseudo_count": 1.0})
    assert "W208" not in caplog.text
    make_nlp(model={"pseudo_count": 0})
    assert "W208" in caplog.text


def test_no_encoder_width():
    model = build_span_model(build_word_piece_ends())
    model.set_dim("nO", 3)
    with pytest.raises(MaralError, match="M202"):
        model.initialize()


@pytest.mark.parametrize(
    "setting", [{"max_width": 0}, {"dim": -1}, {"dropout": 1.0}, {"max_batch_spans": 0}]
)
def test_settings_out_of_range(setting):
    with pytest.raises(MaralError, match=next(iter(setting))):
        build_span_model(Model("tok2vec", lambda *args: None), **setting)
