"""What is fuzzed: for each reader, how inputs are made and what must hold of a valid result."""

from __future__ import annotations

import gzip
import json
import random
import re
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import srsly
from mutations import SPECIALS, damaged, damaged_value
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_maral.data.convert import read_docbin
from spacy_maral.data.formats import FORMATS, Sentence, read_sentences
from spacy_maral.data.jsonl import LEFT_OUT, REPAIR_BLANKS, read_jsonl
from spacy_maral.data.labels import load_label_map
from spacy_maral.data.prodigy import read_prodigy
from spacy_maral.data.raw import REPEATED, RawReport, read_raw


class Target(NamedTuple):
    """Something that reads input.

    name (str): Its name. share (float): How many of the inputs it gets, relative to the others.
    make (Callable): Draws an input. check (Callable): Gives it to the reader, in a folder to work
    in, and raises AssertionError if the result is not valid.
    """

    name: str
    share: float
    make: Callable[[random.Random], Any]
    check: Callable[[Any, Path], None]


WORDS = (
    "Angela", "Paris", "U.N.", "in", ".", "O", "B-PER", "#", "# id", "-DOCSTART-", "1", "_", "王明",
    "कानपुर", "السلام", "e\u0301", "a\u00a0b", "👩\u200d🚀", "\u200d", "\u2028", "x" * 50, "de:ja", "\x1c", "½",
)  # fmt: skip
COMMENTS = (
    "# id 3f2a domain=en", "# sent_id = a-1", "# text = Angela Paris in .", "# newdoc id = 4",
    "# global.columns = ID FORM", "#", "# x", "-DOCSTART- -X- O O", "", "", " ", "# id 7\tdomain=de",
)  # fmt: skip
LABELS = ("PER", "LOC", "ORG-x", "Medication/Vaccine")


def tags_of(draw: random.Random, n: int, format: str) -> list[str]:
    """Tags that are right: IOB2, or BIOES."""
    tags: list[str] = []
    while len(tags) < n:
        width = min(draw.choice((1, 1, 2, 3)), n - len(tags))
        label = draw.choice(LABELS)
        if draw.random() < 0.5:
            tags.append("O")
        elif format == "bioes":
            inner = [f"I-{label}"] * (width - 2)
            tags += [f"S-{label}"] if width == 1 else [f"B-{label}", *inner, f"E-{label}"]
        else:
            tags += [f"B-{label}"] + [f"I-{label}"] * (width - 1)
    return tags


def line_of(word: str, tag: str, number: int, format: str) -> str:
    if format == "wikiann":
        return f"de:{word}\t{tag}"
    if format == "iob2":
        return f"{number}\t{word}\t{tag}\t-\t-"
    if format == "multiconer":
        return f"{word} _ _ {tag}"
    return f"{word} NN {tag}" if format == "conll" else f"{word} {tag}"


def make_columns(draw: random.Random, format: str) -> bytes:
    """A file of labelled sentences, more or less damaged."""
    lines: list[str] = []
    for _ in range(draw.choice((1, 2, 3))):
        if draw.random() < 0.4:
            lines.append(draw.choice(COMMENTS))
        n = draw.choice((1, 2, 3, 6))
        words = [draw.choice(WORDS[:14] if draw.random() < 0.9 else WORDS) for _ in range(n)]
        tags = tags_of(draw, n, format)
        if draw.random() < 0.1:
            tags[draw.randrange(n)] = draw.choice(("I-PER", "B-O", "O", "E-LOC", "b-PER", "B-", ""))
        rows = zip(words, tags, range(1, n + 1), strict=True)
        lines += [line_of(*row, format) for row in rows]
        lines.append("")
    text = draw.choice(("\n", "\n", "\n", "\r\n")).join(lines)
    data = text.encode("utf8")
    other = draw.choice(FORMATS)
    return data if draw.random() < 0.15 else damaged(draw, data, make_line(draw, other))


def make_line(draw: random.Random, format: str) -> bytes:
    return (
        line_of(draw.choice(WORDS), draw.choice(("O", "B-PER")), 1, format).encode("utf8") + b"\n"
    )


def text_lines(data: bytes) -> list[str]:
    """Lines as the readers define them, by other means: those that are not blank."""
    text = data.decode("utf8").removeprefix("\ufeff")
    return [line for line in (x.rstrip(" \t\r") for x in text.split("\n")) if line]


def columns_of(line: str, format: str) -> tuple[str, str]:
    """Word and tag of a line."""
    if format in ("conll", "bioes"):
        found = re.findall(r"[^ \t]+", line) if line[0] not in " \t" else [""]
        return found[0], found[-1]
    columns = line.split("\t") if format in ("wikiann", "iob2") else re.split("[ \t]", line)
    if format == "wikiann":
        return columns[0].partition(":")[2], columns[-1]
    place = (1, 2) if format == "iob2" else (0, -1)
    return (columns[place[0]], columns[place[1]]) if len(columns) > 2 else ("", "")


def is_comment(line: str, format: str) -> bool:
    """Whether a line may stand for something else than a word."""
    if format == "wikiann":
        return False
    if line.split(" ")[0].split("\t")[0] == "-DOCSTART-" and format in ("conll", "bioes"):
        return True
    return line.startswith("#" if format == "iob2" else "# ")


def check_sentence(sentence: Sentence) -> None:
    """What must hold of every sentence."""
    words, end = sentence.words, -1
    assert words and all(isinstance(word, str) for word in words)
    assert sentence.spaces is None or len(sentence.spaces) == len(words)
    for entity in sentence.entities:
        assert end < entity.start <= entity.end < len(words)
        assert entity.label and entity.label != "O"
        end = entity.end


def check_columns(data: bytes, folder: Path, format: str, asked: str | None = None) -> None:
    """Every line that is not blank is a word, in order, or a comment; every tag is in an entity."""
    path = folder / "input.txt"
    path.write_bytes(data)
    sentences = list(read_sentences(path, asked or format))
    assert sentences
    for sentence in sentences:
        check_sentence(sentence)
    if asked == "auto":
        return
    words = [word for sentence in sentences for word in sentence.words]
    assert all(words)
    n_tagged = place = 0
    for line in text_lines(data):
        if format == "iob2" and line.startswith("#"):
            continue
        word, tag = columns_of(line, format)
        if place < len(words) and unicodedata.normalize("NFC", word) == words[place]:
            # "# x = y" may be a word or a comment; both are accounted for
            if is_comment(line, format) and words[place] == "#" and "=" in line:
                continue
            place += 1
            n_tagged += tag != "O"
            continue
        assert is_comment(line, format), f"lost: {line!r}"
    assert place == len(words), f"{len(words) - place} words from nowhere"
    found = sum(e.end - e.start + 1 for s in sentences for e in s.entities)
    assert found == n_tagged, f"{n_tagged} tagged words, {found} in entities"


def column_target(format: str) -> Target:
    return Target(
        f"columns {format}", 12, lambda draw: make_columns(draw, format),
        lambda data, folder: check_columns(data, folder, format),
    )  # fmt: skip


ROWS: tuple[dict[str, Any], ...] = (
    {"text": "Angela Merkel visited Paris .", "entities": [[0, 13, "PER"], [22, 27, "LOC"]]},
    {"text": "王明 在 北京 。", "spans": [{"start": 0, "end": 2, "label": "PER"}], "answer": "accept"},
    {"text": "nothing", "label": [], "answer": "reject"},
    {
        "text": "U.N. in May", "ents": [[0, 4, "ORG", 0.5]], "answer": "accept",
        "tokens": [
            {"text": "U.N.", "start": 0, "end": 4, "id": 0}, {"text": "in", "start": 5, "end": 7},
            {"text": "May", "start": 8, "end": 11},
        ],
    },
    {"text": " 👩\u200d🚀 e\u0301 ", "entities": [[0, 4, "PER"]], "answer": "accept"},
)  # fmt: skip


def make_rows(draw: random.Random) -> bytes:
    """JSON Lines with damaged objects, or damaged bytes."""
    rows: list[Any] = [draw.choice(ROWS) for _ in range(draw.choice((1, 2, 4)))]
    if draw.random() < 0.6:
        place = draw.randrange(len(rows))
        for _ in range(draw.choice((1, 1, 3))):
            rows[place] = damaged_value(draw, rows[place])
    lines = [json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows]
    data = "\n".join(lines).encode("utf8", errors="surrogatepass")
    return damaged(draw, data, draw.choice(SPECIALS)) if draw.random() < 0.4 else data


def solid(text: str) -> str:
    """A text without its white space."""
    return "".join(char for char in text if not char.isspace())


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_lines(data)]


def check_jsonl(data: bytes, folder: Path) -> None:
    """Each row is a sentence with all its characters and entities, or counted as left out."""
    path = folder / "input.jsonl"
    path.write_bytes(data)
    sentences = list(read_jsonl(path, "xx"))
    for sentence in sentences:
        check_sentence(sentence)
    rows = rows_of(data)
    left_out = sum(sentence.repairs[LEFT_OUT] for sentence in sentences)
    assert len(sentences) + left_out == len(rows)
    kept = [row for row in rows if row.get("answer") in (None, "accept")]
    for sentence, row in zip(sentences, kept, strict=True):
        assert solid("".join(sentence.words)) == solid(row["text"]), "characters lost"
        keys = ("entities", "ents", "spans", "label")
        given = next(row[key] for key in keys if isinstance(row.get(key), list))
        assert len(sentence.entities) == len(given), "entities lost"
        assert sentence.repairs[REPAIR_BLANKS] <= len(given)


def check_prodigy(data: bytes, folder: Path) -> None:
    """Only accepted rows, and all of them."""
    path = folder / "input.jsonl"
    path.write_bytes(data)
    docs = list(read_prodigy(path))
    accepted = [row for row in rows_of(data) if row.get("answer") == "accept"]
    assert [solid(doc.text) for doc in docs] == [solid(row["text"]) for row in accepted]


RAW = (
    "Angela Merkel visited Paris. She left.\n\nU.N. in May\n", "王明在北京。東京で会う。\n",
    "السلام عليكم \u200f(x)\nनमस्ते दुनिया।\n", "a\u2028b\x1c c\u200d\u200d 👩\u200d🚀\n \t \nx\r\n", "...\n???\n",
)  # fmt: skip


def make_raw(draw: random.Random) -> bytes:
    text = "".join(draw.choice(RAW) for _ in range(draw.choice((1, 2, 3))))
    return damaged(draw, text.encode("utf8"), draw.choice(RAW).encode("utf8"))


def check_raw_texts(path: Path, get_texts: Callable[[], list[str]]) -> None:
    """Every text is read; all its characters are in sentences, unless they repeat."""
    report = RawReport([], "xx")
    docs = list(read_raw(path, "xx", min_words=1, max_words=10**9, report=report))
    # only now: a file that is refused has no texts
    texts = get_texts()
    assert report.texts == len(texts)
    assert report.sentences == len(docs) and all(len(doc) for doc in docs)
    if REPEATED not in report.left_out:
        found = "".join(solid(doc.text) for doc in docs)
        assert found == "".join(map(solid, texts)), "characters lost"


def check_raw(data: bytes, folder: Path) -> None:
    path = folder / "input.txt"
    path.write_bytes(data)
    check_raw_texts(path, lambda: text_lines(data))


def check_raw_rows(data: bytes, folder: Path) -> None:
    path = folder / "input.jsonl"
    path.write_bytes(data)
    check_raw_texts(path, lambda: [row["text"] for row in rows_of(data)])


def make_zipped(draw: random.Random) -> bytes:
    """A gzipped file, damaged before or after it was packed."""
    if draw.random() < 0.3:
        return gzip.compress(make_raw(draw))
    packed = gzip.compress(draw.choice(RAW).encode("utf8"))
    return damaged(draw, packed, gzip.compress(b"other"))


def check_zipped(data: bytes, folder: Path) -> None:
    path = folder / "input.txt.gz"
    path.write_bytes(data)
    check_raw_texts(path, lambda: text_lines(gzip.decompress(data)))


def docbin_bytes(*, spans: bool = True) -> bytes:
    vocab = Vocab()
    doc_bin = DocBin(attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True)
    for words in (["Angela", "Merkel", "in", "Paris"], ["nothing", "here"], ["王明", "。"]):
        doc = Doc(vocab, words=words, spaces=[True] * len(words))
        doc.set_ents([Span(doc, 0, 1, "PER")], default="outside")
        if spans:
            doc.spans["sc"] = [Span(doc, 0, 2, "LOC")]
        doc_bin.add(doc)
    return doc_bin.to_bytes()


DOCBINS = (docbin_bytes(), docbin_bytes(spans=False))


def make_docbin(draw: random.Random) -> bytes:
    """A .spacy file, damaged as a file, or as the values that are packed in it."""
    data = draw.choice(DOCBINS)
    if draw.random() < 0.25:
        return damaged(draw, data, DOCBINS[0])
    message = srsly.msgpack_loads(zlib.decompress(data))
    if draw.random() < 0.4:
        packed = damaged(draw, srsly.msgpack_dumps(message), b"\x81\xa1a\x01")
    else:
        packed = srsly.msgpack_dumps(damaged_message(draw, message))
    return zlib.compress(packed)


def damaged_message(draw: random.Random, message: dict[str, Any]) -> dict[str, Any]:
    """A message that can still be packed."""
    while True:
        changed = damaged_value(draw, message)
        try:
            srsly.msgpack_dumps(changed)
        except (OverflowError, UnicodeEncodeError, TypeError, ValueError):
            continue
        return changed


def check_docbin(data: bytes, folder: Path) -> None:
    """All documents and all words, and annotations that can be read."""
    path = folder / "input.spacy"
    path.write_bytes(data)
    sentences = list(read_docbin(path))
    message = srsly.msgpack_loads(zlib.decompress(data))
    assert len(sentences) == len(message["lengths"]) // 4, "documents lost"
    rows = len(message["tokens"]) // 8 // len(message["attrs"])
    assert sum(len(sentence.words) for sentence in sentences) == rows, "words lost"
    for sentence in sentences:
        if sentence.words:
            check_sentence(sentence)


LABEL_MAPS = (
    b'{"Politician": "PER", "Food": null, "City": "LOC"}', b'{"a": "", "b": "B"}',
    b'Politician = "PER"\nFood = ""\n"a b" = "C"\n', b'"x" = "y"\n[section]\nz = "w"\n',
)  # fmt: skip


def make_label_map(draw: random.Random) -> tuple[str, bytes]:
    data = draw.choice(LABEL_MAPS)
    suffix = draw.choice((".json", ".toml"))
    return suffix, damaged(draw, data, draw.choice(LABEL_MAPS))


def check_label_map(given: tuple[str, bytes], folder: Path) -> None:
    suffix, data = given
    path = folder / f"labels{suffix}"
    path.write_bytes(data)
    found = load_label_map(path)
    assert found
    for old, new in found.items():
        assert isinstance(old, str)
        assert new is None or (new and new.split() == [new] and new != "O")


READERS = (
    *(column_target(format) for format in sorted(FORMATS)),
    Target(
        "columns auto", 8, lambda draw: make_columns(draw, draw.choice(FORMATS)),
        lambda data, folder: check_columns(data, folder, "", "auto"),
    ),
    Target("jsonl", 5, make_rows, check_jsonl),
    Target("prodigy", 2, make_rows, check_prodigy),
    Target("raw txt", 4, make_raw, check_raw),
    Target("raw jsonl", 3, make_rows, check_raw_rows),
    Target("raw gz", 2, make_zipped, check_zipped),
    Target("docbin", 4, make_docbin, check_docbin),
    Target("label map", 4, make_label_map, check_label_map),
)  # fmt: skip
