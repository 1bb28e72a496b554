"""Visible words: those that show more than white space. Candidate spans consist of these alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .spans import Candidates

if TYPE_CHECKING:
    from spacy.tokens import Doc

# white space, controls, Unicode's default-ignorable characters, U+FFFD, and SentencePiece's space
_BLANK = re.compile(
    "[\\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2581\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\ufffd\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


def is_blank(word: str) -> bool:
    """Whether a word shows nothing: only white space, controls, format characters or U+FFFD."""
    return _BLANK.fullmatch(word) is not None


def any_visible(docs: Iterable[Doc]) -> bool:
    """Whether documents have a visible word."""
    return any(not is_blank(token.text) for doc in docs for token in doc)


class VisibleWords:
    """The visible words of some documents, numbered without the blank words between them.

    docs (Sequence[Sequence[str]]): Words of each document.

    lengths: Visible words of each document, shape (n_docs,). places: Number of each visible word
    within its document, blank words included, shape (n_visible,). mask: Whether each word is
    visible, shape (n_words,). texts: The visible words, in Unicode NFC.
    """

    def __init__(self, docs: Sequence[Sequence[str]]) -> None:
        words = [word for doc in docs for word in doc]
        known = {w: "" if is_blank(w) else unicodedata.normalize("NFC", w) for w in set(words)}
        every = [known[word] for word in words]
        sizes = np.array([len(doc) for doc in docs], dtype=np.int64)
        self.texts = [word for word in every if word]
        self.mask = np.fromiter(map(bool, every), dtype=bool, count=len(every))
        self._first = np.cumsum(sizes) - sizes
        self._before = np.concatenate([[0], np.cumsum(self.mask, dtype=np.int64)])
        self.lengths = self._before[self._first + sizes] - self._before[self._first]
        self.places = (np.arange(len(every)) - np.repeat(self._first, sizes))[self.mask]

    @classmethod
    def of(cls, docs: Iterable[Doc]) -> VisibleWords:
        """Find the visible words of documents."""
        return cls([[token.text for token in doc] for doc in docs])

    def candidates(self, max_width: int) -> Candidates:
        """Make the candidate spans of up to `max_width` visible words."""
        return Candidates(self.lengths, max_width, self.places)

    def renumber(
        self, docs: ArrayLike, starts: ArrayLike, ends: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Convert spans to the numbers of visible words, without blank words at their ends.

        docs (ArrayLike): Document of each span, shape (n,).
        starts, ends (ArrayLike): First and last words within the document, blank words included,
            shape (n,).
        RETURNS (tuple): First and last visible words, shape (n,) each; the last one comes before
            the first one where a span has no visible word.
        """
        first = self._first[np.asarray(docs, dtype=np.int64)]
        low = self._before[first + np.asarray(starts, dtype=np.int64)]
        high = self._before[first + np.asarray(ends, dtype=np.int64) + 1]
        return low - self._before[first], high - 1 - self._before[first]
