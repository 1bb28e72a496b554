"""What users find in the documents: entities with confidences, thresholds, kept annotation."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from sentences import LABELS, TEXTS
from spacy import displacy
from spacy.displacy.render import DEFAULT_LABEL_COLORS
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_maral.errors import MaralError
from spacy_maral.model.colors import entity_colors
from spacy_maral.model.predictions import SCORE, Predictions
from spacy_maral.model.spans import Candidates, enumerate_spans

KEY = "found"


def predict_with(nlp, docs, table):
    """Predictions with given scores: {(doc, start, end, label): score}; outside has 0."""
    pipe = nlp.get_pipe("maral_ner")
    lengths = np.array([len(doc) for doc in docs])
    starts, ends, offsets = enumerate_spans(lengths, 4)
    scores = np.full((len(starts), len(pipe.labels) + 1), -50, dtype="f")
    scores[:, 0] = 0
    owner = np.repeat(np.arange(len(docs)), np.diff(offsets))
    for (i, start, end, label), score in table.items():
        row = (owner == i) & (starts == start) & (ends == end - 1)
        assert row.sum() == 1
        scores[row, 1 + pipe.labels.index(label)] = score
    pipe.set_annotations(docs, Predictions(Candidates(lengths, 4), scores))


def with_score(probability):
    """The score that has this probability against outside's score of 0."""
    return np.log(probability / (1 - probability))


def found(doc):
    return [(ent.start, ent.end, ent.label_, ent._.maral_score) for ent in doc.ents]


TABLE = {
    (0, 0, 2, "PER"): with_score(0.9),
    (0, 3, 4, "LOC"): with_score(0.6),
    (1, 1, 2, "ORG"): with_score(0.75),
}


@pytest.fixture
def annotated(make_nlp):
    nlp = make_nlp(spans_key=KEY)
    docs = [nlp.make_doc("Ada Lovelace met Paris ."), nlp.make_doc("at Acme")]
    predict_with(nlp, docs, TABLE)
    return nlp, docs


# Confidences


def test_every_entity_has_its_confidence(annotated):
    _, docs = annotated
    (first, second), (third,) = (found(doc) for doc in docs)
    assert first[:3] == (0, 2, "PER") and first[3] == pytest.approx(0.9)
    assert second[:3] == (3, 4, "LOC") and second[3] == pytest.approx(0.6)
    assert third[:3] == (1, 2, "ORG") and third[3] == pytest.approx(0.75)
    assert type(first[3]) is float
    assert [f[3] for f in (first, second)] == docs[0].spans[KEY].attrs["scores"].tolist()
    assert docs[0][2:3]._.maral_score is None, "no entity"


def test_confidences_can_be_left_out(make_nlp):
    nlp = make_nlp(scores=False)
    docs = [nlp.make_doc("Ada Lovelace met Paris ."), nlp.make_doc("at Acme")]
    predict_with(nlp, docs, TABLE)
    assert [f[3] for f in found(docs[0])] == [None, None]
    assert not docs[0].user_data


def test_an_attribute_of_the_users_own_stays(make_nlp):
    Span.set_extension(SCORE, default=-1.0, force=True)
    try:
        nlp = make_nlp()
        doc = nlp.make_doc("at Acme")
        predict_with(nlp, [doc], {(0, 1, 2, "ORG"): with_score(0.75)})
        assert doc.ents[0]._.maral_score == pytest.approx(0.75)
        assert doc[0:1]._.maral_score == -1.0
    finally:
        Span.set_extension(SCORE, default=None, force=True)


def test_documents_annotated_again_have_no_old_confidences(annotated):
    nlp, (doc, _) = annotated
    doc.user_data["title"] = "kept"
    doc.user_data[7] = "kept too"
    predict_with(nlp, [doc], {(0, 4, 5, "LOC"): with_score(0.8)})
    assert found(doc) == [(4, 5, "LOC", pytest.approx(0.8))]
    assert doc[0:2]._.maral_score is None
    assert (doc.user_data["title"], doc.user_data[7]) == ("kept", "kept too")


@pytest.mark.parametrize(
    "copy",
    [
        lambda doc: Doc(doc.vocab).from_bytes(doc.to_bytes()),
        lambda doc: doc.copy(),
        lambda doc: Doc(doc.vocab).from_json(doc.to_json(underscore=[SCORE])),
        lambda doc: next(
            DocBin()
            .from_bytes(DocBin(docs=[doc], store_user_data=True).to_bytes())
            .get_docs(doc.vocab)
        ),
        lambda doc: Doc.from_docs([doc]),
    ],
    ids=["bytes", "copy", "json", "docbin", "merged"],
)
def test_everything_survives(annotated, copy):
    _, docs = annotated
    for doc in docs:
        again = copy(doc)
        assert again.text == doc.text
        assert found(again) == found(doc)
        assert [(s.start, s.end, s.label_) for s in again.spans[KEY]] == [
            (s.start, s.end, s.label_) for s in doc.spans[KEY]
        ]


def test_json_has_what_a_reader_of_it_needs(annotated):
    _, (doc, _) = annotated
    data = doc.to_json(underscore=[SCORE])
    assert data["ents"] == [
        {"start": 0, "end": 12, "label": "PER"},
        {"start": 17, "end": 22, "label": "LOC"},
    ]
    assert [s["value"] for s in data["underscore_span"][SCORE]] == [f[3] for f in found(doc)]


def test_confidences_from_several_processes(make_nlp, train_examples):
    """Forked here, where torch has one thread; test_processes.py starts programs of their own."""
    nlp = make_nlp(spans_key=KEY)
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.005
    for _ in range(25):
        nlp.update(train_examples(nlp), sgd=sgd)
    texts = [text for text, _ in TEXTS] * 2
    together, alone = (
        [[(e.start, e.label_, e._.maral_score) for e in doc.ents] for doc in docs]
        for docs in (nlp.pipe(texts, n_process=2, batch_size=4), nlp.pipe(texts, batch_size=4))
    )
    assert sum(map(len, alone)) >= 10
    for ours, theirs in zip(alone, together, strict=True):
        assert [f[:2] for f in ours] == [f[:2] for f in theirs]
        np.testing.assert_allclose([f[2] for f in ours], [f[2] for f in theirs], atol=1e-5)


# Threshold


def test_threshold_leaves_doubtful_entities_out(make_nlp):
    nlp = make_nlp(threshold=0.7, spans_key=KEY)
    docs = [nlp.make_doc("Ada Lovelace met Paris ."), nlp.make_doc("at Acme")]
    predict_with(nlp, docs, TABLE)
    assert [(f[0], f[1], f[2]) for doc in docs for f in found(doc)] == [
        (0, 2, "PER"),
        (1, 2, "ORG"),
    ]
    assert [s.label_ for s in docs[0].spans[KEY]] == ["PER"]
    assert docs[0][3].ent_iob_ == "O", "known to be outside, not missing"


def test_what_the_threshold_leaves_out_is_a_runner_up(make_nlp):
    nlp = make_nlp(threshold=0.7, spans_key=KEY, spans_threshold=0.5)
    docs = [nlp.make_doc("Ada Lovelace met Paris ."), nlp.make_doc("at Acme")]
    predict_with(nlp, docs, TABLE)
    assert [s.label_ for s in docs[0].spans[KEY]] == ["PER", "LOC"]
    np.testing.assert_allclose(docs[0].spans[KEY].attrs["scores"], [0.9, 0.6], rtol=1e-6)


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_thresholds_that_are_no_probability(make_nlp, threshold):
    with pytest.raises(MaralError, match=f"found {threshold}"):
        make_nlp(labels=None, threshold=threshold)


def test_pipelines_of_before_the_settings(make_nlp, tmp_path):
    """A saved pipeline without the settings gets their defaults."""
    nlp = make_nlp()
    nlp.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    for name in ("scores", "threshold"):
        del config["components"]["maral_ner"][name]
    config.to_disk(tmp_path / "config.cfg")
    pipe = spacy.load(tmp_path).get_pipe("maral_ner")
    assert (pipe.cfg["scores"], pipe.cfg["threshold"]) == (True, 0.0)


# What a document has already


def preset(vocab):
    """'Acme' is an entity with ids, 'Oslo' is known to be outside, 'Bob' is blocked, the rest open."""
    doc = Doc(vocab, words=["Ada", "Lovelace", "of", "Acme", "Corp", "in", "Oslo", "met", "Bob"])
    acme = Span(doc, 3, 5, "BRAND", kb_id="Q1", span_id="7")
    doc.set_ents([acme], blocked=[doc[8:9]], outside=[doc[6:7]], default="missing")
    return doc


def spacys_own(make_nlp):
    """spaCy's ner, trained to find what the tables of these tests find."""
    nlp = spacy.blank("xx")
    ner = nlp.add_pipe("ner")
    for label in (*LABELS, "BRAND"):
        ner.add_label(label)
    reference = Doc(nlp.vocab, words=[t.text for t in preset(nlp.vocab)])
    reference.set_ents(
        [Span(reference, 0, 2, "PER"), Span(reference, 6, 7, "LOC"), Span(reference, 8, 9, "PER")]
    )
    example = Example(Doc(nlp.vocab, words=[t.text for t in reference]), reference)
    nlp.initialize(lambda: [example])
    for _ in range(60):
        nlp.update([example])
    bare = nlp(Doc(nlp.vocab, words=[t.text for t in reference]))
    assert [e.text for e in bare.ents] == ["Ada Lovelace", "Oslo", "Bob"], "it has learnt these"
    return lambda: nlp(preset(nlp.vocab))


def ours(make_nlp):
    def annotate():
        nlp = make_nlp(overwrite=False)
        doc = preset(nlp.vocab)
        table = {(0, 0, 2, "PER"): 4.0, (0, 6, 7, "LOC"): 4.0, (0, 8, 9, "PER"): 4.0}
        predict_with(nlp, [doc], {**table, (0, 2, 5, "ORG"): 40.0})
        return doc

    return annotate


@pytest.mark.parametrize("annotator", [spacys_own, ours])
def test_what_is_there_is_kept_as_by_spacys_ner(make_nlp, annotator):
    doc = annotator(make_nlp)()
    entities = [(e.text, e.label_, e.kb_id_, e.id_) for e in doc.ents]
    assert entities == [
        ("Ada Lovelace", "PER", "", ""),
        ("Acme Corp", "BRAND", "Q1", "7"),
        ("Oslo", "LOC", "", ""),
    ], "kept with its ids; 'outside' is no veto, unlike a block"
    assert [token.ent_iob_ for token in doc] == ["B", "I", "O", "B", "I", "O", "B", "O", "B"]
    assert doc[8].ent_type == 0, "still blocked"


def test_kept_entities_have_no_confidence_of_ours(make_nlp):
    doc = ours(make_nlp)()
    assert [ent._.maral_score is None for ent in doc.ents] == [False, True, False]


def test_kept_entities_keep_a_confidence_of_before(make_nlp):
    nlp = make_nlp(overwrite=False)
    doc = nlp.make_doc("Ada Lovelace met Paris .")
    predict_with(nlp, [doc], {(0, 0, 2, "PER"): with_score(0.9)})
    predict_with(nlp, [doc], {(0, 3, 4, "LOC"): with_score(0.6), (0, 0, 1, "ORG"): 9.0})
    assert found(doc) == [
        (0, 2, "PER", pytest.approx(0.9)),
        (3, 4, "LOC", pytest.approx(0.6)),
    ]


def test_overwriting_takes_blocks_away_too(make_nlp):
    nlp = make_nlp()
    doc = preset(nlp.vocab)
    predict_with(nlp, [doc], {(0, 8, 9, "PER"): 4.0})
    assert [(e.text, e.label_) for e in doc.ents] == [("Bob", "PER")]
    assert [token.ent_iob_ for token in doc] == [*"OOOOOOOO", "B"]


# displaCy


def test_displacy_has_colours_for_the_usual_labels():
    own = DEFAULT_LABEL_COLORS
    assert not set(entity_colors()) & set(own), "displaCy's own colours stay"
    usual = {"PER", "LOC", "ORG", "MISC", "CORP", "GRP", "PROD", "CW", "MED"}
    assert usual <= set(entity_colors()) | set(own)
    nlp = spacy.blank("xx")
    doc = nlp("Ada bought aspirin")
    doc.set_ents([Span(doc, 0, 1, "PER"), Span(doc, 2, 3, "MED")])
    html = displacy.render(doc, style="ent", jupyter=False)
    assert all(f"background: {entity_colors()[label]}" in html for label in ("PER", "MED"))
    assert "#ddd" not in html


def test_a_setting_of_the_wrong_type_is_named(make_nlp):
    with pytest.raises(ValueError, match="scores"):
        make_nlp(labels=None, scores="often")
