"""Documents of .spacy files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import srsly
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from ..errors import Errors, MaralError
from .text import check_file

SUFFIX = ".spacy"


def read_docs(path: str | Path) -> list[Doc]:
    """Read the documents of a file.

    path (str | Path): A .spacy file; unpacked first if its name ends in .gz.
    RETURNS (list[Doc]): The documents, with their entities, spans and scores.
    RAISES (MaralError): If the file is missing, not a DocBin, or empty.
    """
    file = check_file(path)
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        doc_bin = DocBin().from_bytes(data)
        docs = list(doc_bin.get_docs(Vocab()))
        for doc in docs:
            _check(doc)
        _check_sizes(zlib.decompress(data), docs)
    except Exception as error:
        # DocBin reports damage by whatever its decompression or msgpack layer raises
        problem = f"{type(error).__name__}: {error}"
        raise MaralError(Errors.M119.format(path=file, found=problem)) from error
    if not docs:
        raise MaralError(Errors.M104.format(path=file))
    return docs


def _check(doc: Doc) -> None:
    """Look at what spaCy reads only when it is asked for it."""
    spans = [*doc.ents, *(span for group in doc.spans.values() for span in group)]
    _ = [token.text for token in doc]
    for span in spans:
        if not 0 <= span.start < span.end <= len(doc):
            raise ValueError(f"a span from word {span.start} to {span.end} of {len(doc)}")
        _ = span.label_


def _check_sizes(data: bytes, docs: list[Doc]) -> None:
    """Make sure that no word is left over; spaCy passes over those."""
    message = srsly.msgpack_loads(data)
    n_words = len(message["tokens"]) // (8 * len(message["attrs"]))
    found = sum(map(len, docs))
    if found != n_words:
        raise ValueError(f"it holds {n_words} words, its documents have {found}")
