"""Where training decides: its evaluation, pseudo-labels and signals follow the component's offset."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from worlds import adapt_in, rows_of

from spacy_maral.adaptation.chunks import predict
from spacy_maral.training.network import predict_entities
from spacy_maral.training.pipelines import load_pipeline
from spacy_maral.training.teacher import train_teacher


def docs_of(path):
    docs = DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
    return [Doc(doc.vocab, words=[token.text for token in doc]) for doc in docs]


def shifted(world, folder, offset):
    nlp = spacy.load(world["teacher"])
    nlp.get_pipe("maral_ner").set_offset(offset)
    nlp.to_disk(folder)
    return load_pipeline(folder)


@pytest.mark.parametrize("offset", [-50.0, 0.0, {"LOC": -50.0}, 50.0], ids=str)
def test_training_decides_as_the_pipeline_does(world, tmp_path, offset):
    pipeline, docs = shifted(world, tmp_path / "teacher", offset), docs_of(world["target"])
    wanted = [
        (i, ent.start, ent.end - 1, 1 + pipeline.labels.index(ent.label_))
        for i, doc in enumerate(pipeline.nlp.pipe(docs))
        for ent in doc.ents
    ]
    corpus = pipeline.encode(docs, labelled=False, name="target")
    predicted = predict_entities(pipeline.network, corpus, batch_tokens=400)
    assert list(zip(*(column.tolist() for column in predicted), strict=True)) == wanted
    labels = predict(pipeline, docs).probabilities.argmax(1)
    assert (labels > 0).sum() == len(wanted)
    found = {pipeline.labels[number - 1] for *_, number in wanted}
    assert found == (
        {"PER"} if isinstance(offset, dict) else set() if offset < 0 else {"LOC", "PER"}
    )
    if offset == 50.0:
        assert len(wanted) == sum(map(len, docs))


def test_probabilities_of_a_text_with_and_without_the_offset(world, tmp_path):
    """An offset multiplies the odds of an entity by a power of e."""
    pipeline, docs = shifted(world, tmp_path / "teacher", {"LOC": 1.5}), docs_of(world["target"])
    before = pipeline.class_probabilities(docs, name="raw", offset=False)
    after = pipeline.class_probabilities(docs, name="raw")
    np.testing.assert_allclose(before.sum(1), 1, rtol=1e-5)
    odds = [table[:, 1:] / table[:, :1] for table in (before, after)]
    factors = [np.exp(1.5), 1.0]
    # float32 on both sides
    np.testing.assert_allclose(odds[1], odds[0] * factors, rtol=1e-3)
    half = pipeline.class_probabilities(docs, name="raw", dtype=torch.float16)
    np.testing.assert_array_equal(half, after.astype(np.float16))


def test_the_offset_of_a_configuration_counts_in_evaluation(world, tmp_path):
    def dev_f1(offset):
        output = train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=tmp_path / str(offset),
            overrides={
                "components.maral_ner.offset": offset, "teacher.epochs": 1, "teacher.offset": 0.0,
            },
        )  # fmt: skip
        assert spacy.load(output).get_pipe("maral_ner").cfg["offset"] == offset
        return rows_of(output)[-1]["dev_recall"]

    assert dev_f1(0.0) > 0 and dev_f1(-50.0) == 0


def test_a_student_that_starts_from_its_teacher_has_an_offset_of_its_own(world, tmp_path):
    """The labels have the teacher's offset in them already."""
    shifted(world, tmp_path / "teacher", {"LOC": 2.0})
    plain = {"adaptation.init": "teacher", "student.epochs": 2, "student.offset": 0.0}
    for name, more in (("default", {}), ("given", {"components.maral_ner.offset": -0.5})):
        output = adapt_in(
            world, tmp_path / name, teacher=tmp_path / "teacher", overrides={**plain, **more}
        )
        wanted = more.get("components.maral_ner.offset", 0.0)
        nlp = spacy.load(output)
        assert nlp.get_pipe("maral_ner").cfg["offset"] == wanted
        assert nlp.config["components"]["maral_ner"]["offset"] == wanted


def test_pseudo_labels_are_made_again_for_another_offset(world, tmp_path):
    """A run that is resumed with another offset of its teacher is refused, not continued."""
    from spacy_maral.errors import MaralError

    few = {"student.epochs": 2}
    shifted(world, tmp_path / "teacher", 0.0)
    adapt_in(world, tmp_path / "out", teacher=tmp_path / "teacher", overrides=few)
    shifted(world, tmp_path / "teacher", -1.0)
    with pytest.raises(MaralError, match="teacher"):
        adapt_in(world, tmp_path / "out", teacher=tmp_path / "teacher", overrides=few, resume=True)
