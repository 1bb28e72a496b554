"""Words that correspond, against a search of all pairs; spans that go with them."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_maral.adaptation.word_links import LIKE, Links, link_words, project_spans


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
    source, target, best, similarity = link_words(a, b)
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == by_hand(a, b)
    assert best[target].tolist() == source.tolist()
    assert (np.abs(similarity) <= 1 + 1e-9).all()


def test_a_reordered_copy_is_linked_word_by_word():
    rng = np.random.default_rng(0)
    a, order = rng.normal(size=(12, 16)), rng.permutation(12)
    source, target, *_ = link_words(a, a[order] + 0.01 * rng.normal(size=(12, 16)))
    assert source.tolist() == list(range(12))
    assert order[target].tolist() == source.tolist()


def test_a_single_word_has_no_mean_to_differ_from():
    one, three = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [0.9, 0.1], [-1.0, 0.0]])
    source, target, *_ = link_words(one, three)
    assert (source.tolist(), target.tolist()) == ([0], [1])


def test_words_without_a_vector_correspond_to_nothing():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(5, 8)) + 3
    b = a.copy()
    a[1] = b[3] = 0
    source, target, *_ = link_words(a, b)
    assert source.tolist() == target.tolist() == [0, 2, 4]


def spans_of(pairs, spans, best=(), similarity=1.0, n_target=8):
    """Project spans by links, and by (target word, source word) that are most similar."""
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    source, target = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    own = np.full(n_target, 99)
    own[target] = source
    for word, original in best:
        own[word] = original
    links = Links(source, target, own, np.full(n_target, similarity))
    first, last = project_spans(starts, ends, links)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def test_a_span_goes_from_its_first_to_its_last_linked_word():
    # the second word of the first span has no link, and the spans change places
    pairs = [(0, 4), (2, 6), (3, 3), (4, 1)]
    assert spans_of(pairs, [(0, 2), (4, 4)]) == [(4, 6), (1, 1)]


def test_a_span_without_links_is_found_nowhere():
    assert spans_of([(0, 0)], [(0, 0), (1, 2)]) == [(0, 0), (-1, -1)]
    assert spans_of([], [(0, 0)]) == [(-1, -1)]
    assert spans_of([(0, 0)], []) == []


def test_words_beside_a_span_that_are_like_its_words_belong_to_it():
    # one word becomes three; the word behind these is like a word outside of the span
    best = [(2, 1), (4, 1), (5, 0), (7, 1)]
    assert spans_of([(1, 3)], [(1, 1)], best) == [(2, 4)]
    assert spans_of([(1, 3)], [(1, 1)], best, similarity=LIKE - 0.01) == [(3, 3)]
    # at both ends of a sentence, and between two spans
    best = [(0, 0), (1, 0), (3, 0), (4, 2), (6, 2), (7, 2)]
    assert spans_of([(0, 2), (2, 5)], [(0, 0), (2, 2)], best) == [(0, 3), (4, 7)]


@pytest.mark.parametrize(
    ("link", "like", "expected"),
    [
        # on one side only
        (3, 2, (2, 3)),
        (3, 4, (3, 4)),
        # not beside it
        (3, 1, (3, 3)),
        (3, 5, (3, 3)),
        # the sentence has no ring
        (0, 7, (0, 0)),
        (7, 0, (7, 7)),
        # at its ends
        (1, 0, (0, 1)),
        (6, 7, (6, 7)),
    ],
)
def test_a_span_widens_to_the_side_of_the_like_word(link, like, expected):
    assert spans_of([(1, link)], [(1, 1)], [(like, 1)]) == [expected]
    # just similar enough
    assert spans_of([(1, link)], [(1, 1)], [(like, 1)], similarity=LIKE) == [expected]
