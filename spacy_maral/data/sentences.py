"""A labelled sentence, how it is read, and the report of what its reader found."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import Errors, MaralError
from .labels import OUTSIDE_TAG, LabelMap
from .languages import MULTIPLE_LANGUAGES

UNSPACED_LANGUAGES = frozenset(
    ("zh", "ja", "th", "lo", "my", "km", "bo", "dz", "yue", "wuu", "lzh")
)
"""Languages written without spaces between words."""

TAGS, MISALIGNED = ("repair", "strict"), ("refuse", "drop", "expand")
EXAMPLES, PROBLEMS = 3, 20
REPAIR_NFC = "word brought to Unicode NFC"
REPAIR_TEXT = "# text that its words do not follow, left out"
REPAIR_LABEL = "blanks at the ends of a label left out of it"


class Entity(NamedTuple):
    """An entity: first word, last word (inclusive) and label."""

    start: int
    end: int
    label: str


@dataclass
class Sentence:
    """A sentence and its entities.

    words (list[str]): The words.
    entities (list[Entity]): First word, last word (inclusive) and label of each, in text order.
    spaces (list[bool] | None): Whether a space follows each word; None where the file has no text.
    lang (str): The language that the file names, or "".
    sent_id (str): The name of the sentence in the file, or "".
    line (int): Its first line in the file, or 0.
    labelled (bool): False without annotation of entities; then `entities` is empty.
    runs (list[int] | None): Lengths of the runs of annotated visible words, if only a part of the
        words is annotated. missing (list[int] | None): Numbers of the words that are not.
    """

    words: list[str]
    entities: list[Entity] = field(default_factory=list)
    spaces: list[bool] | None = None
    lang: str = ""
    sent_id: str = ""
    line: int = 0
    labelled: bool = True
    runs: list[int] | None = None
    missing: list[int] | None = None


@dataclass
class ReadReport:
    """What a reader repaired, left out and could not read.

    repairs (Counter): Repairs of text or tags, by kind.
    examples (dict): Place and finding of the first repairs of each kind.
    dropped (Counter): Entities that the label map left out, by their old label.
    problems (list[str]): The first problems. n_problems (int): Number of all problems.
    """

    repairs: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    n_problems: int = 0

    def repair(self, kind: str, place: str, found: str = "") -> None:
        """Count a repair, and keep the first ones of its kind as examples."""
        self.repairs[kind] += 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(f"{place}: {found}" if found else place)

    def problem(self, error: MaralError) -> None:
        """Note a problem; the file is read to its end, so that all of them are known at once."""
        self.n_problems += 1
        if len(self.problems) < PROBLEMS:
            self.problems.append(str(error))

    def check(self, path: str | Path) -> None:
        """Refuse a file with problems.

        RAISES (MaralError): The problem, or the list of all problems.
        """
        if not self.n_problems:
            return
        if self.n_problems == 1:
            raise MaralError(self.problems[0])
        shown = "\n  ".join(self.problems)
        if self.n_problems > len(self.problems):
            shown += f"\n  and {self.n_problems - len(self.problems):,} more"
        found = {"n": f"{self.n_problems:,}", "problems": shown}
        raise MaralError(Errors.M157.format(path=path, **found))


@dataclass
class ReadSettings:
    """How labelled data is read.

    lang (str): Language code, for the tokenizer of texts that bring no words of their own.
    label_map (LabelMap | None): New label of each label, None to leave its entities out; or no map.
    labelled (bool): Whether to read the entities; without, nothing looks at tags and labels.
    tags (str): "repair" sequences of tags that do not fit together, or refuse them ("strict").
    misaligned (str): "drop" entities that do not begin and end where words do, "expand" them to the
        words that they touch, or "refuse" the file.
    columns (dict | None): Numbers of the columns with word and tag, from 0 or backwards from -1.
    tag_names (list[str] | None): Names of tags that are numbers.
    split (str): Part of a dataset in several parts, such as "train".
    segmenter (str | None): How Chinese words are found in texts without words of their own.
    reviewed (bool): Whether to leave rows without an answer out.
    report (ReadReport): Filled while reading.
    """

    lang: str = MULTIPLE_LANGUAGES
    label_map: LabelMap | None = None
    labelled: bool = True
    tags: str = "repair"
    misaligned: str = "refuse"
    columns: dict[str, int] | None = None
    tag_names: Sequence[str] | None = None
    split: str = "train"
    segmenter: str | None = None
    reviewed: bool = False
    report: ReadReport = field(default_factory=ReadReport)

    def __post_init__(self) -> None:
        for name, known in (("tags", TAGS), ("misaligned", MISALIGNED)):
            if (value := getattr(self, name)) not in known:
                rule = f"one of {', '.join(known)}"
                raise MaralError(Errors.M153.format(name=name, rule=rule, value=repr(value)))

    def map_labels(self, entities: Sequence[Entity], places: Sequence[str]) -> list[Entity]:
        """Replace the labels of a sentence's entities.

        entities (Sequence[Entity]): The entities.
        places (Sequence[str]): Place of each word as file:line, for messages.
        RETURNS (list[Entity]): Those that the label map keeps; labels that it lacks, and that of the
            outside class, are problems.
        """
        kept = []
        for entity in entities:
            label: str | None = entity.label
            place = places[entity.start]
            if any(unicodedata.category(char) == "Cs" for char in entity.label):
                error = Errors.M143.format(place=place, found="half a surrogate pair in a label")
                self.report.problem(MaralError(error))
                continue
            if self.label_map is not None:
                if entity.label not in self.label_map:
                    known = ", ".join(self.label_map)
                    error = Errors.M115.format(place=place, found=label, known=known)
                    self.report.problem(MaralError(error))
                    continue
                label = self.label_map[entity.label]
            if label is None:
                self.report.dropped[entity.label] += 1
            elif label == OUTSIDE_TAG:
                self.report.problem(MaralError(Errors.M116.format(place=place, found=label)))
            else:
                kept.append(entity._replace(label=label))
        return kept


def is_unspaced(lang: str) -> bool:
    """Whether a language is written without spaces between words.

    lang (str): Language code; parts after the first hyphen do not count, except in zh-min-nan.
    RETURNS (bool): True for Chinese, Japanese, Thai, Lao, Burmese, Khmer, Tibetan and Dzongkha.
    """
    return lang != "zh-min-nan" and lang.replace("_", "-").split("-")[0] in UNSPACED_LANGUAGES


def spaces_of(sentence: Sentence, lang: str) -> list[bool]:
    """Whether a space follows each word of a sentence: by its text, or else by its language.

    sentence (Sentence): The sentence.
    lang (str): Language code, or "xx" for the one that the file names.
    RETURNS (list[bool]): One for each word.
    """
    if sentence.spaces is not None:
        return sentence.spaces
    own = sentence.lang if lang == MULTIPLE_LANGUAGES else lang
    return [not is_unspaced(own)] * (len(sentence.words) - 1) + [False]


def join_words(words: Sequence[str], spaces: Sequence[bool]) -> tuple[str, list[tuple[int, int]]]:
    """Make the text of words.

    words (Sequence[str]): The words.
    spaces (Sequence[bool]): Whether a space follows each word.
    RETURNS (tuple): The text, and first character and end (exclusive) of each word.
    """
    offsets, place = [], 0
    for word, space in zip(words, spaces, strict=True):
        offsets.append((place, place + len(word)))
        place += len(word) + space
    return "".join(w + " " * s for w, s in zip(words, spaces, strict=True)), offsets


def find_words(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Find words in the text that they come from.

    words (Sequence[str]): The words.
    text (str): The text.
    RETURNS (list[tuple] | None): First character and end (exclusive) of each word. None if the text
        is not made of these words in this order, with only white space between.
    """
    offsets, place = [], 0
    for word in words:
        # a word of white space follows the space that belongs to the word before
        if (
            word[:1].isspace()
            and text[place : place + 1] == " "
            and text.startswith(word, place + 1)
        ):
            place += 1
        elif not text.startswith(word, place):
            place = len(text) - len(text[place:].lstrip())
        if not word or not text.startswith(word, place):
            return None
        offsets.append((place, place + len(word)))
        place += len(word)
    return None if text[place:].strip() else offsets


def spaces_between(offsets: Sequence[tuple[int, int]], text: str) -> list[bool]:
    """Whether white space follows each word.

    offsets (Sequence[tuple]): First character and end (exclusive) of each word.
    text (str): The text.
    RETURNS (list[bool]): One for each word; for the last one, whether the text goes on.
    """
    following = [start for start, _ in offsets[1:]] + [len(text)]
    return [end < start for (_, end), start in zip(offsets, following, strict=True)]
