"""Windows: every word covered, bounds kept, context shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import needs_spacy_transformers
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_maral.errors import MaralError
from spacy_maral.model.encoder.windows import (
    configure_bounded_windows,
    configure_documents,
    configure_sentences,
    configure_strides,
)

VOCAB = Vocab()

words = st.lists(
    st.sampled_from(["a", "be", "cat", "elephant", "x" * 25, "東京", " "]), max_size=60
)
bounds = st.integers(1, 12).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(1, n), st.integers(1, 40))
)


@given(words, bounds)
def test_windows_cover_and_keep_bounds(texts, settings):
    max_words, stride, max_chars = settings
    doc = Doc(VOCAB, words=texts)
    (windows,) = configure_bounded_windows(max_words, stride, max_chars)([doc])
    covered = set()
    for window in windows:
        covered.update(range(window.start, window.end))
        assert 1 <= len(window) <= max_words
        assert len(window) == 1 or len(window.text) <= max_chars
    assert covered == set(range(len(doc)))
    assert bool(windows) == bool(len(doc))
    starts, ends = [w.start for w in windows], [w.end for w in windows]
    assert starts == sorted(set(starts))
    assert ends == sorted(set(ends)), "each window has a word that the ones before do not have"


def test_windows_share_context():
    doc = Doc(VOCAB, words=["ab"] * 40)
    (windows,) = configure_bounded_windows(max_words=10, stride=6, max_chars=1000)([doc])
    assert [(w.start, w.end) for w in windows[:3]] == [(0, 10), (6, 16), (12, 22)]
    # bounded by characters: six words of "ab " a window, and still 3/5 of them new
    (windows,) = configure_bounded_windows(max_words=10, stride=6, max_chars=17)([doc])
    assert [(w.start, w.end) for w in windows[:3]] == [(0, 6), (3, 9), (6, 12)]


def test_long_word_is_alone():
    doc = Doc(VOCAB, words=["a", "b", "x" * 50, "c", "d"])
    (windows,) = configure_bounded_windows(max_words=4, stride=2, max_chars=10)([doc])
    assert [(w.start, w.end) for w in windows] == [(0, 2), (2, 3), (3, 5)]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_words": 0},
        {"stride": 0},
        {"max_words": 8, "stride": 9},
        {"max_chars": 0},
    ],
)
def test_impossible_windows(settings):
    with pytest.raises(MaralError, match=r"M210.*max_words=.*stride"):
        configure_bounded_windows(**settings)


def test_several_documents_and_none():
    get_spans = configure_bounded_windows()
    docs = [Doc(VOCAB, words=["a"]), Doc(VOCAB), Doc(VOCAB, words=["b", "c"])]
    assert [[w.text for w in windows] for windows in get_spans(docs)] == [["a"], [], ["b c"]]
    assert get_spans([]) == []


def test_windows_of_a_fixed_number_of_words():
    docs = [Doc(VOCAB, words=["a"] * n) for n in (0, 3, 4, 5, 11)]
    found = configure_strides(window=4, stride=3)(docs)
    places = [[(w.start, w.end) for w in windows] for windows in found]
    assert places == [[], [(0, 3)], [(0, 4)], [(0, 4), (3, 5)], [(0, 4), (3, 7), (6, 10), (9, 11)]]


def test_sentences_and_documents_as_windows():
    doc = Doc(VOCAB, words=["a", "b", "c"], sent_starts=[True, False, True])
    (windows,) = configure_sentences()([doc])
    assert [(w.start, w.end) for w in windows] == [(0, 2), (2, 3)]
    whole, nothing = configure_documents()([doc, Doc(VOCAB)])
    assert [(w.start, w.end) for w in whole] == [(0, 3)] and nothing == []


@needs_spacy_transformers
@given(
    st.integers(0, 40),
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
)
def test_strides_are_those_of_spacy_transformers(n_words, settings):
    from spacy_transformers.span_getters import configure_strided_spans

    doc, (window, stride) = Doc(VOCAB, words=["a"] * n_words), settings
    found, wanted = (
        [(w.start, w.end) for w in configure(window, stride)([doc])[0]]
        for configure in (configure_strides, configure_strided_spans)
    )
    assert found == wanted
