"""Project the entities of sentences onto their translations, with an encoder as aligner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from tqdm.auto import tqdm

from ..data.convert import check_output, write_docs
from ..data.docs import SUFFIX, read_docs
from ..data.languages import blank_pipeline
from ..data.raw import SUFFIXES, describe_counts, file_texts, kind_of
from ..data.text import check_file
from ..data.tokens import tokenize
from ..errors import Errors, MaralError
from ..evaluation.evaluate import load_pipeline
from ..model.gold import annotated_words
from ..model.machine import use_device
from ..model.visible import VisibleWords, any_visible
from ..training.word_states import CHUNK_WORDS, States, divide, make_states
from .word_links import link_words, project_spans

NOT_ANNOTATED = "not wholly annotated"
NO_WORDS = "no words"
NOT_FOUND = "an entity without a counterpart"
SCATTERED = "the words of an entity are scattered"
SHARED = "two entities share a word"
# a projected span may be so many times as long as the original, and so many words longer
TIMES, MORE = 2, 2

Pair = tuple[Doc, Doc]


@dataclass
class ProjectionReport:
    """Counts over the pairs of sentences.

    pairs (int): Pairs that were read.
    sentences (int): Target sentences that got labels.
    words, entities (int): Their words and entities.
    left_out (dict): Pairs that were left out, by reason.
    """

    pairs: int
    sentences: int = 0
    words: int = 0
    entities: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def project_labels(
    model: str | Path,
    source: str | Path,
    target: str | Path,
    output: str | Path,
    *,
    lang: str | None = None,
    segmenter: str | None = None,
    layer: int | None = None,
    gpu_id: int = -1,
) -> ProjectionReport:
    """Give translated sentences the entities of their originals.

    Words correspond if their vectors are more similar to each other than to any other word of the other
    sentence (see `link_words`). An entity goes to the words that its own words correspond to (see
    `project_spans`). A pair is left out if an entity has no counterpart, if its words are scattered, if
    two entities share a word, if the original is not wholly annotated, or if one of both has no words.

    EXAMPLE: project_labels("teacher", "english.spacy", "german.txt", "german.spacy", lang="de")

    model (str | Path): Folder or name of a pipeline whose encoder knows both languages, such as a
        teacher.
    source (str | Path): Labelled sentences (.spacy).
    target (str | Path): Their translations: a text file with one in each line (.txt), rows with a
        "text" (.jsonl), or documents (.spacy), whose entities are ignored. The n-th one belongs to the
        n-th source sentence.
    output (str | Path): The file to write (.spacy).
    lang (str | None): Language code of translations that are text.
    segmenter (str | None): How Chinese words are found (see `read_raw`).
    layer (int | None): Layer of the encoder whose states are the vectors, from 1; None for the middle
        one, or the last one of an encoder without a list of layers, such as ALBERT.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (ProjectionReport): Counts.
    RAISES (MaralError): If the sentences are not as many as their translations, a file cannot be read
        or written, the pipeline has no encoder with such a layer, or no pair is left.
    """
    path = check_output(Path(output), (source, target))
    use_device(gpu_id)
    states = make_states(load_pipeline(model, gpu_id=gpu_id), layer, str(model))
    pairs = read_pairs(source, target, lang, segmenter)
    report, left_out = ProjectionReport(len(pairs)), Counter[str]()
    kept: list[Doc] = []
    with tqdm(total=len(pairs), desc="Project", unit=" sentences", disable=None) as bar:
        for chunk in divide(pairs, CHUNK_WORDS):
            for (_, doc), reason in zip(chunk, project_pairs(chunk, states), strict=True):
                if reason:
                    left_out[reason] += 1
                else:
                    kept.append(doc)
            bar.update(len(chunk))
    report.left_out = dict(sorted(left_out.items()))
    if not kept:
        raise MaralError(Errors.M541.format(path=target, reasons=describe_counts(report.left_out)))
    report.sentences, report.words = len(kept), sum(map(len, kept))
    report.entities = sum(len(doc.ents) for doc in kept)
    write_docs(path, kept)
    return report


def read_pairs(
    source: str | Path, target: str | Path, lang: str | None, segmenter: str | None
) -> list[Pair]:
    """Read sentences and their translations.

    RAISES (MaralError): If they are not as many. Empty ones at the end of the translations do not count.
    """
    originals, translated = read_docs(source), read_translations(target, lang, segmenter)
    while len(translated) > len(originals) and not translated[-1].text.strip():
        translated.pop()
    if len(translated) != len(originals):
        found = {"n_target": len(translated), "n_source": len(originals)}
        raise MaralError(Errors.M540.format(source=source, target=target, **found))
    return list(zip(originals, translated, strict=True))


def read_translations(path: str | Path, lang: str | None, segmenter: str | None) -> list[Doc]:
    """Read translations, without entities; an empty line is a document without words.

    RAISES (MaralError): If the file is no text or documents, or text has no language.
    """
    file = check_file(path)
    if kind_of(file) == SUFFIX:
        return [
            Doc(doc.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
            for doc in read_docs(file)
        ]
    if kind_of(file) not in SUFFIXES:
        raise MaralError(Errors.M151.format(path=file, known=", ".join(SUFFIXES)))
    if lang is None:
        raise MaralError(Errors.M337.format(path=file))
    nlp = blank_pipeline(lang, segmenter)
    return [tokenize(nlp, text.strip()) for text in file_texts(file, blank=True)]


def project_pairs(pairs: Sequence[Pair], states: States) -> list[str]:
    """Give translations the entities of their originals.

    RETURNS (list[str]): Why each pair is left out; "" where the translation has the entities.
    """
    reasons = [_unusable(*pair) for pair in pairs]
    usable = [pair for pair, reason in zip(pairs, reasons, strict=True) if not reason]
    if usable:
        vectors = [states([pair[side] for pair in usable]) for side in (0, 1)]
        found = [project(*pair, *own) for pair, *own in zip(usable, *vectors, strict=True)]
        rest = iter(found)
        reasons = [reason or next(rest) for reason in reasons]
    return reasons


def _unusable(original: Doc, translated: Doc) -> str:
    """Why a pair cannot be used; "" if it can."""
    if not any_visible([original]) or not any_visible([translated]):
        return NO_WORDS
    known = annotated_words(original)[VisibleWords.of([original]).mask]
    return "" if known.all() else NOT_ANNOTATED


def project(original: Doc, translated: Doc, source: NDArray, target: NDArray) -> str:
    """Give a translation the entities of its original.

    original, translated (Doc): The sentences; the second gets the entities.
    source, target (NDArray): Vectors of their visible words, shapes (n, h) and (m, h).
    RETURNS (str): Why it cannot be done; "" if it was.
    """
    starts, ends, labels = visible_entities(original)
    first, last = project_spans(starts, ends, link_words(source, target))
    if reason := problem_of(ends - starts + 1, first, last):
        return reason
    places = VisibleWords.of([translated]).places
    spans = zip(places[first].tolist(), places[last].tolist(), labels, strict=True)
    found = [Span(translated, i, j + 1, label=label) for i, j, label in spans]
    translated.set_ents(found, default="outside")
    return ""


def visible_entities(doc: Doc) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """First and last word, numbered over the visible words, and label of each entity that has any."""
    ents = doc.ents
    bounds = np.array([(ent.start, ent.end - 1) for ent in ents], dtype=np.int64).reshape(-1, 2).T
    starts, ends = VisibleWords.of([doc]).renumber(np.zeros(len(ents), dtype=np.int64), *bounds)
    seen = ends >= starts
    return (
        starts[seen],
        ends[seen],
        [ent.label_ for ent, is_seen in zip(ents, seen, strict=True) if is_seen],
    )


def problem_of(
    lengths: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]
) -> str:
    """Why projected spans cannot be entities; "" if they can.

    lengths (NDArray): Words of each span in the source, shape (n,).
    first, last (NDArray): First and last word of each in the target, shape (n,) each; -1 for none.
    """
    if (last < 0).any():
        return NOT_FOUND
    if (last - first + 1 > TIMES * lengths + MORE).any():
        return SCATTERED
    order = np.argsort(first)
    return SHARED if (first[order][1:] <= last[order][:-1]).any() else ""
