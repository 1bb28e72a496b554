"""Read the documents of .spacy files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import srsly
from spacy.tokens import Doc, DocBin

from ..errors import Errors, MaralError
from .languages import MULTIPLE_LANGUAGES, language_vocab
from .text import check_file

SUFFIX = ".spacy"


def read_docs(path: str | Path, lang: str = MULTIPLE_LANGUAGES) -> list[Doc]:
    """Read the documents of a file.

    path (str | Path): A .spacy file, gzipped if its name ends in .gz.
    lang (str): Language code, for the attributes of words such as is_punct.
    RETURNS (list[Doc]): The documents, with their entities, spans and scores.
    RAISES (MaralError): If the file is missing, not a DocBin, or empty.
    """
    file, vocab = check_file(path), language_vocab(lang)
    try:
        data = file.read_bytes()
        if file.suffix.lower() == ".gz":
            data = gzip.decompress(data)
        doc_bin = DocBin().from_bytes(data)
        docs = list(doc_bin.get_docs(vocab))
        _check(docs, zlib.decompress(data))
    except Exception as error:
        # damage makes decompression, msgpack or spaCy raise errors of any kind
        problem = f"{type(error).__name__}: {error}"
        raise MaralError(Errors.M119.format(path=file, found=problem)) from error
    if not docs:
        raise MaralError(Errors.M104.format(path=file))
    return docs


def _check(docs: list[Doc], data: bytes) -> None:
    """Read texts and spans, which spaCy does not check before they are used, and count the words.

    RAISES (ValueError): If a span lies outside its document, or words are left over.
    """
    for doc in docs:
        _ = [token.text for token in doc]
        for span in (*doc.ents, *(span for group in doc.spans.values() for span in group)):
            if not 0 <= span.start < span.end <= len(doc):
                raise ValueError(f"a span from word {span.start} to {span.end} of {len(doc)}")
            _ = span.label_
    message = srsly.msgpack_loads(data)
    n_words = len(message["tokens"]) // (8 * len(message["attrs"]))
    found = sum(map(len, docs))
    if found != n_words:
        raise ValueError(f"it holds {n_words} words, its documents have {found}")
