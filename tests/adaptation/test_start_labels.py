"""The labels that a student starts with, against the steps one by one."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc

from spacy_maral.adaptation.start_labels import shift_entities, start_labels
from spacy_maral.adaptation.target_names import Strings
from spacy_maral.model.names import NameSettings, refine_labels
from spacy_maral.model.spans import Candidates, decode
from spacy_maral.training.settings import AdaptationSettings

WIDTH, K = 3, 3


def world(n_docs=300, seed=0):
    """Documents of a few names among other words, and soft labels of their candidates."""
    rng, vocab = np.random.default_rng(seed), spacy.blank("xx").vocab
    names, others = [f"Name{i}" for i in range(40)], [f"word{i}" for i in range(200)]
    docs = [
        Doc(
            vocab,
            words=[str(rng.choice(names if rng.random() < 0.3 else others)) for _ in range(6)],
        )
        for _ in range(n_docs)
    ]
    candidates = Candidates([len(doc) for doc in docs], WIDTH)
    starts, ends = candidates.words
    words = np.array([token.text for doc in docs for token in doc])
    is_name = np.char.startswith(words[starts], "Name") & (starts == ends)
    odds = np.where(is_name, 1.0, -5.0) + rng.normal(0, 1.5, len(starts))
    odds += 6 * ((ends > starts) & (rng.random(len(odds)) < 0.05))
    weights = np.column_stack([np.ones_like(odds), np.exp(odds), np.exp(odds - 2)])
    return docs, weights / weights.sum(1, keepdims=True)


def settings(**changed):
    return AdaptationSettings(**{"label_offset": 0.0, "names": "off", **changed})


def test_labels_that_nothing_changes_stay_but_for_overlaps():
    docs, p = world()
    strings = Strings.of(docs, WIDTH)
    new, points = start_labels(p, strings, settings())
    assert points == []
    kept = decode(np.log(p), *strings.words)[0]
    entities = np.flatnonzero(new.argmax(1))
    assert entities.tolist() == kept.tolist()
    lost = np.setdiff1d(np.flatnonzero(p.argmax(1)), kept)
    assert len(lost) and (new[lost] == [1, 0, 0]).all()
    rest = np.setdiff1d(np.arange(len(p)), lost)
    np.testing.assert_allclose(new[rest], p[rest], atol=1e-6)


def test_an_offset_is_added_to_the_log_probabilities_of_entities():
    _, p = world()
    shifted = np.log(p) + np.array([0, 1.5, 1.5])
    wanted = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    np.testing.assert_allclose(shift_entities(p.astype(np.float32), 1.5), wanted, atol=1e-6)
    assert (shift_entities(p.astype(np.float32), 0.0) == p.astype(np.float32)).all()


def test_each_file_has_its_own_offset_by_its_repeated_strings():
    docs, p = world()
    p = p.copy()
    half = len(p) // 2
    p[half:] = shift_entities(p[half:].astype(np.float32), -3.0)
    strings = Strings.of(docs, WIDTH)
    new, points = start_labels(
        p, strings, settings(label_offset="auto"), [slice(0, half), slice(half, len(p))]
    )
    assert points[1].offset > points[0].offset + 0.2
    by_hand = np.concatenate(
        [
            shift_entities(part.astype(np.float32), point.offset)
            for part, point in zip((p[:half], p[half:]), points, strict=True)
        ]
    )
    assert (new.argmax(1)[new[:, 0] < 1] == by_hand.argmax(1)[new[:, 0] < 1]).all()


def test_names_correct_the_shifted_labels():
    docs, p = world()
    strings = Strings.of(docs, WIDTH)
    changed = settings(
        label_offset=1.0, names="labels", names_type_weight=0.5, names_mixed_weight=0.2
    )
    new, _ = start_labels(p, strings, changed)
    wanted = refine_labels(
        strings.keys, shift_entities(p.astype(np.float32), 1.0), NameSettings(0.5, 0.2)
    )
    same = (new == [1, 0, 0]).all(1)
    np.testing.assert_allclose(new[~same], wanted[~same], atol=1e-6)
    assert np.abs(new - p)[~same].max() > 0.1


def test_a_repeated_document_counts_once():
    docs, p = world(60)
    again = Strings.of([*docs, *docs[:1] * 50], WIDTH)
    n = len(docs[0]) * WIDTH - 3
    assert again.once.sum() == len(p) and not again.once[len(p) :].any()
    table = np.concatenate([p, *[p[:n]] * 50])
    assert again.operating_point(table) == Strings.of(docs, WIDTH).operating_point(p)


@pytest.mark.parametrize("rows", [slice(0, 300), slice(300, 900)])
def test_the_operating_point_of_some_rows_needs_those_rows_only(rows):
    docs, p = world(120)
    strings = Strings.of(docs, WIDTH)
    noise = p.copy()
    noise[: rows.start], noise[rows.stop :] = 1 / 3, 1 / 3
    assert strings.operating_point(p, rows) == strings.operating_point(noise, rows)
