"""Conversion to .spacy files: spaces, entities, honesty about missing labels, whole files only."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from spacy_maral.data.convert import convert, read_docbin
from spacy_maral.data.formats.registry import read_labelled
from spacy_maral.data.sentences import is_unspaced
from spacy_maral.data.statistics import stats
from spacy_maral.errors import MaralError

WIKIANN = (
    "{0}:Mira\tB-PER\n{0}:Olm\tB-PER\n{0}:.\tO\n\n{0}:Rain\tO\n{0}:.\tO\n\n{0}:Rain\tO\n{0}:.\tO\n"
)
UNER = "# text = Olm's.\n1\tOlm\tB-PER\n2\t's\tO\n3\t.\tO\n\n1\ta\tO\n2\tb\tO\n"
LANGUAGES = ["en", "de", "bn", "fa", "zh", "ja", "th", "ko", "vi", "xx", "zh-yue", "simple"]


def load(path: Path, lang: str = "xx") -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(spacy.blank(lang).vocab))


@pytest.fixture
def wikiann(tmp_path: Path) -> Path:
    path = tmp_path / "train"
    path.write_text(WIKIANN.format("de"), encoding="utf-8")
    return path


def test_docs_have_words_spaces_and_entities(wikiann: Path, tmp_path: Path) -> None:
    report = convert(wikiann, tmp_path / "out" / "train.spacy", lang="de")
    docs = load(tmp_path / "out" / "train.spacy", "de")
    assert [doc.text for doc in docs] == ["Mira Olm .", "Rain .", "Rain ."]
    assert [(e.start, e.end, e.label_) for e in docs[0].ents] == [(0, 1, "PER"), (1, 2, "PER")]
    assert not docs[1].ents
    assert all(doc.has_annotation("ENT_IOB", require_complete=True) for doc in docs)
    assert not any(doc.has_unknown_spaces for doc in docs)
    assert report.to_dict() == {
        "input": str(wikiann),
        "output": str(tmp_path / "out" / "train.spacy"),
        "lang": "de",
        "labelled": True,
        "sentences": 3,
        "tokens": 7,
        "entities": {"PER": 2},
        "dropped": {},
        "repairs": {},
        "examples": {},
        "duplicates": 1,
    }


def test_unlabelled_docs_have_no_trace_of_gold(wikiann: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.spacy"
    report = convert(wikiann, target, unlabelled=True)
    for doc in load(target):
        assert not doc.has_annotation("ENT_IOB")
        assert not doc.ents
    assert (report.entities, report.labelled) == ({}, False)
    assert b"PER" not in DocBin().from_disk(target).to_bytes()
    assert "PER" not in DocBin().from_disk(target).strings


def test_converting_twice_gives_the_same_bytes(wikiann: Path, tmp_path: Path) -> None:
    for name in ("a.spacy", "b.spacy"):
        convert(wikiann, tmp_path / name)
    assert (tmp_path / "a.spacy").read_bytes() == (tmp_path / "b.spacy").read_bytes()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_language_converts_without_its_tokenizer(tmp_path: Path, lang: str) -> None:
    path, output = tmp_path / "train", tmp_path / "train.spacy"
    path.write_text(WIKIANN.format("ja" if lang == "xx" else lang), encoding="utf-8")
    convert(path, output, lang=lang)
    unspaced = lang in ("zh", "ja", "th", "xx", "zh-yue")
    assert load(output)[0].text == ("MiraOlm." if unspaced else "Mira Olm .")


def test_unspaced_languages() -> None:
    assert [code for code in ("zh", "zh_TW", "zh-min-nan", "ko", "") if is_unspaced(code)] == [
        "zh",
        "zh_TW",
    ]


def test_the_files_own_text_wins_over_the_language(tmp_path: Path) -> None:
    path, output = tmp_path / "data.iob2", tmp_path / "data.spacy"
    path.write_text(UNER, encoding="utf-8")
    convert(path, output, lang="en")
    assert [doc.text for doc in load(output)] == ["Olm's.", "a b"]


def test_another_language_than_the_files_is_told_once(wikiann: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"W102.*asked for is 'nl', but the file says 'de'"
    ) as caught:
        convert(wikiann, tmp_path / "out.spacy", lang="nl")
    assert len(caught) == 1


def test_report_counts_repairs_and_left_out_entities(tmp_path: Path) -> None:
    path, table = tmp_path / "data.txt", tmp_path / "map.json"
    path.write_text("a I-PER\nb O\nc I-LOC\n", encoding="utf-8")
    table.write_text('{"PER": "P", "LOC": null}', encoding="utf-8")
    report = convert(path, tmp_path / "out.spacy", format="conll", label_map=table)
    assert report.entities == {"P": 1}
    assert report.dropped == {"LOC": 1}
    assert report.repairs == {"I- read as B- (IOB1)": 2}
    assert report.examples == {"I- read as B- (IOB1)": [f"{path}:1: I-PER", f"{path}:3: I-LOC"]}


@pytest.mark.parametrize(
    "columns", ["", "word", "word=1", "tag=1", "word=1,word=2,tag=0", "word=x,tag=1"]
)
def test_columns_that_are_none(wikiann: Path, tmp_path: Path, columns: str) -> None:
    with pytest.raises(MaralError, match="M159"):
        convert(wikiann, tmp_path / "out.spacy", columns=columns)


def test_columns_of_the_users_choice(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("1\tAda\tPROPN\tB-PER\tx\n2\tgeht\tVERB\tO\tx\n", encoding="utf-8")
    convert(path, tmp_path / "out.spacy", columns="word=1, tag=3")
    (doc,) = load(tmp_path / "out.spacy")
    assert [t.text for t in doc] == ["Ada", "geht"] and doc.ents[0].label_ == "PER"
    convert(path, tmp_path / "out.spacy", columns="word=1", unlabelled=True)
    assert not load(tmp_path / "out.spacy")[0].has_annotation("ENT_IOB")


@pytest.mark.parametrize("names", [
    ["x"], "[1]", "{}", '{"O": 1}', "x", '["O", 2]', '"xyz"', '{"O": 1e999}',
    '{"O": 0, "B-A": 1, "B-B": 1, "B-C": 2}', '{"O": 0, "B-A": 2, "B-A": 1, "B-B": 2}',
])  # fmt: skip
def test_names_of_tags_that_are_none(tmp_path: Path, names: object) -> None:
    path, table = tmp_path / "data.jsonl", tmp_path / "names.json"
    path.write_text('{"tokens": ["a"], "ner_tags": [2]}\n', encoding="utf-8")
    if isinstance(names, str):
        table.write_text(names, encoding="utf-8")
    with pytest.raises(MaralError, match="M160"):
        convert(path, tmp_path / "x.spacy", tag_names=table if isinstance(names, str) else names)


@pytest.mark.parametrize("option", [{"tags": "x"}, {"misaligned": "x"}])
def test_options_that_are_none(wikiann: Path, tmp_path: Path, option: dict) -> None:
    with pytest.raises(MaralError, match=r"M153.*one of .*'x'"):
        convert(wikiann, tmp_path / "out.spacy", **option)


def test_docbin_reads_back_as_the_same_sentences(wikiann: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.spacy"
    convert(wikiann, output)
    before, after = list(read_labelled(wikiann)), list(read_docbin(output))
    assert [(s.words, s.entities) for s in after] == [(s.words, s.entities) for s in before]
    assert all(s.labelled for s in after)


def test_labels_of_a_docbin_are_mapped_and_all_else_is_kept(wikiann: Path, tmp_path: Path) -> None:
    output, again = tmp_path / "out.spacy", tmp_path / "again.spacy"
    wikiann.write_text(WIKIANN.format("de") + "de:Bonn\tB-LOC\n", encoding="utf-8")
    convert(wikiann, output, lang="de")
    labels = sorted({e.label for s in read_docbin(output) for e in s.entities})
    assert len(labels) > 1
    for format in ("auto", "conll"):
        convert(output, again, format=format)
        assert again.read_bytes() == output.read_bytes()
    label_map = {label: None if label == labels[0] else "X" for label in labels}
    report = convert(output, again, label_map=label_map)
    convert(wikiann, tmp_path / "direct.spacy", lang="de", label_map=label_map)
    assert again.read_bytes() == (tmp_path / "direct.spacy").read_bytes()
    assert list(report.entities) == ["X"] and list(report.dropped) == labels[:1]
    with pytest.raises(MaralError, match=rf"M115.*out\.spacy: document 1.*'{labels[-1]}'"):
        convert(output, again, label_map={labels[0]: "X"})
    convert(output, again, unlabelled=True)
    assert not any(doc.has_annotation("ENT_IOB") for doc in load(again))
    with pytest.raises(MaralError, match="M544"):
        convert(output, output)


def test_words_of_a_docbin_whose_entities_are_not_known_stay_so(tmp_path: Path) -> None:
    doc = Doc(spacy.blank("xx").vocab, words=list("abcd"), spaces=[False] * 4)
    doc.set_ents(
        [Span(doc, 1, 2, "PER"), Span(doc, 3, 4, "LOC")], outside=[doc[2:3]], default="missing"
    )
    bare = Doc(doc.vocab, words=["e"])
    packed = gzip.compress(DocBin(docs=[doc, bare]).to_bytes())
    (tmp_path / "in.spacy.gz").write_bytes(packed)
    convert(tmp_path / "in.spacy.gz", tmp_path / "out.spacy", label_map={"PER": None, "LOC": "X"})
    found, other = load(tmp_path / "out.spacy")
    assert [t.ent_iob_ + t.ent_type_ for t in found] == ["", "O", "O", "BX"]
    assert not other.has_annotation("ENT_IOB")


def test_a_broken_input_leaves_the_old_output_and_nothing_else(
    wikiann: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "train.spacy"
    convert(wikiann, output)
    before = output.read_bytes()
    wikiann.write_text(WIKIANN.format("de") + "de:x\tPER\n", encoding="utf-8")
    with pytest.raises(MaralError, match="train:10: 'PER'"):
        convert(wikiann, output, format="wikiann")
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == ["train.spacy"]


def test_a_failed_write_leaves_nothing(
    wikiann: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MaralError, match=r"M406.*train\.spacy cannot be written: no space left"):
        convert(wikiann, tmp_path / "out" / "train.spacy")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("out.json", r"does not end in \.spacy"), ("folder.spacy", "is a folder")]
)
def test_bad_output(wikiann: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.spacy").mkdir()
    with pytest.raises(MaralError, match=f"M123.*{message}"):
        convert(wikiann, tmp_path / name)


@pytest.mark.parametrize("lang", ["", "german!", "d", "12"])
def test_bad_language(wikiann: Path, tmp_path: Path, lang: str) -> None:
    with pytest.raises(MaralError, match="is not a language code"):
        convert(wikiann, tmp_path / "out.spacy", lang=lang)
    with pytest.raises(MaralError, match="is not a language code"):
        stats(wikiann, lang=lang)


@pytest.mark.parametrize("data", [b"", b"de:a\tO\n", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_broken_docbin(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "data.spacy"
    path.write_bytes(data)
    with pytest.raises(MaralError, match=r"data\.spacy is not a readable \.spacy file"):
        list(read_docbin(path))


def test_empty_docbin(tmp_path: Path) -> None:
    path = tmp_path / "data.spacy"
    DocBin().to_disk(path)
    with pytest.raises(MaralError, match=r"M104.*holds no sentence"):
        list(read_docbin(path))
