"""Entities projected onto translations: what the file holds, what is left out, what is refused."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_maral import project_labels
from spacy_maral.adaptation import projection
from spacy_maral.adaptation.word_links import Links
from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError

SENTENCES = ["Anna Berg met Peter in Bonn .", "it rains in Ulm", "nobody knows"]
ENTITIES = [[(0, 2, "PER"), (3, 4, "PER"), (5, 6, "LOC")], [(3, 4, "LOC")], []]


def labelled(texts, entities=ENTITIES):
    vocab = spacy.blank("en").vocab
    docs = []
    for text, ents in zip(texts, entities, strict=True):
        doc = Doc(vocab, words=text.split(" "))
        doc.set_ents([Span(doc, i, j, label=label) for i, j, label in ents], default="outside")
        docs.append(doc)
    return docs


def save(path, docs):
    DocBin(docs=docs).to_disk(path)
    return path


def found_in(path):
    return [[(e.start, e.end, e.label_) for e in doc.ents] for doc in read_docs(path)]


@pytest.fixture
def source(tmp_path):
    return save(tmp_path / "en.spacy", labelled(SENTENCES))


def link_first(monkeypatch, links):
    """Let the words of the first sentence correspond by a list of pairs in place of vectors."""
    words = len(SENTENCES[0].split())

    def found(a, b):
        source, target = np.array(links if len(a) == words else []).reshape(-1, 2).astype(int).T
        return Links(source, target, np.zeros(len(b), dtype=int), np.zeros(len(b)))

    monkeypatch.setattr(projection, "link_words", found)


def test_a_copy_gets_the_entities_of_its_original(world, source, tmp_path):
    text = tmp_path / "copy.txt"
    text.write_text("\n".join(SENTENCES) + "\n\n\n", encoding="utf8")
    output = tmp_path / "new" / "copy.spacy"
    report = project_labels(world["teacher"], source, text, output, lang="de")
    assert found_in(output) == ENTITIES
    assert (report.pairs, report.sentences, report.entities) == (3, 3, 4)
    assert report.words == 13 and report.left_out == {}
    # a word of no entity is outside, not unknown
    assert all(token.ent_iob_ in "BIO" for doc in read_docs(output) for token in doc)


def test_documents_and_the_last_layer_do_as_well(world, source, tmp_path):
    # labels of the translation are not read
    target = save(tmp_path / "de.spacy", labelled(SENTENCES, [[(1, 2, "ORG")], [], []]))
    project_labels(world["teacher"], source, target, tmp_path / "out.spacy", layer=2)
    assert found_in(tmp_path / "out.spacy") == ENTITIES


def test_blank_words_have_no_part_in_it(world, tmp_path):
    original = Doc(spacy.blank("en").vocab, words=["Anna", "\n", "Berg", "sings"])
    original.set_ents([Span(original, 0, 3, label="PER")], default="outside")
    source = save(tmp_path / "en.spacy", [original])
    target = save(
        tmp_path / "de.spacy", [Doc(original.vocab, words=[" ", "Anna", "Berg", "\t", "sings"])]
    )
    project_labels(world["teacher"], source, target, tmp_path / "out.spacy")
    assert found_in(tmp_path / "out.spacy") == [[(1, 3, "PER")]]


@pytest.mark.parametrize(
    ("links", "reason"),
    [
        ([(0, 0), (1, 1), (5, 5)], projection.NOT_FOUND),
        ([(0, 0), (1, 6), (3, 3), (5, 5)], projection.SCATTERED),
        ([(0, 0), (1, 3), (3, 1), (5, 5)], projection.SHARED),
    ],
)
def test_sentences_with_a_doubtful_entity_are_left_out(
    world, source, tmp_path, monkeypatch, links, reason
):
    text = tmp_path / "copy.txt"
    text.write_text("\n".join([SENTENCES[0], "", SENTENCES[2]]), encoding="utf8")
    link_first(monkeypatch, links)
    output = tmp_path / "out.spacy"
    report = project_labels(world["teacher"], source, text, output, lang="de")
    assert report.left_out == {projection.NO_WORDS: 1, reason: 1}
    assert [doc.text for doc in read_docs(output)] == [SENTENCES[2]]
    assert report.sentences == 1


def test_partly_annotated_originals_are_left_out(world, tmp_path):
    docs = labelled(SENTENCES)
    docs[0].set_ents([docs[0].ents[0]], default="missing")
    source = save(tmp_path / "en.spacy", docs)
    target = save(tmp_path / "de.spacy", labelled(SENTENCES))
    report = project_labels(world["teacher"], source, target, tmp_path / "out.spacy")
    assert report.left_out == {projection.NOT_ANNOTATED: 1} and report.sentences == 2


def test_blank_words_need_no_annotation_and_blank_entities_do_not_count(world, tmp_path):
    docs = labelled([SENTENCES[1], SENTENCES[1]], [ENTITIES[1]] * 2)
    blank = Doc(docs[0].vocab, words=["Anna", "\n", "\u200b", "sings"])
    ents = [Span(blank, 0, 1, label="PER"), Span(blank, 2, 3, label="ORG")]
    blank.set_ents(ents, missing=[Span(blank, 1, 2)], default="outside")
    source = save(tmp_path / "en.spacy", [*docs, blank])
    target = save(tmp_path / "de.spacy", [*docs, Doc(docs[0].vocab, words=["Anna", "sings"])])
    report = project_labels(world["teacher"], source, target, tmp_path / "out.spacy")
    assert report.left_out == {}
    assert found_in(tmp_path / "out.spacy")[-1] == [(0, 1, "PER")]


def test_rows_and_compressed_files_are_read(world, source, tmp_path):
    rows = tmp_path / "copy.jsonl.gz"
    text = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in SENTENCES)
    rows.write_bytes(gzip.compress(text.encode()))
    project_labels(world["teacher"], source, rows, tmp_path / "out.spacy", lang="de")
    assert found_in(tmp_path / "out.spacy") == ENTITIES
    packed = tmp_path / "copy.spacy.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    project_labels(world["teacher"], source, packed, tmp_path / "again.spacy")
    assert found_in(tmp_path / "again.spacy") == ENTITIES


def test_many_chunks_give_the_same_as_one(world, tmp_path, monkeypatch):
    source = save(tmp_path / "en.spacy", labelled(SENTENCES * 4, ENTITIES * 4))
    monkeypatch.setattr(projection, "CHUNK_WORDS", 20)
    report = project_labels(world["teacher"], source, source, tmp_path / "out.spacy")
    assert found_in(tmp_path / "out.spacy") == ENTITIES * 4 and report.sentences == 12


def test_files_that_do_not_belong_together_are_refused(world, source, tmp_path):
    text, output = tmp_path / "short.txt", tmp_path / "out.spacy"

    def refused(match, *arguments, **options):
        given = arguments or (source, text, output)
        with pytest.raises(MaralError, match=match):
            project_labels(world["teacher"], *given, **{"lang": "de", **options})

    text.write_text("\n".join(SENTENCES[:2]), encoding="utf8")
    refused("M540.*has 2 sentences, but .* has 3")
    refused("M337", lang=None)
    text.write_text("\n\n\n", encoding="utf8")
    refused("M541.*no words 3")
    refused("M542.*no layer 3: its layers are 1 to 2", source, source, output, layer=3)
    refused("M544", source, source, source)
    refused("M123", source, source, tmp_path / "out.jsonl")
    other = tmp_path / "sentences.csv"
    other.write_text("a", encoding="utf8")
    refused("M151", source, other, output)
    assert not output.exists()


def test_a_pipeline_without_an_encoder_is_refused(source, tmp_path):
    spacy.blank("de").to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match=r"M543.*has no encoder.*nothing"):
        project_labels(tmp_path / "blank", source, source, tmp_path / "out.spacy")


def test_the_command_counts_what_is_left_out(world, source, tmp_path):
    text, output = tmp_path / "copy.txt", tmp_path / "out.spacy"
    text.write_text("\n".join([SENTENCES[0], "", SENTENCES[2]]), encoding="utf8")
    given = [str(path) for path in (world["teacher"], source, text)]
    result = CliRunner().invoke(app, ["project-labels", *given, "-o", str(output), "--lang", "de"])
    assert result.exit_code == 0, result.output
    assert "2 of 3 sentences, 9 words, 3 entities" in " ".join(result.output.split())
    assert projection.NO_WORDS in result.output
