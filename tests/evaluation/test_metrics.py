from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_maral.evaluation.evaluate import as_entities, read_entities
from spacy_maral.evaluation.metrics import (
    Entities,
    Score,
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
    sides = [as_entities(list(read_entities(docs)), LABELS) for docs in zip(*pairs, strict=True)]
    ours = score_entities(sides[1], sides[0], LABELS)
    if not gold and not predicted:
        assert theirs["ents_f"] is None or theirs["ents_f"] == 0
        return
    assert ours.micro[:3] == pytest.approx([theirs[f"ents_{x}"] or 0.0 for x in "prf"])
    for label, scores in (theirs["ents_per_type"] or {}).items():
        assert ours.per_type[label][:3] == pytest.approx([scores[x] for x in "prf"]), label


def test_noise_counts_spans_that_are_an_entity_on_either_side():
    pseudo = np.array([0, 0, 1, 2, 2, 3])
    gold = np.array([0, 1, 1, 2, 3, 0])
    assert noise_ratio(pseudo, gold) == 3 / 5
    assert noise_ratio(pseudo[:1], gold[:1]) == 0
    assert noise_ratio(pseudo[4:], gold[4:]) == 1
