"""Labelled sentences translated word by word: what the file holds, where words come from, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_maral import translate_words
from spacy_maral.adaptation import translation
from spacy_maral.adaptation.lexicon import WordMeans, translate
from spacy_maral.adaptation.translation import (
    TranslationReport,
    combine,
    read_lexicon,
    translate_doc,
)
from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError

WORDS = ["Anna", "Berg", "met", "Peter", "in", "Bonn", "."]
ENTITIES = [(0, 2, "PER"), (3, 4, "PER"), (5, 6, "LOC")]


def labelled(words=WORDS, ents=ENTITIES, missing=(), spaces=None):
    doc = Doc(spacy.blank("en").vocab, words=words, spaces=spaces)
    doc.set_ents(
        [Span(doc, i, j, label=label) for i, j, label in ents],
        missing=[doc[i : i + 1] for i in missing], default="outside",
    )  # fmt: skip
    return doc


def save(path, docs):
    DocBin(docs=docs).to_disk(path)
    return path


def described(doc):
    return [token.text for token in doc], [(e.start, e.end, e.label_) for e in doc.ents]


@pytest.fixture
def source(tmp_path):
    return save(tmp_path / "en.spacy", [labelled()])


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text("met\thitta\nBonn\tBad Bonn\n\nBonn\tKöln\n", encoding="utf8")
    return path


def test_words_are_replaced_and_entities_stay():
    report = TranslationReport()
    spaces = [True, True, True, True, True, False, False]
    doc = labelled(spaces=spaces)
    # Anna is a name, and has no translation as one
    lexicon = {"met": "hitta", "Anna": "Anja", "in": "in", "Bonn": "Bad Bonn"}
    found = translate_doc(doc, lexicon, {"Bonn": "Bad Bonn"}, report)
    words = ["Anna", "Berg", "hitta", "Peter", "in", "Bad", "Bonn", "."]
    assert described(found) == (words, [(0, 2, "PER"), (3, 4, "PER"), (5, 7, "LOC")])
    assert found.text == "Anna Berg hitta Peter in Bad Bonn."
    assert all(token.ent_iob_ in "BIO" for token in found)
    # the same word is no replacement
    assert (report.sentences, report.words, report.entities, report.replaced) == (1, 8, 3, 2)
    assert described(doc) == (WORDS, ENTITIES)


def test_words_without_annotation_stay_so():
    doc = labelled(ents=[(0, 2, "PER")], missing=[3, 5])
    found = translate_doc(doc, {"Bonn": "Bad Bonn"}, {"Anna": "Ann Eve"}, TranslationReport())
    words = ["Ann", "Eve", "Berg", "met", "Peter", "in", "Bad", "Bonn", "."]
    assert described(found) == (words, [(0, 3, "PER")])
    assert [token.ent_iob for token in found] == [3, 1, 1, 2, 0, 2, 0, 0, 2]


def test_neighbouring_entities_stay_apart():
    doc = labelled(["Anna", "Bonn"], [(0, 1, "PER"), (1, 2, "PER")])
    found = translate_doc(doc, {}, {}, TranslationReport())
    assert described(found) == (["Anna", "Bonn"], [(0, 1, "PER"), (1, 2, "PER")])


def test_composed_and_decomposed_letters_are_the_same():
    decomposed = "gru\u0308n"
    found = translate_doc(
        labelled([decomposed], []), {"gr\u00fcn": "vihre\u00e4"}, {}, TranslationReport()
    )
    assert found[0].text == "vihre\u00e4"


def test_a_document_without_words_stays_one():
    assert len(translate_doc(labelled([], []), {"a": "b"}, {}, TranslationReport())) == 0


def test_the_same_text_gives_each_word_itself(world, tmp_path):
    """A text and its copy have the same vectors, so that every word is its own translation."""
    output, table = tmp_path / "new" / "out.spacy", tmp_path / "found.tsv"
    report = translate_words(
        world["config"], world["source"], world["source"], output, save_lexicon=table
    )
    docs, written = read_docs(world["source"]), read_docs(output)
    assert list(map(described, written)) == list(map(described, docs))
    assert report.sentences == len(docs) and report.replaced == 0
    assert report.entities == sum(len(doc.ents) for doc in docs)
    found = read_lexicon(table)
    assert len(found) == report.pairs >= 10
    assert all(word == other for word, other in found.items())


def test_translations_of_the_vectors_are_written(world, tmp_path, monkeypatch):
    word = next(
        token.text
        for doc in read_docs(world["source"])
        for token in doc
        if token.text.isalpha() and not token.ent_type
    )
    seen = []

    def found(source, target):
        seen.append((source, target))
        return {word: word[0] + "xx"}

    monkeypatch.setattr(translation, "find_translations", found)
    output = tmp_path / "out.spacy"
    report = translate_words(world["config"], world["source"], world["target"], output)
    [(source, target)] = seen
    own, raw = (
        {t.text for d in read_docs(world[name]) for t in d} for name in ("source", "target")
    )
    assert isinstance(source, WordMeans) and set(source.words) <= own and set(target.words) <= raw
    replaced = [t.text for d in read_docs(output) for t in d if t.text == word[0] + "xx"]
    assert report.replaced == len(replaced) > 0
    assert word not in {t.text for d in read_docs(output) for t in d if not t.ent_type}


def test_own_translations_come_first(world, source, lexicon, tmp_path):
    output, table = tmp_path / "out.spacy", tmp_path / "found.tsv"
    result = CliRunner().invoke(
        app,
        [
            "translate-words", str(world["config"]), "--source", str(source), "--target",
            str(world["target"]), "-o", str(output), "--lexicon", str(lexicon), "--save-lexicon",
            str(table), "--limit", "5", "--layer", "1",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [doc] = read_docs(output)
    assert doc.text.split()[2] == "hitta" and [e.text for e in doc.ents][-1] == "Bad Bonn"
    found = read_lexicon(table)
    assert found["Bonn"] == "Bad Bonn" and found["met"] == "hitta"
    assert "1 sentences, 3 entities" in " ".join(result.output.split())


@pytest.mark.parametrize(("other", "expected"), [("Anja", "Anna"), ("আনা", "আনা")])
def test_names_get_words_of_another_script_only(
    world, source, tmp_path, monkeypatch, other, expected
):
    monkeypatch.setattr(translation, "find_translations", lambda *_: {"Anna": other, "met": "sah"})
    output = tmp_path / "out.spacy"
    report = translate_words(world["config"], source, world["target"], output)
    [doc] = read_docs(output)
    assert [doc[0].text, doc[2].text] == [expected, "sah"]
    assert [(e.start, e.end, e.label_) for e in doc.ents] == ENTITIES and report.pairs == 2


def test_words_that_would_break_a_line_are_not_written(tmp_path):
    path = tmp_path / "found.tsv"
    # with a joiner that shows nothing, as in ordinary words of Persian
    persian = "\u0645\u06cc\u200c\u0634\u0648\u062f"
    pairs = {
        "a": "b",
        "c\td": "e",
        "f": "g\nh",
        "é": "ö",
        "becomes": persian,
        " i": "j",
        "k": "l\xa0",
    }
    translation.write_lexicon(path, pairs)
    assert read_lexicon(path) == {"a": "b", "é": "ö", "becomes": persian}


def test_own_translations_may_begin_a_sentence(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text("the\tdie\ngru\u0308n\tgroen\n", encoding="utf8")
    own = read_lexicon(path)
    doc = labelled(["The", "gr\u00fcn", "the"], [(2, 3, "ORG")])
    found = translate_doc(doc, own, own, TranslationReport())
    assert described(found) == (["Die", "groen", "die"], [(2, 3, "ORG")])


def test_a_saved_lexicon_that_comes_back_does_what_it_did():
    """Only what the user has changed holds for names of the same script, and at the beginning."""
    found = {"Nevada": "Vegas", "the": "het", "The": "Het", "Rome": "Рим", "rain": "regen"}
    assert combine(found, dict(found)) == combine(found, {})
    words, names = combine(found, {**found, "Nevada": "Nevada Staat", "the": "de", "rain": "rain"})
    assert names == {"Rome": "Рим", "Nevada": "Nevada Staat", "the": "de", "rain": "rain"}
    assert words["rain"] == "rain" and words["the"] == "de"
    words, _ = combine(found, {"the": "de"})
    assert translate("The", words) == "De"


def test_the_lexicon_overwrites_nothing_that_is_read(world, source, lexicon, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    raw = texts / "de.txt"
    raw.write_text("Anna singt in Bonn heute\n", encoding="utf8")
    for path in (world["config"], source, lexicon, raw, tmp_path / "out.spacy"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(MaralError, match="M544"):
            translate_words(
                world["config"], source, texts, tmp_path / "out.spacy", lang="de", lexicon=lexicon,
                save_lexicon=path,
            )  # fmt: skip
        assert (path.read_bytes() if path.exists() else None) == before


def test_sentences_are_drawn_from_much_text():
    docs = list(range(100))
    drawn = translation.draw(docs, 10, 3)
    assert len(drawn) == 10 and drawn == sorted(set(drawn)) != translation.draw(docs, 10, 4)
    assert translation.draw(docs, 100, 3) == docs


def test_blank_words_and_documents_have_no_vectors(world):
    docs = [labelled([" ", "a", "\n", "b"], []), labelled(["\t"], []), labelled([], [])]
    chunks = list(
        translation.words_and_vectors(docs, lambda ds: [np.ones((2, 4)) for _ in ds], "x")
    )
    assert [(words, vectors.shape) for words, vectors in chunks] == [(["a", "b"], (2, 4))]


@pytest.mark.parametrize("line", ["one", "a\t", "\tb", "a\tb\tc", "a b"])
def test_broken_lines_of_a_lexicon_are_named(tmp_path, line):
    path = tmp_path / "own.tsv"
    path.write_text(f"x\ty\n\n{line}\n", encoding="utf8")
    with pytest.raises(MaralError, match="M546") as error:
        read_lexicon(path)
    assert f"{path}:3" in str(error.value)


def test_an_empty_lexicon_is_refused(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text("\n \n", encoding="utf8")
    with pytest.raises(MaralError, match="M547"):
        read_lexicon(path)


def test_text_of_another_kind_is_refused(world, tmp_path):
    signs = save(tmp_path / "signs.spacy", [labelled(["1", "2", "!"], [])])
    output = tmp_path / "out.spacy"
    with pytest.raises(MaralError, match="M545"):
        translate_words(world["config"], world["source"], signs, output)
    assert not output.exists()


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_input_is_overwritten(world, source, tmp_path, side):
    files = {"source": source, "target": source}
    output = save(tmp_path / "mine.spacy", [labelled()])
    files[side] = output
    before = output.read_bytes()
    with pytest.raises(MaralError, match="M544"):
        translate_words(world["config"], files["source"], files["target"], output)
    assert output.read_bytes() == before


def test_source_text_without_entities_is_refused(world, tmp_path):
    plain = save(tmp_path / "plain.spacy", [labelled(ents=[])])
    with pytest.raises(MaralError, match="M312"):
        translate_words(world["config"], plain, world["target"], tmp_path / "out.spacy")
