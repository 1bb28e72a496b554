"""Windows over words that no encoder has to truncate."""

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

    spacy-transformers drops the end of a row that is longer than the encoder's window, and words
    there lose their vectors. The vocabularies of SentencePiece make at most one piece of a
    character (rare compatibility characters apart), so that the default fits in 512 pieces with the
    special ones; give a quarter of it for byte-level vocabularies.

    max_words (int): Most words of a window.
    stride (int): Words from the start of a window of max_words words to the next one; of shorter
        windows, the same share. The rest of the window is the context of the next one.
    max_chars (int): Most characters of a window. A longer word gets a window of its own.
    RETURNS (Callable): From documents to their windows.
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
        # a long word ahead leaves windows that only repeat words: start at the next new word
        if end <= covered:
            start = covered
            continue
        windows.append(doc[start:end])
        covered = end
        start += max(1, (end - start) * stride // max_words)
    return windows
