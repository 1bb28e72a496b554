from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from spacy_maral.errors import MaralError
from spacy_maral.model.spans import (
    OUTSIDE,
    SHAPES,
    Candidates,
    blank_pieces,
    decode,
    enumerate_spans,
    label_spans,
    overlap_losers,
    resolve_overlaps,
    softmax,
    span_counts,
    span_index,
    touching,
    word_piece_ends,
    word_shapes,
)

lengths_and_width = st.tuples(st.lists(st.integers(0, 13), max_size=8), st.integers(1, 15))


def spans_by_loops(n: int, max_width: int) -> list[tuple[int, int]]:
    return [(j, k) for j in range(n) for k in range(j, n) if k - j < max_width]


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def consistent(spans) -> bool:
    return not any(overlap(a, b) for a, b in itertools.combinations(spans, 2))


# enumeration


@given(lengths_and_width)
def test_enumeration_is_the_double_loop(case):
    lengths, max_width = case
    starts, ends, offsets = enumerate_spans(lengths, max_width)
    expected = [spans_by_loops(n, max_width) for n in lengths]
    assert starts.dtype == ends.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(lengths) + 1
    for i, spans in enumerate(expected):
        own = slice(offsets[i], offsets[i + 1])
        assert list(zip(starts[own].tolist(), ends[own].tolist(), strict=True)) == spans
    assert offsets[-1] == len(starts) == len(ends)
    assert span_counts(lengths, max_width).tolist() == [len(spans) for spans in expected]


@given(lengths_and_width)
def test_index_finds_every_span_in_the_enumeration(case):
    lengths, max_width = case
    rows = [
        (place, j, k, n)
        for n in lengths
        for place, (j, k) in enumerate(spans_by_loops(n, max_width))
    ]
    place, starts, ends, owner_length = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    found = span_index(starts, ends, owner_length, max_width)
    assert found.dtype == np.int64
    assert found.tolist() == place.tolist()


@given(lengths_and_width)
def test_candidates_of_several_documents(case):
    lengths, max_width = case
    candidates = Candidates(lengths, max_width)
    expected = [
        (doc, j, k, sum(lengths[:doc]) + j, sum(lengths[:doc]) + k)
        for doc, n in enumerate(lengths)
        for j, k in spans_by_loops(n, max_width)
    ]
    found = [candidates.owner, candidates.starts, candidates.ends, *candidates.words]
    assert [*zip(*(column.tolist() for column in found), strict=True)] == expected
    assert len(candidates) == len(expected)
    places = candidates.find(candidates.owner, candidates.starts, candidates.ends)
    assert places.tolist() == [*range(len(expected))]


@given(lengths_and_width, st.data())
def test_labels_of_candidates(case, data):
    lengths, max_width = case
    wide = [spans_by_loops(n, n) for n in lengths]
    entities = {
        (doc, *span): data.draw(st.integers(1, 5))
        for doc, spans in enumerate(wide)
        for span in data.draw(
            st.lists(st.sampled_from(spans), max_size=3) if spans else st.just([])
        )
    }
    expected = [
        entities.get((doc, *span), OUTSIDE)
        for doc, n in enumerate(lengths)
        for span in spans_by_loops(n, max_width)
    ]
    docs, starts, ends = np.array(list(entities), dtype=np.int64).reshape(-1, 3).T
    labels, n_too_wide = label_spans(
        lengths, docs, starts, ends, np.array(list(entities.values()), dtype=int), max_width
    )
    assert labels.dtype == np.int16
    assert labels.tolist() == expected
    assert n_too_wide == sum(k - j >= max_width for _, j, k in entities)


@pytest.mark.parametrize(("lengths", "max_width"), [([3], 0), ([3], -1)])
def test_a_span_has_at_least_one_word(lengths, max_width):
    with pytest.raises(MaralError, match=f"M001.*max_width={max_width}"):
        enumerate_spans(lengths, max_width)


def test_a_negative_length_is_refused():
    with pytest.raises(MaralError, match=r"M002.*-2 words"):
        span_counts([4, -2], 3)


# overlap resolution

Span = tuple[int, int, int]
scored_spans = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(-2, 6)), max_size=9
).map(lambda spans: [(j, j + width, score) for j, width, score in spans])


def best_by_search(spans: list[Span]) -> list[tuple[int, int, int]]:
    """Highest total, then fewest spans, then the spans that end (and start) earliest, last first."""
    usable = [span for span in spans if span[2] > 0]
    sets = [
        chosen
        for size in range(len(usable) + 1)
        for chosen in itertools.combinations(usable, size)
        if consistent([span[:2] for span in chosen])
    ]

    def rank(chosen):
        from_the_end = sorted(((k, j) for j, k, _ in chosen), reverse=True)
        return -sum(score for *_, score in chosen), len(chosen), from_the_end

    return sorted(min(sets, key=rank))


def resolve(spans: list[Span]) -> list[Span]:
    table = np.array(spans, dtype=np.int64).reshape(-1, 3)
    kept = resolve_overlaps(table[:, 0], table[:, 1], table[:, 2])
    assert kept.dtype == np.int64
    return [spans[i] for i in kept]


@settings(max_examples=400)
@given(scored_spans)
def test_overlaps_are_resolved_as_exhaustive_search_does(spans):
    found = resolve(spans)
    assert consistent([span[:2] for span in found])
    assert [span[0] for span in found] == sorted(span[0] for span in found)
    assert found == best_by_search(spans)


@given(scored_spans, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(spans, random):
    distinct = list({span[:2]: span for span in spans}.values())
    shuffled = distinct[:]
    random.shuffle(shuffled)
    assert resolve(shuffled) == resolve(distinct)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.floats(1e-3, 9)), max_size=11))
def test_real_scores_reach_the_highest_total(raw):
    spans = [(j, j + width) for j, width, _ in raw]
    scores = [score for *_, score in raw]
    kept = resolve_overlaps(
        [s[0] for s in spans], [s[1] for s in spans], np.array(scores, dtype=float)
    )
    best = max(
        math.fsum(scores[i] for i in chosen)
        for size in range(len(spans) + 1)
        for chosen in itertools.combinations(range(len(spans)), size)
        if consistent([spans[i] for i in chosen])
    )
    assert consistent([spans[i] for i in kept])
    assert math.fsum(scores[i] for i in kept) == pytest.approx(best, abs=1e-9)


def test_tie_between_one_long_and_two_short_spans():
    assert resolve([(0, 0, 1), (1, 1, 1), (0, 1, 2)]) == [(0, 1, 2)]


def test_tie_between_an_earlier_and_a_later_span():
    assert resolve([(1, 2, 3), (0, 1, 3)]) == [(0, 1, 3)]


@pytest.mark.parametrize("score", [0.0, -0.0, -1.0, np.nan, -np.inf])
def test_spans_without_a_positive_score_are_never_chosen(score):
    assert resolve_overlaps([0, 4], [1, 5], [score, 1.0]).tolist() == [1]
    assert resolve_overlaps([0], [1], [score]).tolist() == []
    # nor do they keep a better span from being chosen
    assert resolve_overlaps([0, 1], [3, 2], [score, 0.5]).tolist() == [1]


def test_no_spans():
    assert resolve_overlaps([], [], []).tolist() == []


def test_a_long_chain_is_not_quadratic():
    n = 20_000
    starts = np.arange(n)
    kept = resolve_overlaps(starts, starts + 1, np.ones(n))
    assert kept.tolist() == list(range(0, n, 2))


# decoding


def most_probable(scores: np.ndarray, spans: list[tuple[int, int]]) -> float:
    """Log probability of the most probable annotation, over all that are consistent."""
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    best = -np.inf
    for annotation in itertools.product(range(scores.shape[1]), repeat=len(spans)):
        chosen = [span for span, c in zip(spans, annotation, strict=True) if c != OUTSIDE]
        if consistent(chosen):
            best = max(best, sum(log_p[i, c] for i, c in enumerate(annotation)))
    return best


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([2, 3]))
def test_decoding_finds_the_most_probable_annotation(seed, n_words, n_classes):
    rng = np.random.default_rng(seed)
    spans = spans_by_loops(n_words, 2)
    scores = rng.normal(0, 2, (len(spans), n_classes))
    scores[:, OUTSIDE] += rng.choice([-2, 0, 2])
    starts, ends = zip(*spans, strict=True)
    kept, classes, confidence = decode(scores, starts, ends)
    assert consistent([spans[i] for i in kept])
    assert [spans[i] for i in kept] == sorted(spans[i] for i in kept)
    assert (classes != OUTSIDE).all()
    annotation = np.zeros(len(spans), dtype=int)
    annotation[kept] = classes
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    found = log_p[np.arange(len(spans)), annotation].sum()
    assert found == pytest.approx(most_probable(scores, spans), abs=1e-9)
    assert confidence == pytest.approx(np.exp(log_p[kept, classes]), rel=1e-9)


def test_impossible_classes_are_never_decoded():
    scores = np.array([[0.0, -np.inf, -1.0], [-1.0, -np.inf, 0.5], [-np.inf, -np.inf, 3.0]])
    kept, classes, confidence = decode(scores, [0, 1, 2], [0, 1, 2])
    assert kept.tolist() == [1, 2]
    assert classes.tolist() == [2, 2]
    assert confidence == pytest.approx([1 / (1 + np.exp(-1.5)), 1.0])


def test_two_certain_spans_are_better_than_one_that_overlaps_both():
    certain = [-np.inf, 0.0]
    kept, _, confidence = decode(np.array([certain] * 3), [0, 0, 1], [1, 0, 1])
    assert kept.tolist() == [1, 2]
    assert confidence.tolist() == [1, 1]


def test_decoding_of_nothing_and_of_low_precision():
    kept, classes, confidence = decode(np.zeros((0, 3)), [], [])
    assert len(kept) == len(classes) == len(confidence) == 0
    half = np.array([[0.0, 60000.0, 59968.0]], dtype=np.float16)
    assert decode(half, [0], [0])[2] == pytest.approx([1.0])


# word pieces


def piece_ends(words: list[list[int]], row_length: int) -> list[tuple[int, int]]:
    flat = np.array([piece for word in words for piece in word], dtype=np.int64)
    first, last = word_piece_ends(flat, [len(word) for word in words], row_length)
    assert first.dtype == last.dtype == np.int64
    return list(zip(first.tolist(), last.tolist(), strict=True))


def test_pieces_of_one_row():
    assert piece_ends([[1], [2, 3, 4], [5]], 8) == [(1, 1), (2, 4), (5, 5)]


def test_a_word_without_a_piece_among_others():
    assert piece_ends([[1], [], [2, 3], []], 8) == [(1, 1), (-1, -1), (2, 3), (-1, -1)]
    assert piece_ends([[], []], 8) == [(-1, -1)] * 2
    assert piece_ends([], 8) == []


def test_a_trailing_piece_shared_with_the_next_word_is_dropped():
    assert piece_ends([[1, 2], [2, 3], [3, 4]], 8) == [(1, 1), (2, 2), (3, 4)]
    assert piece_ends([[1, 2, 3, 4], [4, 5]], 8) == [(1, 3), (4, 5)]


def test_a_word_whose_only_piece_is_shared_keeps_it():
    assert piece_ends([[1, 2], [2], [2, 3]], 8) == [(1, 1), (2, 2), (2, 3)]


def test_the_piece_of_a_space_is_no_end_of_a_word():
    blank = blank_pieces([["<s>", "▁A", "n", "▁", ".", "Ġ"], ["<s>", "▁", "</s>"]], 6)
    assert np.flatnonzero(blank).tolist() == [3, 5, 7]
    # texts of pieces that were cut off
    assert blank_pieces([["▁", "a", "▁"]], 2).tolist() == [True, False]
    # the first word has the space before the second one, and the last word is nothing but a space
    pieces, lengths = [1, 2, 3, 4, 7], [3, 1, 0, 1]
    first, last = word_piece_ends(pieces, lengths, 6, blank)
    assert first.tolist() == [1, 4, -1, 7]
    assert last.tolist() == [2, 4, -1, 7]


def test_a_shared_piece_before_a_word_without_pieces():
    # only the next word counts: piece 2 is not the first of word 1, which has none
    assert piece_ends([[1, 2], [], [3]], 8) == [(1, 2), (-1, -1), (3, 3)]


def test_of_two_windows_the_one_with_more_pieces_of_the_word():
    # row 0 ends within word 1 (one piece of three), row 1 has it whole
    assert piece_ends([[1, 2], [3, 9, 10, 11], [12]], 8) == [(1, 2), (9, 11), (12, 12)]


def test_of_two_windows_the_one_where_the_word_is_farther_from_the_edge():
    # words 2 and 3 stand in both rows: word 2 at the edge of row 1, word 3 at the edge of row 0
    words = [[1], [2], [3, 9], [4, 10], [11], [12]]
    assert piece_ends(words, 8) == [(1, 1), (2, 2), (3, 3), (10, 10), (11, 11), (12, 12)]


def test_first_and_last_piece_come_from_one_row():
    words = [[1, 2], [3, 4, 5, 9, 10, 11], [12, 13]]
    for first, last in piece_ends(words, 8):
        assert first // 8 == last // 8


def test_windows_that_tie_are_read_from_the_first():
    assert piece_ends([[1, 9]], 8) == [(1, 1)]


def test_a_shared_piece_is_looked_for_in_the_same_row():
    # word 0 has its last piece in row 1, where it is shared; in row 0 nothing follows
    words = [[1, 2, 9, 10], [10, 11], [12, 13]]
    first, last = piece_ends(words, 8)[0]
    assert (first, last) in {(1, 2), (9, 9)}
    assert piece_ends(words, 8)[1:] == [(10, 11), (12, 13)]


# word shapes


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("upper", ["UN", "U.S.", "A", "B2B", "ÄÖ", "МИД"]),
        ("lower", ["the", "3rd", "e-mail", "ß", "мир"]),
        ("title", ["Berlin", "McDonald", "Ärzte", "Москва"]),
        ("digit", ["2024", "3.14", "1/2", "½1", "٣"]),
        ("other", ["", " ", ".", "東京", "iPhone", "ঢাকা"]),
    ],
)
def test_word_shapes(shape, words):
    codes = word_shapes(words)
    assert codes.dtype == np.int8
    assert [SHAPES[code] for code in codes] == [shape] * len(words)


def test_no_words_have_no_shapes():
    assert word_shapes([]).shape == (0,)


def test_softmax():
    scores = np.random.default_rng(3).normal(0, 300, (200, 4)).astype(np.float32)
    scores[:20, 1] = -np.inf
    found = softmax(scores)
    assert found.dtype == np.float64 and (found[:20, 1] == 0).all()
    np.testing.assert_allclose(
        found, special.softmax(scores.astype(np.float64), axis=1), atol=1e-15
    )
    # along the last axis, of one row as well
    assert softmax(scores[30]).tolist() == found[30].tolist()
    assert softmax(np.zeros((0, 4))).shape == (0, 4)
    assert softmax(np.zeros((0, 0))).shape == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_spans_that_touch_chosen_ones(data):
    n = data.draw(st.integers(1, 9))
    spans = spans_by_loops(n, data.draw(st.integers(1, 4)))
    chosen = data.draw(st.lists(st.integers(0, len(spans) - 1), max_size=3))
    found = touching(*np.array(spans).T, np.array(chosen, dtype=np.int64))
    assert found.tolist() == [any(overlap(span, spans[i]) for i in chosen) for span in spans]


def test_no_spans_touch():
    nothing = np.zeros(0, dtype=np.int64)
    assert touching(nothing, nothing, nothing).shape == (0,)


def test_spans_that_lose_to_overlapping_ones():
    """The first two share a word; the third is outside, and the last is alone."""
    probabilities = np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.9, 0.1, 0.0], [0.3, 0.3, 0.4]])
    starts, ends = np.array([0, 1, 0, 4]), np.array([1, 1, 0, 5])
    assert overlap_losers(probabilities, starts, ends).tolist() == [1]
    assert overlap_losers(probabilities[::-1], starts[::-1], ends[::-1]).tolist() == [2]
    assert overlap_losers(probabilities[2:], starts[2:], ends[2:]).tolist() == []
