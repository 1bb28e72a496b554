from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from spacy.tokens import Doc
from torch import nn
from toys import snapshot, toy_corpus, toy_network

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_encoder, get_span_module
from spacy_maral.model.encoder.layers import split_encoder
from spacy_maral.model.spans import enumerate_spans
from spacy_maral.training.cache import Cache
from spacy_maral.training.corpus import encode
from spacy_maral.training.network import (
    Network,
    collect,
    predict_entities,
    resolve_precision,
    run_over,
)

WORDS = ["Angela", "Merkel", "visited", "Paris", "in", "May", ".", "東京", "রবি", "New", "York"]


def toy_docs(vocab, seed: int = 0) -> list[Doc]:
    """Documents of several windows, of one word, of none, with spaces and with a long word."""
    rng = np.random.default_rng(seed)
    docs = [Doc(vocab, words=rng.choice(WORDS, n).tolist()) for n in (7, 60, 1, 25, 90, 3, 12)]
    docs.insert(2, Doc(vocab))
    docs.append(Doc(vocab, words=["Paris", "\n", "in", "May"], spaces=[True, False, True, False]))
    docs.append(Doc(vocab, words=["a", "x1" * 90, "b"]))
    return docs


@pytest.fixture(scope="module")
def holder():
    """What the pipeline fixture makes, once for this file."""
    return {}


@pytest.fixture
def parts(holder, make_nlp):
    """A pipeline whose classes were seen, its network, documents and their arrays."""
    if not holder:
        nlp = make_nlp()
        encoder, tokenizer, get_spans = get_encoder(nlp)
        span_model = get_span_module(nlp.get_pipe("maral_ner").model)
        generator = torch.Generator().manual_seed(0)
        z = nn.functional.normalize(torch.randn(400, span_model.dim, generator=generator), dim=1)
        with torch.no_grad():
            span_model.statistics.update(20 * z, torch.arange(400) % 4)
            # far from zero, so that spans differ in their classes
            span_model.output.weight *= 5
        network = Network(encoder, span_model, pad_id=tokenizer.pad_token_id)
        docs = toy_docs(nlp.vocab)
        labels = nlp.get_pipe("maral_ner").labels
        corpus = encode(
            docs, tokenizer, get_spans, labels, span_model.max_width, labelled=False, name="test"
        )
        holder.update(nlp=nlp, network=network, docs=docs, corpus=corpus)
    return holder


def test_training_and_pipeline_give_the_same_scores(parts):
    nlp, network, corpus = parts["nlp"], parts["network"], parts["corpus"]
    assert (np.diff(corpus.doc_rows) > 1).sum() >= 3  # documents of several windows
    rho = np.zeros((corpus.n_spans, 4), dtype=np.float32)
    for batch, output in run_over(network, corpus, batch_tokens=200, name="test"):
        rho[batch.span_ids] = network.span_model.class_scores(output).numpy()
    for i, doc in enumerate(parts["docs"]):
        single = Doc(
            nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc]
        )
        single = nlp.get_pipe("transformer")(single)
        found = nlp.get_pipe("maral_ner").predict([single])
        own = rho[corpus.doc_spans[i] : corpus.doc_spans[i + 1]]
        np.testing.assert_allclose(found.scores, own, atol=1e-4)
    assert rho.std(axis=0).min() > 0.01


def n_blank(words) -> int:
    return sum(token.is_space for token in words)


def test_entities_are_those_of_the_pipeline(parts):
    nlp = parts["nlp"]
    labels = nlp.get_pipe("maral_ner").labels
    entities = predict_entities(parts["network"], parts["corpus"], batch_tokens=150)
    found = [[] for _ in parts["docs"]]
    for i, start, end, c in zip(*(column.tolist() for column in entities), strict=True):
        found[i].append((start, end + 1, labels[c - 1]))
    copies = [doc.copy() for doc in parts["docs"]]
    expected = [
        # the corpus numbers the words without white space
        [
            (ent.start - n_blank(doc[: ent.start]), ent.end - n_blank(doc[: ent.end]), ent.label_)
            for ent in doc.ents
        ]
        for doc in nlp.pipe(copies, batch_size=4)
    ]
    assert found == expected
    assert sum(map(len, expected)) > 10
    assert len({label for doc in expected for *_, label in doc}) > 1


def test_prediction_leaves_the_mode_alone(parts):
    network = parts["network"]
    for mode in (True, False):
        network.train(mode)
        predict_entities(network, parts["corpus"], batch_tokens=300)
        assert network.training == mode and network.encoder.training == mode
        assert all(p.requires_grad for p in network.parameters())


def test_entities_without_any(parts):
    network = toy_network()
    network.span_model.statistics.seen.zero_()
    entities = predict_entities(network, toy_corpus(3), batch_tokens=64)
    assert all(column.shape == (0,) for column in entities)


def test_collected_rows_stand_at_their_spans():
    network, corpus = toy_network(), toy_corpus(9)
    rows = collect(network, corpus, 8, lambda out: out.z, batch_tokens=32, name="")
    assert rows.dtype == np.float16 and rows.shape == (corpus.n_spans, 8)
    for doc in range(9):
        batch = network.batch(corpus, np.array([doc]))
        own = rows[corpus.doc_spans[doc] : corpus.doc_spans[doc + 1]]
        np.testing.assert_allclose(own, network.eval()(batch).z.detach().numpy(), atol=2e-3)


def test_a_word_without_a_piece_is_a_vector_of_zeros():
    network, corpus = toy_network(dropout=0.0), toy_corpus(1, n_words=(4, 4))
    corpus.word_row[2] = -1
    batch = network.batch(corpus, np.array([0]))
    taken = []
    network.span_model.register_forward_pre_hook(lambda _, args: taken.extend(args[:2]))
    network(batch)
    assert batch.first.tolist() == [1, 2, -1, 4]
    for vectors in taken:
        assert not vectors[2].any()
        assert vectors[[0, 1, 3]].any(1).all()


# precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision(precision):
    exact, network = toy_network(), toy_network()
    network.precision = precision
    corpus = toy_corpus(6)
    batch = network.batch(corpus, np.arange(6))
    found, expected = network.eval()(batch), exact.eval()(batch)
    assert found.z.dtype == torch.float32
    same = torch.equal(found.z, expected.z)
    assert same == (precision == "float32")
    torch.testing.assert_close(found.z, expected.z, rtol=0, atol=0.1)


def test_automatic_precision_on_a_cpu(monkeypatch):
    cpu = torch.device("cpu")
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda n=native: n, raising=False
        )
        assert resolve_precision("auto", cpu) == expected
    assert resolve_precision("float16", cpu) == "float16"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_automatic_precision_on_a_gpu(monkeypatch, native, expected):
    """Older GPUs only emulate bfloat16, and PyTorch calls this supported, too."""

    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", torch.device("cuda")) == expected


# frozen layers


@pytest.mark.parametrize(
    ("embeddings", "layers", "frozen"),
    [
        (False, 0, []),
        (True, 0, ["encoder.embeddings.word_embeddings."]),
        (False, 1, ["encoder.embeddings.", "encoder.encoder.layer.0."]),
        (True, 1, ["encoder.embeddings.", "encoder.encoder.layer.0."]),
    ],
)
def test_what_is_frozen_has_no_gradient(embeddings, layers, frozen):
    network, corpus = toy_network(), toy_corpus(4)
    network.freeze(embeddings=embeddings, layers=layers)
    network.train()
    network(network.batch(corpus, np.arange(4))).logits.sum().backward()
    for name, parameter in network.named_parameters():
        if not name.startswith("encoder.pooler"):  # has no part in the states
            assert parameter.requires_grad != name.startswith(tuple(frozen)), name
    moving = [n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()]
    assert "encoder.encoder.layer.1.output.dense.weight" in moving
    assert ("encoder.encoder.layer.0.output.dense.weight" in moving) == (layers == 0)
    assert ("encoder.embeddings.word_embeddings.weight" in moving) == (not frozen)


@pytest.mark.parametrize("limit", [2.0, 0.0])
def test_frozen_layers_change_nothing_but_dropout(limit, caplog, tmp_path):
    plain, network, corpus = toy_network(), toy_network(), toy_corpus(9)
    network.freeze(embeddings=True, layers=1)
    network.remember(corpus, Cache(tmp_path, limit))
    warned = any("frozen_cache" in record.getMessage() for record in caplog.records)
    assert warned == (limit == 0.0)
    docs = np.array([4, 0, 7])
    gradients = []
    for model in (plain.eval(), network.eval()):
        output = model(model.batch(corpus, docs))
        (output.logits.sum() + output.z[:, 0].sum()).backward()
        gradients.append((output, {n: p.grad for n, p in model.named_parameters()}))
    (expected, whole), (found, upper) = gradients
    torch.testing.assert_close(found.z, expected.z, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    for name, gradient in upper.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-5, msg=name)
    assert upper["encoder.encoder.layer.1.output.dense.weight"] is not None
    # in training the layers above have their dropout still
    network.train()
    again = [network(network.batch(corpus, docs)).z for _ in range(2)]
    assert not torch.equal(*again)


def watched(cache: Cache, corpus, seed: int = 0) -> tuple[Network, list[int]]:
    """A network that has a corpus remembered, and the number of runs of its frozen layer since."""
    network, runs = toy_network(seed), []
    network.freeze(embeddings=True, layers=1)
    network.encoder.encoder.layer[0].register_forward_hook(lambda *_: runs.append(1))
    network.remember(corpus, cache)
    return network, runs


def test_frozen_layers_are_run_once(tmp_path):
    corpus, other = toy_corpus(9), toy_corpus(5, seed=8)
    network, runs = watched(Cache(tmp_path, 2.0), corpus)
    runs.clear()
    network(network.batch(corpus, np.arange(9)))
    assert not runs
    network(network.batch(other, np.arange(5)))
    assert len(runs) == 1


def test_frozen_layers_are_run_once_for_several_trainings(tmp_path):
    corpus, again = toy_corpus(9), toy_corpus(9)
    first, _ = watched(Cache(tmp_path, 2.0), corpus)
    second, runs = watched(Cache(tmp_path, 2.0), again)
    assert not runs and len([*tmp_path.iterdir()]) == 1
    docs = np.array([4, 0, 7])
    found = [
        model.eval()(model.batch(text, docs)).z
        for model, text in ((first, corpus), (second, again))
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("other", ["corpus", "weights", "cut off"])
def test_frozen_layers_run_again_for_what_is_not_the_same(tmp_path, other):
    watched(Cache(tmp_path, 2.0), toy_corpus(9))
    (path,) = tmp_path.iterdir()
    if other == "cut off":
        path.write_bytes(path.read_bytes()[:-1])
    corpus = toy_corpus(9, seed=3 if other == "corpus" else 0)
    network, runs = watched(Cache(tmp_path, 2.0), corpus, seed=int(other == "weights"))
    assert runs
    found = network.eval()(network.batch(corpus, np.arange(9))).z
    corpus.frozen = None
    torch.testing.assert_close(found, network(network.batch(corpus, np.arange(9))).z)


def test_frozen_layers_are_remembered_for_as_many_corpora_as_there_is_space_for(tmp_path, caplog):
    corpora = [toy_corpus(9), toy_corpus(9, seed=3)]
    size = len(corpora[0].pieces) * 16 * 4
    cache = Cache(tmp_path, 1.5 * size / 2**30)
    network = toy_network()
    network.freeze(embeddings=True, layers=1)
    for corpus in corpora:
        network.remember(corpus, cache)
    assert corpora[0].frozen is not None and corpora[1].frozen is None
    assert any("frozen_cache" in record.getMessage() for record in caplog.records)


def test_the_digest_is_of_the_frozen_weights():
    def digest(*, dtype=torch.float32, layers=1, **changed):
        network = toy_network(0).to(dtype)
        with torch.no_grad():
            for name, value in changed.items():
                network.get_parameter(name.replace("__", "."))[3, 3] += value
        network.freeze(embeddings=layers > 0, layers=layers)
        return network.frozen_digest()

    assert digest(layers=0) is None
    assert digest() == digest(span_model__hidden__weight=1.0)
    assert digest() != digest(encoder__embeddings__word_embeddings__weight=1e-3)
    assert len(digest(dtype=torch.bfloat16)) == 64


def test_frozen_layers_have_no_dropout_even_in_masked_lm_passes():
    network, corpus = toy_network(dropout=0.5), toy_corpus(3)
    network.freeze(embeddings=True, layers=1)
    network.train()
    layers = network.encoder.encoder.layer
    assert not any(module.training for module in layers[0].modules())
    assert all(module.training for module in layers[1].modules())
    states = []
    layers[0].register_forward_hook(lambda m, args, out: states.append(out[0]))
    batch = network.batch(corpus, np.arange(3))
    for _ in range(2):
        network.encode(network.tensor(batch.input_ids), network.tensor(batch.attention_mask))
    assert torch.equal(states[0], states[1])


def test_splitting_an_encoder_leaves_it_whole():
    network = toy_network().eval()
    before, names = snapshot(network), [n for n, _ in network.encoder.named_modules()]
    batch = network.batch(toy_corpus(2), np.arange(2))
    expected = network(batch).z
    lower, upper = split_encoder(network.encoder, 1)
    layers = network.encoder.encoder.layer
    assert lower.encoder.encoder.layer[0] is layers[0]
    assert upper.entry.layer is layers[1]
    ids, mask = network.tensor(batch.input_ids), network.tensor(batch.attention_mask)
    assert torch.equal(upper(lower(ids, mask), mask), network.encode(ids, mask))
    assert [n for n, _ in network.encoder.named_modules()] == names
    assert torch.equal(network(batch).z, expected)
    assert snapshot(network).keys() == before.keys()


@pytest.mark.parametrize("layers", [2, 3])
def test_more_frozen_layers_than_there_are(layers):
    with pytest.raises(MaralError, match=f"M309.*freeze_layers is {layers}, but the encoder has 2"):
        toy_network().freeze(embeddings=False, layers=layers)
    network = toy_network()
    network.encoder.encoder = nn.Identity()
    with pytest.raises(MaralError, match="has 0 layers"):
        network.freeze(embeddings=False, layers=1)


def test_batches_hold_the_spans_of_their_documents():
    corpus = toy_corpus(5)
    network = toy_network()
    batch = network.batch(corpus, np.array([3, 1]))
    lengths = np.diff(corpus.doc_words)[[3, 1]]
    starts, ends, _ = enumerate_spans(lengths, 2)
    assert len(batch.starts) == len(starts)
    assert (batch.ends - batch.starts == ends - starts).all()


def test_no_log_noise(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        toy_network().remember(toy_corpus(2), Cache(tmp_path, 0.0))  # nothing is frozen
    assert not caplog.records and not [*tmp_path.iterdir()]
