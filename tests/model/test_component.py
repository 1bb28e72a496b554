"""The component that holds an encoder, its listeners and its output: ours as spacy-transformers' own."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import spacy
from installed import needs_spacy_transformers
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Ragged
from transformers.utils import ModelOutput

from spacy_maral.model.encoder import outputs
from spacy_maral.model.encoder.component import Transformer
from spacy_maral.model.encoder.listener import TransformerListener

VOCAB = Vocab()
WIDTH = 4
OURS = SimpleNamespace(
    Transformer=Transformer, Listener=TransformerListener,
    Data=outputs.TransformerData, Batch=outputs.FullTransformerBatch,
    Pieces=outputs.WordpieceBatch,
)  # fmt: skip


def theirs():
    package = import_module("spacy_transformers")
    data = import_module("spacy_transformers.data_classes")
    layers = import_module("spacy_transformers.layers")
    return SimpleNamespace(
        Transformer=package.Transformer, Listener=layers.TransformerListener,
        Data=data.TransformerData, Batch=data.FullTransformerBatch, Pieces=data.WordpieceBatch,
    )  # fmt: skip


@pytest.fixture(
    params=["ours", pytest.param("theirs", marks=needs_spacy_transformers)], name="kind"
)
def _kind(request):
    return OURS if request.param == "ours" else theirs()


def docs_of(*texts):
    return [Doc(VOCAB, words=text.split()) for text in texts]


def examples_of(docs):
    return [Example(doc, doc.copy()) for doc in docs]


def encoder(kind, seen, gradients):
    """Gives each word a piece: its place in its document, its document's length, and so on."""

    def forward(model, docs, is_train):
        seen.append([len(doc) for doc in docs])
        own = []
        for doc in docs:
            n = len(doc)
            if not n:
                own.append(kind.Data.empty())
                continue
            hidden = np.arange(n * WIDTH, dtype="f").reshape(1, n, WIDTH) + n
            pieces = kind.Pieces(
                [[t.text for t in doc]], np.zeros((1, n)), np.ones((1, n)), [n], None
            )
            align = Ragged(np.arange(n, dtype="i"), np.ones(n, dtype="i"))
            own.append(kind.Data(pieces, ModelOutput(last_hidden_state=hidden), align))

        def backprop(d_batch):
            gradients.append([tensor.numpy().copy() for tensor in d_batch.model_output.values()])
            return docs

        none = kind.Pieces([], np.zeros((0, 0)), np.zeros((0, 0)), [], None)
        align = Ragged(np.zeros(0, dtype="i"), np.zeros(0, dtype="i"))
        spans = [[doc[:]] if len(doc) else [] for doc in docs]
        return kind.Batch(spans, none, ModelOutput(), align, own), backprop

    return Model("fake", forward, dims={"nO": WIDTH})


@pytest.fixture
def made(kind):
    seen, gradients, told = [], [], []
    pipe = kind.Transformer(
        VOCAB, encoder(kind, seen, gradients), lambda docs, batch: told.append(len(docs)),
        name="transformer", max_batch_items=12,
    )  # fmt: skip
    return SimpleNamespace(pipe=pipe, seen=seen, gradients=gradients, told=told, kind=kind)


def test_documents_of_similar_length_are_read_together_in_their_order(made):
    texts = ["a b c", "", "a", "a b c d e f g", "a b", "a b c d", "x y z", "x"]
    docs = list(made.pipe.pipe(docs_of(*texts), batch_size=7))
    assert [doc.text.strip() for doc in docs] == texts
    assert made.seen == [[7], [4, 3], [3, 0, 1, 2], [1]] and made.told == [1, 2, 4, 1]
    for doc in docs:
        data = doc._.trf_data
        if not len(doc):
            assert not data.tensors and not len(data.align.lengths)
            continue
        assert data.width == WIDTH and data.tensors[0].shape == (1, len(doc), WIDTH)


def test_documents_without_words_are_not_read(made):
    docs = docs_of("", "")
    assert [len(doc._.trf_data.tensors) for doc in made.pipe.pipe(docs)] == [0, 0]
    assert made.pipe.update(examples_of(docs)) == {} and not made.seen


def test_listeners_are_found_by_name(made):
    listen = [made.kind.Listener(name) for name in ("*", "transformer", "other")]
    layers = Model("layers", lambda model, X, is_train: (X, None), layers=listen)
    made.pipe.find_listeners(SimpleNamespace(model=layers, name="ner"))
    made.pipe.find_listeners(SimpleNamespace(model=layers, name="ner"))
    made.pipe.find_listeners(SimpleNamespace(name="no model"))
    assert made.pipe.listeners == listen[:2] and made.pipe.listening_components == ["ner"]
    assert [one.has_dim("nO") for one in listen] == [True, True, None]
    assert made.pipe.remove_listener(listen[0], "ner")
    assert not made.pipe.remove_listener(listen[0], "ner")
    assert not made.pipe.remove_listener(listen[1], "tagger")
    assert made.pipe.remove_listener(listen[1], "ner") and made.pipe.listener_map == {}


def test_the_last_listener_gives_back_the_sum_of_all_gradients(made):
    docs = docs_of("a b", "", "c d")
    listen = [made.kind.Listener("*") for _ in range(3)]
    for number, listener in enumerate(listen):
        made.pipe.add_listener(listener, f"pipe {number}")
    losses = made.pipe.update(examples_of(docs))
    assert losses == {"transformer": 0.0}
    for number, listener in enumerate(listen, start=1):
        outputs_, backprop = listener(docs, True)
        assert [len(data.tensors) for data in outputs_] == [1, 0, 1] and not made.gradients
        shape = outputs_[0].tensors[0].shape
        d_outputs = [
            made.kind.Data(
                data.wordpieces,
                ModelOutput(last_hidden_state=np.full(shape, number * place, dtype="f")),
                data.align,
            )
            for place, data in enumerate(outputs_)
            if data.tensors
        ]
        # documents without words have no gradient
        d_outputs[0].model_output["last_hidden_state"][0, 1] = 0.5
        backprop(d_outputs)
    ((gradient,),) = made.gradients
    wanted = np.zeros((2, 2, WIDTH), dtype="f")
    wanted[0, 1], wanted[1] = 1.5, 12
    np.testing.assert_array_equal(gradient, wanted)
    squares = 3 * WIDTH * 0.25 + sum(2 * WIDTH * (2 * n) ** 2 for n in (1, 2, 3))
    assert losses["transformer"] == pytest.approx(squares)


def test_a_listener_without_a_batch_takes_what_the_documents_have(made):
    docs = docs_of("a b", "c")
    (listener,) = [made.kind.Listener("*")]
    made.pipe.add_listener(listener, "ner")
    with pytest.raises(ValueError, match="E203"):
        listener(docs, True)
    zeros = listener.predict(docs)
    assert [data.tensors[0].shape for data in zeros] == [(1, 2, WIDTH), (1, 1, WIDTH)]
    assert not any(data.tensors[0].any() for data in zeros)
    assert zeros[0].align.dataXd.tolist() == [0, 1] and zeros[0].align.lengths.tolist() == [1, 1]
    list(made.pipe.pipe(docs))
    found, backprop = listener(docs, True)
    assert found == listener.predict(docs) == [doc._.trf_data for doc in docs]
    assert backprop([]) == []


def test_a_listener_refuses_the_batch_of_other_documents(made):
    listener = made.kind.Listener("*")
    made.pipe.add_listener(listener, "ner")
    made.pipe.update(examples_of(docs_of("a b", "c")))
    with pytest.raises(ValueError, match="Mismatched IDs"):
        listener(docs_of("a b", "d"), True)


def test_output_as_bytes(kind):
    data = kind.Data.zeros(3, WIDTH)
    data.model_output["attentions"] = [np.ones((1, 2, 3, 3), dtype="f")]
    again = kind.Data.empty().from_bytes(data.to_bytes())
    assert again.to_dict().keys() == data.to_dict().keys() and again.width == WIDTH
    np.testing.assert_array_equal(again.model_output["attentions"][0], data.tensors[1][0])
    assert again.align.lengths.tolist() == [1, 1, 1]
    assert again.wordpieces.strings == [[""] * 3]


@needs_spacy_transformers
def test_both_packages_read_what_the_other_has_written():
    other = theirs()
    for one, two in ((OURS, other), (other, OURS)):
        data = two.Data.empty().from_bytes(one.Data.zeros(2, WIDTH).to_bytes())
        assert data.width == WIDTH and data.align.dataXd.tolist() == [0, 1]


def test_an_error_in_the_encoder_goes_to_the_pipelines_handler():
    def fail(model, docs, is_train):
        raise RuntimeError("no memory")

    pipe = Transformer(VOCAB, Model("fails", fail), lambda docs, batch: None)
    with pytest.raises(RuntimeError, match="no memory"):
        list(pipe.pipe(docs_of("a")))
    failed = []
    pipe.set_error_handler(lambda name, proc, docs, error: failed.append((name, len(docs))))
    assert list(pipe.pipe(docs_of("a", "b"))) == [] and failed == [("transformer", 2)]


def test_initialisation_finds_the_listeners_behind_the_component():
    nlp, read = spacy.blank("xx"), []
    model = Model("fake", lambda m, X, t: (X, None), init=lambda m, X, Y: read.append(X[0].text))
    pipe = Transformer(nlp.vocab, model, lambda docs, batch: None)
    listen = [TransformerListener("*") for _ in range(2)]
    before, behind = (SimpleNamespace(model=one, name=f"{i}") for i, one in enumerate(listen))
    nlp._components = [("a", before), ("transformer", pipe), ("b", behind)]
    pipe.initialize(list, nlp=nlp)
    assert pipe.listeners == listen[1:] and read == ["hello "]
    assert pipe.get_loss([], None) is None
