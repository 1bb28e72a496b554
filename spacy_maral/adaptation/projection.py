"""Project the entities of sentences onto their translations, with an encoder as aligner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import minibatch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.convert import write_docs
from ..data.docs import read_docs
from ..data.files import prove_writable
from ..data.languages import blank_pipeline
from ..data.raw import describe_counts, is_docbin
from ..data.text import read_lines
from ..data.tokens import tokenize
from ..errors import Errors, MaralError
from ..evaluation.evaluate import load_pipeline
from ..model.architectures import get_encoder
from ..model.encoder.layers import layer_stack, split_encoder
from ..model.gold import annotated_words
from ..model.machine import use_device
from ..model.visible import VisibleWords, any_visible
from ..training.corpus import encode, make_batch, members
from .word_links import link_words, project_spans

NOT_ANNOTATED = "not wholly annotated"
NO_WORDS = "no words"
NOT_FOUND = "an entity without a counterpart"
SCATTERED = "the words of an entity are scattered"
SHARED = "two entities share a word"
# a projected span may be so many times as long as the original, and so many words longer
TIMES, MORE = 2, 2
# pairs whose vectors are in memory at once, and word pieces of a batch
CHUNK_PAIRS, BATCH_TOKENS = 2000, 4096


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

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [
            f"{self.sentences:,} of {self.pairs:,} sentences, with {self.words:,} words and "
            f"{self.entities:,} entities"
        ]
        if self.left_out:
            parts.append(f"left out: {describe_counts(self.left_out)}")
        return "; ".join(parts)


def project_labels(
    model: str | Path,
    source: str | Path,
    target: str | Path,
    output: str | Path,
    *,
    lang: str = "xx",
    segmenter: str | None = None,
    layer: int | None = None,
    gpu_id: int = -1,
) -> ProjectionReport:
    """Give translated sentences the entities of their originals.

    Words correspond if their vectors are more similar to each other than to any other word of the other
    sentence (see `link_words`). An entity goes to the words from the first to the last one that its own
    words correspond to. A pair is left out if an entity has no counterpart, so that no name becomes a
    word outside of entities.

    EXAMPLE: project_labels("teacher", "english.spacy", "german.txt", "german.spacy", lang="de")

    model (str | Path): Folder or name of a pipeline whose encoder knows both languages, such as a
        teacher.
    source (str | Path): Labelled sentences (.spacy).
    target (str | Path): Their translations: a text file with one in each line, or documents (.spacy),
        whose entities are ignored. The n-th one belongs to the n-th source sentence.
    output (str | Path): The file to write (.spacy).
    lang (str): Language code of the translations.
    segmenter (str | None): How Chinese words are found (see `read_raw`).
    layer (int | None): Layer of the encoder whose states are the vectors, from 1; None for the middle
        one.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (ProjectionReport): Counts.
    RAISES (MaralError): If the sentences are not as many as their translations, a file cannot be read
        or written, the encoder has no such layer, or no pair is left.
    """
    path = Path(output)
    prove_writable(path)
    use_device(gpu_id)
    nlp = load_pipeline(model, gpu_id=gpu_id)
    pairs = list(read_pairs(source, target, lang, segmenter))
    report, left_out = ProjectionReport(len(pairs)), Counter[str]()
    states = make_states(nlp, layer)
    usable = []
    for original, translated in pairs:
        if reason := _unusable(original, translated):
            left_out[reason] += 1
        else:
            usable.append((original, translated))
    found: list[Doc] = []
    with tqdm(total=len(usable), desc="Project", unit=" sentences", disable=None) as bar:
        for chunk in minibatch(usable, CHUNK_PAIRS):
            vectors = [states([pair[side] for pair in chunk]) for side in (0, 1)]
            for (original, translated), *own in zip(chunk, *vectors, strict=True):
                if reason := project(original, translated, *own):
                    left_out[reason] += 1
                else:
                    found.append(translated)
            bar.update(len(chunk))
    report.left_out = dict(sorted(left_out.items()))
    if not found:
        raise MaralError(Errors.M519.format(path=target, reasons=describe_counts(report.left_out)))
    report.sentences, report.words = len(found), sum(map(len, found))
    report.entities = sum(len(doc.ents) for doc in found)
    write_docs(path, found)
    return report


def read_pairs(
    source: str | Path, target: str | Path, lang: str, segmenter: str | None = None
) -> Iterator[tuple[Doc, Doc]]:
    """Read sentences and their translations.

    YIELDS (tuple): A sentence and its translation, without entities.
    RAISES (MaralError): If there are not as many of them. Empty lines at the end of a text do not count.
    """
    originals = read_docs(source)
    if is_docbin(Path(target)):
        translated = [
            Doc(doc.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
            for doc in read_docs(target, lang)
        ]
    else:
        lines = [line for _, line in read_lines(target)]
        while len(lines) > len(originals) and not lines[-1].strip():
            lines.pop()
        nlp = blank_pipeline(lang, segmenter)
        translated = [tokenize(nlp, line.strip()) for line in lines]
    if len(translated) != len(originals):
        found = {"n_target": len(translated), "n_source": len(originals)}
        raise MaralError(Errors.M518.format(source=source, target=target, **found))
    return zip(originals, translated, strict=True)


def _unusable(original: Doc, translated: Doc) -> str:
    """Why a pair cannot be used; "" if it can."""
    if not any_visible([original]) or not any_visible([translated]):
        return NO_WORDS
    return "" if annotated_words(original).all() else NOT_ANNOTATED


def make_states(nlp: Language, layer: int | None) -> Callable[[Sequence[Doc]], list[NDArray]]:
    """Make a function that gives each visible word the mean state of its first and its last piece.

    nlp (Language): A pipeline with an encoder.
    layer (int | None): Layer of the states, from 1; None for the middle one, or the last one of an
        encoder without a list of layers.
    RETURNS (Callable): Maps documents with words to an array of the shape (n_words, h) for each.
    RAISES (MaralError): If there is no such layer.
    """
    encoder, tokenizer, get_spans = get_encoder(nlp)
    n_layers = len(layer_stack(encoder)[1])
    wanted = layer or n_layers // 2
    if layer is not None and not 1 <= layer <= n_layers:
        raise MaralError(Errors.M522.format(found=layer, n_layers=n_layers))
    device, pad = next(encoder.parameters()).device, tokenizer.pad_token_id
    lower = split_encoder(encoder, wanted)[0] if 0 < wanted < n_layers else None

    def compute(ids: Tensor, mask: Tensor) -> Tensor:
        if lower is not None:
            return cast(Tensor, lower(ids, mask))
        return cast(Any, encoder)(input_ids=ids, attention_mask=mask).last_hidden_state

    def states(docs: Sequence[Doc]) -> list[NDArray]:
        encoder.eval()
        corpus = encode(docs, tokenizer, get_spans, (), 1, labelled=False, name="sentences")
        vectors: NDArray | None = None
        for numbers in corpus.plan(BATCH_TOKENS):
            batch = make_batch(corpus, numbers, pad)
            given = [
                torch.from_numpy(a).to(device) for a in (batch.input_ids, batch.attention_mask)
            ]
            with torch.inference_mode():
                flat = compute(*given).flatten(0, 1).float().cpu().numpy()
            # words without a piece have no state
            ends = [flat[place] * (place >= 0)[:, None] for place in (batch.first, batch.last)]
            if vectors is None:
                vectors = np.zeros((corpus.n_words, flat.shape[1]), dtype=np.float32)
            vectors[members(corpus.doc_words, numbers)] = (ends[0] + ends[1]) / 2
        assert vectors is not None
        return np.split(vectors, corpus.doc_words[1:-1])

    return states


def project(original: Doc, translated: Doc, source: NDArray, target: NDArray) -> str:
    """Give a translation the entities of its original.

    original, translated (Doc): The sentences; the second gets the entities.
    source, target (NDArray): Vectors of their visible words, shapes (n, h) and (m, h).
    RETURNS (str): Why it cannot be done; "" if it was.
    """
    starts, ends = visible_entities(original)
    first, last = project_spans(starts, ends, *link_words(source, target))
    if reason := problem_of(ends - starts + 1, first, last):
        return reason
    places = VisibleWords.of([translated]).places
    spans = zip(places[first].tolist(), places[last].tolist(), original.ents, strict=True)
    found = [Span(translated, i, j + 1, label=ent.label_) for i, j, ent in spans]
    translated.set_ents(found, default="outside")
    return ""


def visible_entities(doc: Doc) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last word of each entity, numbered over the visible words."""
    ents = doc.ents
    bounds = np.array([(ent.start, ent.end - 1) for ent in ents], dtype=np.int64).reshape(-1, 2).T
    return VisibleWords.of([doc]).renumber(np.zeros(len(ents), dtype=np.int64), *bounds)


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
