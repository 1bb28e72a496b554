"""Read unlabelled text as sentences: split, filtered by length, without repetitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ..errors import Errors, MaralError, refuse_unused
from .convert import check_output, write_docs
from .docs import SUFFIX, read_docs
from .files import Paths, listed
from .rows import check_object, json_rows, row_text
from .text import read_lines
from .tokens import Splitter, Words

SUFFIXES = (".txt", ".jsonl", SUFFIX)
MIN_WORDS, MAX_WORDS = 3, 200

EMPTY = "empty text"
REPEATED = "repeats an earlier sentence"
NOT_DRAWN = "not drawn"


@dataclass
class RawReport:
    """Counts of the texts read and the sentences left out.

    inputs (list[str]): The files and folders.
    lang (str): Language code.
    texts (int): Lines of .txt files, rows of .jsonl files, documents of .spacy files.
    sentences (int): Sentences that were kept, one Doc each.
    tokens (int): Words of these sentences.
    left_out (dict): Sentences that were left out, by reason.
    """

    inputs: list[str]
    lang: str
    texts: int = 0
    sentences: int = 0
    tokens: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.sentences:,} sentences of {self.texts:,} texts"]
        if self.left_out:
            parts.append(f"left out: {describe_counts(self.left_out)}")
        return "; ".join(parts)


def describe_counts(counts: dict[str, int]) -> str:
    """RETURNS (str): Counts in one line, as "too short 1,200, repeated 31"."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def read_raw(
    paths: Paths,
    lang: str,
    *,
    split: bool = True,
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    limit: int | None = None,
    seed: int | None = None,
    segmenter: str | None = None,
    nlp: Language | None = None,
    report: RawReport | None = None,
) -> Iterator[Doc]:
    """Read unlabelled text, sentence by sentence.

    Text is not changed. spaCy's tokenizer of the language makes the words; its rules for punctuation
    may differ from those of labelled data sets. Documents of .spacy files keep their words, lose
    their entities, and are split by their own sentences if they have any. A sentence with the words
    of an earlier one is left out.

    EXAMPLE: docs = list(read_raw("german/", "de", limit=5000, seed=0))

    paths (Paths): Files, or folders of them: .txt (one sentence or document per
        line), .jsonl (with the key "text"), .spacy, each also with .gz.
    lang (str): Language code, for tokenizer and sentence ends.
    split (bool): Whether to split texts into sentences.
    min_words (int): Shortest sentence, in words.
    max_words (int): Longest sentence, in words.
    limit (int | None): Most sentences.
    seed (int | None): Seed for a random sample of `limit` sentences; None takes the first.
    segmenter (str | None): How Chinese words are found (see `blank_pipeline`).
    nlp (Language | None): Pipeline whose tokenizer makes the words, instead of the language's.
    report (RawReport | None): Filled while reading.
    YIELDS (Doc): The sentences, in the order of the files.
    RAISES (MaralError): If a file cannot be read, a line is broken, no sentence is left, or there is
        a seed but no limit.
    """
    _check_range(min_words, max_words, limit)
    if seed is not None and limit is None:
        remedy = "say with --limit how many to draw"
        refuse_unused(["--seed"], "all sentences are taken", remedy)
    splitter = Splitter(lang, split=split, segmenter=segmenter, nlp=nlp)
    given = listed(paths)
    report = report or RawReport([], lang)
    report.inputs = [str(path) for path in given]
    counter: Counter[str] = Counter()
    pieces = _pieces(list_files(given), splitter, report, counter)
    kept = _filtered(pieces, min_words, max_words, counter)
    if limit is not None:
        kept = _drawn(kept, limit, seed, counter) if seed is not None else islice(kept, limit)
    vocab = splitter.nlp.vocab
    for piece in kept:
        report.sentences += 1
        report.tokens += len(piece.words)
        yield Doc(vocab, words=piece.words, spaces=piece.spaces)
    report.left_out = dict(sorted(counter.items()))
    if not report.sentences:
        left_out = describe_counts(report.left_out) or "there was no text"
        raise MaralError(Errors.M152.format(paths=", ".join(report.inputs), left_out=left_out))


def prepare_text(
    paths: Paths,
    output_path: str | Path,
    *,
    lang: str,
    split: bool = True,
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    limit: int | None = None,
    seed: int | None = None,
    segmenter: str | None = None,
) -> RawReport:
    """Convert unlabelled text to a .spacy file, one Doc per sentence; see `read_raw`.

    EXAMPLE: prepare_text(["news.txt", "wiki.jsonl.gz"], "de.spacy", lang="de")

    paths (Paths): Files, or folders of them.
    output_path (str | Path): The file to write, ending in .spacy; missing folders are made.
    lang (str): Language code.
    split (bool): Whether to split texts into sentences.
    min_words (int): Shortest sentence, in words.
    max_words (int): Longest sentence, in words.
    limit (int | None): Most sentences.
    seed (int | None): Seed for a random sample of `limit` sentences; None takes the first.
    segmenter (str | None): How Chinese words are found (see `blank_pipeline`).
    RETURNS (RawReport): Counts of what was read and left out.
    RAISES (MaralError): If a file cannot be read or written, or no sentence is left.
    """
    paths = listed(paths)
    output = check_output(Path(output_path), paths)
    report = RawReport([], lang)
    docs = read_raw(
        paths, lang, split=split, min_words=min_words, max_words=max_words, limit=limit, seed=seed,
        segmenter=segmenter, report=report,
    )  # fmt: skip
    write_docs(output, docs)
    return report


def is_docbin(path: str | Path) -> bool:
    """Whether a path names a .spacy file, packed or not."""
    return kind_of(Path(path)) == SUFFIX and not Path(path).is_dir()


def kind_of(path: Path) -> str:
    """The ending of a file's name, without .gz and in small letters."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def list_files(paths: Iterable[str | Path]) -> list[Path]:
    """Find the files of raw text.

    paths (Iterable): Files, and folders for all such files below them.
    RETURNS (list[Path]): Files, those of a folder in the order of their names.
    RAISES (MaralError): If a path does not exist or is no such file, or a folder holds none.
    """
    known = ", ".join(SUFFIXES)
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and kind_of(p) in SUFFIXES)
            if not inside:
                raise MaralError(Errors.M150.format(path=path, known=known))
            files += inside
        elif not path.exists():
            raise MaralError(Errors.M101.format(path=path))
        elif kind_of(path) not in SUFFIXES:
            raise MaralError(Errors.M151.format(path=path, known=known))
        else:
            files.append(path)
    return files


def _pieces(
    files: Sequence[Path], splitter: Splitter, report: RawReport, counter: Counter[str]
) -> Iterator[Words]:
    """The sentences of all files."""
    for file in files:
        for text in read_docs(file, splitter.lang) if kind_of(file) == SUFFIX else file_texts(file):
            report.texts += 1
            if isinstance(text, Doc):
                yield from splitter.sentences(text)
                continue
            if not text.strip():
                counter[EMPTY] += 1
            yield from splitter(text)


def file_texts(file: Path, *, blank: bool = False) -> Iterator[str]:
    """The texts of a .txt or .jsonl file; blank lines of the former only if wanted."""
    if kind_of(file) == ".jsonl":
        return (row_text(check_object(row, place), place) for place, row in json_rows(file))
    return (line for _, line in read_lines(file) if line or blank)


def _filtered(
    pieces: Iterable[Words], min_words: int, max_words: int, counter: Counter[str]
) -> Iterator[Words]:
    """Sentences of the right length, without repetitions."""
    seen: set[bytes] = set()
    for piece in pieces:
        key = blake2b("\x1f".join(piece.words).encode("utf8"), digest_size=16).digest()
        if len(piece.words) < min_words:
            counter[f"fewer than {min_words} words"] += 1
        elif len(piece.words) > max_words:
            counter[f"more than {max_words} words"] += 1
        elif key in seen:
            counter[REPEATED] += 1
        else:
            seen.add(key)
            yield piece


def _drawn(
    pieces: Iterable[Words], limit: int, seed: int, counter: Counter[str]
) -> Iterator[Words]:
    """A random sample in its old order; the memory holds only the sample."""
    rng = np.random.default_rng(seed)
    sample: list[tuple[int, Words]] = []
    for number, piece in enumerate(pieces):
        if number < limit:
            sample.append((number, piece))
            continue
        counter[NOT_DRAWN] += 1
        place = int(rng.integers(number + 1))
        if place < limit:
            sample[place] = (number, piece)
    yield from (piece for _, piece in sorted(sample, key=lambda item: item[0]))


def _check_range(min_words: int, max_words: int, limit: int | None) -> None:
    rules = (
        ("min_words", min_words, min_words >= 1, "at least 1"),
        ("max_words", max_words, max_words >= min_words, f"at least min_words ({min_words})"),
        ("limit", limit, limit is None or limit >= 1, "at least 1"),
    )
    for name, value, holds, rule in rules:
        if not holds:
            raise MaralError(Errors.M153.format(name=name, rule=rule, value=value))
