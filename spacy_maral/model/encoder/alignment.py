"""The word pieces of each word, from the characters that the pieces stand for or from their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from thinc.types import Ints1d, Ragged

Windows = Sequence[Sequence[Span]]


def align_offsets(windows: Windows, offsets: NDArray[np.integer]) -> Ragged:
    """Align words to the pieces of a tokenizer that tells which characters a piece stands for.

    A piece belongs to each word that has one of its characters. The space behind a word is the word's.

    windows (Sequence): Windows of each document.
    offsets (NDArray): First character of each piece in its window, and the one behind its last,
        shape (n_windows, length, 2). Those of special pieces are equal.
    RETURNS (Ragged): Numbers of the pieces of each word, ascending; the words are those of all
        documents that have windows, and row r begins with piece r * length.
    """
    words = _WindowWords(windows)
    first, stop = offsets.reshape(-1, 2).astype(np.int64).T
    pieces = np.flatnonzero(first < stop)
    base = words.bases[pieces // offsets.shape[1]]
    low, high = (
        np.searchsorted(words.starts, base + place, side="right") - 1
        for place in (first[pieces], stop[pieces] - 1)
    )
    spread = high - low + 1
    before = np.cumsum(spread) - spread
    places = np.repeat(low - before, spread) + np.arange(spread.sum())
    return _by_word(words.numbers[places], np.repeat(pieces, spread), words.count)


def align_texts(
    windows: Windows, pieces: Sequence[Sequence[str]], special: Sequence[str]
) -> Ragged:
    """Align words to the pieces of a slow tokenizer, which gives only their texts.

    windows (Sequence): Windows of each document.
    pieces (Sequence): Texts of the pieces of each window, padded to one length.
    special (Sequence[str]): Texts of special pieces. They belong to no word, unless the window's
        text has one of them.
    RETURNS (Ragged): See `align_offsets`.
    """
    from spacy_alignments import get_alignments

    words = _WindowWords(windows)
    found_words, found_pieces, place, start = [], [], 0, 0
    for window, row in zip((w for spans in windows for w in spans), pieces, strict=True):
        shown = list(row)
        if not any(text in window.text for text in special):
            shown = ["" if piece in special else piece for piece in row]
        of_words, _ = get_alignments([token.text for token in window], shown)
        for number, own in zip(words.numbers[place : place + len(window)], of_words, strict=True):
            found_words += [number] * len(own)
            found_pieces += [start + piece for piece in sorted(own)]
        place, start = place + len(window), start + len(row)
    return _by_word(
        np.array(found_words, dtype=np.int64), np.array(found_pieces, dtype=np.int64), words.count
    )


def cut_alignment(align: Ragged, length: int, limit: int) -> Ragged:
    """Leave out the pieces at the ends of rows.

    align (Ragged): Pieces of each word.
    length (int): Number of pieces of a row.
    limit (int): Number of pieces of it that stay.
    RETURNS (Ragged): Pieces of each word in the shorter rows.
    """
    pieces = np.asarray(align.dataXd, dtype=np.int64)
    words = np.repeat(np.arange(len(align.lengths)), np.asarray(align.lengths))
    row, place = np.divmod(pieces, length)
    kept = place < limit
    return _by_word(words[kept], (row * limit + place)[kept], len(align.lengths))


def _by_word(words: NDArray[np.int64], pieces: NDArray[np.int64], n_words: int) -> Ragged:
    """Pieces of each word from pairs of a word and one of its pieces, in the order of the pieces."""
    order = np.argsort(words, kind="stable")
    lengths = np.bincount(words, minlength=n_words).astype(np.int32)
    return Ragged(cast(Ints1d, pieces[order].astype(np.int32)), cast(Ints1d, lengths))


class _WindowWords:
    """The words of all windows, one after another.

    numbers: Number of each word among those of all documents that have windows. count: Number of the
    latter. starts: First character of each word, where the windows follow one another with a space
    behind each. bases: First character of each window.
    """

    def __init__(self, windows: Windows) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        numbers, starts, self.count, base = [nothing], [nothing], 0, 0
        bases = []
        for spans in windows:
            begins, ends = _characters(spans[0].doc) if spans else (nothing, nothing)
            for window in spans:
                bases.append(base)
                own = begins[window.start : window.end]
                if len(own):
                    starts.append(own - own[0] + base)
                    base += int(ends[window.end - 1] - own[0])
                base += 1
                numbers.append(self.count + np.arange(window.start, window.end))
            self.count += len(begins)
        self.numbers, self.starts = np.concatenate(numbers), np.concatenate(starts)
        self.bases = np.array(bases, dtype=np.int64)


def _characters(doc: Doc) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First character of each word, and the one behind its last."""
    begins, lengths = doc.to_array(["IDX", "LENGTH"]).astype(np.int64).reshape(-1, 2).T
    return begins, begins + lengths
