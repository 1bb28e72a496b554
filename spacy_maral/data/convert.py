"""Convert labelled data of any format to .spacy files, and read them back."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from tqdm.auto import tqdm

from ..errors import Errors, MaralError, Warnings
from ..model.gold import annotated_runs, annotated_words
from .docs import SUFFIX, read_docs
from .files import prove_writable, replacing, writing_output
from .formats.registry import AUTO, read_labelled
from .labels import LabelMap, load_label_map
from .languages import MULTIPLE_LANGUAGES, language_code
from .sentences import Entity, ReadSettings, Sentence, spaces_of
from .text import check_file, unique_keys

_COLUMNS = re.compile(r" *(word|tag) *= *(-?\d+) *")


@dataclass
class ConvertReport:
    """Counts of what a conversion read, repaired and wrote.

    sentences (int): Sentences, one Doc each.
    tokens (int): Words of all sentences.
    entities (dict): Entities written, by label.
    dropped (dict): Entities that the label map left out, by their old label.
    repairs (dict): Repairs of text or tags, by kind.
    examples (dict): Place and finding of the first repairs of each kind.
    duplicates (int): Sentences with the words of an earlier one. They are kept.
    """

    input: str
    output: str
    lang: str
    labelled: bool
    sentences: int = 0
    tokens: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    duplicates: int = 0

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)


def convert(
    input_path: str | Path,
    output_path: str | Path,
    *,
    format: str = AUTO,
    lang: str = MULTIPLE_LANGUAGES,
    label_map: str | Path | LabelMap | None = None,
    unlabelled: bool = False,
    tags: str = "repair",
    misaligned: str = "refuse",
    columns: str | None = None,
    tag_names: str | Path | Sequence[str] | None = None,
    split: str = "train",
    segmenter: str | None = None,
) -> ConvertReport:
    """Convert labelled data to a .spacy file with one Doc per sentence.

    The file is written whole or not at all. The spaces between words come from the file where it has
    the text, and from the language otherwise.

    EXAMPLE: convert("train.conll", "train.spacy", lang="en")

    input_path (str | Path): The file or folder to read, or "hf://OWNER/NAME"; see `read_labelled`. Or a
        .spacy file, of whose documents words, spaces and entities are kept: settings of how other
        files are read have no effect on it.
    output_path (str | Path): The file to write, ending in .spacy; missing folders are made.
    format (str): A format, or "auto" to find it by the contents; not used for a .spacy file.
    lang (str): Language code, or "xx" for the language that the file names.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    unlabelled (bool): Leave the entities out, so that the Docs have no entity annotation at all, and
        do not look at tags and labels.
    tags (str): "repair" tags that do not fit together: an entity begins where the label changes or a
        begin tag is missing. "strict" refuses them.
    misaligned (str): "drop" entities that do not begin and end where words do, "expand" them to the
        words that they touch, or "refuse" the file.
    columns (str | None): Columns of word and tag in a file of columns, such as "word=1,tag=3".
    tag_names (str | Path | Sequence | None): Names of tags that are numbers: a list, or a JSON file
        with a list or with a number for each name.
    split (str): Part of a dataset in several parts.
    segmenter (str | None): How Chinese words are found in texts without words of their own (see
        `blank_pipeline`).
    RETURNS (ConvertReport): Counts of what was read, repaired and written.
    RAISES (MaralError): If the input breaks its format, or the output cannot be written.
    """
    # of a folder, only the files of a data set are read
    output = check_output(Path(output_path), [input_path] if Path(input_path).is_file() else [])
    code = language_code(lang)
    reading = ReadSettings(
        code, load_label_map(label_map), labelled=not unlabelled, tags=tags, misaligned=misaligned,
        columns=read_columns_option(columns, labelled=not unlabelled),
        tag_names=load_tag_names(tag_names), split=split, segmenter=segmenter,
    )  # fmt: skip
    report = ConvertReport(str(input_path), str(output), code, not unlabelled)
    sentences = _counted(read_sentences(input_path, format, reading), report, reading)
    vocab = Vocab()
    write_docs(output, (make_doc(vocab, s, code) for s in sentences))
    return report


def read_columns_option(given: str | None, *, labelled: bool = True) -> dict[str, int] | None:
    """Read the columns of word and tag, as in "word=1,tag=3".

    given (str | None): The columns, counted from 0, or backwards from -1.
    labelled (bool): Whether a tag is needed.
    RETURNS (dict | None): The numbers.
    RAISES (MaralError): If it names no such columns.
    """
    if given is None:
        return None
    found = [_COLUMNS.fullmatch(part) for part in given.split(",")]
    columns = {match[1]: int(match[2]) for match in found if match}
    problem = ""
    if None in found or len(columns) < len(found):
        problem = "each is word= or tag= and a number, once"
    elif "word" not in columns:
        problem = "the column of the words is missing"
    elif labelled and "tag" not in columns:
        problem = "the column of the tags is missing, and --unlabelled is not set"
    if problem:
        raise MaralError(Errors.M159.format(found=given, problem=problem))
    return columns


def load_tag_names(names: str | Path | Sequence[str] | None) -> list[str] | None:
    """Load the names of tags that are numbers.

    names (str | Path | Sequence | None): The names, or a JSON file with a list of them, or with an
        object of a number for each name.
    RETURNS (list[str] | None): The names.
    RAISES (MaralError): If the file holds no such names.
    """
    if names is None or not isinstance(names, str | Path):
        return None if names is None else list(names)
    path = check_file(names)
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique_keys)
        if isinstance(found, dict):
            by_number = {int(number): name for name, number in found.items()}
            if len(by_number) < len(found):
                raise ValueError("two names have one number")
            found = [by_number[number] for number in range(len(by_number))]
        if not isinstance(found, list) or not found or not all(isinstance(n, str) for n in found):
            raise ValueError("it holds no list of names")
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        problem = f"{path} ({type(error).__name__}: {error})"
        raise MaralError(Errors.M160.format(place=path, found=problem)) from error
    return found


def read_sentences(path: str | Path, format: str, reading: ReadSettings) -> Iterator[Sentence]:
    """Read labelled sentences in any format, or those of a .spacy file, whose format is not used."""
    if str(path).lower().removesuffix(".gz").endswith(SUFFIX) and Path(path).is_file():
        return read_docbin(path, reading)
    return read_labelled(path, format, reading)


def read_docbin(path: str | Path, reading: ReadSettings | None = None) -> Iterator[Sentence]:
    """Read a .spacy file as sentences, one per Doc.

    path (str | Path): The file.
    reading (ReadSettings | None): Whether labels are read and the label map are used, and its report
        is filled.
    YIELDS (Sentence): Words and entities of the Docs; `labelled` is False without annotation.
    RAISES (MaralError): If the file is missing or broken, or holds no Doc.
    """
    file, docs, reading = Path(path), read_docs(path), reading or ReadSettings()
    for number, doc in enumerate(docs, start=1):
        sentence = doc_sentence(doc)
        if not reading.labelled:
            yield Sentence(sentence.words, spaces=sentence.spaces, labelled=False)
            continue
        places = [f"{file}: document {number}"] * len(doc)
        sentence.entities = reading.map_labels(sentence.entities, places)
        yield sentence
    reading.report.check(file)


def doc_sentence(doc: Doc) -> Sentence:
    """RETURNS (Sentence): The words, spaces and entities of a Doc, and what of it is annotated."""
    complete = doc.has_annotation("ENT_IOB", require_complete=True)
    labelled = doc.has_annotation("ENT_IOB")
    is_partial = labelled and not complete
    return Sentence(
        [token.text for token in doc],
        [Entity(ent.start, ent.end - 1, ent.label_) for ent in doc.ents],
        [bool(token.whitespace_) for token in doc],
        labelled=labelled,
        runs=annotated_runs(doc) if is_partial else None,
        missing=np.flatnonzero(~annotated_words(doc)).tolist() if is_partial else None,
    )


def make_doc(vocab: Vocab, sentence: Sentence, lang: str = MULTIPLE_LANGUAGES) -> Doc:
    """Make a Doc of a sentence, with annotation of entities if the sentence is labelled.

    vocab (Vocab): The vocabulary.
    sentence (Sentence): The sentence.
    lang (str): Language code; decides on spaces between words where the sentence does not.
    RETURNS (Doc): The Doc.
    """
    doc = Doc(vocab, words=sentence.words, spaces=spaces_of(sentence, lang))
    if sentence.labelled:
        ents = [Span(doc, ent.start, ent.end + 1, ent.label) for ent in sentence.entities]
        missing = [doc[number : number + 1] for number in sentence.missing or ()]
        doc.set_ents(ents, missing=missing, default="outside")
    return doc


def _counted(
    sentences: Iterable[Sentence], report: ConvertReport, reading: ReadSettings
) -> Iterator[Sentence]:
    """Fill the report while the sentences pass; warn once if their language is another."""
    entities: Counter[str] = Counter()
    seen: set[int] = set()
    lang, warned = report.lang, report.lang == MULTIPLE_LANGUAGES
    for sentence in sentences:
        if not warned and sentence.lang and sentence.lang.split("-")[0] != lang.split("-")[0]:
            message = Warnings.W102.format(path=report.input, lang=lang, found=sentence.lang)
            warnings.warn(message, stacklevel=3)
            warned = True
        report.sentences += 1
        report.tokens += len(sentence.words)
        entities.update(entity.label for entity in sentence.entities)
        seen.add(hash(tuple(sentence.words)))
        yield sentence
    report.duplicates = report.sentences - len(seen)
    report.entities = dict(sorted(entities.items()))
    report.dropped = dict(sorted(reading.report.dropped.items()))
    report.repairs = dict(sorted(reading.report.repairs.items()))
    report.examples = dict(sorted(reading.report.examples.items()))


def check_output(path: Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Make sure that a path can name a .spacy file, and can be written.

    inputs (Iterable): Files and folders that are read (see `prove_writable`).
    RAISES (MaralError): If it is a folder, has another ending, cannot be written, or is an input.
    """
    if path.is_dir():
        raise MaralError(Errors.M123.format(path=path, found="is a folder"))
    if path.suffix != SUFFIX:
        raise MaralError(Errors.M123.format(path=path, found="does not end in .spacy"))
    prove_writable(path, inputs=inputs)
    return path


def write_docs(path: Path, docs: Iterable[Doc]) -> None:
    """Write a .spacy file, whole or not at all, and show the progress.

    path (Path): The file; missing folders are made.
    docs (Iterable[Doc]): The documents.
    RAISES (MaralError): If it cannot be written.
    """
    bar = tqdm(docs, desc=path.name, unit=" sentences", disable=None, leave=False)
    write_bytes(path, DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=bar).to_bytes())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file of data, whole or not at all; missing folders are made.

    RAISES (MaralError): If it cannot be written.
    """
    with writing_output(path), replacing(path) as temporary:
        temporary.write_bytes(data)
