"""How many candidate spans and entities a data set has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.spans import span_counts
from .convert import SUFFIX, check_language, read_docbin, read_labelled
from .formats import Sentence
from .labels import OUTSIDE_TAG, LabelMap


@dataclass(frozen=True)
class SpanStatistics:
    """Counts over the sentences of a data set.

    max_width (int): Longest candidate span, in words.
    sentences (int): All sentences.
    tokens (int): All words.
    candidates (int): Candidate spans of the labelled sentences.
    entities (dict): Entities by label, whatever their length.
    wider (dict): Entities of more than max_width words, by label.
    lengths (dict): Entities by their number of words.
    unlabelled (int): Sentences without annotation; they have neither candidates nor entities here.
    dropped (dict): Entities that the label map left out, by their old label.
    repairs (dict): What the reader repaired, and how often.
    """

    max_width: int
    sentences: int
    tokens: int
    candidates: int
    entities: dict[str, int]
    wider: dict[str, int]
    lengths: dict[int, int]
    unlabelled: int
    dropped: dict[str, int]
    repairs: dict[str, int]

    @property
    def outside(self) -> int:
        """All candidates less all entities, also those that are too wide to be candidates."""
        return self.candidates - sum(self.entities.values())

    def width_of(self, share: float) -> int | None:
        """The span width that a share of the entities fits in.

        share (float): In (0, 1].
        RETURNS (int): Words, or None if there are no entities.
        """
        n_held, wanted = 0, share * sum(self.lengths.values())
        for width, count in sorted(self.lengths.items()):
            n_held += count
            if n_held >= wanted:
                return width
        return None

    def to_dict(self) -> dict[str, Any]:
        """Give the counts as plain values, for JSON.

        RETURNS (dict): "spans" holds the classes, outside first; the rest is as in the fields.
        """
        return {
            "spans": {OUTSIDE_TAG: self.outside, **self.entities},
            "max_width": self.max_width,
            "longer_than_max_width": sum(self.wider.values()),
            "longer_by_label": dict(self.wider),
            "entity_lengths": {str(words): count for words, count in self.lengths.items()},
            "sentences": self.sentences,
            "tokens": self.tokens,
            "candidates": self.candidates,
            "entities": sum(self.entities.values()),
            "unlabelled_sentences": self.unlabelled,
            "dropped": dict(self.dropped),
            "repairs": dict(self.repairs),
        }


def span_statistics(sentences: Iterable[Sentence], max_width: int = 4) -> SpanStatistics:
    """Count candidate spans and entities.

    sentences (Iterable[Sentence]): The sentences.
    max_width (int): Longest candidate span, in words.
    RETURNS (SpanStatistics): The counts; labels in alphabetical order.
    RAISES (MaralError): If max_width is below 1.
    """
    lengths: list[int] = []
    n_sentences = n_tokens = 0
    entities: Counter[str] = Counter()
    wider: Counter[str] = Counter()
    words: Counter[int] = Counter()
    dropped: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
    span_counts([], max_width)
    for sentence in sentences:
        n_sentences += 1
        n_tokens += len(sentence.words)
        if sentence.labelled:
            lengths.append(len(sentence.words))
        for start, end, label in sentence.entities:
            entities[label] += 1
            wider[label] += end - start >= max_width
            words[end - start + 1] += 1
        dropped.update(sentence.dropped)
        repairs.update(sentence.repairs)
    return SpanStatistics(
        max_width=max_width,
        sentences=n_sentences,
        tokens=n_tokens,
        candidates=int(span_counts(lengths, max_width).sum()),
        entities=dict(sorted(entities.items())),
        wider=dict(sorted(wider.items())),
        lengths=dict(sorted(words.items())),
        unlabelled=n_sentences - len(lengths),
        dropped=dict(sorted(dropped.items())),
        repairs=dict(sorted(repairs.items())),
    )


def stats(
    path: str | Path,
    *,
    format: str = "auto",
    lang: str = "xx",
    max_width: int = 4,
    label_map: str | Path | LabelMap | None = None,
) -> SpanStatistics:
    """Count the candidate spans and entities of a file.

    path (str | Path): A file that `read_labelled` reads, or a .spacy file.
    format (str): One of FORMATS, "jsonl", or "auto"; not used for a .spacy file.
    lang (str): Language code, for the tokenizer of texts in JSON Lines.
    max_width (int): Longest candidate span, in words.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    RETURNS (SpanStatistics): The counts.
    RAISES (MaralError): If the file breaks its format.
    """
    code = check_language(lang)
    if Path(path).suffix == SUFFIX:
        return span_statistics(read_docbin(path, label_map=label_map), max_width)
    sentences = read_labelled(path, format, lang=code, label_map=label_map)
    return span_statistics(sentences, max_width)
