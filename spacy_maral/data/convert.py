"""Convert labelled sentences to .spacy files, and read them back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from tqdm.auto import tqdm

from ..errors import Errors, MaralError, Warnings
from .docs import SUFFIX, read_docs
from .files import replacing
from .formats import Sentence, map_labels, read_sentences
from .jsonl import read_jsonl
from .labels import LabelMap, load_label_map
from .languages import MULTIPLE_LANGUAGES, language_code
from .tags import Entity

JSONL = "jsonl"
UNSPACED_LANGUAGES = frozenset(
    ("zh", "ja", "th", "lo", "my", "km", "bo", "dz", "yue", "wuu", "lzh")
)
"""Languages written without spaces between words."""


@dataclass
class ConvertReport:
    """Counts of what a conversion read, repaired and wrote.

    sentences (int): Sentences, one Doc each.
    tokens (int): Words of all sentences.
    entities (dict): Entities written, by label.
    dropped (dict): Entities that the label map left out, by their old label.
    stripped (int): Entities that were read but not written, because of `unlabelled`.
    repairs (dict): Repairs of text or tags, by kind.
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
    stripped: int = 0
    repairs: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)


def convert(
    input_path: str | Path,
    output_path: str | Path,
    *,
    format: str = "auto",
    lang: str = MULTIPLE_LANGUAGES,
    label_map: str | Path | LabelMap | None = None,
    unlabelled: bool = False,
    segmenter: str | None = None,
) -> ConvertReport:
    """Convert a file of labelled sentences to a .spacy file with one Doc per sentence.

    The file is written whole or not at all. The spaces between words come from the file where it has
    the text, and from the language otherwise.

    EXAMPLE: convert("train.conll", "train.spacy", lang="en")

    input_path (str | Path): The file to read, see `read_labelled`.
    output_path (str | Path): The file to write, ending in .spacy; missing folders are made.
    format (str): One of FORMATS, "jsonl", or "auto".
    lang (str): Language code, or "xx" for the language that the file names.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    unlabelled (bool): Leave the entities out, so that the Docs have no entity annotation at all.
    segmenter (str | None): How Chinese words are found in texts without words of their own (see
        `blank_pipeline`).
    RETURNS (ConvertReport): Counts of what was read, repaired and written.
    RAISES (MaralError): If the input breaks its format, or the output cannot be written.
    """
    output = check_output(Path(output_path))
    code = language_code(lang)
    report = ConvertReport(str(input_path), str(output), code, not unlabelled)
    read = read_labelled(input_path, format, lang=code, label_map=label_map, segmenter=segmenter)
    sentences = _counted(read, report)
    vocab = Vocab()
    write_docs(output, (make_doc(vocab, s, code, labelled=not unlabelled) for s in sentences))
    return report


def read_labelled(
    path: str | Path,
    format: str = "auto",
    *,
    lang: str = MULTIPLE_LANGUAGES,
    label_map: str | Path | LabelMap | None = None,
    segmenter: str | None = None,
) -> Iterator[Sentence]:
    """Read the sentences of a file of columns (`read_sentences`) or of JSON Lines (`read_jsonl`).

    path (str | Path): The file, JSON Lines if its name ends in .jsonl or .jsonl.gz.
    format (str): One of FORMATS, "jsonl", or "auto".
    lang (str): Language code, for the tokenizer of texts in JSON Lines.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    segmenter (str | None): How Chinese words are found in texts without words of their own.
    RETURNS (Iterator[Sentence]): The sentences.
    RAISES (MaralError): If the file breaks its format.
    """
    named = str(path).removesuffix(".gz").endswith(f".{JSONL}")
    if format == JSONL or (format == "auto" and named):
        return read_jsonl(path, lang, label_map=load_label_map(label_map), segmenter=segmenter)
    return read_sentences(path, format, label_map=label_map)


def read_docbin(
    path: str | Path, *, label_map: str | Path | LabelMap | None = None
) -> Iterator[Sentence]:
    """Read a .spacy file as sentences, one per Doc.

    path (str | Path): The file.
    label_map (str | Path | LabelMap | None): See `load_label_map`.
    YIELDS (Sentence): Words and entities of the Docs; `labelled` is False without annotation.
    RAISES (MaralError): If the file is missing or broken, or holds no Doc.
    """
    file, docs = Path(path), read_docs(path)
    labels = load_label_map(label_map)
    for number, doc in enumerate(docs, start=1):
        sentence = Sentence(
            [token.text for token in doc],
            [Entity(ent.start, ent.end - 1, ent.label_) for ent in doc.ents],
            [bool(token.whitespace_) for token in doc],
            labelled=doc.has_annotation("ENT_IOB"),
        )
        map_labels(sentence, labels, [f"{file}: document {number}"] * len(doc))
        yield sentence


def make_doc(
    vocab: Vocab, sentence: Sentence, lang: str = MULTIPLE_LANGUAGES, *, labelled: bool = True
) -> Doc:
    """Make a Doc of a sentence.

    vocab (Vocab): The vocabulary.
    sentence (Sentence): The sentence.
    lang (str): Language code; decides on spaces between words where the sentence does not.
    labelled (bool): Whether the Doc has entity annotation.
    RETURNS (Doc): The Doc.
    """
    words, spaces = sentence.words, sentence.spaces
    if spaces is None:
        own = sentence.lang if lang == MULTIPLE_LANGUAGES else lang
        spaces = [not is_unspaced(own)] * (len(words) - 1) + [False]
    doc = Doc(vocab, words=words, spaces=spaces)
    if labelled:
        ents = [Span(doc, ent.start, ent.end + 1, ent.label) for ent in sentence.entities]
        doc.set_ents(ents, default="outside")
    return doc


def is_unspaced(lang: str) -> bool:
    """Whether a language is written without spaces between words.

    lang (str): Language code; parts after the first hyphen do not count, except in zh-min-nan.
    RETURNS (bool): True for Chinese, Japanese, Thai, Lao, Burmese, Khmer, Tibetan and Dzongkha.
    """
    return lang != "zh-min-nan" and lang.replace("_", "-").split("-")[0] in UNSPACED_LANGUAGES


def _counted(sentences: Iterable[Sentence], report: ConvertReport) -> Iterator[Sentence]:
    """Fill the report while the sentences pass; warn once if their language is another."""
    entities: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
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
        dropped.update(sentence.dropped)
        repairs.update(sentence.repairs)
        seen.add(hash(tuple(sentence.words)))
        yield sentence
    report.duplicates = report.sentences - len(seen)
    if report.labelled:
        report.entities = dict(sorted(entities.items()))
    else:
        report.stripped = entities.total()
    report.dropped = dict(sorted(dropped.items()))
    report.repairs = dict(sorted(repairs.items()))


def check_output(path: Path) -> Path:
    """Make sure that a path can name a .spacy file.

    RAISES (MaralError): If it is a folder, or has another ending.
    """
    if path.is_dir():
        raise MaralError(Errors.M123.format(path=path, found="is a folder"))
    if path.suffix != SUFFIX:
        raise MaralError(Errors.M123.format(path=path, found="does not end in .spacy"))
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
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise MaralError(Errors.M125.format(path=path, found=error)) from error
