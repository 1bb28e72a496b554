"""Write .spacy files as labelled data of any format."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from filecmp import cmp
from pathlib import Path
from tempfile import TemporaryDirectory

from spacy.tokens import Doc

from ..errors import Errors, MaralError
from .convert import doc_sentence, write_docs
from .docs import SUFFIX, read_docs
from .files import check_no_input, prove_writable, replacing, writing_output
from .formats.brat import belong_together
from .formats.registry import FORMATS, read_labelled, suggest_rows
from .languages import MULTIPLE_LANGUAGES, language_code
from .rows import PARQUET
from .sentences import ReadSettings, Sentence, spaces_of

JSONL = "jsonl"
OTHER = f", or export it as {JSONL}, which keeps white space and long labels"


def export(
    input_path: str | Path,
    output_path: str | Path,
    *,
    format: str = "jsonl",
    lang: str = MULTIPLE_LANGUAGES,
) -> int:
    """Write the documents of a .spacy file in another format.

    What is written is read back and compared before it gets its name, so that nothing is lost:
    `convert` makes the same documents of it.

    EXAMPLE: export("train.spacy", "train.json", format="label-studio")

    input_path (str | Path): The .spacy file, with entities or without any in each document.
    output_path (str | Path): The file to write. The formats with rows become one list of JSON if its
        name ends in .json, Parquet if in .parquet, and JSON Lines otherwise; brat needs .ann.
    format (str): One of FORMATS.
    lang (str): Language code. Formats without texts note the text only where its spaces are not those
        of the language.
    RETURNS (int): Number of documents.
    RAISES (MaralError): If a document has no complete annotation, or the format cannot hold it, or
        the file cannot be read or written, or its name is that of another kind of file.
    """
    code, output, path = language_code(lang), Path(output_path), Path(input_path)
    prove_output(output, format, [path])
    sentences = []
    for number, doc in enumerate(read_docs(path), start=1):
        if not doc.has_annotation("ENT_IOB", require_complete=True):
            raise MaralError(Errors.M168.format(number=number, path=path))
        sentences.append(doc_sentence(doc))
    with writing_output(output), TemporaryDirectory(prefix="maral-export-") as folder:
        written = Path(folder) / output.name
        _write(sentences, written, format, code, path)
        _put_in_place(written, output)
    return len(sentences)


def write_suggestions(docs: Sequence[Doc], output: Path, *, format: str) -> None:
    """Write documents whose entities are suggestions to be corrected.

    Where a format tells suggestions from annotations, they are suggestions: `convert` leaves those
    out that nobody has looked at.

    docs (Sequence[Doc]): The documents.
    output (Path): The file: documents if its name ends in .spacy, else `format`, as in `export`.
    format (str): One of FORMATS.
    RAISES (MaralError): If the format cannot hold a document, or the file cannot be written.
    """
    if output.suffix == SUFFIX:
        write_docs(output, docs)
        return
    sentences = [doc_sentence(doc) for doc in docs]
    with writing_output(output), TemporaryDirectory(prefix="maral-export-") as folder:
        written = Path(folder) / output.name
        # the same text and entities are read back from an annotation
        _write(sentences, written, format, MULTIPLE_LANGUAGES, output)
        suggest_rows(written, format, sentences, MULTIPLE_LANGUAGES)
        _put_in_place(written, output)


def check_format(format: str) -> None:
    """RAISES (MaralError): If there is no such format to write."""
    if format not in FORMATS:
        raise MaralError(Errors.M105.format(found=format, known=", ".join(FORMATS)))


def prove_output(output: Path, format: str, inputs: Sequence[str | Path]) -> None:
    """Refuse an output of a format before the work on it begins.

    output (Path): The file.
    format (str): One of FORMATS.
    inputs (Sequence[str | Path]): Files and folders that are read (see `prove_writable`).
    RAISES (MaralError): If there is no such format, a file of this name is read as another kind, or it or
        what the format has beside it cannot be written or is an input.
    """
    check_format(format)
    check_no_input(output, inputs)
    own, ending = FORMATS[format], output.suffix.lower()
    others = {SUFFIX, ".gz", *(one for kind in FORMATS.values() for one in kind.endings)}
    # what has several files is found by the name alone
    if ending in others.difference(own.endings) or (own.beside and ending not in own.endings):
        names = {"path": output, "wanted": " or ".join(own.endings) or ".txt"}
        raise MaralError(Errors.M171.format(format=format, **names))
    for place in (output, *map(output.with_suffix, own.beside)):
        prove_writable(place, inputs=inputs)


def _write(sentences: list[Sentence], written: Path, format: str, lang: str, path: Path) -> None:
    """Write the sentences, and make sure that they are read back as they were.

    RAISES (MaralError): At the first that is not.
    """
    if not _fault(sentences, written, format, lang):
        return
    n_good, number = 0, len(sentences)
    while number - n_good > 1:
        middle = (n_good + number) // 2
        if _fault(sentences[:middle], written, format, lang):
            number = middle
        else:
            n_good = middle
    # what is wrong with the document alone is clearer
    problem = _fault(sentences[number - 1 : number], written, format, lang)
    problem = (problem or _fault(sentences[:number], written, format, lang)).rstrip(" .")
    kind = format + PARQUET if written.suffix.lower() == PARQUET else format
    names = {"format": kind, "number": number, "path": path, "problem": problem}
    raise MaralError(Errors.M167.format(**names, other="" if kind == JSONL else OTHER))


def _fault(sentences: list[Sentence], written: Path, format: str, lang: str) -> str:
    """Write sentences; RETURNS (str): What is wrong with them when they are read back, or ""."""
    if not all(sentence.words for sentence in sentences):
        return "it has no words"
    try:
        FORMATS[format].write(written, format, sentences, lang)
    except MaralError:
        raise
    except (ValueError, TypeError) as error:
        # Parquet has no lists of different types
        return str(error)
    try:
        found = list(read_labelled(written, format, ReadSettings(lang, tags="strict")))
    except MaralError as error:
        # the file is gone when the message is read
        place = rf"{re.escape(str(written.with_suffix('')))}\S*?(?=:? |:?$)"
        return re.sub(place, "the document", str(error))
    pairs = zip(found, sentences, strict=False)
    if len(found) == len(sentences) and all(_whole(a, lang) == _whole(b, lang) for a, b in pairs):
        return ""
    return f"{' '.join(sentences[-1].words)[:60]!r} is changed"


def _put_in_place(written: Path, output: Path) -> None:
    """Copy a file, and what was written beside it, to the output's place, each whole or not at all.

    RAISES (MaralError): If a file that belongs to it would replace one that does not.
    """
    beside = sorted(path for path in written.parent.iterdir() if path != written)
    for path in beside:
        place = output.with_name(path.name)
        is_other = place.exists() and not cmp(place, path, shallow=False)
        if is_other and not belong_together(output):
            raise MaralError(Errors.M170.format(path=place, output=output.name))
    for path in (*beside, written):
        place = output.with_name(path.name)
        with replacing(place) as new, path.open("rb") as source, new.open("wb") as file:
            shutil.copyfileobj(source, file)


def _whole(sentence: Sentence, lang: str) -> Sentence:
    """What the documents of a sentence hold."""
    kept = Sentence(sentence.words, sentence.entities, labelled=sentence.labelled)
    return replace(kept, spaces=spaces_of(sentence, lang))
