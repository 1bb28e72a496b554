"""The name memory of a trained pipeline: built from raw text, looked into, and removed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import logger
from tqdm.auto import tqdm

from ..data.raw import read_raw
from ..errors import Errors, MaralError, Warnings
from ..evaluation.evaluate import load_pipeline, without_labels
from ..model.architectures import get_span_module
from ..model.encoder.batches import group_rows
from ..model.maral_ner import MaralNER, set_names
from ..model.names import Keys, NameMemory, NameSettings, span_keys
from ..model.spans import Candidates, softmax
from ..model.visible import VisibleWords
from ..training.pipelines import COMPONENT, check_folder, require_component
from ..training.saving import check_place, save_copy

WINDOW_WORDS, BATCH_WORDS = 16_384, 1024


class NameFacts(NamedTuple):
    """Facts about a memory: its strings, their mentions, its bytes, and the component's setting."""

    strings: int
    mentions: int
    n_bytes: int
    settings: dict[str, Any] | None


class Known(NamedTuple):
    """What a memory knows of a string: its mentions, and their mean probability of each class.

    shares (dict): By label, outside as "O"; empty for a string that is not stored.
    """

    string: str
    mentions: int
    shares: dict[str, float]


def add_names(
    model: str | Path,
    corpus: Sequence[str | Path],
    output: str | Path,
    *,
    type_weight: float = 0.75,
    mixed_weight: float = 0.0,
    lang: str | None = None,
    gpu_id: int = -1,
) -> NameFacts:
    """Save a pipeline with a name memory of raw text, by its own probabilities.

    A memory that the pipeline has is replaced.

    EXAMPLE: add_names("student", ["german/"], "student-names")

    model (str | Path): The pipeline: its folder, or its name if it is installed.
    corpus (Sequence): Raw text similar to what the pipeline will read, see `read_raw`.
    output (str | Path): Folder for the new pipeline; may be that of the old one.
    type_weight, mixed_weight (float): See `NameSettings`.
    lang (str | None): Language whose tokenizer divides the text; by default the pipeline's own one
        does.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (NameFacts): Facts about the memory.
    RAISES (MaralError): If the pipeline has no maral_ner, the folder is in use, or a file cannot be
        read or written.
    """
    settings: dict[str, Any] = {"type_weight": type_weight, "mixed_weight": mixed_weight}
    NameSettings(**settings)
    check_place(Path(model), Path(output))
    nlp = load_pipeline(model, gpu_id=gpu_id)
    require_component(nlp, model)

    def read() -> Iterator[Doc]:
        docs = read_raw(
            corpus, lang or str(nlp.lang), nlp=None if lang else nlp, min_words=1,
            max_words=sys.maxsize,
        )  # fmt: skip
        return without_labels(nlp, docs)

    memory = build_names(nlp, read).compact()
    warn_if_calibrated(nlp, model)
    set_names(nlp, COMPONENT, memory, settings)
    save_copy(nlp, Path(output))
    return facts_of(component(nlp))


def drop_names(model: str | Path) -> NameFacts:
    """Remove the name memory of a pipeline from its folder, and turn the setting off.

    model (str | Path): Folder of the pipeline.
    RETURNS (NameFacts): Facts about what was removed.
    RAISES (MaralError): If the folder has no pipeline with a maral_ner, or cannot be written.
    """
    check_folder(Path(model))
    nlp = load_pipeline(model)
    require_component(nlp, model)
    facts = facts_of(component(nlp))
    if component(nlp).names is not None:
        warn_if_calibrated(nlp, model)
    set_names(nlp, COMPONENT, None, None)
    save_copy(nlp, Path(model))
    return facts


def look_up(model: str | Path, strings: Sequence[str]) -> tuple[NameFacts, list[Known]]:
    """Look strings up in the name memory of a pipeline, which holds only their hashes.

    model (str | Path): The pipeline: its folder, or its name if it is installed.
    strings (Sequence[str]): The strings, divided into words by the pipeline.
    RETURNS (tuple): Facts about the memory, and what it knows of each string.
    RAISES (MaralError): If there is no such pipeline, or it has no memory.
    """
    nlp = load_pipeline(model)
    require_component(nlp, model)
    pipe = component(nlp)
    if pipe.names is None:
        raise MaralError(Errors.M505.format(model=model))
    known = []
    for string in strings:
        words = VisibleWords.of([nlp.make_doc(string)]).texts
        # the longest of these words' spans from the first one on
        keys = span_keys(words, Candidates([len(words)], max(1, len(words))))
        _, places = pipe.names.find(keys[len(words) - 1 : len(words)])
        shares, mentions = {}, 0
        for place in places.tolist():
            mentions = int(pipe.names.mentions[place])
            means = (pipe.names.sums[place] / mentions).tolist()
            shares = dict(zip(("O", *pipe.labels), means, strict=True))
        known.append(Known(string, mentions, shares))
    return facts_of(pipe), known


def build_names(
    nlp: Language,
    read: Callable[[], Iterable[Doc]],
    *,
    skip_failing: bool = False,
    limit: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> NameMemory:
    """Build a name memory of documents by a pipeline's own probabilities, without its present memory.

    nlp (Language): The pipeline, with a maral_ner.
    read (Callable): Returns the documents, tokenised by the pipeline; it is called twice.
    skip_failing (bool): Whether documents that the pipeline fails on are left out.
    limit (Callable): Makes the context that each batch is scored in, such as a time limit.
    RETURNS (NameMemory): The memory.
    """
    pipe, place = component(nlp), nlp.pipe_names.index(COMPONENT)
    width = get_span_module(pipe.model).max_width

    def score(docs: list[Doc]) -> Iterator[tuple[Keys, NDArray[np.floating]]]:
        """Score a batch. If that fails, try its halves, down to documents that are left out."""
        try:
            with limit():
                read_docs = list(nlp.pipe(docs, batch_size=len(docs)))
                found = pipe.score_spans(read_docs)
        except Exception:
            # components raise errors of any kind
            if not skip_failing:
                raise
            half = len(docs) // 2
            for part in (docs[:half], docs[half:]) if half else ():
                yield from score(part)
            return
        yield span_keys(VisibleWords.of(read_docs).texts, found.candidates), softmax(found.scores)

    def spans() -> Iterator[tuple[Keys, NDArray[np.floating]]]:
        with nlp.select_pipes(disable=nlp.pipe_names[place:]):
            for batch in batches(nlp, tqdm(read(), desc="Names", unit=" texts", disable=None)):
                yield from score(batch)

    def keys() -> Iterator[Keys]:
        for batch in batches(nlp, read()):
            visible = VisibleWords.of(batch)
            yield span_keys(visible.texts, visible.candidates(width))

    return NameMemory.streamed(spans(), keys(), len(pipe.labels) + 1)


def batches(nlp: Language, docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    """Batches of documents of similar length; their strings and vectors are freed window by window."""
    remaining = iter(docs)
    while True:
        with nlp.memory_zone():
            window, n_words = [], 0
            for doc in remaining:
                window.append(doc)
                n_words += 1 + len(doc)
                if n_words >= WINDOW_WORDS:
                    break
            if not window:
                return
            lengths = np.array([max(len(doc), 1) for doc in window])
            order = np.argsort(lengths, kind="stable")
            for batch in group_rows(order, lengths, most=BATCH_WORDS):
                yield [window[number] for number in batch]


def component(nlp: Language) -> MaralNER:
    """The component of a pipeline that has one."""
    return cast(MaralNER, nlp.get_pipe(COMPONENT))


def warn_if_calibrated(nlp: Language, model: str | Path) -> None:
    """Say that a calibration was fitted to the scores of another name memory."""
    if component(nlp).cfg.get("calibration"):
        logger.warning(Warnings.W506.format(model=model))


def facts_of(pipe: MaralNER) -> NameFacts:
    """Describe the memory of a component."""
    memory = pipe.names or NameMemory.empty(len(pipe.labels) + 1)
    return NameFacts(
        len(memory), int(memory.mentions.sum()), memory.compact().n_bytes, pipe.cfg["names"]
    )
