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

from spacy_maral.data.annotated import REPAIR_TWICE
from spacy_maral.data.convert import make_doc, read_docbin, write_docs
from spacy_maral.data.export import export
from spacy_maral.data.formats.columns import TABLES
from spacy_maral.data.formats.registry import FORMATS, read_labelled
from spacy_maral.data.formats.text_rows import NO_ENTITY
from spacy_maral.data.labels import load_label_map
from spacy_maral.data.prodigy import read_prodigy
from spacy_maral.data.raw import REPEATED, RawReport, read_raw
from spacy_maral.data.sentences import ReadSettings, Sentence
from spacy_maral.errors import MaralError


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
    if format == "conllu":
        return "\t".join((str(number), word, *"_______", f"NER={tag}"))
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
    text = draw.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
    data = text.encode("utf8")
    other = draw.choice(sorted(TABLES))
    return data if draw.random() < 0.15 else damaged(draw, data, make_line(draw, other))


def make_line(draw: random.Random, format: str) -> bytes:
    return (
        line_of(draw.choice(WORDS), draw.choice(("O", "B-PER")), 1, format).encode("utf8") + b"\n"
    )


def text_lines(data: bytes) -> list[str]:
    """Lines as the readers define them, by other means: those that are not blank."""
    lines = re.split(r"\r*\n|\r", data.decode("utf8"))
    return [line for line in (x.removeprefix("\ufeff").rstrip(" \t") for x in lines) if line]


def columns_of(line: str, format: str) -> tuple[str, str]:
    """Word and tag of a line."""
    if format in ("conll", "bioes"):
        found = re.findall(r"[^ \t]+", line) if line[0] not in " \t" else [""]
        return found[0], found[-1]
    columns = re.split("[ \t]", line) if format == "multiconer" else line.split("\t")
    if format == "conllu":
        tags = [part[4:] for part in columns[-1].split("|") if part.startswith(("NER=", "ner="))]
        tags += [
            part.partition("=")[2]
            for part in columns[-1].split("|")
            if re.match("(name|ne)=", part)
        ]
        return (columns[1], tags[0] if tags else "O") if len(columns) == 10 else ("", "")
    if format == "wikiann":
        return columns[0].partition(":")[2], columns[-1]
    place = (1, 2) if format == "iob2" else (0, -1)
    return (columns[place[0]], columns[place[1]]) if len(columns) > 2 else ("", "")


def is_comment(line: str, format: str) -> bool:
    """Whether a line may stand for something else than a word."""
    if format in ("wikiann", "multiconer", "conllu"):
        return line.startswith("#") or (
            format == "conllu" and bool(re.match(r"\d+[-.]\d+\t", line))
        )
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
    sentences = list(read_labelled(path, asked or format, ReadSettings(lang="xx")))
    assert sentences
    for sentence in sentences:
        check_sentence(sentence)
    check_strict_and_unlabelled(path, asked or format, sentences)
    check_round_trip(data, sentences, folder)
    if asked == "auto":
        return
    words = [word for sentence in sentences for word in sentence.words]
    assert all(words)
    n_tagged = place = 0
    for line in text_lines(data):
        if format in ("iob2", "conllu", "wikiann") and is_comment(line, format):
            continue
        word, tag = columns_of(line, format)
        if place < len(words) and unicodedata.normalize("NFC", word) == words[place]:
            # "# x = y" may be a word or a comment; both are accounted for
            if words[place] == "#" and re.match(r"# *[\w.]+( id)?\s*=|# id \S+\s+domain=", line):
                continue
            place += 1
            n_tagged += tag != "O"
            continue
        assert is_comment(line, format), f"lost: {line!r}"
    assert place == len(words), f"{len(words) - place} words from nowhere"
    found = sum(e.end - e.start + 1 for s in sentences for e in s.entities)
    assert found == n_tagged, f"{n_tagged} tagged words, {found} in entities"


def check_strict_and_unlabelled(path: Path, format: str, sentences: list[Sentence]) -> None:
    """Without labels there are the same words; strictly, the same entities or a refusal."""
    plain = list(read_labelled(path, format, ReadSettings(labelled=False)))
    assert [s.words for s in plain] == [s.words for s in sentences], "other words without labels"
    assert not any(s.labelled or s.entities for s in plain)
    try:
        strict = list(read_labelled(path, format, ReadSettings(tags="strict")))
    except MaralError:
        return
    assert strict == sentences, "strict reading differs"


def check_round_trip(data: bytes, sentences: list[Sentence], folder: Path) -> None:
    """What was read can be exported and comes back, or the export is refused."""
    format = sorted(FORMATS)[len(data) % len(FORMATS)]
    vocab = Vocab()
    write_docs(folder / "in.spacy", [make_doc(vocab, sentence) for sentence in sentences])
    output = folder / f"out.{'ann' if format == 'brat' else 'data'}"
    try:
        export(folder / "in.spacy", output, format=format)
    except MaralError as error:
        assert "M167" in str(error), str(error)
        ends = [
            sentence.words[i] for sentence in sentences for e in sentence.entities for i in e[:2]
        ]
        # an entity that begins or ends in white space is none of a text
        assert format not in ("huggingface", "gliner"), str(error)
        assert format != "jsonl" or any(not word.strip() or word != word.strip() for word in ends)
        return
    settings = ReadSettings()
    again = [make_doc(vocab, s) for s in read_labelled(output, format, settings)]
    write_docs(folder / "again.spacy", again)
    assert (folder / "in.spacy").read_bytes() == (folder / "again.spacy").read_bytes(), format


def column_target(format: str) -> Target:
    return Target(
        f"columns {format}", 12, lambda draw: make_columns(draw, format),
        lambda data, folder: check_columns(data, folder, format),
    )  # fmt: skip


ROWS_OF_TEXT: tuple[dict[str, Any], ...] = (
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


def make_rows(draw: random.Random, kinds: tuple[Any, ...] = ROWS_OF_TEXT) -> bytes:
    """JSON with damaged rows, or damaged bytes: a row a line, or one list."""
    rows: list[Any] = [draw.choice(kinds) for _ in range(draw.choice((1, 2, 4)))]
    if draw.random() < 0.6:
        place = draw.randrange(len(rows))
        for _ in range(draw.choice((1, 1, 3))):
            rows[place] = damaged_value(draw, rows[place])
    lines = [json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows]
    text = "\n".join(lines)
    if kinds is not ROWS_OF_TEXT and draw.random() < 0.4:
        text = json.dumps(rows, indent=draw.choice((None, 1)))
    data = text.encode("utf8", errors="surrogatepass")
    return damaged(draw, data, draw.choice(SPECIALS)) if draw.random() < 0.4 else data


def solid(text: str) -> str:
    """A text without its white space."""
    return "".join(char for char in text if not char.isspace())


def rows_of(data: bytes) -> list[Any]:
    """The rows of JSON Lines, of a list, or of an object's annotations."""
    text = "\n".join(text_lines(data)).strip(" \t\r\n")
    rows: list[Any] = []
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        text = text[end:].lstrip(" \t\r\n")
        rows.append(value)
    if (
        len(rows) == 1
        and isinstance(rows[0], list)
        and not (rows[0] and isinstance(rows[0][0], str))
    ):
        return rows[0]
    found: list[Any] = []
    for row in rows:
        is_wrapper = isinstance(row, dict) and not {"data", "text"} & row.keys()
        inner = row.get("annotations") if is_wrapper else None
        found += inner if isinstance(inner, list) else [row]
    return found


KINDS_OF_ROWS: dict[str, tuple[Any, ...]] = {
    "huggingface": (
        {"tokens": ["Angela", "Merkel", "in", "王明"], "ner_tags": ["B-PER", "I-PER", "O", "B-LOC"]},
        {"words": ["a", "b c"], "tags": ["S-X", "O"], "text": "a  b c"},
    ),
    "gliner": (
        {"tokenized_text": ["Angela", "Merkel", "in", "e\u0301"], "ner": [[0, 1, "a person"], [3, 3, "x"]]},
        {"tokenized_text": ["a"], "ner": []},
    ),
    "label-studio": (
        {"data": {"text": "Ada met 👩\u200d🚀 Bob"}, "annotations": [
            {"result": [{"value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}}, {"type": "relation"}]},
            {"was_cancelled": True, "result": []},
        ]},
        {"data": {"text": "no"}, "annotations": []},
    ),
    "argilla": (
        {"fields": {"text": "Ada met Bob"}, "responses": {"s": [
            {"value": [{"start": 0, "end": 3, "label": "PER"}], "status": "submitted"}]}},
        {"text": "Ada", "annotation": [["PER", 0, 3]], "tokens": ["Ada"]},
        {"text": "Ada", "s.responses": [[{"start": 0, "end": 3, "label": "PER"}]], "s.responses.status": ["draft"]},
    ),
    "spacy-annotator": (["Ada met Bob", {"entities": [[0, 3, "PER"], [8, 11, "PER"]]}], ["no", {"entities": []}], None),
    "doccano": (
        {"text": "Ada met Bob", "label": [[0, 3, "PER"]], "tokens": ["Ada", "met", "Bob"]},
        {"text": "Ada", "entities": [{"start_offset": 0, "end_offset": 3, "label": "PER"}], "relations": []},
    ),
    "jsonl": ROWS_OF_TEXT,
}  # fmt: skip


def entities_of(row: Any) -> int | None:
    """How many entities a row lists; None where that is not easy to say."""
    if isinstance(row, list):
        return entities_of({"text": row[0], **row[1]})
    if isinstance(row.get("tokenized_text"), list):
        return len(row["ner"])
    if isinstance(row.get("data"), dict):
        kept = [a for a in row["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")]
        kept = [a for a in kept if a.get("ground_truth")] or kept
        results = kept[0].get("result")
        values = (
            [r.get("value") for r in results if isinstance(r, dict)]
            if isinstance(results, list)
            else []
        )
        return sum(isinstance(v, dict) and "start" in v and "labels" in v for v in values)
    if isinstance(row.get("fields"), dict) or any(str(key).endswith(".responses") for key in row):
        return None
    if isinstance(row.get("annotation"), list):
        return len(row["annotation"])
    keys = ("entities", "ents", "spans", "label", "labels")
    return max(len(row[key]) for key in keys if isinstance(row.get(key), list))


def words_and_text(row: Any, format: str) -> tuple[Any, Any]:
    """The words of a row if it is one of words, and its text otherwise."""
    if isinstance(row, list):
        return None, row[0]
    for key in ("tokenized_text", "tokens", "words") if format in WORD_ROWS else ():
        value = row.get(key)
        tagged = key == "tokenized_text" or any(is_plain(row.get(other)) for other in TAG_KEYS)
        if tagged and is_plain(value) and all(isinstance(word, str) for word in value):
            return value, None
    fields = row.get("data") if isinstance(row.get("data"), dict) else row.get("fields")
    if isinstance(fields, dict):
        return None, fields.get("text") or next(v for v in fields.values() if isinstance(v, str))
    return None, row["text"]


WORD_ROWS, TAG_KEYS = ("huggingface", "gliner", "auto"), ("ner_tags", "tags", "labels")


def is_plain(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | int) for item in value)


def check_rows(data: bytes, folder: Path, format: str) -> None:
    """Each row is a sentence with all its characters and entities, or counted as left out."""
    path = folder / "input.json"
    path.write_bytes(data)
    settings = ReadSettings()
    sentences = list(read_labelled(path, format, settings))
    for sentence in sentences:
        check_sentence(sentence)
    check_round_trip(data, sentences, folder)
    rows, repairs = rows_of(data), settings.report.repairs
    n_left_out = sum(n for kind, n in repairs.items() if kind.startswith("row "))
    assert len(sentences) + n_left_out == len(rows), "rows lost"
    if n_left_out:
        # which ones is for the tests to say
        return
    counts: list[int | None] = []
    for sentence, row in zip(sentences, rows, strict=True):
        words, text = words_and_text(row, format)
        if words is not None:
            assert sentence.words == words, "words lost"
        else:
            assert solid("".join(sentence.words)) == solid(text), "characters lost"
        if words is not None and "tokenized_text" not in row:
            tags = next(row[key] for key in TAG_KEYS if is_plain(row.get(key)))
            n_tagged = sum(tag.strip() != "O" for tag in tags)
            assert sum(e.end - e.start + 1 for e in sentence.entities) == n_tagged, "tags lost"
        else:
            listed = entities_of(row)
            counts.append(None if listed is None else listed - len(sentence.entities))
    if None not in counts:
        assert sum(n or 0 for n in counts) == repairs[REPAIR_TWICE], "entities lost"


def row_target(format: str) -> Target:
    """A kind of rows, read as what they are or as what each row shows."""
    return Target(
        f"rows {format}", 3, lambda draw: (draw.choice((format, "auto")), make_rows(draw, KINDS_OF_ROWS[format])),
        lambda given, folder: check_rows(given[1], folder, given[0]),
    )  # fmt: skip


BRAT = (b"Ada met Bob.\n\nCarl is in New York.\n",
        b"T1\tPER 0 3\tAda\nT2\tPER 8 11\tBob\nR1\tknows Arg1:T1 Arg2:T2\nT3\tLOC 25 33\tNew York\n")  # fmt: skip


def make_brat(draw: random.Random) -> tuple[bytes, bytes]:
    if draw.random() < 0.3:
        return damaged(draw, BRAT[0], BRAT[1]), BRAT[1]
    return BRAT[0], damaged(draw, BRAT[1], BRAT[0])


def check_brat(given: tuple[bytes, bytes], folder: Path) -> None:
    """Each line is a sentence; each line of annotation an entity, or counted."""
    for name, data in zip(("a.txt", "a.ann"), given, strict=True):
        (folder / name).write_bytes(data)
    settings = ReadSettings()
    sentences = list(read_labelled(folder / "a.ann", "auto", settings))
    for sentence in sentences:
        check_sentence(sentence)
    text, notes = (data.decode("utf8") for data in given)
    assert solid("".join(word for s in sentences for word in s.words)) == solid(text)
    repairs = settings.report.repairs
    n_lines = sum(bool(line.strip()) for line in notes.split("\n"))
    n_found = sum(len(s.entities) for s in sentences) + repairs[REPAIR_TWICE] + repairs[NO_ENTITY]
    assert n_found == n_lines, "entities lost"


def check_prodigy(data: bytes, folder: Path) -> None:
    """Only accepted rows, and all of them."""
    path = folder / "input.jsonl"
    path.write_bytes(data)
    docs = list(read_prodigy(path))
    accepted = [row for row in rows_of(data) if row and row.get("answer") == "accept"]
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
    *(column_target(format) for format in sorted(TABLES)),
    Target(
        "columns auto", 8, lambda draw: make_columns(draw, draw.choice(sorted(TABLES))),
        lambda data, folder: check_columns(data, folder, "", "auto"),
    ),
    *(row_target(format) for format in KINDS_OF_ROWS),
    Target("brat", 4, make_brat, check_brat),
    Target("prodigy", 2, make_rows, check_prodigy),
    Target("raw txt", 4, make_raw, check_raw),
    Target("raw jsonl", 3, make_rows, check_raw_rows),
    Target("raw gz", 2, make_zipped, check_zipped),
    Target("docbin", 4, make_docbin, check_docbin),
    Target("label map", 4, make_label_map, check_label_map),
)  # fmt: skip
