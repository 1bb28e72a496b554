"""The documents of a side, distributed over the processes that train together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors, MaralError
from ..model.spans import Candidates
from .corpus import Corpus, members, offsets
from .processes import ALONE, Ranks


class Share(NamedTuple):
    """The documents of one process (every size-th), and their positions among all documents.

    ranks: The processes. corpus: This process's documents. max_width: Longest candidate span, in
    words. doc_lengths: Longest row of each document of all processes, in pieces. doc_rows: Number
    of rows of each of these documents. doc_words, doc_spans: Offsets of their words and candidate
    spans. spans: Numbers of this process's candidate spans among all.
    """

    ranks: Ranks
    corpus: Corpus
    max_width: int
    doc_lengths: NDArray[np.int64]
    doc_rows: NDArray[np.int64]
    doc_words: NDArray[np.int64]
    doc_spans: NDArray[np.int64]
    spans: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Corpus, ranks: Ranks = ALONE) -> Share:
        """Make this process's share, with the document sizes of all processes.

        corpus (Corpus): The documents that `Ranks.deal` gave this process.
        RAISES (MaralError): If a process has no document with words.
        """
        lengths = corpus.doc_lengths()
        if ranks.size > 1 and ranks.largest(not lengths.any()):
            raise MaralError(Errors.M327.format(size=ranks.size))
        table = np.stack(
            [lengths, *map(np.diff, (corpus.doc_rows, corpus.doc_words, corpus.doc_spans))], axis=1
        )
        parts = ranks.gather(table)
        every = np.empty((sum(map(len, parts)), table.shape[1]), dtype=np.int64)
        for rank, part in enumerate(parts):
            every[rank :: ranks.size] = part
        words, spans = offsets(every[:, 2]), offsets(every[:, 3])
        return cls(
            ranks, corpus, corpus.max_width, every[:, 0], every[:, 1], words, spans,
            _spans_of(spans, ranks.rank, ranks.size),
        )  # fmt: skip

    @property
    def n_docs(self) -> int:
        return len(self.doc_lengths)

    @property
    def n_words(self) -> int:
        return int(self.doc_words[-1])

    @property
    def n_spans(self) -> int:
        return int(self.doc_spans[-1])

    def span_words(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last word of each candidate span, numbered over all documents."""
        return Candidates(np.diff(self.doc_words), self.max_width).words

    def docs(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Select this process's documents of a batch, as numbers of its corpus."""
        return batch[batch % self.ranks.size == self.ranks.rank] // self.ranks.size

    def own(self, values: NDArray) -> NDArray:
        """Select this process's rows of an array with a row for each candidate span."""
        return values if self.ranks.size == 1 else values[self.spans]

    def own_among(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Select this process's spans: from ascending numbers among all to numbers of its own."""
        if self.ranks.size == 1:
            return spans
        places = np.searchsorted(self.spans, spans).clip(max=len(self.spans) - 1)
        return places[self.spans[places] == spans]

    def within(self, rows: slice) -> slice:
        """Range of this process's candidate spans that corresponds to a range of all spans."""
        return slice(*np.searchsorted(self.spans, [rows.start, rows.stop]).tolist())

    def all(self, values: NDArray) -> NDArray:
        """Gather the rows of all processes' candidate spans, in the order of the documents."""
        if self.ranks.size == 1:
            return values
        found = np.empty((self.n_spans, *values.shape[1:]), dtype=values.dtype)
        for rank, part in enumerate(self.ranks.gather(values)):
            found[_spans_of(self.doc_spans, rank, self.ranks.size)] = part
        return found

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a number in [0, 1) for each own span, the same for any number of processes."""
        return self.own(rng.random(self.n_spans))

    def gather_spans(self, spans: NDArray[np.int64], *columns: NDArray) -> tuple[NDArray, ...]:
        """Gather the rows of all processes for some candidate spans, in the order of the documents.

        spans (NDArray): Some of this process's candidate spans, ascending, shape (n,).
        columns (NDArray): Arrays with n rows each.
        RETURNS (tuple): Numbers of the spans among all, ascending, and the columns.
        """
        if self.ranks.size == 1:
            return (spans, *columns)
        places = np.concatenate(self.ranks.gather(self.spans[spans]))
        order = np.argsort(places)
        return (
            places[order],
            *(np.concatenate(self.ranks.gather(column))[order] for column in columns),
        )


def _spans_of(doc_spans: NDArray[np.int64], rank: int, size: int) -> NDArray[np.int64]:
    """Numbers of the candidate spans of a process's documents, among all."""
    return members(doc_spans, np.arange(rank, len(doc_spans) - 1, size))
