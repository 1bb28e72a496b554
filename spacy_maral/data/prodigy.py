"""Write sentences for review, and read reviewed ones, as JSON Lines of Prodigy."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spacy.tokens import Doc, Span, SpanGroup
from spacy.vocab import Vocab

from ..errors import Errors, MaralError
from .convert import make_doc, write_bytes
from .formats.registry import read_rows
from .labels import LabelMap, load_label_map
from .sentences import ReadSettings

SCORE = "maral_score"


def write_prodigy(
    docs: Iterable[Doc], path: str | Path, *, n: int = 100, spans_key: str | None = None
) -> int:
    """Export the sentences whose entities have the lowest confidences, the lowest first.

    The lowest confidence of its entities ranks a sentence. Each row has "text", "tokens", "spans"
    (with the confidence as "score") and "meta", as Prodigy's recipe ner.manual reads them.

    EXAMPLE: write_prodigy(nlp.pipe(texts), "doubtful.jsonl", n=50)

    docs (Iterable[Doc]): Documents that a pipeline with maral_ner has labelled.
    path (str | Path): The file to write (.jsonl); missing folders are made.
    n (int): Most sentences.
    spans_key (str | None): Rank by the spans of doc.spans[spans_key], which may hold more than the
        entities (see the settings spans_key and spans_threshold of maral_ner).
    RETURNS (int): Number of sentences written.
    RAISES (MaralError): If no entity has a confidence, or the file cannot be written.
    """
    if n < 1:
        raise MaralError(Errors.M153.format(name="n", rule="at least 1", value=n))
    scored = ((doc, span_scores(doc, spans_key)) for doc in docs)
    ranked = ((min(scores.values()), to_row(doc, scores)) for doc, scores in scored if scores)
    lowest = heapq.nsmallest(n, ranked, key=lambda item: item[0])
    if not lowest:
        raise MaralError(Errors.M156)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for _, row in lowest]
    write_bytes(Path(path), "".join(lines).encode("utf8"))
    return len(lowest)


def read_prodigy(
    path: str | Path, *, lang: str = "xx", label_map: str | Path | LabelMap | None = None
) -> Iterator[Doc]:
    """Read reviewed sentences as gold: only rows with the answer "accept".

    Rows without an answer are no gold here. (`convert` takes them as gold.)

    EXAMPLE: DocBin(docs=read_prodigy("corrected.jsonl")).to_disk("gold.spacy")

    path (str | Path): The file (.jsonl).
    lang (str): Language code, for the tokenizer of texts without tokens.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    YIELDS (Doc): The documents, labelled.
    RAISES (MaralError): If the file breaks its format, or no row was accepted.
    """
    vocab = Vocab()
    reading = ReadSettings(lang, load_label_map(label_map), reviewed=True)
    for sentence in read_rows(path, "prodigy", reading):
        yield make_doc(vocab, sentence)


def span_scores(doc: Doc, spans_key: str | None = None) -> dict[tuple[int, int, str], float]:
    """Find the confidences of a document's entities, or of the spans of a group.

    RETURNS (dict): Confidence by first word, end (exclusive) and label.
    """
    spans: Iterable[Span] = doc.ents
    scores: Iterable[Any] = ()
    if spans_key is not None:
        spans = doc.spans.get(spans_key, ())
        scores = spans.attrs.get("scores", ()) if isinstance(spans, SpanGroup) else ()
    elif Span.has_extension(SCORE):
        scores = [ent._.get(SCORE) for ent in doc.ents]
    pairs = zip(spans, scores, strict=False)
    return {(s.start, s.end, s.label_): float(value) for s, value in pairs if value is not None}


def to_row(doc: Doc, scores: Mapping[tuple[int, int, str], float]) -> dict[str, Any]:
    """A document as a row for Prodigy, with its entities as spans."""
    tokens = [
        {
            "text": token.text, "start": token.idx, "end": token.idx + len(token),
            "id": token.i, "ws": bool(token.whitespace_),
        }
        for token in doc
    ]  # fmt: skip
    spans = []
    for ent in doc.ents:
        span = {
            "start": ent.start_char, "end": ent.end_char, "label": ent.label_,
            "token_start": ent.start, "token_end": ent.end - 1,
        }  # fmt: skip
        score = scores.get((ent.start, ent.end, ent.label_))
        spans.append(span if score is None else {**span, "score": round(score, 4)})
    meta = {"score": round(min(scores.values()), 4)}
    return {"text": doc.text, "tokens": tokens, "spans": spans, "meta": meta}
