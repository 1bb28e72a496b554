"""Documents as the encoder reads them: visible words in Unicode NFC, with single spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from thinc.types import Ints1d, Ragged

from ..visible import VisibleWords


def readable(docs: Sequence[Doc]) -> list[Doc]:
    """Make the documents that the encoder reads.

    Each blank word stands for one space, and each other word is in Unicode NFC, so that line
    breaks, tabs and decomposed letters do not change what the encoder reads. A document in which
    this changes nothing, or which has no visible word, is returned itself.

    docs (Sequence[Doc]): The documents.
    RETURNS (list[Doc]): Documents of visible words, with the sentence starts of the given ones.
    """
    visible = VisibleWords.of(docs)
    read, word, seen = [], 0, 0
    for doc, n_visible in zip(docs, visible.lengths.tolist(), strict=True):
        mask = visible.mask[word : word + len(doc)]
        texts = visible.texts[seen : seen + n_visible]
        word, seen = word + len(doc), seen + n_visible
        changes = n_visible < len(doc) or texts != [token.text for token in doc]
        read.append(_visible_copy(doc, mask, texts) if n_visible and changes else doc)
    return read


def _visible_copy(doc: Doc, mask: NDArray[np.bool_], texts: list[str]) -> Doc:
    """Copy the visible words of a document, with other texts."""
    places = np.flatnonzero(mask)
    spaced = ~mask | np.array([bool(token.whitespace_) for token in doc])
    spaces = np.logical_or.reduceat(spaced, places).tolist()
    sent_starts = None
    if doc.has_annotation("SENT_START"):
        starts = doc.to_array("SENT_START")[: places[-1] + 1] == 1
        begins = np.concatenate([[0], places[:-1] + 1])
        sent_starts = np.logical_or.reduceat(starts, begins).tolist()
    return Doc(doc.vocab, words=texts, spaces=spaces, sent_starts=sent_starts)


def restore(
    docs: Sequence[Doc], read: Sequence[Doc], windows: list[list[Span]], align: Ragged
) -> tuple[list[list[Span]], Ragged]:
    """Convert the windows of readable documents, and their alignment, to all words.

    docs (Sequence[Doc]): The documents.
    read (Sequence[Doc]): The documents that `readable` made of them.
    windows (list[list[Span]]): Windows of each of these.
    align (Ragged): Word pieces of each of their words; documents without windows have none.
    RETURNS (tuple): Windows of the given documents, and the word pieces of each of their words; a
        blank word has none.
    """
    if all(doc is own for doc, own in zip(docs, read, strict=True)):
        return windows, align
    masks = [
        np.ones(len(doc), dtype=bool) if doc is own else VisibleWords.of([doc]).mask
        for doc, own in zip(docs, read, strict=True)
    ]
    whole = [
        [_widen(window, doc, np.flatnonzero(mask)) for window in spans]
        for spans, doc, mask in zip(windows, docs, masks, strict=True)
    ]
    mask = np.concatenate([m for m, spans in zip(masks, windows, strict=True) if spans])
    lengths = np.zeros(len(mask), dtype=align.lengths.dtype)
    lengths[mask] = align.lengths
    return whole, Ragged(align.dataXd, cast(Ints1d, lengths))


def _widen(window: Span, doc: Doc, places: NDArray[np.int64]) -> Span:
    """A window of a document with blank words, those at the ends of the document included."""
    start = places[window.start] if window.start else 0
    is_last = window.end == len(window.doc)
    return doc[int(start) : len(doc) if is_last else int(places[window.end - 1]) + 1]
