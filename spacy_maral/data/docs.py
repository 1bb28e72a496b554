"""Documents of .spacy files."""

from __future__ import annotations

import gzip
from pathlib import Path

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
        docs = list(DocBin().from_bytes(data).get_docs(Vocab()))
    except Exception as error:
        # DocBin reports damage by whatever its decompression or msgpack layer raises
        problem = f"{type(error).__name__}: {error}"
        raise MaralError(Errors.M119.format(path=file, found=problem)) from error
    if not docs:
        raise MaralError(Errors.M104.format(path=file))
    return docs
