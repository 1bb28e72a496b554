"""Pseudo-labels from any annotator, and the adaptation that takes them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from worlds import NAMES, OTHERS, adapt_in, f1_of, make_docs, rows_of

from spacy_maral.adaptation.annotators import Reading, read_silver
from spacy_maral.adaptation.chunks import Task, label_docs
from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.errors import MaralError
from spacy_maral.model.spans import OUTSIDE, enumerate_spans
from spacy_maral.training.corpus import digest_docs

LABELS = ["LOC", "PER"]
READING = Reading(LABELS, 3)


def ruler(patterns, lang="xx"):
    nlp = spacy.blank(lang)
    nlp.add_pipe("entity_ruler").add_patterns(
        [{"label": label, "pattern": pattern} for pattern, label in patterns]
    )
    return nlp


def annotate(nlp, docs, reading, name):
    return label_docs(nlp, docs, Task("", name, reading))


def docs_of(*texts):
    return list(spacy.blank("xx").pipe(texts))


def table_of(labels, docs):
    """(document, first, last) of every candidate, with its row."""
    lengths = [len(doc) for doc in docs]
    starts, ends, offsets = enumerate_spans(lengths, labels.max_width)
    owners = np.repeat(np.arange(len(docs)), np.diff(offsets))
    keys = zip(owners.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return dict(zip(keys, labels.probabilities, strict=True))


def entities_of(labels, docs):
    return {
        key: LABELS[row.argmax() - 1] for key, row in table_of(labels, docs).items() if row.argmax()
    }


# pipelines


def test_entities_of_a_pipeline_become_soft_labels(warned):
    docs = docs_of("Ada met New York", "nothing", "", "Ada in Rome")
    nlp = ruler([("Ada", "PER"), ("New York", "LOC"), ("Rome", "LOC")])
    labels = annotate(nlp, docs, READING, "ruler")
    assert labels.labels == LABELS and labels.max_width == 3
    assert labels.digest == digest_docs(docs) and labels.reliable is None
    rows = table_of(labels, docs)
    np.testing.assert_allclose(rows[0, 0, 0], [0.1, 0, 0.9], atol=1e-6)
    np.testing.assert_allclose(rows[0, 2, 3], [0.1, 0.9, 0], atol=1e-6)
    np.testing.assert_allclose(rows[0, 0, 1], [0.9, 0.05, 0.05], atol=1e-6)
    assert entities_of(labels, docs) == {
        (0, 0, 0): "PER", (0, 2, 3): "LOC", (3, 0, 0): "PER", (3, 2, 2): "LOC",
    }  # fmt: skip
    np.testing.assert_allclose(labels.probabilities.sum(1), 1, atol=1e-6)
    assert warned() == ""


def test_what_gets_lost_is_counted(warned):
    docs = docs_of("Ada saw the big old town of York on Monday with Bob")
    patterns = [("Ada", "PERSON"), ("the big old town of York", "LOC"), ("Monday", "DATE")]
    nlp = ruler([*patterns, ("Bob", "PET")])
    reading = Reading(LABELS, 3, label_map={"PERSON": "PER", "PET": None})
    labels = annotate(nlp, docs, reading, "ruler")
    assert entities_of(labels, docs) == {(0, 0, 0): "PER"}
    assert "ruler: 3 of 4 entities" in warned()
    for reason in ("more than 3 words 1", "label DATE 1", "left out by the label map 1"):
        assert reason in warned()


def test_scores_of_entities_are_taken(warned):
    Span.set_extension("sure", default=None, force=True)
    docs = docs_of("Ada met Bob and Carl")
    nlp = ruler([("Ada", "PER"), ("Bob", "PER"), ("Carl", "PER")])

    @spacy.Language.component("surely")
    def surely(doc):
        for ent, score in zip(doc.ents, (0.7, 0.4, None), strict=True):
            ent._.sure = score
        return doc

    nlp.add_pipe("surely")
    rows = table_of(annotate(nlp, docs, Reading(LABELS, 3, score_attr="sure"), "r"), docs)
    np.testing.assert_allclose(rows[0, 0, 0], [0.3, 0, 0.7], atol=1e-6)
    np.testing.assert_allclose(rows[0, 2, 2], [0.6, 0, 0.4], atol=1e-6)
    np.testing.assert_allclose(rows[0, 4, 4], [0.1, 0, 0.9], atol=1e-6)
    assert "score of 0.5 or less 1" in warned()
    with pytest.raises(MaralError, match=r"'Ada' is not set, read from ent\._\.unsure"):
        annotate(nlp, docs, Reading(LABELS, 3, score_attr="unsure"), "r")


def test_scores_of_a_span_group_and_overlaps(warned):
    docs = docs_of("New York City is big")
    nlp = spacy.blank("xx")

    @spacy.Language.component("grouped")
    def grouped(doc):
        found = [(0, 2, "LOC", 0.6), (0, 3, "LOC", 0.8), (0, 3, "PER", 0.7), (4, 5, "PER", 0.9)]
        doc.spans["all"] = [Span(doc, s, e, label) for s, e, label, _ in found]
        doc.spans["all"].attrs["scores"] = [score for *_, score in found]
        return doc

    nlp.add_pipe("grouped")
    labels = annotate(nlp, docs, Reading(LABELS, 3, spans_key="all"), "grouped")
    assert entities_of(labels, docs) == {(0, 0, 2): "LOC", (0, 4, 4): "PER"}
    assert table_of(labels, docs)[0, 0, 2][1] == pytest.approx(0.8)
    assert "overlaps a surer one 1" in warned()
    assert "another label of the same span is surer 1" in warned()
    with pytest.raises(MaralError, match=r"M344.*sets no spans in doc.spans\['none'\]"):
        annotate(nlp, docs, Reading(LABELS, 3, spans_key="none"), "grouped")


# files


def silver_file(tmp_path, docs, kind):
    if kind != "jsonl":
        path, data = tmp_path / f"silver.{kind}", DocBin(docs=docs).to_bytes()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path
    rows = [
        {"text": d.text, "ents": [[e.start_char, e.end_char, e.label_, 0.75] for e in d.ents]}
        for d in docs
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "silver.jsonl").write_text(lines, encoding="utf8")
    return tmp_path / "silver.jsonl"


@pytest.mark.parametrize("kind", ["spacy", "spacy.gz", "jsonl"])
def test_silver_entities_of_a_file_in_another_order(tmp_path, kind):
    target = make_docs("target", 30, 5)
    path = silver_file(tmp_path, target[::-1], kind)
    labels = read_silver(path, target, READING)
    gold = {(i, e.start, e.end - 1): e.label_ for i, d in enumerate(target) for e in d.ents}
    assert entities_of(labels, target) == gold
    score = 0.75 if kind == "jsonl" else 0.9
    assert labels.probabilities[:, 1:].max() == pytest.approx(score)


def test_silver_texts_are_split_as_the_target_is(tmp_path, warned):
    text = "  Ada came home early. Then Bob left New York. The end is near."
    row = {"text": text, "ents": [[2, 5, "PER"], [16, 32, "LOC"], [28, 31, "PER"], [37, 45, "LOC"]]}
    (tmp_path / "s.jsonl").write_text(json.dumps(row), encoding="utf8")
    docs = list(spacy.blank("en").pipe(["Then Bob left New York.", "Ada came home early."]))
    labels = read_silver(tmp_path / "s.jsonl", docs, Reading(LABELS, 3, langs=("de", "en")))
    assert entities_of(labels, docs) == {(0, 1, 1): "PER", (0, 3, 4): "LOC", (1, 0, 0): "PER"}
    assert "reaches beyond a document" in warned()


def test_silver_of_other_words(tmp_path, warned):
    row = {"text": "Ada-Bob met Ada", "ents": [[0, 3, "PER"], [12, 15, "PER"]]}
    (tmp_path / "s.jsonl").write_text(json.dumps(row), encoding="utf8")
    docs = [Doc(spacy.blank("xx").vocab, words=["Ada-Bob", "met", "Ada"])]
    assert docs[0].text.strip() == row["text"]
    labels = read_silver(tmp_path / "s.jsonl", docs, READING)
    assert entities_of(labels, docs) == {(0, 2, 2): "PER"}
    assert "W335" in warned() and "does not begin and end where words do 1" in warned()


def test_documents_that_nobody_labelled(tmp_path):
    docs = make_docs("target", 10, 5)
    path = silver_file(tmp_path, docs[:7], "jsonl")
    with pytest.raises(MaralError, match=r"M154.*silver\.jsonl lacks \d+ of 10 target documents"):
        read_silver(path, docs, READING)


# end to end


@pytest.fixture(scope="module")
def gazetteer():
    return ruler([(name, label) for label, names in NAMES.items() for name in names])


def test_a_gazetteer_teaches_without_a_teacher(world, gazetteer, tmp_path):
    labels = pseudo_label(
        gazetteer, world["target"], tmp_path / "labels.npz", source=world["source"],
        config=world["config"],
    )  # fmt: skip
    output = adapt_in(world, tmp_path / "student", teacher=None, labels=labels)
    assert spacy.load(output).get_pipe("maral_ner").labels == tuple(LABELS)
    assert f1_of(output, make_docs("target", 30, 8)) > 0.6


def test_two_annotators_and_their_doubts_reach_the_warm_up(world, gazetteer, tmp_path):
    other = ruler(
        [(name, "PER") for names in NAMES.values() for name in names]
        + [(word, "LOC") for word in OTHERS["target"][:1]]
    )
    other.to_disk(tmp_path / "other")
    labels = pseudo_label(
        [gazetteer, tmp_path / "other"], world["target"], tmp_path / "labels.npz",
        labels=[*(f" {label} " for label in LABELS), ""],  # as --labels "LOC, PER," gives them
        max_width=3, combine="mean",
    )  # fmt: skip
    docs = list(DocBin().from_disk(world["target"]).get_docs(spacy.blank("xx").vocab))
    found = PseudoLabels.load(labels, digest=digest_docs(docs))
    doubtful = {
        docs[i][start : end + 1].text
        for (i, start, end), sure in zip(table_of(found, docs), found.reliable, strict=True)
        if not sure
    }
    assert doubtful == {*NAMES["LOC"], OTHERS["target"][0]}
    overrides = {"student.epochs": 2, "adaptation.warmup_epochs": 2}
    output = adapt_in(world, tmp_path / "out", teacher=None, labels=labels, overrides=overrides)
    entities = found.probabilities.argmax(1) != OUTSIDE
    for row in rows_of(output):
        assert row["reliable"]["O"] == pytest.approx(found.reliable[~entities].mean())
        assert row["reliable"]["O"] < 1 and row["reliable"]["PER"] == 1


def test_annotators_that_cannot_be_used(world, gazetteer, tmp_path):
    output = tmp_path / "labels.npz"
    with pytest.raises(MaralError, match=r"M340.*--labels PER,LOC"):
        pseudo_label(gazetteer, world["target"], output)
    with pytest.raises(MaralError, match=r"M341.*found no entity of the labels ORG .*label LOC"):
        pseudo_label(gazetteer, world["target"], output, labels=["ORG"])
    with pytest.raises(MaralError, match="found none at all"):
        pseudo_label(spacy.blank("xx"), world["target"], output, labels=["ORG"])
    with pytest.raises(MaralError, match=r"M342.*confidence 0\.5 is out of range"):
        pseudo_label(gazetteer, world["target"], output, labels=LABELS, confidence=0.5)
    with pytest.raises(MaralError, match="no_such_model"):
        pseudo_label("no_such_model", world["target"], output, labels=LABELS)
    with pytest.raises(MaralError, match="do not match: their labels"):
        pseudo_label(world["teacher"], world["target"], output, labels=["PER"])
    assert not output.exists()
