"""Words that correspond, against a search of all pairs; spans that go with them."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_maral.adaptation.word_links import link_words, project_spans


def by_hand(a, b):
    """The same by loops: cosines of what differs from the mean of the own sentence."""
    a, b = [v - a.mean(0) for v in a], [v - b.mean(0) for v in b]
    table = [[u @ v / (np.linalg.norm(u) * np.linalg.norm(v)) for v in b] for u in a]
    return [
        (i, j)
        for i in range(len(a))
        for j in range(len(b))
        if table[i][j] == max(table[i]) and table[i][j] == max(row[j] for row in table)
    ]


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 7), (9, 4), (30, 31)])
def test_links_are_the_best_in_both_directions(n, m):
    rng = np.random.default_rng(n * 100 + m)
    # what all words share would make all cosines nearly 1
    a, b = rng.normal(size=(n, 8)) + 50, rng.normal(size=(m, 8)) - 50
    source, target = link_words(a, b)
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == by_hand(a, b)


def test_a_reordered_copy_is_linked_word_by_word():
    rng = np.random.default_rng(0)
    a, order = rng.normal(size=(12, 16)), rng.permutation(12)
    source, target = link_words(a, a[order] + 0.01 * rng.normal(size=(12, 16)))
    assert source.tolist() == list(range(12))
    assert order[target].tolist() == source.tolist()


def test_single_words_are_linked_and_no_words_are_not():
    one, none = np.ones((1, 4)), np.zeros((0, 4))
    assert [part.tolist() for part in link_words(one, one)] == [[0], [0]]
    assert [part.tolist() for part in link_words(one, none)] == [[], []]


def spans_of(pairs, spans):
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    links = tuple(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)
    first, last = project_spans(starts, ends, *links)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def test_a_span_goes_from_its_first_to_its_last_linked_word():
    # the second word of the first span has no link, and the spans change places
    pairs = [(0, 4), (2, 6), (3, 3), (4, 1)]
    assert spans_of(pairs, [(0, 2), (4, 4)]) == [(4, 6), (1, 1)]


def test_a_span_without_links_is_found_nowhere():
    assert spans_of([(0, 0)], [(0, 0), (1, 2)]) == [(0, 0), (-1, -1)]
    assert spans_of([], [(0, 0)]) == [(-1, -1)]
    assert spans_of([(0, 0)], []) == []
