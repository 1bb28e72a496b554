"""Candidate spans of a batch: enumeration, gold alignment, overlap resolution, word pieces of words.

Words are numbered within their document; span ends are inclusive. Everything is ragged: a batch of
documents is one flat array with offsets, never a padded block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Errors, MaralError

OUTSIDE = 0
UNKNOWN = -1
# texts of pieces that stand for a space
SPACES = frozenset("▁Ġ")
SHAPES = ("upper", "lower", "title", "digit", "other")
N_SHAPES = len(SHAPES)
MAX_LOG_ODDS = 1e4

FloatArray = NDArray[np.floating]


def span_counts(lengths: ArrayLike, max_width: int) -> NDArray[np.int64]:
    """Count the candidate spans of each document: sum over j of min(max_width, n - j).

    lengths (ArrayLike): Words of each document, shape (n_docs,).
    max_width (int): Longest span, in words.
    RETURNS (NDArray[np.int64]): Candidates of each document, shape (n_docs,).
    RAISES (MaralError): If max_width is below 1 or a length is negative.
    """
    words = np.asarray(lengths, dtype=np.int64)
    if max_width < 1:
        raise MaralError(Errors.M001.format(max_width=max_width))
    if words.size and words.min() < 0:
        raise MaralError(Errors.M002.format(length=int(words.min())))
    width = np.minimum(words, max_width)
    return width * words - width * (width - 1) // 2


def enumerate_spans(
    lengths: ArrayLike, max_width: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """List all spans (j, l) with 0 <= j <= l < n and l - j < max_width, by start, then by end.

    lengths (ArrayLike): Words of each document, shape (n_docs,).
    max_width (int): Longest span, in words.
    RETURNS (tuple): Starts and inclusive ends as word indices within their document, shape
        (n_spans,), and offsets of shape (n_docs + 1,): document i owns [offsets[i], offsets[i+1]).
    """
    words = np.asarray(lengths, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(span_counts(words, max_width))])
    word_starts = np.concatenate([[0], np.cumsum(words)])
    positions = np.arange(word_starts[-1]) - np.repeat(word_starts[:-1], words)
    widths = np.minimum(np.repeat(words, words) - positions, max_width)
    starts = np.repeat(positions, widths)
    firsts = np.repeat(np.cumsum(widths) - widths, widths)
    ends = starts + np.arange(len(starts)) - firsts
    return starts.astype(np.int32), ends.astype(np.int32), offsets


class Candidates:
    """The candidate spans of some documents, document by document, by start, then by end.

    lengths (ArrayLike): Words of each document, shape (n_docs,).
    max_width (int): Longest span, in words.
    places (ArrayLike | None): Number of each word in a document that has other words too, such as
        white space, shape (n_words,); None where there are no others.
    RAISES (MaralError): If max_width is below 1 or a length is negative.

    starts, ends: First and last word of each candidate within its document, ends inclusive, shape
    (n_spans,). offsets: Document i owns the candidates [offsets[i], offsets[i + 1]).
    """

    def __init__(self, lengths: ArrayLike, max_width: int, places: ArrayLike | None = None) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.max_width = max_width
        self.places = None if places is None else np.asarray(places, dtype=np.int64)
        self.starts, self.ends, self.offsets = enumerate_spans(self.lengths, max_width)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def owner(self) -> NDArray[np.int64]:
        """Number of the document that each candidate belongs to, shape (n_spans,)."""
        return np.repeat(np.arange(len(self.lengths)), np.diff(self.offsets))

    @property
    def words(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last words, numbered over all documents, shape (n_spans,) each."""
        before: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        base = np.repeat(before, np.diff(self.offsets))
        return base + self.starts, base + self.ends

    def in_documents(
        self, chosen: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last words as the documents number them, with their other words.

        chosen (NDArray[np.int64] | None): Numbers of the candidates, shape (n,); None for all.
        RETURNS (tuple): Shape (n,) each.
        """
        own = np.arange(len(self)) if chosen is None else chosen
        if self.places is None:
            return self.starts[own].astype(np.int64), self.ends[own].astype(np.int64)
        starts, ends = self.words
        return self.places[starts[own]], self.places[ends[own]]

    def find(self, docs: ArrayLike, starts: ArrayLike, ends: ArrayLike) -> NDArray[np.int64]:
        """Find the numbers of spans among the candidates.

        docs (ArrayLike): Document of each span, shape (n,).
        starts, ends (ArrayLike): First and last words within the document, ends inclusive, shape
            (n,); spans are no wider than max_width.
        RETURNS (NDArray[np.int64]): Shape (n,).
        """
        owner = np.asarray(docs, dtype=np.int64)
        place = span_index(starts, ends, self.lengths[owner], self.max_width)
        return self.offsets[owner] + place


def span_index(
    starts: ArrayLike, ends: ArrayLike, lengths: ArrayLike, max_width: int
) -> NDArray[np.int64]:
    """Find the place of spans in the enumeration of their document.

    starts (ArrayLike): First words, shape (n,).
    ends (ArrayLike): Last words, inclusive, shape (n,); no wider than max_width.
    lengths (ArrayLike): Words of the document that each span belongs to, shape (n,).
    max_width (int): Longest span, in words.
    RETURNS (NDArray[np.int64]): Positions within the document's own list, shape (n,).
    """
    begin = np.asarray(starts, dtype=np.int64)
    words = np.asarray(lengths, dtype=np.int64)
    before = span_counts(words, max_width) - span_counts(words - begin, max_width)
    return before + np.asarray(ends, dtype=np.int64) - begin


def label_spans(
    lengths: ArrayLike,
    docs: ArrayLike,
    starts: ArrayLike,
    ends: ArrayLike,
    classes: ArrayLike,
    max_width: int,
) -> tuple[NDArray[np.int16], int]:
    """Give every candidate its gold class; candidates that are no entity get OUTSIDE.

    lengths (ArrayLike): Words of each document, shape (n_docs,).
    docs (ArrayLike): Document of each entity, shape (n_entities,).
    starts (ArrayLike): First word of each entity.
    ends (ArrayLike): Last word of each entity, inclusive.
    classes (ArrayLike): Class of each entity, 1 to K - 1.
    max_width (int): Longest candidate, in words.
    RETURNS (tuple): Classes, shape (n_spans,), and the number of entities wider than max_width,
        which have no candidate.
    """
    words = np.asarray(lengths, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(span_counts(words, max_width))])
    labels = np.full(offsets[-1], OUTSIDE, dtype=np.int16)
    owner, begin = np.asarray(docs, dtype=np.int64), np.asarray(starts, dtype=np.int64)
    end = np.asarray(ends, dtype=np.int64)
    fits = end - begin < max_width
    owner, begin, end = owner[fits], begin[fits], end[fits]
    place = offsets[owner] + span_index(begin, end, words[owner], max_width)
    labels[place] = np.asarray(classes)[fits]
    return labels, int((~fits).sum())


def hide_unknown(
    classes: NDArray[np.integer], candidates: Candidates, known: NDArray[np.bool_]
) -> NDArray:
    """Give the class UNKNOWN to the candidates that touch a word without annotation.

    classes (NDArray): Class of each candidate, shape (n_spans,).
    candidates (Candidates): The candidates.
    known (NDArray[np.bool_]): Whether each word is annotated, shape (n_words,).
    RETURNS (NDArray): Classes, shape (n_spans,).
    """
    if known.all():
        return classes
    unknown = np.concatenate([[0], np.cumsum(~known)])
    starts, ends = candidates.words
    touched = unknown[ends + 1] > unknown[starts]
    return np.where(touched, np.asarray(UNKNOWN, dtype=classes.dtype), classes)


def resolve_overlaps(starts: ArrayLike, ends: ArrayLike, scores: ArrayLike) -> NDArray[np.int64]:
    """Choose the set of non-overlapping spans with the highest total score (exact).

    Weighted interval scheduling, O(n log n). Only spans with a positive score are chosen. Among
    sets with the same total the one with fewer spans wins, then the one whose spans end earlier.

    starts (ArrayLike): First words, shape (n,); spans of different documents must not share words.
    ends (ArrayLike): Last words, inclusive, shape (n,).
    scores (ArrayLike): Score of each span, shape (n,).
    RETURNS (NDArray[np.int64]): Indices of the chosen spans, sorted by start.
    """
    begin, end = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    score = np.asarray(scores, dtype=np.float64)
    usable = np.flatnonzero(score > 0)
    order = usable[np.lexsort((end[usable], begin[usable]))]
    if not len(order):
        return order
    reach = np.maximum.accumulate(end[order])
    breaks = np.flatnonzero(begin[order][1:] > reach[:-1]) + 1
    bounds = np.concatenate([[0], breaks, [len(order)]])
    sizes = np.diff(bounds)
    kept = [order[bounds[:-1][sizes == 1]]]
    for low, high in zip(bounds[:-1][sizes > 1], bounds[1:][sizes > 1], strict=True):
        kept.append(_schedule(order[low:high], begin, end, score))
    chosen = np.concatenate(kept)
    return chosen[np.argsort(begin[chosen], kind="stable")]


def _schedule(
    spans: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Weighted interval scheduling over one cluster of overlapping spans."""
    spans = spans[np.lexsort((starts[spans], ends[spans]))]
    free = np.searchsorted(ends[spans], starts[spans], side="left").tolist()
    best = [(0.0, 0)]
    taken = []
    for i, score in enumerate(scores[spans].tolist()):
        total, count = best[free[i]]
        with_it = (total + score, count - 1)
        taken.append(with_it > best[i])
        best.append(max(with_it, best[i]))
    chosen, i = [], len(spans)
    while i > 0:
        if taken[i - 1]:
            chosen.append(i - 1)
            i = free[i - 1]
        else:
            i -= 1
    return spans[chosen]


def softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax along the last axis; -inf gives 0."""
    scores = np.asarray(scores, dtype=np.float64)
    weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    return weights / weights.sum(-1, keepdims=True)


def decode(
    scores: FloatArray, starts: ArrayLike, ends: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Turn class scores into the most probable consistent annotation.

    The class probabilities of each span are softmax(scores). Spans count as independent, and every
    span that is not chosen is outside. The most probable set without overlaps then maximises the
    sum of log p(class) - log p(outside), which `resolve_overlaps` does exactly.

    scores (FloatArray): Class scores, shape (n, K), outside first; -inf for impossible classes.
    starts (ArrayLike): First words, shape (n,); spans of different documents must not share words.
    ends (ArrayLike): Last words, inclusive, shape (n,).
    RETURNS (tuple): Indices of the entities sorted by start, their classes, and their confidence
        softmax(scores)[class], each of shape (n_entities,).
    """
    table = np.asarray(scores)
    classes = table.argmax(axis=1) if len(table) else np.zeros(0, dtype=np.int64)
    entities = np.flatnonzero(classes != OUTSIDE)
    rows = table[entities].astype(np.float64)
    best = classes[entities]
    top = rows[np.arange(len(rows)), best]
    log_odds = np.minimum(top - rows[:, OUTSIDE], MAX_LOG_ODDS)
    kept = resolve_overlaps(np.asarray(starts)[entities], np.asarray(ends)[entities], log_odds)
    confidence = 1.0 / np.exp(rows[kept] - top[kept, None]).sum(axis=1)
    return entities[kept], best[kept], confidence


def touching(starts: ArrayLike, ends: ArrayLike, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find the spans that share a word with chosen ones.

    starts, ends (ArrayLike): First and last words, inclusive, shape (n,); spans of different documents
        must not share words.
    chosen (NDArray[np.int64]): Numbers of the chosen spans, shape (m,).
    RETURNS (NDArray[np.bool_]): True for these and for the spans that share a word with one, shape (n,).
    """
    first, last = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    change = np.zeros(int(last.max(initial=-1)) + 2, dtype=np.int64)
    np.add.at(change, first[chosen], 1)
    np.add.at(change, last[chosen] + 1, -1)
    before = np.concatenate([[0], np.cumsum(np.cumsum(change[:-1]) > 0)])
    return before[last + 1] > before[first]


def blank_pieces(strings: Sequence[Sequence[str]], row_length: int) -> NDArray[np.bool_]:
    """Find the pieces that stand for nothing but a space, as before a full stop that stands apart.

    strings (Sequence): Texts of the pieces of each row.
    row_length (int): Padded length of a row, in pieces.
    RETURNS (NDArray[np.bool_]): Shape (rows * row_length,).
    """
    blank = np.zeros((len(strings), row_length), dtype=bool)
    for row, own in zip(blank, strings, strict=True):
        shown = own[:row_length]
        row[: len(shown)] = [piece in SPACES for piece in shown]
    return blank.ravel()


def word_piece_ends(
    pieces: ArrayLike,
    lengths: ArrayLike,
    row_length: int,
    blank: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the first and the last word piece of each word, both from one row of the encoder.

    A word in several rows (overlapping windows) is read from the row that holds most of its pieces;
    among equal rows, from the one where the word is farthest from the edge. Tokenizers whose pieces
    include the space before them align the next word's first piece to a word as well; such a
    trailing piece is left out while the word has one of its own. So is a piece that is only the space
    behind a word: a word has the same pieces whether or not a space comes before the next comma.

    pieces (ArrayLike): Aligned pieces of all words, ascending for each word, as indices into the
        flattened (rows, row_length) block, shape (n_aligned,).
    lengths (ArrayLike): Aligned pieces of each word, shape (n_words,).
    row_length (int): Padded length of a row, in pieces.
    blank (NDArray[np.bool_] | None): Which pieces of the block are only a space (see `blank_pieces`).
    RETURNS (tuple): Indices of first and last pieces, shape (n_words,); -1 without a piece.
    """
    piece = np.asarray(pieces, dtype=np.int64)
    n_pieces = np.asarray(lengths, dtype=np.int64)
    if blank is not None and blank.any():
        word, shown = np.repeat(np.arange(len(n_pieces)), n_pieces), ~blank[piece]
        # a word of blank pieces keeps them
        shown |= np.bincount(word, shown, minlength=len(n_pieces))[word] == 0
        piece, n_pieces = piece[shown], np.bincount(word[shown], minlength=len(n_pieces))
    first = np.full(len(n_pieces), -1, dtype=np.int64)
    last = first.copy()
    if not len(piece):
        return first, last
    word, row = np.repeat(np.arange(len(n_pieces)), n_pieces), piece // row_length
    n_rows = int(row.max()) + 1
    # words without a piece do not come between their neighbours
    key = (np.cumsum(n_pieces > 0) - 1)[word] * n_rows + row
    group = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    stop = np.concatenate([group[1:], [len(piece)]]) - 1
    begin, end = piece[group], piece[stop]
    following = np.searchsorted(key[group], key[group] + n_rows)
    following = np.minimum(following, len(group) - 1)
    shared = (key[group][following] == key[group] + n_rows) & (begin[following] == end)
    end = np.where(shared & (end > begin), piece[np.maximum(stop - 1, group)], end)
    low = np.full(n_rows, piece.max(), dtype=np.int64)
    high = np.zeros(n_rows, dtype=np.int64)
    np.minimum.at(low, row, piece)
    np.maximum.at(high, row, piece)
    inside = np.minimum(begin - low[row[group]], high[row[group]] - end)
    owner = word[group]
    order = np.lexsort((row[group], -inside, -(stop - group), owner))
    chosen = order[np.concatenate([[True], owner[order][1:] != owner[order][:-1]])]
    first[owner[chosen]], last[owner[chosen]] = begin[chosen], end[chosen]
    return first, last


def word_shapes(words: Sequence[str]) -> NDArray[np.int8]:
    """Classify words by their shape: upper, lower, title, digit or other (see `SHAPES`).

    words (Sequence[str]): Texts of the words.
    RETURNS (NDArray[np.int8]): Index into `SHAPES` of each word, shape (n_words,).
    """
    known: dict[str, int] = {}
    for word in set(words):
        if word.isupper():
            shape = "upper"
        elif word.islower():
            shape = "lower"
        elif word[:1].isupper():
            shape = "title"
        elif any(char.isdigit() for char in word):
            shape = "digit"
        else:
            shape = "other"
        known[word] = SHAPES.index(shape)
    return np.fromiter((known[word] for word in words), dtype=np.int8, count=len(words))


def overlap_losers(
    probabilities: NDArray[np.floating], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find the spans whose most probable class is an entity, but which lose to overlapping ones.

    probabilities (NDArray): Class probabilities, shape (n, K).
    starts (NDArray[np.int64]): First words, numbered over the corpus.
    ends (NDArray[np.int64]): Last words, inclusive.
    RETURNS (NDArray[np.int64]): Numbers of these spans.
    """
    entities = np.flatnonzero(probabilities.argmax(1) != OUTSIDE)
    rows = probabilities[entities].astype(np.float64)
    with np.errstate(divide="ignore"):
        kept, _, _ = decode(np.log(rows), starts[entities], ends[entities])
    return np.delete(entities, kept)


def class_counts(classes: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Number of spans of each class, shape (K,); spans of the class UNKNOWN do not count."""
    return np.bincount(classes[classes != UNKNOWN], minlength=n_classes)


def class_shares(counts: NDArray) -> NDArray[np.float64]:
    """Shares of the classes, from counts or sums of probabilities.

    counts (NDArray): Spans of each class, shape (K,); values below 0.5 are raised to 0.5.
    RETURNS (NDArray[np.float64]): Shares, sum 1, shape (K,).
    """
    floored = np.maximum(np.asarray(counts, dtype=np.float64), 0.5)
    return floored / floored.sum()
