"""The component's life inside spaCy."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import spacy
import torch
from installed import needs_spacy_transformers
from sentences import LABELS, TEXTS
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Config

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_span_module
from spacy_maral.model.predictions import Predictions
from spacy_maral.model.spans import Candidates, enumerate_spans

KEY = "found"
MAX_MARGIN, CROSS_ENTROPY, SUPCON = (
    {"@losses": f"spacy-maral.{name}.v1"} for name in ("MaxMargin", "CrossEntropy", "SupCon")
)


def entities(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def confidences(doc):
    return doc.spans[KEY].attrs["scores"]


def train(nlp, examples, steps=40):
    """As spaCy's loop: gradients of all components, then the optimiser's steps."""
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.005
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=False, losses=losses)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(sgd)
    return losses


@pytest.fixture(scope="module")
def trained_bytes():
    return {}


@pytest.fixture
def trained(make_nlp, train_examples, trained_bytes):
    """A pipeline that knows the sentences of conftest; trained once, fresh for every test."""
    if not trained_bytes:
        nlp = make_nlp(spans_key=KEY)
        train(nlp, train_examples(nlp))
        trained_bytes["nlp"] = nlp.to_bytes()
    return make_nlp(labels=None, spans_key=KEY).from_bytes(trained_bytes["nlp"])


def same(docs, others):
    for doc, other in zip(docs, others, strict=True):
        assert doc.text == other.text
        assert entities(doc) == entities(other)
        np.testing.assert_allclose(confidences(doc), confidences(other), atol=1e-5)


def predict_with(nlp, docs, table):
    """Predictions with given scores: {(doc, start, end, label): score}; outside has 0."""
    pipe = nlp.get_pipe("maral_ner")
    lengths = np.array([len(doc) for doc in docs])
    starts, ends, offsets = enumerate_spans(lengths, 4)
    scores = np.full((len(starts), len(pipe.labels) + 1), -20, dtype="f")
    scores[:, 0] = 0
    for (i, start, end, label), score in table.items():
        (row,) = np.flatnonzero(
            (np.arange(len(starts)) >= offsets[i])
            & (np.arange(len(starts)) < offsets[i + 1])
            & (starts == start)
            & (ends == end - 1)
        )
        scores[row, 1 + pipe.labels.index(label)] = score
    pipe.set_annotations(docs, Predictions(Candidates(lengths, 4), scores))


# Learning


@pytest.mark.parametrize(
    "cfg",
    [
        {},
        {"decision": "posterior", "prior_scale": 0.5},
        {"loss": CROSS_ENTROPY, "decision": "linear"},
        {"loss": SUPCON, "memory": 20.0},
    ],
)
def test_overfit(make_nlp, train_examples, cfg):
    nlp = make_nlp(labels=None, **cfg, model={"pseudo_count": 100.0})
    nlp.initialize(lambda: train_examples(nlp))
    assert nlp.get_pipe("maral_ner").labels == tuple(LABELS)
    examples = train_examples(nlp)
    before = train(nlp, examples, steps=1)["maral_ner"]
    after = train(nlp, examples)["maral_ner"]
    assert after < before
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == pytest.approx(1.0)
    assert set(scores["ents_per_type"]) == set(LABELS)


def test_statistics_take_in_gold_spans(make_nlp, train_examples):
    nlp = make_nlp(memory=50.0)
    statistics = get_span_module(nlp.get_pipe("maral_ner").model).statistics
    start = statistics.mean.clone()
    nlp.update(train_examples(nlp), sgd=False)
    counts = [sum(e[2] == label for _, ents in TEXTS for e in ents) for label in LABELS]
    assert statistics.seen.tolist()[1:] == counts
    assert statistics.count.max() <= 50
    assert not torch.equal(statistics.mean, start)


def test_prior_is_share_of_classes(make_nlp):
    nlp = make_nlp()
    prior = get_span_module(nlp.get_pipe("maral_ner").model).statistics.prior
    words = [len(nlp.make_doc(text)) for text, _ in TEXTS]
    n_spans = sum(min(4, n - j) for n in words for j in range(n))
    counts = [sum(e[2] == label for _, ents in TEXTS for e in ents) for label in LABELS]
    expected = np.array([n_spans - sum(counts), *counts]) / n_spans
    np.testing.assert_allclose(prior.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [MAX_MARGIN, CROSS_ENTROPY, SUPCON])
def test_outside_spans_count_as_much_as_they_weigh(make_nlp, train_examples, loss):
    """The mean with a weight follows from the means over all spans and over those of entities."""
    nlp = make_nlp(loss=loss)
    pipe, examples = nlp.get_pipe("maral_ner"), train_examples(nlp)
    batch = pipe.model.predict([example.predicted for example in examples])

    def mean(**settings):
        pipe.cfg.update(settings)
        value, gradients = pipe.get_loss(examples, batch)
        assert any(gradient is not None and gradient.any() for gradient in gradients)
        return value

    everything, entities_only = mean(), mean(outside_weight=0.0)
    classes = pipe._gold(examples)
    counts = np.bincount(classes)
    if loss == SUPCON:
        counts[counts == 1] = 0  # alone in its class, a span has nothing to be pulled to
    n, n_entities = counts.sum(), counts[1:].sum()
    of_outside = everything * n - entities_only * n_entities
    wanted = (0.2 * of_outside + entities_only * n_entities) / (0.2 * counts[0] + n_entities)
    assert mean(outside_weight=0.2) == pytest.approx(wanted, rel=1e-4)
    assert wanted != pytest.approx(everything, rel=1e-3)


def test_missing_annotation_has_no_loss(make_nlp):
    nlp = make_nlp()
    pipe = nlp.get_pipe("maral_ner")
    doc = nlp.make_doc("Angela Merkel visited Paris")
    assert not doc.has_annotation("ENT_IOB")
    example = Example(nlp.make_doc(doc.text), doc)
    losses = {}
    nlp.update([example], sgd=False, losses=losses)
    assert losses["maral_ner"] == 0
    assert not any(p.grad is not None and p.grad.any() for p in parameters(pipe))
    assert get_span_module(pipe.model).statistics.seen.sum() == 0


def parameters(pipe):
    return list(get_span_module(pipe.model).parameters())


def test_partly_missing_annotation(make_nlp):
    nlp = make_nlp()
    doc = nlp.make_doc("Angela Merkel visited Paris")
    doc.set_ents([Span(doc, 0, 2, "PER")], missing=[doc[3:4]], default="outside")
    pipe = nlp.get_pipe("maral_ner")
    classes = pipe._gold([Example(nlp.make_doc(doc.text), doc)])
    starts, ends, _ = enumerate_spans([4], 4)
    for start, end, found in zip(starts, ends, classes, strict=True):
        wanted = -1 if end == 3 else 3 if (start, end) == (0, 1) else 0
        assert found == wanted


def test_unaligned_entity_is_left_out(make_nlp, caplog, monkeypatch):
    """Predicted words 'New', 'York-based', 'firm'; the gold 'New York' ends inside a word."""
    nlp = make_nlp()
    reference = Doc(
        nlp.vocab,
        words=["New", "York", "-", "based", "firm", "in", "Paris"],
        spaces=[True, False, False, True, True, True, False],
    )
    predicted = Doc(nlp.vocab, words=["New", "York-based", "firm", "in", "Paris"])
    reference.set_ents(
        [Span(reference, 0, 2, "LOC"), Span(reference, 6, 7, "LOC")], default="outside"
    )
    pipe = nlp.get_pipe("maral_ner")
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    with caplog.at_level(logging.WARNING, "spacy"):
        classes = pipe._gold([Example(predicted, reference)])
        pipe._gold([Example(predicted, reference)])
    starts, ends, _ = enumerate_spans([5], 4)
    for start, end, found in zip(starts, ends, classes, strict=True):
        wanted = -1 if start < 2 else 1 if (start, end) == (4, 4) else 0
        assert found == wanted
    warnings = [r.getMessage() for r in caplog.records if "maral_ner" in r.getMessage()]
    (warning,) = warnings
    assert "W201" in warning and "1 gold entities of this batch do not end where words" in warning


def test_other_tokenisation_is_aligned(make_nlp):
    nlp = make_nlp()
    reference = Doc(nlp.vocab, words=["Angela", "Merkel"])
    reference.set_ents([Span(reference, 0, 2, "PER")])
    predicted = Doc(
        nlp.vocab, words=["Ang", "ela", "Mer", "kel"], spaces=[False, True, False, False]
    )
    classes = nlp.get_pipe("maral_ner")._gold([Example(predicted, reference)])
    assert sorted(classes) == [0] * 9 + [3]
    assert classes[enumerate_spans([4], 4)[1].tolist().index(3)] == 3


def test_too_wide_entity_is_counted(make_nlp, caplog, monkeypatch):
    nlp = make_nlp()
    words = ["a"] * 7
    reference = Doc(nlp.vocab, words=words)
    reference.set_ents([Span(reference, 0, 6, "PER")], default="outside")
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    with caplog.at_level(logging.WARNING, "spacy"):
        nlp.get_pipe("maral_ner")._gold([Example(Doc(nlp.vocab, words=words), reference)])
    assert "1 are longer than max_width = 4 words" in caplog.text


def test_unknown_gold_label(make_nlp, train_examples):
    nlp = make_nlp(labels=["LOC", "PER"])
    with pytest.raises(MaralError, match=r"M209.*'United Nations' has the label 'ORG'.*LOC, PER"):
        nlp.update(train_examples(nlp), sgd=False)


def test_update_with_nothing(make_nlp):
    nlp = make_nlp()
    losses = {}
    nlp.update([Example(nlp.make_doc(""), nlp.make_doc(""))], losses=losses)
    assert losses["maral_ner"] == 0.0


# Saving and loading


def test_saved_pipeline_is_the_same(trained, tmp_path):
    docs = [trained(text) for text, _ in TEXTS]
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded.get_pipe("maral_ner").labels == tuple(LABELS)
    assert loaded.get_pipe("maral_ner").cfg == trained.get_pipe("maral_ner").cfg
    for again in (
        loaded,
        spacy.blank("xx").from_config(loaded.config).from_bytes(trained.to_bytes()),
    ):
        for doc, (text, _) in zip(docs, TEXTS, strict=True):
            other = again(text)
            assert entities(doc) == entities(other)
            np.testing.assert_array_equal(confidences(doc), confidences(other))
    assert loaded.config["components"]["maral_ner"] == trained.config["components"]["maral_ner"]


def test_decision_survives(trained, tmp_path):
    pipe = trained.get_pipe("maral_ner")
    pipe.set_decision("posterior")
    docs = [trained(text) for text, _ in TEXTS]
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded.get_pipe("maral_ner").cfg["decision"] == "posterior"
    assert get_span_module(loaded.get_pipe("maral_ner").model).decision == "posterior"
    same(docs, [loaded(text) for text, _ in TEXTS])


def test_training_goes_on_after_loading(trained, tmp_path, train_examples):
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    examples = train_examples(loaded)
    train(loaded, examples, steps=3)
    assert loaded.evaluate(examples)["ents_f"] == pytest.approx(1.0)


def test_uninitialised_pipeline_is_saved(make_nlp, tmp_path, train_examples):
    make_nlp(labels=None).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    nlp.initialize(lambda: train_examples(nlp))
    assert nlp.get_pipe("maral_ner").labels == tuple(LABELS)


def test_initialise_anew(trained, examples_for):
    texts = [("Ada lives", [(0, 3, "PER")])]
    trained.get_pipe("maral_ner").initialize(
        lambda: examples_for(trained, texts), labels=["PER", "NEW"]
    )
    pipe = trained.get_pipe("maral_ner")
    assert pipe.labels == ("PER", "NEW")
    assert get_span_module(pipe.model).head.out_features == 3
    assert get_span_module(pipe.model).statistics.seen.sum() == 0


# Applying


def test_never_seen_class_is_never_predicted(trained):
    statistics = get_span_module(trained.get_pipe("maral_ner").model).statistics
    assert {e.label_ for text, _ in TEXTS for e in trained(text).ents} == set(LABELS)
    statistics.seen[1 + LABELS.index("PER")] = 0
    assert {e.label_ for text, _ in TEXTS for e in trained(text).ents} <= {"LOC", "ORG"}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_pipe_equals_call(trained, batch_size):
    texts = ["", " ", "Paris", *[text for text, _ in TEXTS], "Angela Merkel visited Paris . " * 9]
    alone = [trained(text) for text in texts]
    assert any(doc.ents for doc in alone)
    same(trained.pipe(texts, batch_size=batch_size), alone)


def test_two_processes(trained):
    texts = [text for text, _ in TEXTS] * 2
    alone = [trained(text) for text in texts]
    same(trained.pipe(texts, n_process=2, batch_size=3), alone)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        " ",
        "\n\n\t ",
        "Angela   Merkel \n visited  Paris .",
        "x" * 800,
        "Paris " + "y" * 800 + " Angela Merkel",
        "Angela Merkel visited Paris in May . " * 30,
        "\u200b \ufdfa ﷽ 🙂",
    ],
)
def test_odd_texts(trained, text):
    doc = trained(text)
    assert doc.text == text
    assert len(confidences(doc)) == len(doc.ents) == len(doc.spans[KEY])
    assert np.isfinite(confidences(doc)).all()
    assert all(token.ent_iob_ for token in doc), "all words are annotated, O included"


def test_document_longer_than_the_window(trained):
    """Every sentence of a long document is read, with both ends of a word from one window."""
    sentence = "Angela Merkel visited Paris in May . "
    doc = trained(sentence * 20)
    read = trained.get_pipe("transformer")(trained.make_doc(sentence * 20))
    (first, last) = trained.get_pipe("maral_ner").model.get_ref("tok2vec").predict([read])
    assert np.abs(first).sum(1).all() and np.abs(last).sum(1).all()
    found = {ent.text for ent in doc.ents}
    assert found & {"Angela Merkel", "Paris"}


def test_whitespace_tokens_align(trained):
    doc = trained("Angela Merkel   visited \n\n Paris .")
    assert any(token.is_space for token in doc)
    assert {"Angela Merkel", "Paris"} & {ent.text for ent in doc.ents}


@pytest.mark.parametrize(
    ("lang", "text", "ents"),
    [
        ("zh", "王明在北京。", [(0, 2, "PER"), (3, 5, "LOC")]),
        ("xx", "王明在北京。", []),
        ("xx", "東京 で 会う 。", [(0, 2, "LOC")]),
    ],
)
def test_chinese_and_japanese(make_nlp, examples_for, lang, text, ents):
    nlp = make_nlp(lang=lang, labels=None, spans_key=KEY)
    texts = [(text, ents), ("Angela", [(0, 6, "PER")])]
    nlp.initialize(lambda: examples_for(nlp, texts))
    examples = examples_for(nlp, texts)
    train(nlp, examples)
    assert [(e.start_char, e.end_char, e.label_) for e in nlp(text).ents] == ents


def test_no_documents(trained):
    pipe = trained.get_pipe("maral_ner")
    pipe.set_annotations([], pipe.predict([]))
    assert list(trained.pipe([])) == []


# Decisions and annotation


def test_best_total_wins_over_longest(make_nlp):
    nlp = make_nlp(spans_key=KEY)
    docs = [nlp.make_doc("a b c d"), nlp.make_doc(""), nlp.make_doc("e f")]
    table = {
        (0, 0, 2, "PER"): 3.0,
        (0, 1, 3, "ORG"): 4.0,
        (0, 2, 4, "LOC"): 3.0,
        (2, 0, 1, "LOC"): 1.0,
    }
    predict_with(nlp, docs, table)
    assert entities(docs[0]) == [(0, 2, "PER"), (2, 4, "LOC")]
    assert entities(docs[1]) == []
    assert entities(docs[2]) == [(0, 1, "LOC")]
    # softmax over outside, the label, and two others at -20
    p = [np.exp(s) / (1 + np.exp(s) + 2 * np.exp(-20)) for s in (3, 3, 1)]
    np.testing.assert_allclose(confidences(docs[0]), p[:2], rtol=1e-6)
    np.testing.assert_allclose(confidences(docs[2]), p[2:], rtol=1e-6)
    assert len(confidences(docs[1])) == 0 and docs[2].spans[KEY][0].label_ == "LOC"
    assert docs[0][0].ent_iob_ == "B" and docs[1].has_annotation("ENT_IOB")
    assert docs[2][1].ent_iob_ == "O"


def test_runners_up(make_nlp):
    nlp = make_nlp(spans_key=KEY, spans_threshold=0.3)
    docs = [nlp.make_doc("z"), nlp.make_doc("a b c d")]
    table = {
        (0, 0, 1, "PER"): -0.5,
        (1, 0, 2, "PER"): 3.0,
        (1, 1, 3, "ORG"): 2.0,
        (1, 3, 4, "LOC"): 0.6,
        (1, 3, 4, "PER"): 0.5,
        (1, 2, 3, "PER"): -3.0,
    }
    predict_with(nlp, docs, table)
    found = [(s.start, s.end, s.label_) for s in docs[1].spans[KEY]]
    assert entities(docs[0]) == [] and len(docs[0].spans[KEY]) == 1
    assert entities(docs[1]) == [(0, 2, "PER"), (3, 4, "LOC")]
    assert found == [(0, 2, "PER"), (3, 4, "LOC"), (1, 3, "ORG"), (3, 4, "PER")]
    total = 1 + np.exp(0.6) + np.exp(0.5)
    expected = [np.exp(0.6) / total, np.exp(0.5) / total]
    np.testing.assert_allclose(confidences(docs[1])[[1, 3]], expected, rtol=1e-6)
    p = np.exp(-0.5) / (1 + np.exp(-0.5))
    np.testing.assert_allclose(confidences(docs[0]), [p], rtol=1e-6)


def test_overwrite(make_nlp):
    nlp = make_nlp()
    doc = nlp.make_doc("a b c d e f")
    doc.set_ents([Span(doc, 2, 3, "MISC", kb_id="Q1")], blocked=[doc[5:6]], default="outside")
    table = {(0, 1, 3, "PER"): 5.0, (0, 0, 2, "ORG"): 1.0, (0, 4, 6, "LOC"): 2.0}
    kept = doc.copy()
    predict_with(nlp, [doc], table)
    assert entities(doc) == [(1, 3, "PER"), (4, 6, "LOC")]
    keeping = make_nlp(overwrite=False, spans_key=KEY)
    predict_with(keeping, [kept], table)
    assert entities(kept) == [(0, 2, "ORG"), (2, 3, "MISC")]
    assert kept.ents[1].kb_id_ == "Q1"
    assert [s.label_ for s in kept.spans[KEY]] == ["ORG"]
    assert kept[5].ent_iob_ == "B" and kept[5].ent_type == 0, "still blocked"


def test_span_group_survives_docbin(trained):
    doc = trained(TEXTS[0][0])
    data = DocBin(docs=[doc], store_user_data=False).to_bytes()
    (again,) = DocBin().from_bytes(data).get_docs(trained.vocab)
    assert entities(again) == entities(doc)
    np.testing.assert_array_equal(confidences(again), confidences(doc))


# Within a pipeline


def test_sourced_into_another_pipeline(trained, make_nlp):
    expected = [trained(text) for text, _ in TEXTS]
    nlp = spacy.blank("xx")
    for name in trained.pipe_names:
        nlp.add_pipe(name, source=trained)
    same([nlp(text) for text, _ in TEXTS], expected)
    renamed = spacy.blank("xx")
    renamed.add_pipe("transformer", source=trained)
    renamed.add_pipe("maral_ner", name="entities", source=trained)
    same([renamed(text) for text, _ in TEXTS], expected)


def test_select_pipes(trained):
    text = TEXTS[0][0]
    with trained.select_pipes(disable=["maral_ner"]):
        assert not trained(text).ents
    assert trained(text).ents


@pytest.mark.parametrize("how", ["disabled", "excluded", "sourced alone", "last"])
def test_without_its_encoder_is_an_error_and_no_guess(trained, tmp_path, how):
    nlp = trained
    if how == "disabled":
        nlp.disable_pipe("transformer")
    elif how == "excluded":
        nlp.to_disk(tmp_path)
        nlp = spacy.load(tmp_path, exclude=["transformer"])
    elif how == "sourced alone":
        nlp = spacy.blank("xx")
        nlp.add_pipe("maral_ner", source=trained)
    else:
        nlp._components.reverse()
    with pytest.raises(MaralError, match=r"M228.*no transformer has read"):
        nlp(TEXTS[0][0])
    with pytest.raises(MaralError, match="M228"):
        list(nlp.pipe(text for text, _ in TEXTS))
    assert nlp("").ents == ()


CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2", "width": 32, "depth": 2, "embed_size": 100,
    "window_size": 1, "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None,
}  # fmt: skip
POOLED = {
    "@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}  # fmt: skip


@pytest.mark.parametrize("before", [None, "tok2vec", "transformer last"])
@pytest.mark.parametrize("tok2vec", [None, pytest.param(POOLED, marks=needs_spacy_transformers)])
def test_without_a_transformer_before_it(make_nlp, train_examples, before, tok2vec):
    nlp = make_nlp(labels=None)
    nlp.remove_pipe("maral_ner")
    if before != "transformer last":
        nlp.remove_pipe("transformer")
    if before == "tok2vec":
        nlp.add_pipe("tok2vec")
    model = {"@architectures": "spacy-maral.SpanModel.v1", "tok2vec": tok2vec}
    nlp.add_pipe("maral_ner", first=True, config={"model": model} if tok2vec else {})
    with pytest.raises(MaralError, match=r"M202.*a transformer first"):
        nlp.initialize(lambda: train_examples(nlp))


def test_the_lines_of_the_message_make_an_encoder(encoder_dir):
    with pytest.raises(MaralError) as error:
        spacy.blank("xx").add_pipe("maral_ner").initialize(lambda: train_texts())
    lines = "[components]" + str(error.value)[str(error.value).index("\n") :]
    lines = lines.replace("intfloat/multilingual-e5-small", encoder_dir.as_posix())
    nlp = spacy.blank("xx")
    block = Config().from_str(lines)["components"]["transformer"]
    nlp.add_pipe(block.pop("factory"), config=block)
    nlp.add_pipe("maral_ner")
    nlp.initialize(lambda: train_texts())
    assert nlp.get_pipe("maral_ner").labels == ("PER",)


def train_texts():
    doc = spacy.blank("xx")("Ada lives")
    doc.set_ents([Span(doc, 0, 1, "PER")])
    return [Example(doc.copy(), doc)]


@pytest.mark.parametrize("tok2vec", [CNN, pytest.param(POOLED, marks=needs_spacy_transformers)])
def test_one_vector_a_word_is_refused_before_training(make_nlp, train_examples, tok2vec):
    model = {"@architectures": "spacy-maral.SpanModel.v1", "tok2vec": tok2vec}
    nlp = make_nlp(labels=None, model=model)
    with pytest.raises(MaralError, match=r"M203.*found list.*spacy-maral.WordVectors.v1"):
        nlp.initialize(lambda: train_examples(nlp))


def test_replace_listeners(trained, tmp_path, train_examples):
    expected = [trained(text) for text, _ in TEXTS]
    trained.replace_listeners("transformer", "maral_ner", ["model.tok2vec"])
    trained.remove_pipe("transformer")
    same([trained(text) for text, _ in TEXTS], expected)
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded.pipe_names == ["maral_ner"]
    same([loaded(text) for text, _ in TEXTS], expected)
    losses = train(loaded, train_examples(loaded), steps=2)
    assert np.isfinite(losses["maral_ner"])


def test_frozen_transformer(trained, train_examples):
    """A transformer that is not updated but annotates gives its vectors through the documents."""
    examples = train_examples(trained)
    losses = {}
    trained.update(
        examples, sgd=False, losses=losses, annotates=["transformer"], exclude=["transformer"]
    )
    assert losses["maral_ner"] > 0
    assert any(
        p.grad is not None and p.grad.any() for p in parameters(trained.get_pipe("maral_ner"))
    )


def test_other_component_names(make_nlp, train_examples):
    nlp = make_nlp(labels=None)
    nlp.rename_pipe("maral_ner", "names")
    nlp.initialize(lambda: train_examples(nlp))
    losses = {}
    nlp.update(train_examples(nlp), sgd=False, losses=losses)
    assert losses["names"] > 0


# Settings


USE = [
    {"threshold": 0.9}, {"overwrite": False}, {"scores": False}, {"spans_key": "other"},
    {"spans_threshold": 0.1}, {"offset": -1.5},
]  # fmt: skip


@pytest.mark.parametrize("given", USE, ids=lambda given: next(iter(given)))
def test_a_setting_of_use_comes_from_the_configuration(trained, tmp_path, given):
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, config={"components": {"maral_ner": given}})
    ((name, value),) = given.items()
    assert (
        nlp.get_pipe("maral_ner").cfg[name] == nlp.config["components"]["maral_ner"][name] == value
    )
    again = spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert again.get_pipe("maral_ner").cfg[name] == value
    nlp.to_disk(tmp_path / "again")
    assert spacy.load(tmp_path / "again").get_pipe("maral_ner").cfg[name] == value


def test_a_setting_changed_in_python_is_saved(trained, tmp_path):
    trained.get_pipe("maral_ner").cfg["threshold"] = 0.8
    trained.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("maral_ner").cfg["threshold"] == 0.8
    nlp = spacy.load(tmp_path, config={"components": {"maral_ner": {"threshold": 0.5}}})
    assert nlp.get_pipe("maral_ner").cfg["threshold"] == 0.5
    with pytest.raises(MaralError, match=r"M226.*found 2"):
        spacy.load(tmp_path, config={"components": {"maral_ner": {"threshold": 2.0}}})


def test_a_threshold_of_the_configuration_takes_effect(trained, tmp_path):
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, config={"components": {"maral_ner": {"threshold": 1.0}}})
    texts = [text for text, _ in TEXTS]
    assert any(doc.ents for doc in trained.pipe(texts))
    assert not any(doc.ents for doc in nlp.pipe(texts))


def test_add_label(make_nlp):
    nlp = make_nlp(labels=None)
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.add_label("PER") == 1 and pipe.add_label("PER") == 0
    assert pipe.labels == ("PER",) and pipe.label_data == ["PER"]
    for label in ("", "O", 3):
        with pytest.raises(MaralError, match=r"M211.*is not a valid entity label"):
            pipe.add_label(label)
    nlp = make_nlp()
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.add_label("PER") == 0
    with pytest.raises(
        MaralError, match=r"M207.*'NEW' cannot be added, because 'maral_ner'.*LOC, ORG, PER"
    ):
        pipe.add_label("NEW")


def test_labels_given(make_nlp):
    nlp = make_nlp(labels=["PER", "LOC", "ORG"])
    assert nlp.get_pipe("maral_ner").labels == ("PER", "LOC", "ORG")
    nlp = make_nlp(labels=None)
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": ["A", "B"]}}
    nlp.initialize()
    statistics = get_span_module(nlp.get_pipe("maral_ner").model).statistics
    assert torch.allclose(statistics.prior, torch.full((3,), 1 / 3))


def test_no_labels(make_nlp):
    nlp = make_nlp(labels=None)
    with pytest.raises(MaralError, match=r"M214.*found no labels.*initialize.components.maral_ner"):
        nlp.initialize()


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"loss": "hinge"}, "no loss of labelled spans.*spacy-maral.MaxMargin.v1"),
        ({"decision": "vote"}, "M215.*no decision 'vote'.*likelihood, posterior, linear"),
        ({"decision": "linear"}, "the loss MaxMargin does not train it"),
        ({"prior_scale": -1.0}, "M212.*prior_scale=-1.0"),
        ({"outside_weight": -0.5}, "M212.*outside_weight=-0.5"),
        ({"memory": 0.0}, "M212.*memory=0.0"),
        ({"spans_threshold": 0.5}, "M213.*spans_threshold=0.5 with spans_key=None"),
        ({"spans_threshold": 2.0, "spans_key": "a"}, "at most 1"),
    ],
)
def test_wrong_settings(make_nlp, cfg, message):
    with pytest.raises(MaralError, match=message):
        make_nlp(labels=None, **cfg)


@pytest.mark.parametrize("cfg", [{"spans_threshold": "high"}, {"overwrite": [1]}, {"unknown": 1}])
def test_settings_of_the_wrong_type(make_nlp, cfg):
    with pytest.raises(ValueError, match=next(iter(cfg))):
        make_nlp(labels=None, **cfg)


def test_set_decision(make_nlp):
    pipe = make_nlp().get_pipe("maral_ner")
    pipe.set_decision("linear")
    assert get_span_module(pipe.model).decision == pipe.cfg["decision"] == "linear"
    with pytest.raises(MaralError, match=r"M215.*no decision 'vote'"):
        pipe.set_decision("vote")


@pytest.mark.parametrize("include_outside, weight", [(True, 0.25), (False, 0.0)])
def test_a_configuration_of_0_1_says_whether_outside_counts(
    make_nlp, tmp_path, include_outside, weight
):
    nlp = make_nlp(outside_weight=0.25, include_outside=include_outside)
    assert nlp.get_pipe("maral_ner").cfg["outside_weight"] == weight
    # 0.1 saved both settings
    nlp.get_pipe("maral_ner").cfg.update(outside_weight=0.25, include_outside=include_outside)
    nlp.to_disk(tmp_path)
    cfg = spacy.load(tmp_path).get_pipe("maral_ner").cfg
    assert cfg["outside_weight"] == weight and "include_outside" not in cfg
