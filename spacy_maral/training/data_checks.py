"""Counts that reveal problems in the data of a run, for the debug-data command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span

from ..model.gold import annotated_runs
from ..model.spans import span_counts
from ..model.visible import VisibleWords, is_blank


@dataclass
class FileCounts:
    """The documents of one file, and counts of their words, sentences and entities.

    name (str): Role of the documents: "source", "dev", "target" or "test", with a number if several
        files have the role.
    labelled (bool): Whether the run uses their entities.
    docs (list[Doc]): The documents.
    """

    name: str
    labelled: bool
    docs: list[Doc]
    n_words: int = 0
    n_empty: int = 0
    n_unlabelled: int = 0
    n_repeated: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    widths: dict[str, Counter[int]] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    names: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for doc in self.docs:
            words = [token.text.casefold() for token in doc if not is_blank(token.text)]
            self.n_words += len(doc)
            self.n_empty += not words
            self.n_unlabelled += not doc.has_annotation("ENT_IOB")
            self.words.update(words)
            if words:
                self.sentences[" ".join(words)] += 1
            for ent in doc.ents if self.labelled else ():
                self.entities[ent.label_] += 1
                self.widths.setdefault(ent.label_, Counter())[len(ent)] += 1
                self.names[(ent.text.casefold(), ent.label_)] += 1
        self.n_repeated = self.sentences.total() - len(self.sentences)

    def n_candidates(self, max_width: int) -> int:
        """Count the annotated spans of at most `max_width` visible words."""
        runs = [n for doc in self.docs for n in annotated_runs(doc)]
        return int(span_counts(runs, max_width).sum())


@dataclass(frozen=True)
class Coverage:
    """Number of entities of a type that are short enough to be candidates.

    n_entities: Number of all entities. n_covered: Number of entities no longer than the longest
    candidate. longest: Length of the longest entity, in words. enough: Length that covers 99 % of
    the entities, in words.
    """

    n_entities: int
    n_covered: int
    longest: int
    enough: int

    @property
    def share(self) -> float:
        return share(self.n_covered, self.n_entities)


def coverage(widths: Counter[int], max_width: int) -> Coverage:
    """Count the entities of at most `max_width` words, from numbers of entities by length."""
    total = widths.total()
    ordered = sorted(widths)
    reached = np.cumsum([widths[width] for width in ordered])
    enough = ordered[int(np.searchsorted(reached, 0.99 * total))] if total else 0
    covered = sum(n for width, n in widths.items() if width <= max_width)
    return Coverage(total, covered, max(ordered, default=0), enough)


def shared_sentences(first: FileCounts, second: FileCounts) -> Counter[str]:
    """Count the sentences of the second file that the first has too, ignoring case and spaces."""
    return Counter({text: n for text, n in second.sentences.items() if text in first.sentences})


def known_share(known: Iterable[Any], found: Counter) -> tuple[float, float]:
    """Compute the known share of the distinct items found, and of all their occurrences."""
    known = set(known)
    both = {item: n for item, n in found.items() if item in known}
    return share(len(both), len(found)), share(sum(both.values()), found.total())


@dataclass(frozen=True)
class Retokenised:
    """Entities in raw text that the pipeline's own tokenizer has split into words.

    n_entities: Number of all entities. n_cut: Number that begin or end within a word. n_too_wide:
    Number that are longer than the longest candidate in the tokenizer's words, but not in the
    document's. examples: At most five entities that begin or end within a word.
    """

    n_entities: int
    n_cut: int
    n_too_wide: int
    examples: list[str]


def retokenise(nlp: Language, docs: Sequence[Doc], max_width: int) -> Retokenised:
    """Count the entities that the pipeline's tokenizer makes impossible to find in raw text."""
    n_entities = n_cut = n_wide = 0
    examples: list[str] = []
    for doc in docs:
        if not doc.ents:
            continue
        again = nlp.make_doc(doc.text)
        for ent in doc.ents:
            n_entities += 1
            span: Span | None = again.char_span(ent.start_char, ent.end_char)
            if span is None:
                n_cut += 1
                examples.append(ent.text)
            else:
                n_wide += len(span) > max_width >= len(ent)
    return Retokenised(n_entities, n_cut, n_wide, list(dict.fromkeys(examples))[:5])


@dataclass
class Pieces:
    """Counts of the word pieces of documents.

    counts: Occurrences of each word piece by id, without special pieces. n_unknown: Number of
    unknown pieces. n_long: Number of documents that need more than one window. n_lost: Number of
    visible words without a piece. n_lost_ends: Number of entities whose first or last word has no piece.
    """

    counts: Counter[int]
    n_unknown: int
    n_long: int
    n_lost: int
    n_lost_ends: int


def entity_words(docs: Sequence[Doc]) -> tuple[NDArray[np.int64], ...]:
    """Document, first and last visible word of each entity that has any, shape (n,) each."""
    rows = [(i, ent.start, ent.end - 1) for i, doc in enumerate(docs) for ent in doc.ents]
    owner, start, end = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    start, end = VisibleWords.of(docs).renumber(owner, start, end)
    return owner[end >= start], start[end >= start], end[end >= start]


def count_pieces(
    part: FileCounts, tokenizer: Any, get_spans: Callable, special: Sequence[int]
) -> Pieces:
    """Tokenise documents as the transformer component does, and count their word pieces.

    part (FileCounts): The documents, at least one of them with words.
    get_spans (Callable): Cuts documents into windows (see `window_getter`).
    special (Sequence[int]): Ids of the special pieces; unknown pieces are counted separately.
    """
    # the training package imports this one
    from .corpus import encode

    corpus = encode(part.docs, tokenizer, get_spans, [], 1, labelled=False, name=part.name)
    numbers, counts = np.unique(corpus.pieces, return_counts=True)
    found = Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    unknown = found[tokenizer.unk_token_id]
    lost = corpus.word_row < 0
    owner, first, last = entity_words(part.docs if part.labelled else ())
    lost_ends = lost[corpus.doc_words[owner] + first] | lost[corpus.doc_words[owner] + last]
    return Pieces(
        counts=Counter({piece: n for piece, n in found.items() if piece not in set(special)}),
        n_unknown=unknown,
        n_long=int((np.diff(corpus.doc_rows) > 1).sum()),
        n_lost=int(lost.sum()),
        n_lost_ends=int(lost_ends.sum()),
    )


def share(part: int, whole: int) -> float:
    """The share part / whole, in [0, 1]; 0 if the whole is 0."""
    return part / whole if whole else 0.0
