"""Masked language modelling with the head of an encoder, for teachers and students."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toys import K, toy_corpus, toy_network
from transformers import AutoModelForMaskedLM
from worlds import adapt_in, make_docs, rows_of, tensors_of, write

from spacy_maral.data.config import read_config
from spacy_maral.errors import MaralError
from spacy_maral.model.losses import CrossEntropy
from spacy_maral.training.masked_lm import MaskedLM, masked_lm
from spacy_maral.training.objective import batch_loss
from spacy_maral.training.pipelines import build_pipeline
from spacy_maral.training.settings import AdaptationSettings, TeacherSettings, read_section
from spacy_maral.training.shares import Share
from spacy_maral.training.streams import text_stream
from spacy_maral.training.teacher import train_teacher

EMBEDDINGS = "encoder.embeddings.word_embeddings.weight"


def train(world, output, **changed):
    given = {name: world[name] for name in ("source", "dev")}
    overrides = {"teacher.epochs": 2, **changed.pop("overrides", {})}
    return train_teacher(world["config"], **given, output=output, overrides=overrides, **changed)


def test_the_head_is_that_of_the_encoder_and_shares_its_word_embeddings(world, encoder_dir):
    config = read_config(world["config"])
    pipeline = build_pipeline(config, ["LOC"], read_section(config, "teacher"))
    settings = AdaptationSettings(mlm_weight=0.3, mask_rate=0.4)
    loss = masked_lm(pipeline, settings)
    assert (loss.weight, loss.mask_rate, loss.stream) == (0.3, 0.4, "target")
    saved = AutoModelForMaskedLM.from_pretrained(encoder_dir).eval()
    states = torch.randn(3, 32)
    torch.testing.assert_close(loss.head(states), saved.lm_head(states))
    words = pipeline.network.encoder.get_input_embeddings().weight
    assert loss.head.decoder.weight is words
    with torch.no_grad():
        words += 1
    assert not torch.allclose(loss.head(states), saved.lm_head(states))
    assert masked_lm(pipeline, AdaptationSettings()) is None
    teacher = masked_lm(pipeline, TeacherSettings(mlm_weight=0.001), "source")
    assert (teacher.weight, teacher.stream) == (0.001, "source")


def test_a_student_moves_head_and_word_embeddings_together(world, tmp_path):
    """A word that only the target has is trained through the head alone."""
    results = []
    for weight in (0.0, 5.0):
        overrides = {
            "student.epochs": 1, "adaptation.mlm_weight": weight, "adaptation.target_weight": 0.0,
        }  # fmt: skip
        results.append(tensors_of(adapt_in(world, tmp_path / str(weight), overrides=overrides)))
    changed = (results[0][EMBEDDINGS] - results[1][EMBEDDINGS]).abs().amax(1)
    # the softmax of the tied head reaches the vector of each piece, not only of those in the text
    assert (changed > 1e-4).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["source", "docs", "raw"])
def test_a_teacher_models_the_language_of_its_text(world, tmp_path, kind):
    target = lang = None
    docs = make_docs("target", 20, 3)  # fewer than of the source, which is then read once
    if kind == "docs":
        target = write(tmp_path / "target.spacy", docs)
    elif kind == "raw":
        target, lang = tmp_path / "target.txt", "de"
        target.write_text("\n".join(doc.text for doc in docs), encoding="utf8")
    overrides = {"teacher.mlm_weight": 0.1}
    output = train(world, tmp_path / "teacher", target=target, lang=lang, overrides=overrides)
    rows = rows_of(output)
    name = "source_mlm" if kind == "source" else "target_mlm"
    assert set(rows[0]["losses"]) == {"source", name}
    assert rows[1]["losses"][name] < rows[0]["losses"][name]
    assert rows[1]["losses"]["source"] < rows[0]["losses"]["source"]
    plain = tensors_of(train(world, tmp_path / "plain"))
    found = tensors_of(output)
    assert not torch.equal(found[EMBEDDINGS], plain[EMBEDDINGS])
    # the target's spans move no class mean
    assert torch.equal(found["span.statistics.seen"], plain["span.statistics.seen"])


def test_labels_of_the_teachers_target_are_not_read(world, tmp_path):
    overrides = {"teacher.mlm_weight": 0.1}
    unlabelled = write(tmp_path / "u.spacy", make_docs("target", 60, 2, labelled=False))
    a, b = (
        tensors_of(train(world, tmp_path / str(i), target=target, overrides=overrides))
        for i, target in enumerate((world["target"], unlabelled))
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_target_without_use(world, tmp_path):
    with pytest.raises(MaralError, match=r"M550.*target.spacy"):
        train(world, tmp_path / "teacher", target=world["target"])


def test_text_without_labels_has_no_loss_and_no_classes():
    corpus = toy_corpus(6)
    network, stream = toy_network(), text_stream(Share.of(corpus), K)
    batch = network.batch(corpus, np.arange(6))
    loss = batch_loss(network, network(batch), stream, batch, CrossEntropy())
    assert not loss.parts and loss.total.item() == 0
    assert (loss.classes == -1).all() and len(loss.classes) == corpus.n_spans
    loss.total.backward()


@pytest.mark.parametrize("model", [TeacherSettings, AdaptationSettings])
def test_the_settings_are_those_of_both(model):
    assert (model().mlm_weight, model().mask_rate) == (0.0, 0.25)


def test_a_batch_without_a_masked_piece_has_no_loss():
    """As a short one may have: the sum stays 0, with a graph, and counts no piece."""
    states = torch.ones(2, 3, 4, requires_grad=True)
    network = SimpleNamespace(
        device=torch.device("cpu"), autocast=contextlib.nullcontext, tensor=torch.from_numpy,
        encode=lambda ids, mask: states,
    )  # fmt: skip
    batch = SimpleNamespace(input_ids=np.full((2, 3), 7), attention_mask=np.ones((2, 3)))
    loss, n = MaskedLM(torch.nn.Linear(4, 9), 1.0, 8, [0, 1], 0.0)(network, batch)
    assert (loss.item(), n) == (0.0, 0) and loss.requires_grad
    batch.input_ids[:] = 1
    loss, n = MaskedLM(torch.nn.Linear(4, 9), 1.0, 8, [0, 1], 1.0)(network, batch)
    assert (loss.item(), n) == (0.0, 0)
