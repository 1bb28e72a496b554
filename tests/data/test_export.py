"""Export and convert are inverse, from format to format, and what a format cannot hold is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import spacy
from sentences import TEXTS
from spacy.tokens import Doc, DocBin, Span

from spacy_maral.data.convert import convert, write_docs
from spacy_maral.data.export import export
from spacy_maral.data.formats.columns import TABLES
from spacy_maral.data.formats.registry import FORMATS
from spacy_maral.errors import MaralError

pytestmark = pytest.mark.usefixtures("one_tokenizer")
CASES = [*((name, "") for name in FORMATS), ("label-studio", ".json"), ("huggingface", ".parquet"),
         ("gliner", ".json"), ("jsonl", ".parquet"), ("argilla", ".parquet")]  # fmt: skip


def output_of(folder: Path, format: str, suffix: str) -> Path:
    return folder / f"out{suffix or ('.ann' if format == 'brat' else '.data')}"


def write_converted(path: Path, docs: list[Doc], lang: str = "xx") -> Path:
    """Write documents as `convert` writes them, without what the tokenizer notes of words."""
    write_docs(path, docs)
    export(path, path.with_suffix(".jsonl"))
    convert(path.with_suffix(".jsonl"), path, lang=lang)
    return path


def write_texts(path: Path, lang: str = "xx") -> Path:
    """Write sentences in several scripts, with and without spaces between words."""
    nlp = spacy.blank("xx")
    docs = []
    for text, entities in TEXTS:
        doc = nlp(text)
        doc.set_ents([doc.char_span(s, e, label) for s, e, label in entities], default="outside")
        docs.append(doc)
    for spaces in ([False] * 3, [False, True, False]):
        doc = Doc(nlp.vocab, words=["#", "U.N.", "-"], spaces=spaces)
        doc.set_ents([Span(doc, 0, 2, "ORG"), Span(doc, 2, 3, "ORG")], default="outside")
        docs.append(doc)
    return write_converted(path, docs, lang)


@pytest.mark.parametrize(("format", "suffix"), CASES)
@pytest.mark.parametrize("lang", ["xx", "zh"])
def test_convert_after_export_is_the_identity(tmp_path, format, suffix, lang):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = write_texts(tmp_path / "in.spacy", lang)
    output = output_of(tmp_path, format, suffix)
    assert export(path, output, format=format, lang=lang) == len(TEXTS) + 2
    convert(output, tmp_path / "again.spacy", format=format, lang=lang)
    assert (tmp_path / "again.spacy").read_bytes() == path.read_bytes()
    convert(output, tmp_path / "detected.spacy", lang=lang)
    assert (tmp_path / "detected.spacy").read_bytes() == path.read_bytes()


def test_through_all_formats_and_back(tmp_path):
    """What was read from one format is written to the next, and comes back.

    After each step the documents are those of the start, byte by byte, so every pair of formats is
    tested by this and by the test above.
    """
    path = write_texts(tmp_path / "in.spacy")
    last = path
    for number, format in enumerate([*FORMATS, *reversed(FORMATS)]):
        output = output_of(tmp_path / str(number), format, "")
        export(last, output, format=format)
        last = output.with_suffix(".spacy")
        convert(output, last)
        assert last.read_bytes() == path.read_bytes(), format


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uner/en/dev.iob2", "wikiann/de/dev", "conll/nl/test.conll",
                                  "multiconer2/bn/bn-test.conll", "multiconer2/fa/fa-test.conll"])  # fmt: skip
def test_a_hundred_real_sentences(tmp_path, name):
    convert(Path(os.environ["MARAL_DATA"]) / name, tmp_path / "all.spacy")
    docs = list(DocBin().from_disk(tmp_path / "all.spacy").get_docs(spacy.blank("xx").vocab))
    path = write_converted(tmp_path / "in.spacy", docs[:100])
    for format, suffix in CASES:
        output = output_of(tmp_path, format, suffix)
        export(path, output, format=format)
        convert(output, tmp_path / "again.spacy")
        assert (tmp_path / "again.spacy").read_bytes() == path.read_bytes(), (format, suffix)


def one_document(path: Path, words: list[str], label: str = "PER", spaces=None) -> Path:
    doc = Doc(spacy.blank("xx").vocab, words=words, spaces=spaces or [True] * len(words))
    doc.set_ents([Span(doc, 0, 1, label)], default="outside")
    write_docs(path, [doc])
    return path


@pytest.mark.parametrize(
    ("words", "label", "refused"),
    [
        (["a\nb", "c"], "PER", {*TABLES, "brat"}),
        (["a b", "c"], "PER", {"conll", "bioes", "multiconer", "brat"}),
        (["a", "b"], "work of art", {"conll", "bioes", "multiconer", "brat"}),
        (["e\u0301", "b"], "PER", set(TABLES)),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused(tmp_path, words, label, refused):
    path = one_document(tmp_path / "in.spacy", words, label, [True, False])
    found = set()
    for format in FORMATS:
        output = output_of(tmp_path / format, format, "")
        try:
            export(path, output, format=format)
        except MaralError as error:
            assert "[M167]" in str(error) and "jsonl" in str(error)
            assert not list(output.parent.iterdir())
            found.add(format)
    assert found == refused


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [1, 2, 6, 7])
def test_the_document_that_a_format_cannot_hold_is_named(tmp_path, format, number):
    """With what is wrong, and no file that is gone; one that comes after it may be wrong as well."""
    path, vocab = tmp_path / "in.spacy", spacy.blank("xx").vocab
    docs = [Doc(vocab, words=["a", "b"], spaces=[True, False]) for _ in range(7)]
    for place, doc in enumerate(docs, start=1):
        label = "O" if place in (number, 7) else "PER"
        doc.set_ents([Span(doc, 0, 1, label)], default="outside")
    write_docs(path, docs)
    output = output_of(tmp_path, format, "")
    with pytest.raises(MaralError, match=rf"'{format}' cannot hold document {number} of") as error:
        export(path, output, format=format)
    assert "maral-export" not in str(error.value) and "out." not in str(error.value)
    assert ("export it as jsonl" in str(error.value)) == (format != "jsonl")
    assert str(error.value).count("\n") < 3 and ".. " not in str(error.value)


@pytest.mark.parametrize("format", FORMATS)
def test_documents_without_words_are_not_left_out_in_silence(tmp_path, format):
    path, vocab = tmp_path / "in.spacy", spacy.blank("xx").vocab
    docs = [Doc(vocab, words=words, spaces=[False] * len(words)) for words in (["a"], [])]
    for doc in docs:
        doc.set_ents([], default="outside")
    write_docs(path, docs)
    with pytest.raises(MaralError, match=r"M167.*document 2 of .*: it has no words\."):
        export(path, output_of(tmp_path, format, ""), format=format)


@pytest.mark.parametrize("format", ["doccano", "gliner", "spacy-annotator"])
def test_parquet_has_no_lists_of_different_types(tmp_path, format):
    pytest.importorskip("pyarrow")
    path = one_document(tmp_path / "in.spacy", ["a", "b"])
    with pytest.raises(MaralError, match=r"M167.*jsonl"):
        export(path, tmp_path / "out.parquet", format=format)
    assert [p.name for p in tmp_path.iterdir()] == ["in.spacy"]


def test_a_link_is_written_through(tmp_path):
    path, link = one_document(tmp_path / "in.spacy", ["a", "b"]), tmp_path / "link.jsonl"
    (tmp_path / "real.jsonl").write_text("old", encoding="utf8")
    link.symlink_to("real.jsonl")
    export(path, link)
    assert link.is_symlink() and "old" not in (tmp_path / "real.jsonl").read_text(encoding="utf8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.spacy", "link.jsonl", "real.jsonl"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_written_to(tmp_path):
    path, pipe, found = one_document(tmp_path / "in.spacy", ["a", "b"]), tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text(encoding="utf8")))
    reader.start()
    export(path, pipe)
    reader.join(timeout=10)
    export(path, tmp_path / "file.jsonl")
    assert found == [(tmp_path / "file.jsonl").read_text(encoding="utf8")] and pipe.is_fifo()


def test_brat_replaces_no_text_of_others(tmp_path):
    path, text = one_document(tmp_path / "in.spacy", ["a", "b"]), tmp_path / "n.txt"
    text.write_text("mine", encoding="utf8")
    with pytest.raises(MaralError, match=r"M170.*n\.txt"):
        export(path, tmp_path / "n.ann", format="brat")
    assert text.read_text(encoding="utf8") == "mine" and not (tmp_path / "n.ann").exists()
    text.unlink()
    for words in (["a", "b"], ["a", "b", "c"]):
        export(one_document(path, words), tmp_path / "n.ann", format="brat")
        assert text.read_text(encoding="utf8").split() == words


@pytest.mark.parametrize(
    ("ann", "tok"), [("", None), ("", "mine too"), ("T1\tPER 0 4\tyours\n", "mine"), ("?", "mine")]
)
def test_a_file_of_entities_excuses_no_loss_of_a_text_that_is_not_its_own(tmp_path, ann, tok):
    path, text = one_document(tmp_path / "in.spacy", ["a", "b"]), tmp_path / "n.txt"
    text.write_text("mine", encoding="utf8")
    (tmp_path / "n.ann").write_text(ann, encoding="utf8")
    if tok is not None:
        (tmp_path / "n.tok").write_text(tok, encoding="utf8")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(
        MaralError, match=r"M170.*n\.t(xt|ok) exists, and is not of an earlier n\.ann"
    ):
        export(path, tmp_path / "n.ann", format="brat")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_files_that_were_corrected_are_still_those_of_an_earlier_output(tmp_path):
    path, output = one_document(tmp_path / "in.spacy", ["ab", "c"]), tmp_path / "n.ann"
    export(path, output, format="brat")
    # part of a word, two that overlap, and a note
    output.write_text("T1\tPER 0 1\ta\nT2\tLOC 0 4\tab c\n#1\tNote T1\t?\n", encoding="utf8")
    export(one_document(path, ["d"]), output, format="brat")
    assert output.with_suffix(".txt").read_text(encoding="utf8").split() == ["d"]


@pytest.mark.parametrize("ending", [".txt", ".tok"])
def test_what_is_beside_the_output_must_be_writable_too(tmp_path, ending):
    path = one_document(tmp_path / "in.spacy", ["a", "b"])
    (tmp_path / f"n{ending}").mkdir()
    with pytest.raises(MaralError, match=rf"M406.*n\{ending} cannot be written"):
        export(path, tmp_path / "n.ann", format="brat")


@pytest.mark.parametrize(
    ("name", "format", "wanted"),
    [
        ("o.jsonl.gz", "jsonl", r"\.jsonl or \.json or \.parquet"), ("o.gz", "conll", r"\.txt"),
        ("o.spacy", "jsonl", r"\.jsonl"), ("o.spacy", "brat", r"\.ann"), ("o.ann", "jsonl", r"\.jsonl"),
        ("o.txt", "brat", r"\.ann"), ("o", "brat", r"\.ann"), ("o.ann.gz", "brat", r"\.ann"),
        ("o.json", "conll", r"\.txt"), ("o.PARQUET", "iob2", r"\.txt"),
    ],
)  # fmt: skip
def test_names_that_are_read_as_another_kind_of_file_are_refused(tmp_path, name, format, wanted):
    path = one_document(tmp_path / "in.spacy", ["a", "b"])
    with pytest.raises(MaralError, match=rf"M171.*'{format}'.*{name}, .*ends in {wanted}"):
        export(path, tmp_path / name, format=format)
    assert [p.name for p in tmp_path.iterdir()] == ["in.spacy"]


def test_documents_without_annotation_and_bad_names_are_refused(tmp_path):
    path = one_document(tmp_path / "in.spacy", ["a", "b"])
    with pytest.raises(MaralError, match=r"M105.*'x'"):
        export(path, tmp_path / "out", format="x")
    doc = Doc(spacy.blank("xx").vocab, words=["a", "b"])
    doc.set_ents([Span(doc, 0, 1, "PER")], default="missing")
    write_docs(path, [doc])
    with pytest.raises(MaralError, match=r"M168.*Document 1"):
        export(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in.spacy"]
