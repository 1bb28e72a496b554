"""The offset of the entity classes: what it moves, what it leaves, and where it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from sentences import LABELS, TEXTS
from spacy.tokens import Doc

from spacy_maral.errors import MaralError
from spacy_maral.model.offsets import balanced_offset, class_offsets
from spacy_maral.model.spans import softmax

# all classes seen, so that any can be predicted
UNTRAINED = {"decision": "linear", "loss": {"@losses": "spacy-maral.CrossEntropy.v1"}}


@pytest.fixture
def nlp(make_nlp):
    """A pipeline whose scores are near each other: what it finds depends on the offset."""
    nlp = make_nlp(scores=True, **UNTRAINED)
    module = nlp.get_pipe("maral_ner").model.layers[1].shims[0]._model
    module.statistics.seen.fill_(1)
    return nlp


def found(nlp) -> list[list[tuple[int, int, str]]]:
    docs = nlp.pipe([text for text, _ in TEXTS])
    return [[(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in docs]


def labels_of(nlp) -> set[str]:
    return {label for ents in found(nlp) for *_, label in ents}


def n_words(ents) -> int:
    return sum(end - start for start, end, _ in ents)


def scores_of(nlp, doc: Doc):
    nlp.get_pipe("transformer").set_annotations([doc], nlp.get_pipe("transformer").predict([doc]))
    return nlp.get_pipe("maral_ner").predict([doc]).scores


# the numbers


def test_outside_keeps_its_score():
    np.testing.assert_array_equal(class_offsets(1.5, ["A", "B"]), [0, 1.5, 1.5])
    np.testing.assert_array_equal(class_offsets({"B": -2}, ["A", "B"]), [0, 0, -2])
    np.testing.assert_array_equal(class_offsets({}, ["A"]), [0, 0])
    assert class_offsets(np.float64(0.5), ["A"]).dtype == np.float32


def test_gold_moves_the_offset_to_where_as_many_are_found_as_there_are():
    """Words as spans: a word is found if its score and the offset are above outside's score of 0."""
    rng = np.random.default_rng(3)
    odds = rng.normal(-1, 2, 400)
    scores = np.stack([np.zeros(400), odds, odds - 1], axis=1).astype(np.float32)
    words = np.arange(400), np.arange(400)
    gold, start = np.zeros(400, dtype=np.int64), 0.4
    for n_gold in (60, 150, 260):
        balanced = -np.sort(odds)[::-1][n_gold - 1 : n_gold + 1].mean()
        wanted = start + n_gold / (n_gold + 50) * (balanced - start)
        assert balanced_offset(scores, words, gold, n_gold, start) == pytest.approx(wanted, abs=0.1)
    # without entities nothing is known
    assert balanced_offset(scores, words, gold, 0, start) == start
    # what has no annotation is not counted: half of the words are as good as absent
    gold[odds > np.median(odds)] = -1
    low = balanced_offset(scores, words, gold, 60, start)
    assert low == pytest.approx(
        start + 60 / 110 * (-np.sort(odds)[139:141].mean() - start), abs=0.1
    )


def test_scores_that_do_not_tell_leave_the_offset():
    far = np.array([[0.0, 100.0], [0.0, -100.0]], dtype=np.float32)
    words = np.arange(2), np.arange(2)
    assert balanced_offset(far, words, np.zeros(2, dtype=int), 1, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), 1e5, True, None, "1", {"A": "1"}])
def test_what_is_no_offset_is_refused(offset):
    with pytest.raises(MaralError, match=r"\[M520\].*from -10,000 to 10,000"):
        class_offsets(offset, ["A"])


def test_an_unknown_label_is_named():
    with pytest.raises(MaralError, match=r"\[M521\].*have: C, D\. Its labels are: A, B"):
        class_offsets({"D": 1.0, "A": 1.0, "C": 0.0}, ["A", "B"])


# doc.ents


def test_an_offset_moves_the_number_of_entities(nlp):
    pipe = nlp.get_pipe("maral_ner")
    n_ents = {}
    for offset in (-50.0, 0.0, 50.0):
        pipe.cfg["offset"] = offset
        n_ents[offset] = sum(map(len, found(nlp)))
    # every word is an entity: the most probable annotation then has as many as it can
    assert n_ents[-50.0] == 0 and n_ents[50.0] == sum(len(nlp.make_doc(t)) for t, _ in TEXTS)
    assert n_ents[-50.0] <= n_ents[0.0] <= n_ents[50.0]


@pytest.mark.parametrize("label", LABELS)
def test_an_offset_of_a_label_moves_this_label_only(nlp, label):
    pipe, doc = nlp.get_pipe("maral_ner"), nlp.make_doc(TEXTS[0][0])
    raw = scores_of(nlp, doc)
    pipe.set_offset({label: 50.0})
    assert labels_of(nlp) == {label}
    moved = scores_of(nlp, doc) - raw
    np.testing.assert_allclose(
        moved, class_offsets({label: 50.0}, LABELS)[None] + 0 * raw, atol=1e-4
    )
    others = {other: 50.0 for other in LABELS if other != label}
    pipe.set_offset({**others, label: -50.0})
    assert labels_of(nlp) and label not in labels_of(nlp)


def test_confidences_are_those_of_the_shifted_scores(nlp):
    pipe, text = nlp.get_pipe("maral_ner"), TEXTS[0][0]
    raw = scores_of(nlp, nlp.make_doc(text))
    offset = {"LOC": 3.0, "PER": 2.5}
    pipe.cfg.update(offset=offset, spans_key="found", spans_threshold=0.01, keep_trf_data=True)
    doc = nlp(text)
    assert doc.ents
    every = pipe.predict([doc]).candidates
    shifted = softmax(raw + np.array([0, *(offset.get(label, 0) for label in LABELS)]))
    for span, score in zip(doc.spans["found"], doc.spans["found"].attrs["scores"], strict=True):
        row = int(every.find([0], [span.start], [span.end - 1])[0])
        assert score == pytest.approx(shifted[row, 1 + LABELS.index(span.label_)], abs=1e-5)
    by_span = {(e.start, e.end): e._.maral_score for e in doc.ents}
    assert all(score > 1 / (1 + len(LABELS)) for score in by_span.values())


# a setting of use


def test_an_offset_is_saved_and_the_configuration_wins(nlp, tmp_path):
    nlp.get_pipe("maral_ner").set_offset({"LOC": 50.0})
    nlp.to_disk(tmp_path / "own")
    again = spacy.load(tmp_path / "own")
    assert again.get_pipe("maral_ner").cfg["offset"] == {"LOC": 50.0}
    assert found(again) == found(nlp) and labels_of(again) == {"LOC"}
    given = {"components": {"maral_ner": {"offset": -50.0}}}
    silent = spacy.load(tmp_path / "own", config=given)
    assert not any(found(silent))
    from_bytes = spacy.blank("xx").from_config(again.config).from_bytes(again.to_bytes())
    assert labels_of(from_bytes) == {"LOC"}


def test_offsets_by_label_stand_in_a_configuration(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    path = tmp_path / "config.cfg"
    text = path.read_text(encoding="utf8").replace("offset = 0.0\n", "", 1)
    path.write_text(f"{text}\n[components.maral_ner.offset]\nLOC = 50\n", encoding="utf8")
    shifted = spacy.load(tmp_path)
    assert labels_of(shifted) == {"LOC"}
    shifted.to_disk(tmp_path / "again")
    assert labels_of(spacy.load(tmp_path / "again")) == {"LOC"}
    with pytest.raises(MaralError, match=r"\[M521\].*NOPE"):
        path.write_text(f"{text}\n[components.maral_ner.offset]\nNOPE = 1\n", encoding="utf8")
        spacy.load(tmp_path)


def test_wrong_offsets_are_told_at_once(make_nlp):
    with pytest.raises(MaralError, match=r"\[M520\].*found 20000.0"):
        make_nlp(labels=None, offset=2e4)
    with pytest.raises(MaralError, match=r"\[M521\].*NOPE"):
        make_nlp(offset={"NOPE": 1.0})
    pipe = make_nlp().get_pipe("maral_ner")
    with pytest.raises(MaralError, match=r"\[M521\].*NOPE"):
        pipe.set_offset({"NOPE": 1.0})
    assert pipe.cfg["offset"] == 0.0
