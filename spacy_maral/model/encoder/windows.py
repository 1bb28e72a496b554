"""Windows over words, short enough that the encoder does not truncate them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from spacy.tokens import Doc, Span

from ...errors import Errors, MaralError


def configure_bounded_windows(
    max_words: int = 128, stride: int = 96, max_chars: int = 480
) -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """Make a span getter for the transformer: overlapping windows bounded in words and characters.

    The end of a row that is longer than the encoder's limit is dropped, and the words there get no
    vectors. SentencePiece vocabularies make at most one piece of a character (except
    for rare compatibility characters), so that the default max_chars fits in 512 pieces, special
    pieces included. For byte-level vocabularies, set max_chars to a quarter of the default.

    max_words (int): Maximum number of words of a window.
    stride (int): Number of words from the start of a window of max_words words to the start of the
        next one; in shorter windows, the same share. The next window repeats the remaining words.
    max_chars (int): Maximum number of characters of a window. A longer word has a
        window of its own.
    RETURNS (Callable): Maps documents to their windows.
    RAISES (MaralError): If a bound is below 1 or the stride is longer than a window.
    """
    if max_words < 1 or max_chars < 1 or not 1 <= stride <= max_words:
        raise MaralError(
            Errors.M210.format(max_words=max_words, stride=stride, max_chars=max_chars)
        )
    return partial(bounded_windows, max_words=max_words, stride=stride, max_chars=max_chars)


def bounded_windows(
    docs: Iterable[Doc], *, max_words: int, stride: int, max_chars: int
) -> list[list[Span]]:
    """Cut documents into windows (see `configure_bounded_windows`).

    docs (Iterable[Doc]): The documents.
    RETURNS (list[list[Span]]): Windows of each document, in order; every word is in at least one.
        A document without words has none.
    """
    return [_cut(doc, max_words, stride, max_chars) for doc in docs]


def _cut(doc: Doc, max_words: int, stride: int, max_chars: int) -> list[Span]:
    if not len(doc):
        return []
    begins = np.array([token.idx for token in doc])
    stops = np.array([token.idx + len(token) for token in doc])
    windows = []
    start, covered = 0, 0
    while covered < len(doc):
        end = int(np.searchsorted(stops, begins[start] + max_chars, side="right"))
        end = max(min(end, start + max_words), start + 1)
        # before a long word, a window may only repeat words: start at the next new word
        if end <= covered:
            start = covered
            continue
        windows.append(doc[start:end])
        covered = end
        start += max(1, (end - start) * stride // max_words)
    return windows


def configure_strides(window: int, stride: int) -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """Make a span getter of windows of a fixed number of words.

    window (int): Number of words of a window.
    stride (int): Number of words from the start of a window to the start of the next one.
    RETURNS (Callable): Maps documents to their windows.
    """
    return partial(strides, window=window, stride=stride)


def strides(docs: Iterable[Doc], *, window: int, stride: int) -> list[list[Span]]:
    """Cut documents into windows of a fixed number of words (see `configure_strides`)."""
    found = []
    for doc in docs:
        # the first window that reaches the end is the last one
        last = max(0, -((window - len(doc)) // stride)) * stride
        starts = range(0, min(len(doc), last + 1), stride)
        found.append([doc[start : start + window] for start in starts])
    return found


def configure_sentences() -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """RETURNS (Callable): Maps documents to their sentences."""
    return sentences


def sentences(docs: Iterable[Doc]) -> list[list[Span]]:
    """Cut documents into their sentences, which a component before the transformer must find."""
    return [list(doc.sents) for doc in docs]


def configure_documents() -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """RETURNS (Callable): Maps documents to windows of all their words."""
    return whole_documents


def whole_documents(docs: Iterable[Doc]) -> list[list[Span]]:
    """Make one window of each document that has words."""
    return [[doc[:]] if len(doc) else [] for doc in docs]
