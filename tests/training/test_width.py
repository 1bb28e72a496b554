from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from toys import LABELS, toy_corpus

from spacy_maral.evaluation.metrics import Entities
from spacy_maral.training.pipelines import report_width
from spacy_maral.training.shares import Share


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    with caplog.at_level(logging.WARNING, "spacy"):
        yield caplog


def corpus_of(*entities: tuple[int, int, int], max_width: int):
    starts, ends, classes = np.array(entities).T
    gold = Entities(np.zeros(len(starts), dtype=np.int64), starts, ends, classes)
    n_too_wide = int((ends - starts >= max_width).sum())
    return replace(toy_corpus(max_width=max_width), entities=gold, n_too_wide=n_too_wide)


def test_entities_too_wide_are_counted_by_type(said):
    report_width(
        Share.of(corpus_of((0, 2, 1), (4, 5, 1), (7, 9, 1), (11, 11, 2), max_width=2)), LABELS
    )
    assert "W302" in said.text
    assert "2 gold entities of the source (50.0 %) are longer than max_width = 2" in said.text
    assert "cannot be found: LOC 2 of 3 (66.7 %)." in said.text and "PER" not in said.text


def test_nothing_is_said_where_all_fit(said):
    report_width(Share.of(corpus_of((0, 1, 1), (4, 4, 2), max_width=2)), LABELS)
    assert said.text == ""
