from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_maral.data.convert import convert, read_labelled
from spacy_maral.data.prodigy import read_prodigy, write_prodigy
from spacy_maral.data.statistics import stats
from spacy_maral.errors import MaralError
from spacy_maral.model.predictions import register_score

TEXT = "Ada Lovelace met Acme Corp. in London."
ENTS = [[0, 12, "PER"], [17, 27, "ORG"], [31, 37, "LOC"]]
WORDS = ["Ada", "Lovelace", "met", "Acme", "Corp.", "in", "London", "."]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return path


def as_dicts(ents):
    return [dict(zip(("start", "end", "label"), ent, strict=True)) for ent in ents]


@pytest.mark.parametrize("key", ["entities", "ents", "spans", "label"])
@pytest.mark.parametrize("form", [list, as_dicts])
def test_every_form_of_entities(tmp_path, key, form):
    path = write(tmp_path / "a.jsonl", {"text": TEXT, key: form(ENTS)}, {"text": "No.", key: []})
    first, second = read_labelled(path, lang="en")
    assert first.words == WORDS and first.labelled
    assert [tuple(ent) for ent in first.entities] == [(0, 1, "PER"), (3, 4, "ORG"), (6, 6, "LOC")]
    assert second.entities == [] and second.words == ["No", "."]


def test_labelled_json_lines_are_converted_and_counted(tmp_path):
    row = {"text": TEXT, "entities": [[0, 13, "PER"], [30, 37, "LOC"]]}  # with blanks
    path = write(tmp_path / "a.jsonl", row)
    report = convert(path, tmp_path / "a.spacy", lang="en", label_map={"PER": "HUMAN", "LOC": None})
    assert report.entities == {"HUMAN": 1} and report.dropped == {"LOC": 1}
    assert report.repairs == {"blanks at the ends of an entity left out of it": 2}
    (doc,) = DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("en").vocab)
    assert doc.text == TEXT and [(e.text, e.label_) for e in doc.ents] == [
        ("Ada Lovelace", "HUMAN")
    ]
    assert stats(path, lang="en").entities == {"LOC": 1, "PER": 1}
    (tmp_path / "b.data").write_bytes(path.read_bytes())
    assert convert(tmp_path / "b.data", tmp_path / "b.spacy", format="jsonl").sentences == 1


def test_own_tokens_count(tmp_path):
    tokens = [{"text": "Ada-", "start": 0, "end": 4}, {"text": "Acme", "start": 4, "end": 8}]
    row = {"text": "Ada-Acme", "tokens": tokens, "spans": [{"start": 4, "end": 8, "label": "ORG"}]}
    (sentence,) = read_labelled(write(tmp_path / "a.jsonl", row), lang="en")
    assert sentence.words == ["Ada-", "Acme"] and sentence.spaces == [False, False]
    assert [tuple(ent) for ent in sentence.entities] == [(1, 1, "ORG")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": TEXT}, "no list of entities under any of the keys"),
        ({"text": TEXT, "ents": [[0, 5, "PER"]]}, r"'Ada L' \(0 to 5\) .*: \[Ada\] \[Lovelace\] \[met\]"),
        ({"text": TEXT, "ents": [[0, 3, "PER"], [0, 12, "PER"]]}, "'Ada Lovelace' and 'Ada' overlap"),
        ({"text": TEXT, "ents": [[0, 99, "PER"]]}, "there is no word, the text has 38"),
        ({"text": TEXT, "ents": [[3, 4, "PER"]]}, "there is no word"),
        ({"text": TEXT, "ents": [["0", 3, "PER"]]}, "start and end are whole numbers"),
        ({"text": TEXT, "ents": [[0, 3, "O"]]}, "the label is a text other than O"),
        ({"text": TEXT, "ents": [[0, 3, "PER", 1.5]]}, "the score is a number from 0 to 1"),
        ({"text": TEXT, "ents": [[0, 3]]}, "is not an entity of this text"),
        ({"text": "ab", "ents": [], "tokens": [{"text": "b", "start": 0, "end": 1}]}, "token 0 is 'b'"),
        ({"text": "ab", "ents": [], "tokens": [{"text": "b"}]}, "token 0 is {"),
        ({"text": "ab", "ents": [], "tokens": []}, "there are none"),
        ({"text": "  ", "ents": []}, "no text under .*white space"),
    ],
)  # fmt: skip
def test_broken_rows_are_named(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", {"text": "Fine.", "ents": []}, row)
    with pytest.raises(MaralError, match=message) as error:
        list(read_labelled(path, lang="en"))
    assert f"{path}:2:" in str(error.value)


# review


@pytest.fixture
def docs():
    register_score()
    nlp = spacy.blank("en")
    docs = list(nlp.pipe(["Ada met Bob in  Rome.", "Nothing here.", "Carl sleeps.", "Dora ran."]))
    found = [
        [(0, 1, "PER", 0.9), (2, 3, "PER", 0.55)],
        [],
        [(0, 1, "LOC", 0.6)],
        [(0, 1, "PER", 0.99)],
    ]
    for doc, ents in zip(docs, found, strict=True):
        doc.set_ents([Span(doc, s, e, label=label) for s, e, label, _ in ents], default="outside")
        for ent, (*_, score) in zip(doc.ents, ents, strict=True):
            ent._.maral_score = score
    return docs


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def test_the_most_doubtful_sentences_come_first(docs, tmp_path):
    assert write_prodigy(docs, tmp_path / "new" / "x.jsonl", n=2) == 2
    rows = rows_of(tmp_path / "new" / "x.jsonl")
    assert [row["text"] for row in rows] == ["Ada met Bob in  Rome.", "Carl sleeps."]
    assert [row["meta"]["score"] for row in rows] == [0.55, 0.6]
    first = rows[0]
    for token in first["tokens"]:
        assert first["text"][token["start"] : token["end"]] == token["text"]
        assert (first["text"][token["end"] : token["end"] + 1] == " ") >= token["ws"]
    assert [token["id"] for token in first["tokens"]] == list(range(len(docs[0])))
    for span, ent in zip(first["spans"], docs[0].ents, strict=True):
        assert first["text"][span["start"] : span["end"]] == ent.text
        tokens = first["tokens"][span["token_start"] : span["token_end"] + 1]
        assert [token["text"] for token in tokens] == [token.text for token in ent]
        assert span["label"] == ent.label_


def test_doubt_may_come_from_a_span_group(docs, tmp_path):
    group = docs[1].spans["maral"] = []
    group = docs[1].spans["maral"]
    group.append(Span(docs[1], 0, 1, "PER"))
    group.attrs["scores"] = [0.31]
    assert write_prodigy(docs, tmp_path / "x.jsonl", spans_key="maral") == 1
    (row,) = rows_of(tmp_path / "x.jsonl")
    assert row["text"] == "Nothing here." and row["meta"]["score"] == 0.31 and row["spans"] == []


def test_corrections_are_read_back_as_gold(docs, tmp_path):
    write_prodigy(docs, tmp_path / "x.jsonl")
    rows = rows_of(tmp_path / "x.jsonl")
    assert len(rows) == 3
    rows[0] |= {"answer": "accept"}
    rows[0]["spans"].append({"start": 16, "end": 20, "label": "LOC"})
    rows[1] |= {"answer": "reject"}
    path = write(tmp_path / "reviewed.jsonl", *rows)
    (doc,) = read_prodigy(path)
    assert [t.text_with_ws for t in doc] == [t.text_with_ws for t in docs[0]]
    assert [(e.text, e.label_) for e in doc.ents] == [
        ("Ada", "PER"),
        ("Bob", "PER"),
        ("Rome", "LOC"),
    ]
    report = convert(path, tmp_path / "gold.spacy")
    assert report.repairs == {"row without the answer 'accept' left out": 1}


def test_nothing_to_review_and_nothing_reviewed(docs, tmp_path):
    write_prodigy(docs, tmp_path / "x.jsonl")
    with pytest.raises(MaralError, match="no row with the answer 'accept'"):
        list(read_prodigy(tmp_path / "x.jsonl"))
    plain = [spacy.blank("en")("Ada met Bob.")]
    with pytest.raises(MaralError, match="no entity with a confidence"):
        write_prodigy(plain, tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()
