from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_maral.errors import MaralError
from spacy_maral.scale.annotate.readers import Document, Rejected, ShardReader


def read(path, **fields):
    reader = ShardReader(str(path), "s", **{"text_field": "text", "id_field": "id", **fields})
    found = list(reader)
    # progress ends where the shard does
    assert reader.position <= path.stat().st_size
    return found


def test_text_has_a_document_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffÄ b \r\n\n  c\td\nlast".encode())
    assert read(path) == [
        Document("s:1", "Ä b", 1), Document("s:3", "  c\td", 3), Document("s:4", "last", 4)
    ]  # fmt: skip


def test_ids_are_the_given_ones(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": "x", "text": "a"},
        {"id": 7, "text": ""},
        {"text": "c\nd"},
        {"id": None, "text": "e"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [(d.id, d.text) for d in read(path)] == [
        ("x", "a"), ("7", ""), ("s:3", "c\nd"), ("s:4", "e")
    ]  # fmt: skip


def test_other_keys(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"url": "u", "body": "b"}\n{"text": "t"}')
    good, bad = read(path, text_field="body", id_field="url")
    assert good == Document("u", "b", 1)
    assert "no 'body'" in bad.reason


BROKEN = [
    (b"{", "M140"),
    (b"[1]", "M141"),
    (b'{"a": 1}', "M142"),
    (b'{"text": 3}', "M142"),
    (b'{"text": "\\ud800"}', "M143"),
    (b'{"text": "a\\u0000"}', "M143"),
    (b'{"id": [1], "text": "a"}', "M473"),
    (b'{"id": true, "text": "a"}', "M473"),
    (b'{"id": "\\ud800", "text": "a"}', "M473"),
    (b'{"text": "\xff"}', "M103"),
]


@pytest.mark.parametrize(("line", "code"), BROKEN)
def test_a_broken_line_is_set_aside_whole(tmp_path, line, code):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    first, bad, last = read(path)
    assert (first.text, last.text) == ("a", "b")
    assert (bad.id, bad.line) == ("s:2", 2)
    assert f"[{code}] {path}:2" in bad.reason
    kept = bad.text.encode() if bad.text is not None else base64.b64decode(bad.base64)
    assert kept == line
    # it can be written
    json.dumps(bad.to_dict(), ensure_ascii=False).encode("utf8")


@given(st.lists(st.binary(max_size=12), max_size=8), st.sampled_from(["a.txt", "a.jsonl"]))
def test_no_line_is_lost(tmp_path_factory, lines, name):
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    path = tmp_path_factory.mktemp("lines") / name
    path.write_bytes(b"\n".join(lines))
    found = read(path)
    wanted = [
        (number, stripped)
        for number, line in enumerate(lines, start=1)
        if (
            stripped := (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).rstrip(b" \t")
        )
    ]
    assert [item.line for item in found] == [number for number, _ in wanted]
    for item, (_, line) in zip(found, wanted, strict=True):
        if isinstance(item, Rejected):
            kept = item.text.encode() if item.text is not None else base64.b64decode(item.base64)
            assert kept == line
        elif name == "a.txt":
            assert item.text.encode() == line


@pytest.mark.parametrize("name", ["t.txt.gz", "T.TXT.GZ"])
def test_packed_text(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\nb\n"))
    assert [document.text for document in read(path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.parquet"])
def test_a_damaged_shard_is_an_error(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\nb\n" * 1000)[:-12])
    with pytest.raises(MaralError, match=rf"M482.*{name}"):
        read(path)


# Parquet


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_rows_of_parquet(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    types = {
        "string": pa.string(), "large_string": pa.large_string(),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
    }  # fmt: skip
    texts = pa.array(["Ä", "", None, "d"], pa.string()).cast(types[kind])
    table = pa.table({"id": pa.array([3, None, 5, 6]), "text": texts, "other": [0.5] * 4})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=2)
    one, two, bad, four = read(path)
    assert (one, two, four) == (
        Document("3", "Ä", 1),
        Document("s:2", "", 2),
        Document("6", "d", 4),
    )
    assert bad.line == 3 and "null" in bad.reason


def test_parquet_whose_texts_are_no_texts(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    # writers do not look at what they write
    array = pa.array([b"good", b"\xff"]).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": array}), path)
    good, bad = read(path)
    assert good.text == "good"
    assert base64.b64decode(bad.base64) == b"\xff"


def test_parquet_without_a_column_of_texts(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [1], "body": ["b"]}), path)
    with pytest.raises(MaralError, match=r"M472.*text \(int64\), body \(string\)"):
        read(path)
    assert read(path, text_field="body")[0].text == "b"


def test_pyarrow_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"x")
    with pytest.raises(MaralError, match=r"M471.*spacy-maral\[parquet\]"):
        read(path)
