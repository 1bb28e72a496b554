from __future__ import annotations

import gzip
import json

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_maral.data.annotated import MISALIGNED, OTHER_ENTITIES, REPAIR_TWICE, REPAIR_UTF16
from spacy_maral.data.convert import convert
from spacy_maral.data.formats.registry import read_labelled
from spacy_maral.data.prodigy import read_prodigy, write_prodigy
from spacy_maral.data.sentences import ReadSettings
from spacy_maral.data.statistics import stats
from spacy_maral.errors import MaralError
from spacy_maral.model.predictions import register_score

pytestmark = pytest.mark.usefixtures("one_tokenizer")

TEXT = "Ada Lovelace met Acme Corp. in London."
ENTS = [[0, 12, "PER"], [17, 27, "ORG"], [31, 37, "LOC"]]
WORDS = ["Ada", "Lovelace", "met", "Acme", "Corp.", "in", "London", "."]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return path


def read(path, format="auto", **options):
    """The sentences of a file, and the report."""
    settings = ReadSettings("en", **options)
    return list(read_labelled(path, format, settings)), settings.report


def as_dicts(ents):
    return [dict(zip(("start", "end", "label"), ent, strict=True)) for ent in ents]


@pytest.mark.parametrize("key", ["entities", "ents", "spans", "label", "labels"])
@pytest.mark.parametrize("form", [list, as_dicts])
def test_every_form_of_entities(tmp_path, key, form):
    path = write(tmp_path / "a.jsonl", {"text": TEXT, key: form(ENTS)}, {"text": "No.", key: []})
    (first, second), _ = read(path)
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
    (sentence,), _ = read(write(tmp_path / "a.jsonl", row))
    assert sentence.words == ["Ada-", "Acme"] and sentence.spaces == [False, False]
    assert [tuple(ent) for ent in sentence.entities] == [(1, 1, "ORG")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": TEXT}, "M144.*no list of entities under any of the keys"),
        ({"text": TEXT, "ents": [[0, 5, "PER"]]}, r"M147.*'Ada L' \(0 to 5\) .*: \[Ada\] \[Lovelace\] \[met\]"),
        ({"text": TEXT, "ents": [[0, 3, "PER"], [0, 12, "PER"]]}, "M148.*'Ada Lovelace' and 'Ada' overlap"),
        ({"text": TEXT, "ents": [[0, 99, "PER"]]}, "there is no word, the text has 38"),
        ({"text": TEXT, "ents": [[3, 4, "PER"]]}, "there is no word"),
        ({"text": TEXT, "ents": [["0", 3, "PER"]]}, "start and end are whole numbers"),
        ({"text": TEXT, "ents": [[0, 3, "O"]]}, "the label is a text other than O"),
        ({"text": TEXT, "ents": [[0, 3, "PER", 1.5]]}, "the score is a number from 0 to 1"),
        ({"text": TEXT, "ents": [[0, 3]]}, "M145.*is not an entity of this text"),
        ({"text": TEXT, "ents": ENTS, "label": [[0, 12, "ORG"]]}, "M158.*'ents' and 'label'"),
        ({"txt": TEXT, "ents": ENTS}, "M162.*no known kind of row has the keys txt, ents.*huggingface"),
        ({"tokens": ["a"], "ner_tags": ["O", "O"]}, "M161.*2 tags for 1 words"),
        ({"tokens": ["a"], "ner_tags": [3]}, "need names, found 3.*--tag-names"),
        ({"tokens": ["a"], "ner_tags": ["PER"]}, "'PER' is not a tag"),
        ({"tokens": ["a", ""], "ner_tags": ["O", "O"]}, "token is empty"),
        ({"tokenized_text": ["a"], "ner": [[0, 1, "PER"]]}, "first and last word are numbers from 0 to 0"),
        ({"tokenized_text": ["a", "b"], "ner": [[0, 1, "X"], [1, 1, "Y"]]}, "'b' and 'a b' overlap"),
        ({"tokenized_text": ["a"]}, "no list of entities under .*ner"),
        ({"text": "ab", "ents": [], "tokens": ["a"]}, "the text is not made of these words"),
        ({"text": "ab", "ents": [{"start": 0, "end": 2, "label": "X", "text": "cd"}]}, "the text has 'ab' there"),
        ({"data": {"x": 1}, "annotations": [{"result": []}]}, "no text under"),
        ({"data": {"text": "a"}, "annotations": [{"result": [{"value": {"start": 0, "end": 1, "labels": ["A"]}}]},
          {"result": []}]}, "M163.*2 annotations of this text differ"),
        ({"data": {"text": "a"}, "annotations": [{"result": [{"value": {"start": 0, "end": 1, "labels": ["A", "B"]}}]}]},
         "the label is a text"),
        ({"fields": {"text": "a"}, "responses": {"q": [{"value": [{"start": 0, "end": 1, "label": "A"}]}, {"value": []}]}},
         "2 annotations of this text differ"),
        ({"text": "ab", "ents": [], "tokens": [{"text": "b", "start": 0, "end": 1}]}, "token 0 is 'b'"),
        ({"text": "ab", "ents": [], "tokens": [{"text": "b"}]}, "token 0 is {"),
        ({"text": "ab", "ents": [], "tokens": []}, "there are none"),
        ({"text": "  ", "ents": [[0, 1, "X"]]}, "there is no word"),
        ({"text": None, "ents": []}, "no text under .*null"),
    ],
)  # fmt: skip
def test_broken_rows_are_named(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", {"text": "Fine.", "ents": []}, row)
    with pytest.raises(MaralError, match=message) as error:
        read(path)
    assert f"{path}:2:" in str(error.value)


@pytest.mark.parametrize(("empty", "filled"), [("entities", "label"), ("label", "spans")])
def test_an_empty_list_of_entities_beside_another_is_nothing(tmp_path, empty, filled):
    row = {"text": TEXT, empty: [], filled: ENTS}
    (sentence,), _ = read(write(tmp_path / "a.jsonl", row))
    assert len(sentence.entities) == 3
    row |= {empty: as_dicts(ENTS)}  # the same, in another form
    (sentence,), _ = read(write(tmp_path / "a.jsonl", row))
    assert len(sentence.entities) == 3


def test_annotators_that_differ_in_other_things_agree_on_the_entities(tmp_path):
    def annotation(*others):
        values = [{"start": 0, "end": 12, "labels": ["PER"]}, {"choices": others}]
        relation = [{"type": "relation", "from_id": "a", "to_id": "b"}] * len(others)
        return {"result": [*({"value": value} for value in values), *relation]}

    row = {"data": {"text": TEXT}, "annotations": [annotation("good"), annotation("bad", "new")]}
    (sentence,), report = read(write(tmp_path / "a.jsonl", row))
    assert sentence.entities == [(0, 1, "PER")]
    assert report.repairs == {"annotation that is no entity left out": 2}
    spans = [{"start": 0, "end": 12, "label": "PER"}]
    ranking = [{"value": "good", "rank": 1}]
    for other in (["good", "new"], ranking):
        answers = {"ner": spans, "other": other}
        responses = {name: [{"value": value}] for name, value in answers.items()}
        flat = {f"{name}.responses": [value] for name, value in answers.items()}
        rows = [{"fields": {"text": TEXT}, "responses": responses}, {"text": TEXT, **flat}]
        sentences, _ = read(write(tmp_path / "a.jsonl", *rows))
        assert [sentence.entities for sentence in sentences] == [[(0, 1, "PER")]] * 2


@pytest.mark.parametrize("key", ["_annotator_id", "_session_id"])
def test_rows_of_two_annotators_must_agree(tmp_path, key):
    """Those of one annotator, and rows that do not say whose they are, may be repeated texts."""
    rows = [{"text": TEXT, "spans": as_dicts(ENTS), "answer": "accept", key: who} for who in "abb"]
    rows[1]["spans"] = rows[1]["spans"][::-1]
    sentences, report = read(write(tmp_path / "a.jsonl", *rows))
    assert len(sentences) == 3 and not report.repairs
    rows[1]["spans"] = rows[1]["spans"][1:]
    with pytest.raises(MaralError, match=r"\[M163\] \S*a.jsonl:1 and \S*a.jsonl:2: 2 annotations"):
        read(write(tmp_path / "a.jsonl", *rows))
    days = [{**row, key: f"ner-2026-05-0{day}_11-20-45"} for day, row in enumerate(rows, start=1)]
    sentences, report = read(write(tmp_path / "b.jsonl", *days))
    assert len(sentences) == 3 and report.repairs == {OTHER_ENTITIES: 1}
    sentences, report = read(write(tmp_path / "a.jsonl", *rows[1:]))
    assert [len(sentence.entities) for sentence in sentences] == [2, 3]
    assert report.repairs == {OTHER_ENTITIES: 1}
    assert report.examples[OTHER_ENTITIES][0].startswith(f"{tmp_path / 'a.jsonl'}:2: ")
    rows = [{"text": TEXT, "label": ENTS, "user": 1}, {"text": TEXT, "label": ENTS[1:], "user": 2}]
    sentences, report = read(write(tmp_path / "a.jsonl", *rows))
    assert len(sentences) == 2 and report.repairs == {OTHER_ENTITIES: 1}
    _, report = read(tmp_path / "a.jsonl", labelled=False)
    assert not report.repairs


def test_rows_that_are_left_out_are_not_looked_at(tmp_path):
    broken = {"text": 7, "spans": [[9, 1]], "tokens": "x", "answer": "ignore"}
    path = write(tmp_path / "a.jsonl", broken, {"text": TEXT, "spans": ENTS, "answer": "accept"})
    (sentence,), report = read(path)
    assert sentence.words == WORDS
    assert report.repairs == {"row without the answer 'accept' left out": 1}


def test_rows_without_words_are_left_out_and_counted(tmp_path):
    empty = [
        {"text": "", "entities": []}, {"text": " ", "ents": [], "tokens": []}, ["", {"entities": []}],
        {"data": {"text": "\u2003"}, "annotations": [{"result": []}]}, {"tokens": [], "ner_tags": []},
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", *empty, {"text": TEXT, "ents": ENTS})
    (sentence,), report = read(path)
    assert sentence.words == WORDS
    assert report.repairs == {"row without words left out": len(empty)}
    assert report.examples["row without words left out"][0] == f"{path}:1"
    assert len(read(path, labelled=False)[0]) == 1
    with pytest.raises(MaralError, match=r"M104.*a\.jsonl holds no sentences"):
        read(write(tmp_path / "a.jsonl", *empty))


def test_unlabelled_reading_looks_at_no_label(tmp_path):
    rows = [
        {"text": TEXT, "entities": [[0, 5, "PER"], "x"], "label": [[1, 2, 3]]}, {"text": TEXT},
        {"tokens": WORDS, "ner_tags": [1, 2, "x"]}, {"tokenized_text": WORDS, "ner": None},
        [TEXT, None], {"data": {"text": TEXT}, "annotations": [{"result": [7]}]},
    ]  # fmt: skip
    sentences, report = read(write(tmp_path / "a.jsonl", *rows), labelled=False)
    assert [sentence.words for sentence in sentences] == [WORDS] * len(rows)
    assert not any(sentence.labelled or sentence.entities for sentence in sentences)
    assert not report.repairs


def test_misaligned_entities_are_listed_dropped_or_expanded(tmp_path):
    cut = [[1, 12, "PER"], [17, 25, "ORG"], [13, 16, "MISC"]]
    path = write(
        tmp_path / "a.jsonl", {"text": TEXT, "ents": cut}, {"text": TEXT[:-1], "ents": cut[:1]}
    )
    with pytest.raises(MaralError, match="has 3 problems") as error:
        read(path)
    for place, near in (
        (1, "[Ada] [Lovelace] [met]; whole words are 0 to 12"),
        (1, "17 to 27"),
        (2, "0 to 12"),
    ):
        assert f"{path}:{place}: the entity" in str(error.value) and near in str(error.value)
    (first, second), report = read(path, misaligned="drop")
    assert first.entities == [(2, 2, "MISC")] and second.entities == []
    assert report.repairs == {MISALIGNED["drop"]: 3}
    assert report.examples[MISALIGNED["drop"]][0] == f"{path}:1: da Lovelace"
    (first, second), report = read(path, misaligned="expand")
    assert first.entities == [(0, 1, "PER"), (2, 2, "MISC"), (3, 4, "ORG")]
    assert second.entities == [(0, 1, "PER")] and report.repairs == {MISALIGNED["expand"]: 3}


def test_labels_are_trimmed_everywhere(tmp_path):
    rows = [
        {"text": "Ada ran", "ents": [[0, 3, " PER "]]}, {"tokens": ["Ada"], "ner_tags": [" B-PER "]},
        {"tokenized_text": ["Ada"], "ner": [[0, 0, "PER\n"]]},
    ]  # fmt: skip
    sentences, report = read(write(tmp_path / "a.jsonl", *rows))
    assert [sentence.entities for sentence in sentences] == [[(0, 0, "PER")]] * 3
    assert report.repairs == {"blanks at the ends of a label left out of it": 2}


def test_offsets_in_utf_16_units_are_found_by_the_entities_own_text(tmp_path):
    text = "\U0001f680 Ada flew \U0001f680 to \U0001f680 Rome"
    spans = [{"start": 3, "end": 6, "label": "PER", "text": "Ada"},
             {"start": 21, "end": 25, "label": "LOC", "text": "Rome"}]  # fmt: skip
    (sentence,), report = read(write(tmp_path / "a.jsonl", {"text": text, "label": spans}))
    found = [" ".join(sentence.words[e.start : e.end + 1]) for e in sentence.entities]
    assert found == ["Ada", "Rome"] and report.repairs == {REPAIR_UTF16: 2}


def test_an_entity_that_is_listed_twice_is_one(tmp_path):
    rows = [
        {"text": "Ada ran", "ents": [[0, 3, "PER"]] * 2},
        {"tokenized_text": ["Ada"], "ner": [[0, 0, "PER"]] * 2},
        # once by a model, and once by a person
        {"text": "Ada", "entities": [{"start": 0, "end": 3, "label": "PER", "score": 0.9},
                                     {"start": 0, "end": 3, "label": "PER"}]},
    ]  # fmt: skip
    sentences, report = read(write(tmp_path / "a.jsonl", *rows))
    assert [len(sentence.entities) for sentence in sentences] == [1, 1, 1]
    assert report.repairs == {REPAIR_TWICE: 3}


def test_numbers_of_tags_have_names(tmp_path):
    path = write(tmp_path / "a.jsonl", {"tokens": ["Ada", "Acme"], "ner_tags": [1, 2]})
    (tmp_path / "names.json").write_text('{"B-PER": 1, "O": 0, "B-ORG": 2}', encoding="utf8")
    for names in (["O", "B-PER", "B-ORG"], tmp_path / "names.json"):
        report = convert(path, tmp_path / "a.spacy", tag_names=names)
        assert report.entities == {"ORG": 1, "PER": 1}


def test_json_files_and_lines_are_told_apart(tmp_path):
    rows = [
        {"text": "Ada ran", "ents": [[0, 3, "PER"]]},
        [
            "Ada ran",
            {"entities": [[0, 3, "PER"]]},
        ],
        None,
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows[:2])
    forms = [
        json.dumps(rows), json.dumps(rows, indent=2), lines, "\ufeff" + lines.replace("\n", "\r\n\r\n"),
        json.dumps({"classes": ["PER"], "annotations": rows}, indent=1), lines.replace("\n", "\r"),
    ]  # fmt: skip
    for name in ("a.json", "a.jsonl", "a.data"):
        for text in forms:
            (tmp_path / name).write_text(text, encoding="utf8")
            sentences, _ = read(tmp_path / name)
            assert [s.entities for s in sentences] == [[(0, 0, "PER")]] * 2, (name, text)


@pytest.mark.parametrize(
    "text", ['[{"text": "a", "ents": []}', '[{"text": "a", "ents": []}] x', '[{"text": "a",]', "[["]
)
def test_broken_json_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf8")
    with pytest.raises(MaralError, match=r"M140.*a\.json:1"):
        read(tmp_path / "a.json")


def test_parquet_with_names_of_tags(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    feature = {
        "feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"},
        "_type": "Sequence",
    }
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}
    table = pa.table({"tokens": [["Ada", "Lovelace", "ran"], ["No"]], "ner_tags": [[1, 2, 0], [0]]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    (first, second), _ = read(tmp_path / "a.parquet")
    assert first.entities == [(0, 1, "PER")] and second.entities == []
    # without the names, and with another ending
    pq.write_table(table, tmp_path / "b.data")
    with pytest.raises(MaralError, match=r"M157.*2 problems(?s:.*)row 1: tags that are numbers"):
        read(tmp_path / "b.data")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    with pytest.raises(MaralError, match=r"M118.*c\.parquet"):
        read(tmp_path / "c.parquet")


def test_datasets_that_hugging_face_has_saved(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    tags = datasets.ClassLabel(names=["O", "B-PER"])
    sequence = getattr(datasets, "List", datasets.Sequence)
    features = datasets.Features(
        {"tokens": sequence(datasets.Value("string")), "ner_tags": sequence(tags)}
    )
    rows = {"tokens": [["Ada", "ran"]], "ner_tags": [[1, 0]]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "several")
    for folder, split in (("one", "train"), ("several", "test")):
        (sentence,), _ = read(tmp_path / folder, split=split)
        assert sentence.words == ["Ada", "ran"] and sentence.entities == [(0, 0, "PER")]
    with pytest.raises(MaralError, match=r"M165.*train, test, but no 'dev'"):
        read(tmp_path / "several", split="dev")
    # only names that begin with hf:// are looked up on the hub
    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *names: asked.append(names) or {"test": data}
    )
    for name in ("hf://owner/name:de", "hf://owner/name"):
        (sentence,), _ = read(name, split="test")
        assert sentence.entities == [(0, 0, "PER")]
    assert asked == [("owner/name", "de"), ("owner/name", None)]
    with pytest.raises(MaralError, match="M101"):
        read("owner/name")
    (tmp_path / "one" / "state.json").unlink()
    with pytest.raises(MaralError, match="M166"):
        read(tmp_path / "one")


def test_endings_in_capitals_are_the_same(tmp_path):
    rows = [{"text": TEXT, "ents": ENTS}]
    (tmp_path / "A.JSON").write_text(json.dumps(rows, indent=1), encoding="utf8")
    (tmp_path / "B.JSONL.GZ").write_bytes(gzip.compress(json.dumps(rows[0]).encode()))
    (tmp_path / "brat").mkdir()
    (tmp_path / "brat" / "C.TXT").write_text(TEXT, encoding="utf8")
    (tmp_path / "brat" / "C.ANN").write_text("T1\tPER 0 12\tAda Lovelace\n", encoding="utf8")
    for name in ("A.JSON", "B.JSONL.GZ", "brat", "brat/C.ANN"):
        (sentence,), _ = read(tmp_path / name)
        assert sentence.entities[0] == (0, 1, "PER"), name
    convert(tmp_path / "A.JSON", tmp_path / "a.spacy", lang="en")
    (tmp_path / "a.spacy").rename(tmp_path / "A.SPACY")
    assert stats(tmp_path / "A.SPACY").entities == {"LOC": 1, "ORG": 1, "PER": 1}


def test_brat_folders(tmp_path):
    (tmp_path / "a.txt").write_text(
        "Ada met Bob.\n\nCarl is in New  York.\n", encoding="utf8", newline=""
    )
    notes = "R1\tknows Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\tsure\n"
    lines = "T1\tPER 0 3\tAda\nT2\tPER 8 11\tBob\nT3\tLOC 25 28;30 34\tNew York\n"
    (tmp_path / "a.ann").write_text(lines + notes, encoding="utf8")
    (first, second), report = read(tmp_path)
    assert first.entities == [(0, 0, "PER"), (2, 2, "PER")]
    assert [second.words[i] for i in range(second.entities[0].start, second.entities[0].end + 1)][
        ::2
    ] == ["New", "York"]
    assert report.repairs == {"annotation that is no entity left out": 2}
    bad = [
        "T1\tPER 0 3\tEve",
        "T1\tPER 8 15\tBob. Ca",
        "T1\tPER 0 3;8 11\tAda Bob",
        "T1 PER 0 3",
        "T1\tPER 90 95\tx",
    ]
    (tmp_path / "a.ann").write_text("\n".join(bad), encoding="utf8")
    with pytest.raises(MaralError, match=r"M157.*has 5 problems") as error:
        read(tmp_path / "a.ann")
    assert "[M164]" in str(error.value) and "a.ann:4" in str(error.value)
    (tmp_path / "a.ann").write_text(bad[2], encoding="utf8")
    for kind, n in (("drop", 0), ("expand", 1)):
        (first, _), report = read(tmp_path / "a.ann", misaligned=kind)
        assert len(first.entities) == n and report.repairs == {MISALIGNED[kind]: 1}
    (tmp_path / "a.txt").unlink()
    with pytest.raises(MaralError, match=r"M101.*a\.txt"):
        read(tmp_path)


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
    with pytest.raises(MaralError, match=r"\[M155\].*answer 'accept'"):
        list(read_prodigy(tmp_path / "x.jsonl"))
    plain = [spacy.blank("en")("Ada met Bob.")]
    with pytest.raises(MaralError, match=r"M156.*no entity with a confidence"):
        write_prodigy(plain, tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()
