"""Count the candidate spans and entities of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model.spans import span_counts
from ..model.visible import is_blank
from .convert import read_sentences
from .files import short_names
from .formats.registry import AUTO
from .labels import OUTSIDE_TAG, LabelMap, load_label_map
from .languages import language_code
from .sentences import ReadReport, ReadSettings, Sentence


@dataclass
class SpanStatistics:
    """Counts over the sentences of a data set.

    max_width (int): Longest candidate span, in words.
    sentences (int): All sentences.
    tokens (int): All words.
    candidates (int): Candidate spans of annotated words.
    entities (Counter): Entities of any length, by label.
    wider (Counter): Entities of more than max_width words, by label.
    lengths (Counter): Entities by their number of words.
    unlabelled (int): Sentences without annotation; their candidates and entities are not counted.
    partial (int): Sentences in which only a part of the words is annotated; spans that touch another
        word are not counted.
    dropped (Counter): Entities that the label map left out, by their old label.
    repairs (Counter): Repairs of the reader, by kind.
    """

    max_width: int
    sentences: int = 0
    tokens: int = 0
    candidates: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    wider: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    unlabelled: int = 0
    partial: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)

    @property
    def outside(self) -> int:
        """All candidates less all entities, even entities that are too wide to be candidates."""
        return self.candidates - self.entities.total()

    def width_of(self, share: float) -> int | None:
        """Find the span width that covers a share of the entities.

        share (float): In (0, 1].
        RETURNS (int): Words, or None if there are no entities.
        """
        n_held, wanted = 0, share * self.lengths.total()
        for width, count in sorted(self.lengths.items()):
            n_held += count
            if n_held >= wanted:
                return width
        return None

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON; "spans" holds the classes, outside first."""
        return {
            "spans": {OUTSIDE_TAG: self.outside, **self.entities},
            "max_width": self.max_width,
            "longer_than_max_width": self.wider.total(),
            "longer_by_label": dict(self.wider),
            "entity_lengths": {str(words): count for words, count in self.lengths.items()},
            "sentences": self.sentences,
            "tokens": self.tokens,
            "candidates": self.candidates,
            "entities": self.entities.total(),
            "unlabelled_sentences": self.unlabelled,
            "partly_annotated_sentences": self.partial,
            "dropped": dict(self.dropped),
            "repairs": dict(self.repairs),
        }


def span_statistics(
    sentences: Iterable[Sentence], max_width: int = 4, report: ReadReport | None = None
) -> SpanStatistics:
    """Count candidate spans and entities.

    sentences (Iterable[Sentence]): The sentences.
    max_width (int): Longest candidate span, in words.
    report (ReadReport | None): What their reader finds.
    RETURNS (SpanStatistics): The counts; labels in alphabetical order.
    RAISES (MaralError): If max_width is below 1.
    """
    span_counts([], max_width)
    found = SpanStatistics(max_width)
    lengths: list[int] = []
    for sentence in sentences:
        found.sentences += 1
        found.tokens += len(sentence.words)
        if not sentence.labelled:
            found.unlabelled += 1
        elif sentence.runs is not None:
            found.partial += 1
            lengths += sentence.runs
        else:
            lengths.append(sum(not is_blank(word) for word in sentence.words))
        for start, end, label in sentence.entities:
            found.entities[label] += 1
            found.wider[label] += end - start >= max_width
            found.lengths[end - start + 1] += 1
    if report is not None:
        found.dropped.update(report.dropped)
        found.repairs.update(report.repairs)
    found.candidates = int(span_counts(lengths, max_width).sum())
    for name in ("entities", "wider", "lengths", "dropped", "repairs"):
        setattr(found, name, Counter(dict(sorted(getattr(found, name).items()))))
    return found


def stats(
    path: str | Path,
    *,
    format: str = AUTO,
    lang: str = "xx",
    max_width: int = 4,
    label_map: str | Path | LabelMap | None = None,
) -> SpanStatistics:
    """Count the candidate spans and entities of a file.

    path (str | Path): A file that `read_labelled` reads, or a .spacy file.
    format (str): A format, or "auto"; not used for a .spacy file.
    lang (str): Language code, for the tokenizer of texts without words of their own.
    max_width (int): Longest candidate span, in words.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    RETURNS (SpanStatistics): The counts.
    RAISES (MaralError): If the file breaks its format.
    """
    code = language_code(lang)
    reading = ReadSettings(code, load_label_map(label_map))
    return span_statistics(read_sentences(path, format, reading), max_width, reading.report)


def span_table(files: Mapping[str, SpanStatistics]) -> tuple[list[str], list[list[str]]]:
    """Tabulate the counts of several files, as in the paper's tables of datasets.

    files (Mapping[str, SpanStatistics]): Counts by name of the file.
    RETURNS (tuple): Header and rows: sentences, words, candidate spans of each class, and entities
        that are longer than the longest candidate. A file without a class has a dash.
    """
    every = list(files.values())
    labels = sorted(set().union(*(statistics.entities for statistics in every)))
    rows: dict[str, list[int | None]] = {
        "sentences": [statistics.sentences for statistics in every],
        "words": [statistics.tokens for statistics in every],
        OUTSIDE_TAG: [statistics.outside for statistics in every],
        **{label: [statistics.entities.get(label) for statistics in every] for label in labels},
        "entities that are longer": [statistics.wider.total() for statistics in every],
    }
    cells = [
        [name, *("-" if count is None else f"{count:,}" for count in counts)]
        for name, counts in rows.items()
    ]
    return ["", *short_names([*files])], cells
