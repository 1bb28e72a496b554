"""What may be wrong with the data of a run, in numbers (shown by the debug-data command)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span

from ..model.spans import span_counts


@dataclass
class FileCounts:
    """The documents of one file, and what is counted in them.

    name (str): What the documents are for: "source", "dev", "target" or "test", with a number
        where there are several.
    labelled (bool): Whether their entities are used.
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
            words = [token.text.casefold() for token in doc if not token.is_space]
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
        """Spans of up to so many words."""
        return int(span_counts([len(doc) for doc in self.docs], max_width).sum())


@dataclass(frozen=True)
class Coverage:
    """How many entities of a type are short enough to be candidates.

    n_entities: All of them. n_covered: Those of up to the longest candidate's words. longest: Words
    of the longest one. enough: Words of a candidate that 99 % of them do not exceed.
    """

    n_entities: int
    n_covered: int
    longest: int
    enough: int

    @property
    def share(self) -> float:
        return share(self.n_covered, self.n_entities)


def coverage(widths: Counter[int], max_width: int) -> Coverage:
    """Count the entities that candidate spans reach.

    widths (Counter): Entities by their number of words.
    max_width (int): Longest candidate, in words.
    RETURNS (Coverage): The counts.
    """
    total = widths.total()
    ordered = sorted(widths)
    reached = np.cumsum([widths[width] for width in ordered])
    enough = ordered[int(np.searchsorted(reached, 0.99 * total))] if total else 0
    covered = sum(n for width, n in widths.items() if width <= max_width)
    return Coverage(total, covered, max(ordered, default=0), enough)


@dataclass(frozen=True)
class Shared:
    """Sentences of one part that another has as well.

    n_docs: How many, repeated ones each time. share: Of all that have words. examples: The first.
    """

    n_docs: int
    share: float
    examples: list[str]


def shared_sentences(first: FileCounts, second: FileCounts) -> Shared:
    """Find sentences of a part that another has as well, whatever their case and spaces.

    first (FileCounts): One part.
    second (FileCounts): The other, whose sentences are counted.
    RETURNS (Shared): The sentences.
    """
    found = {text: n for text, n in second.sentences.items() if text in first.sentences}
    n_docs = sum(found.values())
    return Shared(n_docs, share(n_docs, second.sentences.total()), list(found)[:5])


def known_share(known: Iterable[Any], found: Counter) -> tuple[float, float]:
    """How much of what occurs somewhere is known from elsewhere.

    known (Iterable): What is known.
    found (Counter): What occurs, and how often.
    RETURNS (tuple): The share of the different ones, and of all occurrences.
    """
    known = set(known)
    both = {item: n for item, n in found.items() if item in known}
    return share(len(both), len(found)), share(sum(both.values()), found.total())


@dataclass(frozen=True)
class Retokenised:
    """Entities in raw text, as the pipeline's own tokenizer cuts it into words.

    n_entities: All of them. n_cut: Those that begin or end within a word. n_too_wide: Those that
    have more words than the longest candidate only as the tokenizer cuts them. examples: Some that
    are cut.
    """

    n_entities: int
    n_cut: int
    n_too_wide: int
    examples: list[str]


def retokenise(nlp: Language, docs: Sequence[Doc], max_width: int) -> Retokenised:
    """See which entities the pipeline could not find in the raw text of documents.

    nlp (Language): The pipeline; its tokenizer is used only.
    docs (Sequence[Doc]): Labelled documents.
    max_width (int): Longest candidate, in words.
    RETURNS (Retokenised): The counts.
    """
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
    """Documents as an encoder reads them.

    counts: Word pieces by number, without special ones. n_unknown: Unknown pieces. n_long:
    Documents that need more than one window. n_lost: Words without a piece. n_lost_ends: Entities
    whose first or last word has none.
    """

    counts: Counter[int]
    n_unknown: int
    n_long: int
    n_lost: int
    n_lost_ends: int


def count_pieces(
    part: FileCounts, tokenizer: Any, get_spans: Callable, special: Sequence[int]
) -> Pieces:
    """Cut documents into word pieces, as the transformer component does.

    part (FileCounts): The documents, at least one of them with words.
    tokenizer (PreTrainedTokenizer): The encoder's tokenizer.
    get_spans (Callable): The transformer component's windows.
    special (Sequence[int]): Numbers of the special pieces; the unknown one is counted apart.
    RETURNS (Pieces): The counts.
    """
    # the training package imports this one
    from .corpus import encode

    corpus = encode(part.docs, tokenizer, get_spans, [], 1, labelled=False, name=part.name)
    numbers, counts = np.unique(corpus.pieces, return_counts=True)
    found = Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    unknown = found[tokenizer.unk_token_id]
    lost = corpus.word_row < 0
    starts = corpus.doc_words[:-1].tolist()
    ends = [
        (start + ent.start, start + ent.end - 1)
        for start, doc in zip(starts, part.docs, strict=True)
        for ent in (doc.ents if part.labelled else ())
    ]
    return Pieces(
        counts=Counter({piece: n for piece, n in found.items() if piece not in set(special)}),
        n_unknown=unknown,
        n_long=int((np.diff(corpus.doc_rows) > 1).sum()),
        n_lost=int(lost.sum()),
        n_lost_ends=sum(bool(lost[first] or lost[last]) for first, last in ends),
    )


def share(part: int, whole: int) -> float:
    """A share in [0, 1]; 0 of nothing."""
    return part / whole if whole else 0.0
