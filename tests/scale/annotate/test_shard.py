from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from scale_corpora import GOLDEN, LINES, expected_ents
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_maral.errors import MaralError
from spacy_maral.scale import ShardSettings, annotate_shard
from spacy_maral.scale.annotate.readers import Document
from spacy_maral.scale.annotate.shard import Annotator

SETTINGS = ShardSettings("v")
VOCAB = Vocab()


@Language.component("maral_test_fails")
def fails(doc: Doc) -> Doc:
    if "BAD" in doc.text:
        raise RuntimeError(f"cannot do\n{doc.text}")
    return doc


def read(path):
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def annotate(nlp, folder, lines, settings=SETTINGS):
    """Rows of the output and of what was set aside."""
    (folder / "s.txt").write_text("\n".join(lines), encoding="utf8")
    summary = annotate_shard(nlp, str(folder / "s.txt"), str(folder / "out" / "s.jsonl"), settings)
    rejected = folder / "out" / "_rejected" / "s.jsonl"
    bad = read(rejected) if rejected.exists() else []
    rows = read(folder / "out" / "s.jsonl")
    assert (summary.documents, summary.rejected) == (len(rows), len(bad))
    return rows, bad, summary


def test_entities_have_character_offsets(ruler, tmp_path):
    rows, bad, summary = annotate(spacy.load(ruler), tmp_path, LINES)
    assert not bad
    assert [row["text"] for row in rows] == LINES
    for number, row in enumerate(rows, start=1):
        assert (row["id"], row["model"]) == (f"s:{number}", "v")
        found = [(e["start"], e["end"], e["label"]) for e in row["entities"]]
        assert found == expected_ents(row["text"])
        assert all(e["score"] is None for e in row["entities"])
    assert summary.words == sum(len(text.split()) for text in LINES)
    labels = [e["label"] for row in rows for e in row["entities"]]
    assert summary.entities == {label: labels.count(label) for label in ("LOC", "PER")}


@pytest.mark.parametrize("batch_words", [1, 20, 4096])
def test_a_model_of_ours_says_what_it_says_of_single_documents(tmp_path, batch_words):
    nlp = spacy.load(GOLDEN)
    texts = [*LINES, " ".join(LINES[:4] * 3), "x", *LINES]
    rows, _, _ = annotate(nlp, tmp_path, texts, ShardSettings("v", batch_words=batch_words))
    assert [row["text"] for row in rows] == texts
    assert any(row["entities"] for row in rows)
    for row in rows:
        ents = nlp(row["text"]).ents
        assert [(e["start"], e["end"], e["label"]) for e in row["entities"]] == [
            (ent.start_char, ent.end_char, ent.label_) for ent in ents
        ]
        # padding rounds otherwise
        scores = [ent._.maral_score for ent in ents]
        assert [e["score"] for e in row["entities"]] == pytest.approx(scores, abs=1e-4)


def test_documents_that_fail_are_set_aside_and_the_others_are_not(ruler, tmp_path):
    nlp = spacy.load(ruler)
    nlp.add_pipe("maral_test_fails")
    lines = [f"{'BAD' if i % 7 == 3 else 'good'} {i} Paris" for i in range(40)]
    rows, bad, _ = annotate(nlp, tmp_path, lines)
    assert [row["text"] for row in rows] == [line for line in lines if "BAD" not in line]
    assert [(row["id"], row["line"], row["text"]) for row in bad] == [
        (f"s:{i + 1}", i + 1, line) for i, line in enumerate(lines) if "BAD" in line
    ]
    assert bad[0]["reason"] == "RuntimeError: cannot do BAD 3 Paris"
    assert all([e["label"] for e in row["entities"]] == ["LOC"] for row in rows)


def test_a_text_too_long_for_the_tokenizer_is_set_aside(ruler, tmp_path):
    nlp = spacy.load(ruler)
    nlp.max_length = 100
    rows, bad, _ = annotate(nlp, tmp_path, ["a", "b" * 101, "c"])
    assert [row["text"] for row in rows] == ["a", "c"]
    assert "E088" in bad[0]["reason"] and bad[0]["text"] == "b" * 101


def test_a_model_that_fails_on_everything_fails_the_shard(ruler, tmp_path):
    nlp = spacy.load(ruler)
    nlp.add_pipe("maral_test_fails")
    lines = [f"BAD {i}" for i in range(6)]
    with pytest.raises(MaralError, match=r"M476.*5 documents"):
        annotate(nlp, tmp_path, lines, ShardSettings("v", give_up=5))
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(annotate(nlp, tmp_path, lines, ShardSettings("v", give_up=7))[1]) == 6


def test_rejected_documents_of_an_earlier_attempt_do_not_stay(ruler, tmp_path):
    nlp = spacy.load(ruler)
    nlp.max_length = 3
    assert annotate(nlp, tmp_path, ["a", "bbbb"])[1]
    nlp.max_length = 100
    assert not annotate(nlp, tmp_path, ["a", "bbbb"])[1]


def test_names_with_dots_keep_their_rejected_documents_apart(ruler, tmp_path):
    nlp = spacy.load(ruler)
    nlp.max_length = 3
    (tmp_path / "s.txt").write_text("a\nbbbb", encoding="utf8")
    for year in ("2020", "2021"):
        for kind in ("jsonl", "jsonl.gz"):
            output = tmp_path / "out" / f"de.{year}.{kind}"
            annotate_shard(nlp, str(tmp_path / "s.txt"), str(output), ShardSettings("v", kind))
    names = sorted(path.name for path in (tmp_path / "out" / "_rejected").iterdir())
    assert names == ["de.2020.jsonl", "de.2021.jsonl"]


def test_formats_say_the_same(ruler, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    import gzip

    nlp = spacy.load(ruler)
    rows, _, _ = annotate(nlp, tmp_path, LINES)
    source = str(tmp_path / "s.txt")
    for kind in ("jsonl.gz", "parquet"):
        for name in ("1", "2"):
            annotate_shard(nlp, source, str(tmp_path / f"{name}.{kind}"), ShardSettings("v", kind))
        # the same bytes, whenever they are written
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("1", "2"))
        assert first == second
    packed = gzip.decompress((tmp_path / "1.jsonl.gz").read_bytes()).decode()
    assert [json.loads(line) for line in packed.splitlines()] == rows
    assert pq.read_table(tmp_path / "1.parquet").to_pylist() == rows


def test_parquet_is_written_in_parts(ruler, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("spacy_maral.scale.annotate.writers.ROW_GROUP", 3)
    path = tmp_path / "s.txt"
    path.write_text("\n".join(LINES), encoding="utf8")
    output = tmp_path / "s.parquet"
    annotate_shard(spacy.load(ruler), str(path), str(output), ShardSettings("v", "parquet"))
    groups = pq.ParquetFile(output).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [3, 3, 2]


def test_a_shard_is_not_read_further_than_needed(ruler, monkeypatch):
    monkeypatch.setattr("spacy_maral.scale.annotate.shard.WINDOW_WORDS", 96)
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield Document(str(drawn), "one two three", drawn)

    windows = Annotator(spacy.load(ruler), ShardSettings("v", batch_words=12)).windows(endless())
    for number in range(1, 4):
        assert len(next(windows)) == drawn / number == 96 / 4


def doubtful_by_hand(nlp, text, doubt):
    """Doubtful characters, from the probabilities of all spans."""
    doc = nlp(text)
    with nlp.select_pipes(disable="maral_ner"):
        read_doc = nlp(text)
    found = nlp.get_pipe("maral_ner").predict([read_doc])
    starts, ends = found.candidates.in_documents()
    uncertain, certain = set(), set()
    for start, end, scores in zip(starts, ends, found.scores, strict=True):
        span = doc[start : end + 1]
        characters = set(range(span.start_char, span.end_char))
        p = np.exp(scores - scores.max())
        p /= p.sum()
        written = [ent.label_ for ent in doc.ents if (ent.start, ent.end) == (start, end + 1)]
        own = 1 + nlp.get_pipe("maral_ner").labels.index(written[0]) if written else 0
        if written:
            (certain if 1 - p[own] < doubt else uncertain).update(characters)
        elif p[1:].max() >= doubt:
            uncertain |= characters
    return {place for place in uncertain - certain if text[place] != " "}


@pytest.mark.parametrize("doubt", [0.003, 0.02, 0.9])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_doubtful_words_are_written(tmp_path, doubt, kind):
    nlp = spacy.load(GOLDEN)
    (tmp_path / "s.txt").write_text("\n".join(LINES), encoding="utf8")
    output = tmp_path / f"out.{kind}"
    settings = ShardSettings("v", kind, doubt=doubt)
    annotate_shard(nlp, str(tmp_path / "s.txt"), str(output), settings)
    if kind == "parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
    else:
        rows = read(output)
    plain, _, _ = annotate(nlp, tmp_path, LINES)
    assert nlp.get_pipe("maral_ner").cfg["spans_key"] is None
    for row, without in zip(rows, plain, strict=True):
        found = {x for part in row["doubtful"] for x in range(part["start"], part["end"])}
        text = row["text"]
        wanted = doubtful_by_hand(nlp, text, doubt)
        assert {x for x in found if text[x] != " "} == wanted
        assert "doubtful" not in without
        assert [e["label"] for e in row["entities"]] == [e["label"] for e in without["entities"]]
    assert any(row["doubtful"] for row in rows) == (doubt < 0.5)


def test_doubt_needs_scored_spans(ruler, tmp_path):
    with pytest.raises(MaralError, match="M314"):
        annotate(spacy.load(ruler), tmp_path, LINES, ShardSettings("v", doubt=0.1))


@pytest.mark.parametrize(
    "change", [{"format": "csv"}, {"batch_words": 0}, {"give_up": 0}, {"doubt": 0.0}]
)
def test_settings_out_of_range(change):
    with pytest.raises(MaralError, match=rf"M481.*{next(iter(change))}"):
        ShardSettings("v", **change)


@given(st.lists(st.integers(-1, 50)), st.integers(1, 60))
def test_batches_hold_every_document_once_within_the_budget(lengths, budget):
    batches = []

    class Recorder(Annotator):
        def _batch(self, batch):
            batches.append([len(doc) for _, doc in batch])
            return [document.line for document, _ in batch]

    # -1 stands for what the reader has set aside
    window = [
        (Document("", "", line), None if n < 0 else Doc(VOCAB, words=["x"] * n))
        for line, n in enumerate(lengths)
    ]
    results = Recorder(spacy.blank("xx"), ShardSettings("v", batch_words=budget))._annotate(window)
    aside = [item for item, doc in window if doc is None]
    assert results == [item if doc is None else item.line for item, doc in window]
    assert sum(map(len, batches)) == len(lengths) - len(aside)
    assert all(len(batch) == 1 or len(batch) * max(1, *batch) <= budget for batch in batches)
