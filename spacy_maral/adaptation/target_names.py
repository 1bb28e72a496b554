"""The strings of the target text, and what a trained student learns from them at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..model.maral_ner import set_names
from ..model.names import NameMemory, span_keys
from ..model.spans import OUTSIDE, decode
from ..model.visible import VisibleWords, any_visible
from ..training.pipelines import COMPONENT, Pipeline
from ..training.settings import AdaptationSettings
from .chunks import split
from .operating_point import OperatingPoint, find_operating_point


@dataclass(frozen=True)
class Strings:
    """The strings of all candidate spans of some documents.

    keys: Key of each candidate's string, shape (n,). words: First and last word of each candidate,
    numbered over the documents. once: Whether the candidate's document is the first one with its
    words, shape (n,): a headline that comes a hundred times says as much as one.
    """

    keys: NDArray[np.uint64]
    words: tuple[NDArray[np.int64], NDArray[np.int64]]
    once: NDArray[np.bool_]

    @classmethod
    def of(cls, docs: Sequence[Doc], max_width: int) -> Strings:
        """Collect the strings of all candidate spans of documents."""
        visible = VisibleWords.of(docs)
        candidates = visible.candidates(max_width)
        first: dict[str, int] = {}
        for i, doc in enumerate(docs):
            first.setdefault(doc.text, i)
        is_first = np.zeros(len(docs), dtype=bool)
        is_first[list(first.values())] = True
        return cls(
            span_keys(visible.texts, candidates), candidates.words, is_first[candidates.owner]
        )

    def operating_point(
        self, probabilities: NDArray[np.floating], rows: slice = slice(None)
    ) -> OperatingPoint:
        """Find the operating point of some candidates, with the class probabilities of all."""
        chosen = np.flatnonzero(self.once[rows]) + (rows.start or 0)
        starts, ends = self.words
        return find_operating_point(
            self.keys[chosen], probabilities[chosen], (starts[chosen], ends[chosen])
        )


@dataclass(frozen=True)
class TargetReading:
    """What a trained student reads in the target text.

    point: Its operating point on up to `CHUNK_DOCS` documents. memory: A memory of all names, by its
    own probabilities; None if none was wanted. classes: Its decision about each candidate span, with
    its offset and without a memory, shape (n,).
    """

    point: OperatingPoint
    memory: NameMemory | None
    classes: NDArray[np.int16]


def read_target(student: Pipeline, docs: Sequence[Doc], *, names: bool) -> TargetReading:
    """Read the target text with a trained student.

    student (Pipeline): The student.
    docs (Sequence[Doc]): The target's documents.
    names (bool): Whether to build a memory of the names.
    """
    # the text is read once more, so that nothing of it is worth a place on the disk
    reader = replace(student, cache=None)
    max_width = student.network.span_model.max_width
    chunks = [chunk for chunk in split(docs) if any_visible(chunk)]
    points: list[OperatingPoint] = []
    decided: list[NDArray[np.int16]] = []
    offsets = student.network.offsets

    def spans() -> Iterator[tuple[NDArray[np.uint64], NDArray[np.floating]]]:
        for chunk in chunks:
            probabilities = reader.class_probabilities(chunk, name="Target", offset=False)
            strings = Strings.of(chunk, max_width)
            if not points:
                points.append(strings.operating_point(probabilities))
            decided.append(decide(probabilities, 0 if offsets is None else offsets, strings.words))
            yield strings.keys, probabilities

    memory = None
    if names:
        keys = (Strings.of(chunk, max_width).keys for chunk in chunks)
        memory = NameMemory.streamed(spans(), keys, len(student.labels) + 1)
    else:
        for _ in spans():
            pass
    point = points[0] if points else OperatingPoint()
    return TargetReading(point, memory, np.concatenate([*decided, np.zeros(0, dtype=np.int16)]))


def decide(
    probabilities: NDArray[np.floating],
    offsets: NDArray[np.floating] | float,
    words: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.int16]:
    """Decide about candidates by their class probabilities; RETURNS (NDArray): Classes, shape (n,)."""
    with np.errstate(divide="ignore"):
        kept, classes, _ = decode(np.log(probabilities) + offsets, *words)
    decided = np.full(len(probabilities), OUTSIDE, dtype=np.int16)
    decided[kept] = classes
    return decided


def save_names(student: Pipeline, memory: NameMemory, settings: AdaptationSettings) -> None:
    """Give a student a memory, with the weights of the settings where its component has none."""
    given = student.nlp.get_pipe_config(COMPONENT).get("names")
    weights = {
        "type_weight": settings.names_type_weight,
        "mixed_weight": settings.names_mixed_weight,
    }
    set_names(student.nlp, COMPONENT, memory.compact(), weights if given is None else given)
