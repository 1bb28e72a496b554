"""Suggest sentences of raw text to annotate, with the model's entities filled in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from ..data.docs import SUFFIX
from ..data.export import check_format, prove_output, write_suggestions
from ..data.files import Paths, as_paths, prove_writable
from ..errors import Errors, MaralError, Warnings
from ..model.machine import use_device
from ..model.spans import OUTSIDE
from ..model.visible import VisibleWords
from ..training.inputs import Inputs
from .chunks import Annotator, load_annotator, predict, with_probabilities
from .doubt import choose_docs, usable_sentences
from .label_target import describe
from .pseudo_labels import PseudoLabels

logger = logging.getLogger("spacy")

NUMBER = 100
# what an annotator's work on a sentence takes beside reading it, in words
SENTENCE = 5


@dataclass
class SuggestReport:
    """What was suggested: numbers of sentences, of those chosen by doubt, of words and of entities."""

    sentences: int
    doubtful: int
    words: int
    entities: int


def suggest(
    model: Annotator,
    target: Paths,
    output: str | Path,
    *,
    n: int | None = None,
    words: int | None = None,
    format: str = "jsonl",
    lang: str | Sequence[str] | None = None,
    random: bool = False,
    exclude: Paths | None = None,
    seed: int = 0,
    gpu_id: int = -1,
) -> SuggestReport:
    """Suggest the sentences to annotate: those with the most names that the model doubts.

    The doubt of a candidate span is 1 - max p, so that entities that the model may have missed count
    like those whose class it is not certain of. A name that a chosen sentence has counts no more. With a
    limit on the words, the doubts of a sentence are divided by what it costs to annotate: its words, and
    `SENTENCE` more. The file has the model's entities, to be corrected, the most doubtful sentence first.

    EXAMPLE: suggest("teacher", "german/", "to-annotate.jsonl", lang="de", format="prodigy")

    model (Annotator): Folder or name of a pipeline with maral_ner, or the pipeline.
    target (Paths): Documents (.spacy), whose entities are ignored, or raw text (see `read_raw`).
    output (str | Path): The file to write: documents if its name ends in .spacy, else `format`.
    n (int | None): Number of sentences; by default 100, and with `words` as many as these allow.
    words (int | None): Most words of all sentences together. The list ends before the sentence that
        would be too much, and has one sentence even if that is longer.
    format (str): A format of labelled data (see `export`).
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each file.
    random (bool): Draw the sentences at random, to compare with, or to measure a model on.
    exclude (Paths | None): Documents (.spacy) that are not to be suggested, such as annotated ones.
    seed (int): Seed of the random draw and of ties.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (SuggestReport): Numbers of what was suggested.
    RAISES (MaralError): If the model has no maral_ner, a file cannot be read or written, or there is
        no sentence to suggest.
    """
    path = Path(output)
    check_format(format)
    read = [*as_paths(target), *as_paths(exclude or ())]
    if path.suffix == SUFFIX:
        prove_writable(path, inputs=read)
    else:
        prove_output(path, format, read)
    for name, limit in (("n", n), ("words", words)):
        if limit is not None and limit < 1:
            raise MaralError(Errors.M153.format(name=name, rule="at least 1", value=limit))
    use_device(gpu_id)
    annotator = with_probabilities(load_annotator(model, gpu_id), describe(model))
    docs = Inputs.read(lang, target=target).docs["target"]
    usable = usable_sentences(docs, exclude)
    if not len(usable):
        raise MaralError(Errors.M516.format(paths=", ".join(map(str, as_paths(target)))))
    if n is None:
        n = NUMBER if words is None else len(usable)
    if len(usable) < n:
        logger.warning(Warnings.W512.format(n=n, found=len(usable)))
    lengths = np.array(list(map(len, docs)))
    n_doubtful = 0
    if random:
        chosen = within(np.random.default_rng(seed).permutation(usable)[:n], lengths, words)
        docs = [docs[i] for i in chosen.tolist()]
        chosen = np.arange(len(docs))
    labels = predict(annotator, docs)
    if not random:
        costs = None if words is None else lengths + float(SENTENCE)
        chosen, n_doubtful = choose_docs(docs, labels, usable, n=n, seed=seed, costs=costs)
        chosen = within(chosen, lengths, words)
    suggested = with_entities(docs, labels, chosen)
    write_suggestions(suggested, path, format=format)
    return SuggestReport(
        len(suggested), min(n_doubtful, len(suggested)), sum(map(len, suggested)),
        sum(len(doc.ents) for doc in suggested),
    )  # fmt: skip


def within(
    chosen: NDArray[np.int64], lengths: NDArray[np.int64], words: int | None
) -> NDArray[np.int64]:
    """The first of the chosen sentences, at least one, that have at most so many words together."""
    if words is None:
        return chosen
    n = np.searchsorted(np.cumsum(lengths[chosen]), words, side="right")
    return chosen[: max(1, int(n))]


def with_entities(
    docs: Sequence[Doc], labels: PseudoLabels, chosen: NDArray[np.int64]
) -> list[Doc]:  # fmt: skip
    """Give some documents the entities that their labels say; all other words become outside."""
    candidates = VisibleWords.of(docs).candidates(labels.max_width)
    for number in chosen.tolist():
        doc, first = docs[number], candidates.offsets[number]
        classes = labels.probabilities[first : candidates.offsets[number + 1]].argmax(1)
        spans = np.flatnonzero(classes != OUTSIDE)
        starts, ends = candidates.in_documents(first + spans)
        columns = (starts.tolist(), ends.tolist(), classes[spans].tolist())
        found = [
            Span(doc, i, j + 1, label=labels.labels[c - 1])
            for i, j, c in zip(*columns, strict=True)
        ]
        doc.set_ents(found, default="outside")
    return [docs[number] for number in chosen.tolist()]
