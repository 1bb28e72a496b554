from __future__ import annotations

import gzip
import json

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from spacy_maral.data.raw import RawReport, list_files, prepare_text, read_raw
from spacy_maral.errors import MaralError
from spacy_maral.training.inputs import read_targets

GERMAN = """Angela Merkel besuchte z. B. Paris. Danach ging sie nach Hause!

Dies ist Dr. Müller aus Köln.
Kurz.
Angela Merkel besuchte z. B. Paris.
"""
SENTENCES = [
    "Angela Merkel besuchte z. B. Paris.",
    "Danach ging sie nach Hause!",
    "Dies ist Dr. Müller aus Köln.",
]


def jsonl(path, *texts):
    lines = [json.dumps({"text": text, "meta": 1}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf8")
    return path


def texts(*args, **options):
    return [doc.text for doc in read_raw(*args, **options)]


def counted(path, lang="de", **options):
    report = RawReport([], lang)
    found = texts(path, lang, report=report, **options)
    return found, report


@pytest.fixture
def german(tmp_path):
    path = tmp_path / "german.txt"
    path.write_text(GERMAN, encoding="utf8")
    return path


def test_sentences_are_split_by_the_language_and_counted(german):
    found, report = counted(german)
    assert found == SENTENCES
    assert report.texts == 4 and report.sentences == 3
    assert report.left_out == {"fewer than 3 words": 1, "repeats an earlier sentence": 1}
    assert report.tokens == sum(len(doc) for doc in read_raw(german, "de"))
    assert str(report).startswith("3 sentences of 4 texts; left out: fewer than 3 words 1")


def test_words_are_those_of_spacys_tokenizer(german):
    nlp = spacy.blank("de")
    for doc in read_raw(german, "de"):
        assert [t.text_with_ws for t in doc] == [t.text_with_ws for t in nlp.make_doc(doc.text)]
        assert not doc.has_annotation("ENT_IOB")


def test_every_kind_of_file_gives_the_same_sentences(german, tmp_path):
    files = [german, jsonl(tmp_path / "g.jsonl", GERMAN)]
    for path in list(files):
        packed = tmp_path / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        files.append(packed)
    docs = list(spacy.blank("de").pipe(GERMAN.splitlines()))
    docs[0].set_ents([Span(docs[0], 0, 2, "PER")])
    DocBin(docs=docs).to_disk(tmp_path / "g.spacy")
    (tmp_path / "g.spacy.gz").write_bytes(gzip.compress((tmp_path / "g.spacy").read_bytes()))
    files += [tmp_path / "g.spacy", tmp_path / "g.spacy.gz"]
    for path in files:
        assert texts(path, "de") == SENTENCES, path
    assert not any(doc.has_annotation("ENT_IOB") for doc in read_raw(files[-1], "de"))
    # a folder has them all, and repeats are left out over all files
    (tmp_path / "notes.md").write_text("no text to read", encoding="utf8")
    assert list_files([tmp_path]) == sorted(files)
    assert texts(tmp_path, "de") == SENTENCES


def test_endings_in_capitals_are_the_same(tmp_path, german):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "A.TXT").write_bytes(german.read_bytes())
    jsonl(folder / "B.Jsonl", "Four words are enough.")
    (folder / "C.TXT.GZ").write_bytes(gzip.compress(b"Five words are enough too."))
    doc = spacy.blank("de")("Six words are in this one.")
    doc.set_ents([], default="outside")
    DocBin(docs=[doc]).to_disk(folder / "D.SPACY")
    wanted = ["Four words are enough.", "Five words are enough too.", "Six words are in this one."]
    assert texts(folder, "de") == [*SENTENCES, *wanted]
    assert [texts(path, "de") for path in sorted(folder.iterdir())[1:]] == [[one] for one in wanted]
    (found,) = read_targets([folder / "D.SPACY"], None)
    assert found[0].has_annotation("ENT_IOB")


def test_text_keeps_its_blanks_and_ends_at_blank_lines(tmp_path):
    path = jsonl(
        tmp_path / "t.jsonl", "A title without stop\n \n  The text,  with two\nlines. End."
    )
    assert texts(path, "en") == ["A title without stop", "The text,  with two\nlines."]
    whole = texts(path, "en", split=False)
    assert whole == ["A title without stop\n \n  The text,  with two\nlines. End."]


def test_documents_are_split_at_their_own_sentences(tmp_path):
    words = ["one", "two", "three.", "four", "five", "six"]
    doc = Doc(spacy.blank("en").vocab, words=words, sent_starts=[1, 0, 0, 1, 0, 0])
    DocBin(docs=[doc], attrs=["SENT_START"]).to_disk(tmp_path / "d.spacy")
    assert texts(tmp_path / "d.spacy", "en") == ["one two three.", "four five six"]


def test_languages_without_spaces(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("王明在北京。他很高兴！\n", encoding="utf8")
    assert texts(path, "zh") == ["王明在北京。", "他很高兴！"]


def test_length_limit_and_sample(tmp_path):
    path = tmp_path / "many.txt"
    lines = [f"Number {i} " + "word " * (i % 7) for i in range(200)]
    path.write_text("\n".join(lines), encoding="utf8")
    found, report = counted(path, "en", min_words=4, max_words=6)
    assert {len(text.split()) for text in found} == {4, 5, 6}
    dropped = report.left_out["fewer than 4 words"] + report.left_out["more than 6 words"]
    assert len(found) + dropped == 200
    first = texts(path, "en", limit=20)
    assert first == texts(path, "en")[:20]
    drawn, report = counted(path, "en", limit=20, seed=1)
    assert len(drawn) == 20 == report.sentences and drawn != first
    assert report.left_out["not drawn"] == len(texts(path, "en")) - 20
    everything = texts(path, "en")
    assert [everything.index(text) for text in drawn] == sorted(map(everything.index, drawn))
    assert drawn == texts(path, "en", limit=20, seed=1) != texts(path, "en", limit=20, seed=2)


def test_every_sentence_is_drawn_alike(tmp_path, one_tokenizer):
    path = tmp_path / "ten.txt"
    path.write_text("\n".join(f"This is number {i}" for i in range(10)), encoding="utf8")
    drawn = [text for seed in range(100) for text in texts(path, "en", limit=3, seed=seed)]
    counts = [drawn.count(text) for text in texts(path, "en")]
    assert sum(counts) == 300 and min(counts) > 15 and max(counts) < 45


def test_prepared_text_is_read_back(german, tmp_path):
    report = prepare_text([str(german)], str(tmp_path / "new" / "de.spacy"), lang="de")
    docs = list(DocBin().from_disk(tmp_path / "new" / "de.spacy").get_docs(spacy.blank("de").vocab))
    assert [doc.text for doc in docs] == SENTENCES
    assert report.to_dict()["sentences"] == 3 and report.inputs == [str(german)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "fine here"}\n{"text": \n',
            "a.jsonl:2: this is not valid JSON",
        ),
        ("a.jsonl", b'["text"]\n', r"a.jsonl:1: found \[\"text\"\] instead of a JSON object"),
        ("a.jsonl", b'\n{"txt": "x"}\n', "a.jsonl:2: there is no text under .* the keys txt"),
        ("a.jsonl", b'{"text": 7}\n', r"a.jsonl:1: there is no text .*found 7"),
        ("a.jsonl", b'{"text": "a \\ud800 b"}\n', r"a.jsonl:1: the text has U\+D800 at position 3"),
        ("a.jsonl", b'{"text": "a \xff b"}\n', "a.jsonl:1: the text is not valid UTF-8"),
        ("a.txt", b"fine\nM\xfcller\n", "a.txt:2: the text is not valid UTF-8, found byte 0xfc"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
        ("a.spacy", b"no DocBin", "not a readable .spacy file"),
        ("a.txt", b"too short\n", "M152.*No sentence is left .*fewer than 3 words 1"),
        ("a.txt", b"", "there was no text"),
        ("a.csv", b"x", r"M151.*is not recognised as raw text.*\.txt, \.jsonl, \.spacy"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MaralError, match=message):
        list(read_raw(tmp_path / name, "en"))


def test_other_mistakes(tmp_path, german):
    with pytest.raises(MaralError, match="does not exist"):
        list(read_raw(tmp_path / "nowhere.txt", "de"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaralError, match=r"M150.*no text file in"):
        list(read_raw(tmp_path / "empty", "de"))
    with pytest.raises(MaralError, match="'german' is not a language code"):
        list(read_raw(german, "german"))
    for options in ({"min_words": 0}, {"min_words": 5, "max_words": 4}, {"limit": 0}):
        with pytest.raises(MaralError, match=f"{list(options)[-1]} must be at least"):
            list(read_raw(german, "de", **options))
    with pytest.raises(MaralError, match=r"ends in \.spacy"):
        prepare_text(german, tmp_path / "out.txt", lang="de")
