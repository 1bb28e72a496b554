"""The pieces of each word: by hand, and as spacy-transformers finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import needs_spacy_transformers
from spacy.tokens import Doc
from spacy.vocab import Vocab
from tiny_tokenizer import build_tokenizer
from transformers import PreTrainedTokenizerFast

from spacy_maral.model.encoder.alignment import align_offsets, align_texts, cut_alignment
from spacy_maral.model.encoder.windows import configure_bounded_windows

VOCAB = Vocab()
LENGTH = 12


def lists(align):
    """Pieces of each word."""
    bounds = np.cumsum(align.lengths)[:-1]
    return [part.tolist() for part in np.split(np.asarray(align.dataXd).ravel(), bounds)]


def document(*words):
    return Doc(VOCAB, words=[w for w, _ in words], spaces=[bool(space) for _, space in words])


def offsets(rows):
    """Offsets with a special piece at the start of each row, and padding at its end."""
    found = np.zeros((len(rows), max(map(len, rows)) + 2, 2), dtype=np.int64)
    for row, pieces in zip(found, rows, strict=True):
        row[1 : len(pieces) + 1] = pieces
    return found


def test_pieces_of_words_in_overlapping_windows():
    doc = document(("I", 1), ("like", 1), ("walking", 0), (".", 0))
    windows = [[doc[0:3], doc[2:4]], [], [document(("x", 0))[:]]]
    # "I", " like", "walk", "ing"; "walk", "ing."; "x"
    rows = [[(0, 1), (1, 6), (7, 11), (11, 14)], [(0, 4), (4, 8)], [(0, 1)]]
    # the space before "like" is the one behind "I"
    wanted = [[1, 2], [2], [3, 4, 7, 8], [8], [13]]
    assert lists(align_offsets(windows, offsets(rows))) == wanted


def test_words_without_a_window_or_a_piece_have_none():
    doc = document(("a", 1), ("b", 1), ("c", 1), ("d", 0))
    found = align_offsets([[doc[1:3]]], offsets([[(0, 1)]]))
    assert lists(found) == [[], [1], [], []]
    nothing = align_offsets([[], []], np.zeros((0, 2, 2), dtype=np.int64))
    assert not len(nothing.lengths) and not len(nothing.dataXd)


def test_windows_of_one_document_twice_are_those_of_two_documents():
    doc = document(("a", 1), ("b", 0))
    found = align_offsets([[doc[:]], [doc[:]]], offsets([[(0, 1), (2, 3)]] * 2))
    assert lists(found) == [[1], [2], [5], [6]]


def test_pieces_by_their_texts():
    doc = document(("New", 1), ("Yorkers", 1), ("</s>", 0))
    rows = [["<s>", "new", "york", "##ers", "</s>", "<pad>"], ["<s>", "ers", "</s>", "<pad>"]]
    special = ["<s>", "</s>", "<pad>"]
    # the second window has no special piece in its text, so that those of the row belong to no word
    windows = [[doc[0:2]], [document(("rs", 0))[:]]]
    assert lists(align_texts(windows, rows, special)) == [[1], [2, 3], [], [7]]


def test_pieces_beyond_the_limit_belong_to_no_word():
    doc = document(("ab", 1), ("cd", 0))
    align = align_offsets([[doc[:]], [doc[:]]], offsets([[(0, 1), (1, 2), (3, 4), (4, 5)]] * 2))
    assert lists(align) == [[1, 2], [3, 4], [7, 8], [9, 10]]
    assert lists(cut_alignment(align, 6, 4)) == [[1, 2], [3], [5, 6], [7]]
    assert lists(cut_alignment(align, 6, 3)) == [[1, 2], [], [4, 5], []]


words = st.lists(
    st.tuples(
        st.sampled_from(["a", "Bern", "Zürich", "東京", "👩🚀", "x" * 15, "...", " ", "\u200b"]),
        st.booleans(),
    ),
    min_size=1, max_size=15,
)  # fmt: skip
bounds = st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=build_tokenizer(), pad_token="<pad>")


@needs_spacy_transformers
@given(st.lists(words, min_size=1, max_size=4), bounds)
def test_as_spacy_transformers_aligns(tokenizer, texts, bound):
    from spacy_transformers import align as theirs
    from spacy_transformers.data_classes import WordpieceBatch
    from spacy_transformers.truncate import truncate_oversize_splits

    docs = [document(*pairs) for pairs in texts]
    windows = configure_bounded_windows(bound[0], bound[1], 60)(docs)
    flat = [window for spans in windows for window in spans]
    found = tokenizer(
        [window.text for window in flat],
        padding="longest",
        return_offsets_mapping=True,
        return_tensors="np",
    )
    by_offsets = align_offsets(windows, found["offset_mapping"])
    wanted = theirs.get_alignment_via_offset_mapping(flat, found["offset_mapping"])
    assert lists(by_offsets) == lists(wanted)
    pieces = [tokenizer.convert_ids_to_tokens(row) for row in found["input_ids"]]
    special = tokenizer.all_special_tokens
    assert lists(align_texts(windows, pieces, special)) == lists(
        theirs.get_alignment(flat, pieces, special)
    )
    length = len(pieces[0])
    if length > LENGTH:
        mask = np.ones(found["input_ids"].shape, dtype="f")
        batch = WordpieceBatch(pieces, found["input_ids"], mask, [length] * len(flat), None)
        _, cut = truncate_oversize_splits(batch, wanted, LENGTH)
        assert lists(cut_alignment(by_offsets, length, LENGTH)) == lists(cut)
