from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_maral.errors import MaralError
from spacy_maral.evaluation import (
    Entities,
    Score,
    entities_from_docs,
    evaluate_pipeline,
    load_pipeline,
    noise_by_reliability,
    noise_ratio,
    score_entities,
)

LABELS = ["LOC", "ORG", "PER"]


def entities(*rows: tuple[int, int, int, int]) -> Entities:
    return Entities(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


@st.composite
def annotations(draw, n_docs=3, n_words=12):
    """Rows (document, start, end, class) without overlaps, in any order."""
    rows = []
    for doc in range(n_docs):
        at = 0
        while at < n_words:
            at += draw(st.integers(0, 4))
            width = draw(st.integers(1, 4))
            if at + width > n_words:
                break
            rows.append((doc, at, at + width - 1, draw(st.integers(1, len(LABELS)))))
            at += width
    return draw(st.permutations(rows))


def brute_force(gold, predicted, max_width):
    """The whole report by sets and loops."""

    def f_score(right, n_predicted, n_gold, found=None):
        p = right / n_predicted if n_predicted else 0.0
        r = (right if found is None else found) / n_gold if n_gold else 0.0
        return p, r, 2 * p * r / (p + r) if p + r else 0.0, n_gold

    def overlap(a, b):
        return a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2]

    right = set(gold) & set(predicted)
    reachable = [g for g in gold if g[2] - g[1] + 1 <= max_width]
    confusion = np.zeros((len(LABELS) + 1,) * 2, dtype=int)
    gold_at, predicted_at = ({e[:3]: e[3] for e in side} for side in (gold, predicted))
    for key in {*gold_at, *predicted_at}:
        confusion[gold_at.get(key, 0), predicted_at.get(key, 0)] += 1
    kinds = dict.fromkeys(("wrong_type", "boundary", "boundary_and_type", "spurious"), 0)
    for entity in set(predicted) - right:
        touched = [g for g in gold if overlap(g, entity)]
        if entity[:3] in gold_at:
            kinds["wrong_type"] += 1
        elif not touched:
            kinds["spurious"] += 1
        elif any(g[3] == entity[3] for g in touched):
            kinds["boundary"] += 1
        else:
            kinds["boundary_and_type"] += 1
    kinds["missed"] = sum(not any(overlap(g, p) for p in predicted) for g in gold)
    per_type = {}
    for c, label in enumerate(LABELS, start=1):
        counts = (sum(e[3] == c for e in side) for side in (right, predicted, gold))
        per_type[label] = f_score(*counts)
    return {
        "micro": f_score(len(right), len(predicted), len(gold)),
        "paper": f_score(
            len(right), len(predicted), len(reachable), len(right.intersection(reachable))
        ),
        "per_type": per_type,
        "confusion": confusion,
        "kinds": kinds,
    }


@given(annotations(), annotations(), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_report_equals_sets_and_loops(gold, predicted, max_width):
    expected = brute_force(gold, predicted, max_width)
    report = score_entities(entities(*gold), entities(*predicted), LABELS, max_width=max_width)
    assert report.micro == pytest.approx(expected["micro"])
    assert report.paper_protocol == pytest.approx(expected["paper"])
    for label, score in expected["per_type"].items():
        assert report.per_type[label] == pytest.approx(score), label
    assert np.array_equal(report.confusion, expected["confusion"])
    assert report.to_dict()["errors"] == expected["kinds"]
    n_right = int(np.trace(report.confusion))
    errors = sum(expected["kinds"].values()) - expected["kinds"]["missed"]
    assert n_right + errors == len(predicted)


def test_a_report_by_hand():
    gold = entities((0, 0, 1, 3), (0, 4, 4, 1), (0, 6, 10, 2), (2, 0, 0, 1), (2, 3, 3, 3))
    predicted = entities(
        (0, 0, 1, 3),  # right
        (0, 4, 4, 2),  # wrong type
        (0, 7, 10, 2),  # boundary
        (1, 0, 0, 1),  # spurious: the same place in another document
        (2, 0, 1, 3),  # boundary and type
    )
    report = score_entities(gold, predicted, LABELS, max_width=4)
    assert report.micro == pytest.approx((1 / 5, 1 / 5, 1 / 5, 5))
    assert report.paper_protocol == pytest.approx((1 / 5, 1 / 4, 2 / 9, 4))
    assert report.per_type["PER"] == Score(1 / 2, 1 / 2, 1 / 2, 2)
    assert report.per_type["ORG"] == Score(0, 0, 0, 1)
    assert report.to_dict()["errors"] == {
        "wrong_type": 1, "boundary": 1, "boundary_and_type": 1, "spurious": 1, "missed": 1,
    }  # fmt: skip
    assert report.confusion.tolist() == [[0, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1]]


def test_nothing_predicted_and_nothing_to_find():
    some, none = entities((0, 0, 1, 1)), entities()
    assert score_entities(some, none, LABELS).micro == Score(0, 0, 0, 1)
    assert score_entities(none, some, LABELS).micro == Score(0, 0, 0, 0)
    report = score_entities(none, none, LABELS)
    assert report.micro == Score(0, 0, 0, 0)
    assert report.paper_protocol is None
    assert report.confusion.sum() == 0


def test_the_report_survives_json():
    report = score_entities(entities((0, 0, 5, 2)), entities((0, 0, 5, 2)), LABELS, max_width=4)
    found = json.loads(json.dumps(report.to_dict()))
    assert found == report.to_dict()
    assert found["micro"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert found["max_width"] == 4
    assert found["paper_protocol"]["support"] == 0
    assert found["confusion"]["classes"] == ["O", *LABELS]
    assert found["confusion"]["counts"][2][2] == 1


def make_doc(vocab: Vocab, rows, number: int, n_words: int = 12) -> Doc:
    doc = Doc(vocab, words=[f"w{i}" for i in range(n_words)], spaces=[True] * n_words)
    spans = [Span(doc, s, e + 1, LABELS[c - 1]) for d, s, e, c in rows if d == number]
    doc.set_ents(spans, default="outside")
    return doc


@given(annotations(), annotations())
@settings(max_examples=50, deadline=None)
def test_scores_equal_spacys(gold, predicted):
    vocab = Vocab()
    pairs = [(make_doc(vocab, predicted, i), make_doc(vocab, gold, i)) for i in range(3)]
    theirs = Scorer.score_spans([Example(*pair) for pair in pairs], "ents")
    sides = [entities_from_docs(docs, LABELS) for docs in zip(*pairs, strict=True)]
    ours = score_entities(sides[1], sides[0], LABELS)
    if not gold and not predicted:
        assert theirs["ents_f"] is None or theirs["ents_f"] == 0
        return
    assert ours.micro[:3] == pytest.approx([theirs[f"ents_{x}"] or 0.0 for x in "prf"])
    for label, scores in (theirs["ents_per_type"] or {}).items():
        assert ours.per_type[label][:3] == pytest.approx([scores[x] for x in "prf"]), label


def test_an_unknown_label_is_named():
    doc = make_doc(Vocab(), [(0, 2, 3, 3)], 0)
    with pytest.raises(MaralError, match=r"Document 0 .*'PER' at word 2.* LOC, ORG\."):
        entities_from_docs([doc], ["LOC", "ORG"])


def test_noise_counts_spans_that_are_an_entity_on_either_side():
    pseudo = np.array([0, 0, 1, 2, 2, 3])
    gold = np.array([0, 1, 1, 2, 3, 0])
    assert noise_ratio(pseudo, gold) == 3 / 5
    assert noise_ratio(pseudo[:1], gold[:1]) == 0
    reliable = np.array([True, False, True, True, False, True])
    assert noise_by_reliability(pseudo, gold, reliable) == (3 / 5, 1 / 3, 1.0)


# pipelines


@Language.component("maral_test_witness")
def witness(doc: Doc) -> Doc:
    """Fails if anything of the gold documents but words and spaces arrives."""
    assert not doc.has_annotation("ENT_IOB")
    assert not doc.ents and not doc.user_data and not doc.cats
    assert not any(token.is_sent_start for token in doc[1:])
    return doc


@pytest.fixture
def ruled() -> Language:
    nlp = spacy.blank("xx")
    nlp.add_pipe("maral_test_witness")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "LOC", "pattern": "Paris"},
            {"label": "PER", "pattern": "Ada"},
            {"label": "MISC", "pattern": "Monday"},
        ]
    )
    return nlp


def gold_doc(vocab: Vocab, text: str, *ents: tuple[int, int, str]) -> Doc:
    words = text.split(" ")
    doc = Doc(vocab, words=words, spaces=[False] * len(words))
    doc.set_ents([Span(doc, *ent) for ent in ents], default="outside")
    doc.user_data["secret"] = "gold"
    doc[1].is_sent_start = True
    return doc


@pytest.fixture
def gold_docs() -> list[Doc]:
    vocab = Vocab()
    return [
        gold_doc(vocab, "Ada Lovelace in Paris", (0, 2, "PER"), (3, 4, "LOC")),
        gold_doc(vocab, "Acme of Paris on Monday", (0, 1, "ORG"), (2, 3, "LOC")),
        gold_doc(vocab, "Nobody there"),
    ]


def test_pipelines_are_scored_on_fresh_documents(ruled, gold_docs):
    before = [doc.to_bytes() for doc in gold_docs]
    result = evaluate_pipeline(ruled, gold_docs)
    assert [doc.to_bytes() for doc in gold_docs] == before
    assert result.report.labels == ["LOC", "MISC", "ORG", "PER"]
    assert result.report.micro == Score(2 / 4, 2 / 4, 2 / 4, 4)
    assert result.report.per_type["ORG"] == Score(0, 0, 0, 1)
    assert (result.report.boundary, result.report.spurious, result.report.missed) == (1, 1, 1)
    assert (result.n_docs, result.n_words) == (3, 11)
    assert result.words_per_second == pytest.approx(11 / result.seconds)
    assert result.report.paper_protocol is None


@pytest.mark.parametrize("spaces", [[True, False, True, False], None])
def test_fresh_documents_have_the_same_text(spaces):
    seen = []
    name = f"maral_test_texts_{spaces is None}"
    Language.component(name, func=lambda doc: seen.append(doc.text) or doc)
    nlp = spacy.blank("xx")
    nlp.add_pipe(name)
    doc = Doc(Vocab(), words=["Don", "'t", "\n", "go"], spaces=spaces)
    doc.set_ents([], default="outside")
    evaluate_pipeline(nlp, [doc])
    assert seen == [doc.text]


def test_documents_without_annotation_are_refused(ruled, gold_docs, tmp_path):
    raw = Doc(gold_docs[0].vocab, words=["Paris"])
    with pytest.raises(MaralError, match="1 of 4 documents"):
        evaluate_pipeline(ruled, [*gold_docs, raw])
    path = tmp_path / "raw.spacy"
    DocBin(docs=[raw]).to_disk(path)
    with pytest.raises(MaralError, match=r"raw\.spacy"):
        evaluate_pipeline(ruled, path)


def test_files_and_batch_sizes_make_no_difference(ruled, gold_docs, tmp_path):
    path = tmp_path / "test.spacy"
    DocBin(docs=gold_docs).to_disk(path)
    reports = [
        evaluate_pipeline(ruled, data, batch_size=size).report.to_dict()
        for data, size in ((gold_docs, None), (path, None), (path, 1))
    ]
    assert reports[0] == reports[1] == reports[2]


def test_the_width_of_the_papers_protocol_is_the_models(make_nlp, gold_docs):
    nlp = make_nlp(["LOC", "PER", "PROD"], model={"max_width": 1})
    report = evaluate_pipeline(nlp, gold_docs).report
    assert report.max_width == 1
    assert report.paper_protocol.support == 3
    assert set(report.per_type) == {"LOC", "ORG", "PER", "PROD"}
    assert evaluate_pipeline(nlp, gold_docs, max_width=2).report.paper_protocol.support == 4


def test_scores_are_those_of_spacys_evaluation(make_nlp, train_examples):
    nlp = make_nlp()
    golds = [example.reference for example in train_examples(nlp)]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(15):
        nlp.update(train_examples(nlp), sgd=optimizer)
    report = evaluate_pipeline(nlp, golds).report
    theirs = nlp.evaluate(train_examples(nlp))
    assert report.micro[:3] == pytest.approx([theirs[f"ents_{x}"] for x in "prf"])
    assert report.f1 > 0


def test_pipelines_that_cannot_be_loaded_are_named(tmp_path):
    with pytest.raises(MaralError, match=r"nosuch.*cannot be loaded"):
        load_pipeline(tmp_path / "nosuch")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "meta.json").write_text("{", encoding="utf8")
    with pytest.raises(MaralError, match="broken"):
        load_pipeline(tmp_path / "broken")
