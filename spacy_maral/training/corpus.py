"""Documents as arrays, tokenised, aligned and labelled once; batches are cut from the arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..errors import Errors, MaralError
from ..evaluation.metrics import Entities
from ..model.encoder.batches import group_rows
from ..model.encoder.pieces import tokenize
from ..model.gold import annotated_words
from ..model.spans import (
    Candidates,
    blank_pieces,
    hide_unknown,
    label_spans,
    span_counts,
    word_piece_ends,
    word_shapes,
)
from ..model.visible import VisibleWords
from .cache import Arrays, Rows

ENCODE_DOCS = 256


@dataclass
class Corpus:
    """Encoded documents. An offsets array has one entry more than there are items.

    Words are the visible words of the documents (see `VisibleWords`), numbered without the others.

    max_width: Longest candidate span, in words. pieces: Word piece ids of all encoder rows, without
    padding. row_offsets: Offsets of the pieces of each row. doc_rows, doc_words, doc_spans: Offsets
    of the rows, words and candidate spans of each document. word_row, word_first, word_last: Row of
    each word (-1 for a word without a piece), and the positions of its first and last piece in it.
    word_shapes: See `spans.word_shapes`. entities: Gold entities, empty if unlabelled. classes:
    Gold class of every candidate, UNKNOWN where a word is not annotated, None if unlabelled. n_too_wide: Number of entities longer than
    `max_width`. digest: See `digest_docs`. frozen: Frozen-layer states of each piece, if cached.
    """

    max_width: int
    pieces: NDArray[np.int32]
    row_offsets: NDArray[np.int64]
    doc_rows: NDArray[np.int64]
    doc_words: NDArray[np.int64]
    doc_spans: NDArray[np.int64]
    word_row: NDArray[np.int64]
    word_first: NDArray[np.int64]
    word_last: NDArray[np.int64]
    word_shapes: NDArray[np.int8]
    entities: Entities
    classes: NDArray[np.int16] | None
    n_too_wide: int
    digest: str
    frozen: Rows | None = None

    def __len__(self) -> int:
        return len(self.doc_rows) - 1

    @property
    def n_spans(self) -> int:
        return int(self.doc_spans[-1])

    @property
    def n_words(self) -> int:
        return int(self.doc_words[-1])

    def span_words(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last word of each candidate span, numbered over the whole corpus."""
        return Candidates(np.diff(self.doc_words), self.max_width).words

    def digest_pieces(self) -> str:
        """Compute a fingerprint of the rows of pieces and of their division into documents."""
        sha = hashlib.sha256()
        for array in (self.pieces, self.row_offsets, self.doc_rows):
            sha.update(array.astype("<i8").data)
        return sha.hexdigest()

    def piece_ranges(self, docs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and stop of the pieces of each given document."""
        return self.row_offsets[self.doc_rows[docs]], self.row_offsets[self.doc_rows[docs + 1]]

    def arrays(self) -> Arrays:
        """Return the corpus as arrays by name, without the frozen-layer states."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "frozen"}
        for name, column in kept.pop("entities")._asdict().items():
            kept[f"entities.{name}"] = column
        return {name: np.asarray(value) for name, value in kept.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Corpus:
        """Rebuild a corpus from the arrays that `arrays` returned."""
        found: dict[str, Any] = {"classes": None, **arrays}
        for name in ("max_width", "n_too_wide", "digest"):
            found[name] = found[name].item()
        entities = Entities(*(found.pop(f"entities.{name}") for name in Entities._fields))
        return cls(**found, entities=entities)

    def doc_lengths(self) -> NDArray[np.int64]:
        """Longest row of each document, in pieces."""
        lengths = np.diff(self.row_offsets)
        longest = np.zeros(len(self), dtype=np.int64)
        np.maximum.at(longest, np.repeat(np.arange(len(self)), np.diff(self.doc_rows)), lengths)
        return longest

    def plan(self, max_tokens: int) -> list[NDArray[np.int64]]:
        """Group the documents into batches, in order of length (see `plan_batches`)."""
        return plan_batches(self.doc_lengths(), np.diff(self.doc_rows), max_tokens=max_tokens)


@dataclass
class Batch:
    """Some documents of a corpus, padded for the encoder.

    corpus: The corpus. candidates: Candidate spans of the batch. input_ids, attention_mask: Shape
    (rows, length). first, last: Position of each word's first and last piece in the flattened rows,
    -1 without a piece. shapes: Word shapes. starts, ends: First and last word of each candidate,
    numbered over the batch. span_ids: Numbers of the candidates in the corpus. docs: Numbers of the
    documents in the corpus.
    """

    corpus: Corpus
    candidates: Candidates
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    shapes: NDArray[np.int8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    span_ids: NDArray[np.int64]
    docs: NDArray[np.int64]


def encode(
    docs: Sequence[Doc],
    tokenizer: object,
    get_spans: Callable,
    labels: Sequence[str],
    max_width: int,
    *,
    labelled: bool,
    name: str,
    progress: bool = True,
) -> Corpus:
    """Label documents, and tokenise and align them exactly as the transformer component does.

    docs (Sequence[Doc]): The documents; those without visible words have no spans.
    tokenizer (PreTrainedTokenizer): The encoder's tokenizer.
    get_spans (Callable): Cuts documents into windows (see `window_getter`).
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    max_width (int): Longest candidate span, in words.
    labelled (bool): Whether to read entities. If not, the corpus has no gold label.
    name (str): Name of the documents in messages.
    progress (bool): Whether to show a progress bar on a terminal.
    RETURNS (Corpus): The encoded documents.
    RAISES (MaralError): If no document has words, or an entity's label is unknown.
    """
    visible = VisibleWords.of(docs)
    lengths = visible.lengths
    if not lengths.sum():
        raise MaralError(Errors.M303.format(name=name, n_docs=len(docs)))
    rows: list[NDArray[np.int32]] = []
    doc_rows, places = [0], []
    chunks = range(0, len(docs), ENCODE_DOCS)
    for i in tqdm(chunks, desc=f"Encode {name}", disable=None if progress else True):
        chunk = list(docs[i : i + ENCODE_DOCS])
        has_words = lengths[i : i + ENCODE_DOCS] > 0
        chunk_rows, counts, ends = _encode_chunk(chunk, has_words, tokenizer, get_spans)
        row, first, last = ends
        places.append(np.stack([np.where(row >= 0, row + len(rows), -1), first, last]))
        rows.extend(chunk_rows)
        doc_rows.extend((doc_rows[-1] + np.cumsum(counts)).tolist())
    entities = _read_entities(docs if labelled else (), labels, name, visible)
    word_row, word_first, word_last = np.concatenate(places, axis=1)
    classes, n_too_wide = None, 0
    if labelled:
        classes, n_too_wide = label_spans(lengths, *entities, max_width)
        known = np.concatenate([annotated_words(doc) for doc in docs])[visible.mask]
        classes = hide_unknown(classes, visible.candidates(max_width), known)
    return Corpus(
        max_width=max_width,
        pieces=np.concatenate(rows),
        row_offsets=offsets([len(row) for row in rows]),
        doc_rows=np.array(doc_rows, dtype=np.int64),
        doc_words=offsets(lengths),
        doc_spans=offsets(span_counts(lengths, max_width)),
        word_row=word_row,
        word_first=word_first,
        word_last=word_last,
        word_shapes=word_shapes(visible.texts),
        entities=entities,
        classes=classes,
        n_too_wide=n_too_wide,
        digest=digest_docs(docs, labelled=labelled),
    )


def _encode_chunk(docs, has_words, tokenizer, get_spans):  # type: ignore[no-untyped-def]
    """Rows of pieces, number of rows per document, and (row, first, last) of each visible word."""
    nested = [w if some else [] for w, some in zip(get_spans(docs), has_words, strict=True)]
    counts = [len(windows) for windows in nested]
    if not any(nested):
        nothing = np.zeros(0, dtype=np.int64)
        return [], counts, (nothing, nothing, nothing)
    wordpieces, align = tokenize(tokenizer, nested)
    length = wordpieces.input_ids.shape[1]
    blank = blank_pieces(wordpieces.strings, length)
    ends = word_piece_ends(np.asarray(align.dataXd), np.asarray(align.lengths), length, blank)
    shown = VisibleWords.of([windows[0].doc for windows in nested if windows]).mask
    first, last = (end[shown] for end in ends)
    kept = np.asarray(wordpieces.attention_mask) > 0
    ids = np.asarray(wordpieces.input_ids, dtype=np.int32)
    rows = [ids[i, kept[i]] for i in range(len(ids))]
    row = np.where(first >= 0, first // length, -1)
    return rows, counts, (row, first % length, last % length)


def _read_entities(
    docs: Sequence[Doc], labels: Sequence[str], name: str, visible: VisibleWords
) -> Entities:
    """Entities in the numbers of visible words, without blank words at their ends."""
    number = {label: i + 1 for i, label in enumerate(labels)}
    found = []
    for i, doc in enumerate(docs):
        for ent in doc.ents:
            if ent.label_ not in number:
                given = {"label": ent.label_, "text": ent.text, "labels": ", ".join(labels)}
                raise MaralError(Errors.M304.format(name=name, doc=i, **given))
            found.append((i, ent.start, ent.end - 1, number[ent.label_]))
    owner, start, end, classes = np.array(found, dtype=np.int64).reshape(-1, 4).T
    start, end = visible.renumber(owner, start, end)
    seen = end >= start
    return Entities(owner[seen], start[seen], end[seen], classes[seen])


def offsets(lengths) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
    """Start of each of several consecutive ranges, followed by the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def digest_docs(docs: Sequence[Doc], *, labelled: bool = False) -> str:
    """Compute the SHA-256 of the words of documents, and of their annotation if labelled."""
    sha = hashlib.sha256()
    for doc in docs:
        words = "\x1f".join([token.text_with_ws for token in doc])
        entities = [(e.start, e.end, e.label_) for e in doc.ents] if labelled else []
        if labelled and not (known := annotated_words(doc)).all():
            entities.append((*np.flatnonzero(~known).tolist(), "not annotated"))
        sha.update(f"{words}\x1e{entities}\x1e".encode("utf8", "surrogatepass"))
    return sha.hexdigest()


def digest_tokenizer(tokenizer: Any, get_spans: Callable, docs: Sequence[Doc]) -> str | None:
    """Compute a fingerprint of the tokenizer and of the windows that it cuts into word pieces.

    RETURNS (str | None): None for a slow tokenizer, whose state cannot be serialised.
    """
    if not tokenizer.is_fast:
        return None
    sha = hashlib.sha256()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # padding and truncation are leftovers of the last call
    state.pop("padding"), state.pop("truncation")
    versions = [version(name) for name in ("tokenizers", "transformers")]
    sha.update(json.dumps([state, tokenizer.model_max_length, versions]).encode())
    for i in range(0, len(docs), ENCODE_DOCS):
        windows = get_spans(list(docs[i : i + ENCODE_DOCS]))
        sha.update(str([[(w.start, w.end) for w in spans] for spans in windows]).encode())
    return sha.hexdigest()


def members(bounds: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of all members of some items, by the offsets of every item's members."""
    sizes = bounds[items + 1] - bounds[items]
    before = np.cumsum(sizes) - sizes
    return np.repeat(bounds[items] - before, sizes) + np.arange(sizes.sum())


def plan_batches(
    lengths: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    max_tokens: int,
    max_docs: int = 0,
    rng: np.random.Generator | None = None,
) -> list[NDArray[np.int64]]:
    """Group documents of similar length into batches of a bounded number of word pieces.

    lengths (NDArray): Longest row of each document, in pieces. No batch has documents of length 0.
    rows (NDArray): Number of rows of each document.
    max_tokens (int): Maximum number of word pieces in a batch, padding included; a longer document
        is a batch of its own.
    max_docs (int): Maximum number of documents in a batch; 0 for no limit.
    rng (np.random.Generator): Shuffles documents of similar length, and the batches. Without it,
        the batches are in order of length.
    RETURNS (list): Document numbers of each batch.
    """
    key = lengths.astype(float)
    if rng is not None:
        key = key * rng.uniform(0.85, 1.15, len(key)) + rng.random(len(key))
    order = np.argsort(key, kind="stable")
    order = order[lengths[order] > 0]
    batches = group_rows(order, lengths, rows, most=max_tokens, max_items=max_docs)
    if rng is not None:
        rng.shuffle(batches)
    return batches


def make_batch(corpus: Corpus, docs: NDArray[np.int64], pad_id: int) -> Batch:
    """Make a batch of some documents of a corpus, numbered in it: rows, words, candidate spans."""
    rows = members(corpus.doc_rows, docs)
    sizes = corpus.row_offsets[rows + 1] - corpus.row_offsets[rows]
    length = int(sizes.max())
    mask = np.arange(length) < sizes[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = corpus.pieces[members(corpus.row_offsets, rows)]
    words = members(corpus.doc_words, docs)
    new_row = np.full(int(rows.max()) + 2, -1, dtype=np.int64)
    new_row[rows] = np.arange(len(rows))
    row = new_row[corpus.word_row[words]]
    has_piece = corpus.word_row[words] >= 0
    n_words = corpus.doc_words[docs + 1] - corpus.doc_words[docs]
    candidates = Candidates(n_words, corpus.max_width)
    starts, ends = candidates.words
    return Batch(
        corpus=corpus,
        candidates=candidates,
        input_ids=ids,
        attention_mask=mask.astype(np.int64),
        first=np.where(has_piece, row * length + corpus.word_first[words], -1),
        last=np.where(has_piece, row * length + corpus.word_last[words], -1),
        shapes=corpus.word_shapes[words],
        starts=starts,
        ends=ends,
        span_ids=members(corpus.doc_spans, docs),
        docs=docs,
    )
