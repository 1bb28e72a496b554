"""White space is no name: blank words are in no span's ends, and change nothing for the others."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from sentences import LABELS, TEXTS
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_maral.data.languages import blank_pipeline
from spacy_maral.model.gold import gold_classes
from spacy_maral.model.spans import UNKNOWN
from spacy_maral.model.visible import VisibleWords, any_visible, is_blank

WHITE_SPACE = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()]
# without a glyph, and dropped or read as white space by the tokenizers of common encoders
UNSEEN = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\ufffd", "\u0001", "\u200e"]
# of these, the ones that stand for a space wherever they are
SEPARATORS = ["\u200b", "\u2060", "\ufeff", "\ufffd", "\u200e", "\u200f", "\u202b", "\u2066"]
WORDS = ["Angela", "北京", "e\u0301", "a\u200db", ".", "\u0e35", "\ue000", *UNSEEN, " ", "\n\n", ""]


def make_pipeline(encoder, **cfg):
    """A pipeline that has learnt the sentences of tests/sentences.py."""
    nlp = blank_pipeline("xx")
    spacy.util.fix_random_seed(0)
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": str(encoder),
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    span_model = {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.0}
    nlp.add_pipe("maral_ner", config={"model": span_model, **cfg})
    examples = []
    for text, entities in TEXTS:
        doc = nlp.make_doc(text)
        doc.set_ents([doc.char_span(*e) for e in entities], default="outside")
        examples.append(Example(nlp.make_doc(text), doc))
    nlp.initialize(lambda: examples)
    sgd = Adam(learn_rate=5e-3)
    for _ in range(40):
        nlp.update(examples, sgd=sgd)
    return nlp


@pytest.fixture(scope="module")
def nlp(encoder_dir):
    return make_pipeline(encoder_dir)


def spaced(text: str, separator: str) -> list[str]:
    """Words of a text, with a separator as a word of its own between them and at the ends."""
    words = [separator]
    for word in text.split():
        words += [word, separator]
    return words


def visible_entities(doc: Doc) -> list[tuple]:
    """Entities in the numbers of visible words, with their confidences."""
    number = np.cumsum([not is_blank(token.text) for token in doc]) - 1
    for ent in doc.ents:
        assert not is_blank(ent[0].text) and not is_blank(ent[-1].text)
    return [
        (int(number[e.start]), int(number[e.end - 1]), e.label_, e._.maral_score) for e in doc.ents
    ]


def test_words_that_show_something_are_visible():
    assert all(map(is_blank, [*WHITE_SPACE, *UNSEEN, "", " \n\u200b"]))
    shown = [
        "a",
        ".",
        "北",
        "\u0301",
        "\u0e35",
        "\u17b6",
        "\ue000",
        "\U0010ffff",
        "a\u200b",
        "👩\u200d",
    ]
    assert not any(map(is_blank, shown))


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6), max_size=4))
def test_numbers_of_visible_words_against_a_loop(docs):
    visible = VisibleWords(docs)
    kept = [[i for i, word in enumerate(doc) if not is_blank(word)] for doc in docs]
    assert visible.lengths.tolist() == [len(places) for places in kept]
    assert visible.places.tolist() == [i for places in kept for i in places]
    assert visible.mask.tolist() == [not is_blank(word) for doc in docs for word in doc]
    wanted = [unicodedata.normalize("NFC", w) for doc in docs for w in doc if not is_blank(w)]
    assert visible.texts == wanted
    spans = [
        (d, i, j) for d, doc in enumerate(docs) for i in range(len(doc)) for j in range(i, len(doc))
    ]
    starts, ends = visible.renumber(*np.array(spans, dtype=np.int64).reshape(-1, 3).T)
    for (d, i, j), start, end in zip(spans, starts, ends, strict=True):
        inside = [n for n, place in enumerate(kept[d]) if i <= place <= j]
        assert (end < start) if not inside else [start, end] == [inside[0], inside[-1]]
    candidates = visible.candidates(3)
    owners, (begins, stops) = candidates.owner, candidates.in_documents()
    found = list(zip(owners.tolist(), begins.tolist(), stops.tolist(), strict=True))
    assert found == [
        (d, p[i], p[j])
        for d, p in enumerate(kept)
        for i in range(len(p))
        for j in range(i, min(i + 3, len(p)))
    ]


def test_the_pipeline_knows_its_sentences(nlp):
    n_found = n_wanted = 0
    for text, entities in TEXTS:
        found = {(e.start_char, e.end_char, e.label_) for e in nlp(text).ents}
        n_found += len(found & set(entities))
        n_wanted += len(entities)
    assert n_found > 0.8 * n_wanted


@pytest.mark.parametrize("separator", [*WHITE_SPACE, *UNSEEN, "\n\n\n", " \t", "\r\n"])
def test_entities_with_any_white_space_are_those_with_single_spaces(nlp, separator):
    for text, _ in TEXTS:
        wanted = visible_entities(nlp(Doc(nlp.vocab, words=text.split())))
        for gaps in (True, False):
            words = spaced(text, separator)
            found = nlp(Doc(nlp.vocab, words=words, spaces=[gaps] * len(words)))
            assert [token.text for token in found] == words
            assert visible_entities(found) == wanted


@pytest.mark.parametrize(
    "separator",
    [*(c for c in WHITE_SPACE if c != " "), "  ", "\n \n", *SEPARATORS, "\u200b \ufffd"],
)
def test_white_space_in_raw_text(nlp, separator):
    for text, _ in TEXTS:
        wanted = visible_entities(nlp(text))
        found = nlp(separator + text.replace(" ", separator) + separator)
        assert found.text == separator + text.replace(" ", separator) + separator
        assert visible_entities(found) == wanted


def test_only_white_space_has_no_entity(nlp):
    for text in ("", "\n\n\n", " \u00a0 ", "\ufffd \u200b"):
        assert not nlp(text).ents
    docs = list(nlp.pipe(["\n\n", TEXTS[0][0], "", "\t"]))
    assert [len(doc.ents) for doc in docs] == [0, len(nlp(TEXTS[0][0]).ents), 0, 0]
    assert not any_visible(docs[::2]) and any_visible(docs)


def test_decomposed_letters_are_read_as_composed_ones(nlp):
    text = "Pedro Sánchez lives in Madrid ."
    apart = unicodedata.normalize("NFD", text)
    assert len(apart) > len(text)
    composed, decomposed = nlp(text), nlp(apart)
    assert composed.ents and visible_entities(decomposed) == visible_entities(composed)
    assert decomposed.text == apart and decomposed.ents[0].text == apart[:14]


def test_sentence_starts_and_long_documents_are_those_without_white_space(nlp):
    from spacy_maral.model.encoder.reading import readable

    words, starts = ["\n", "Angela", "\n", "ran", ".", " ", "She", "won"], [1, 0, 0, 0, 0, 1, 0, 0]
    doc = Doc(nlp.vocab, words=words, sent_starts=[s == 1 for s in starts])
    (read,) = readable([doc])
    assert [(t.text, t.is_sent_start) for t in read] == [
        ("Angela", True), ("ran", False), (".", False), ("She", True), ("won", False)
    ]  # fmt: skip
    plain = Doc(nlp.vocab, words=["Angela", "ran"])
    assert readable([plain]) == [plain] and readable([plain])[0] is plain
    many = " ".join(text for text, _ in TEXTS) + " "
    wanted = visible_entities(nlp(Doc(nlp.vocab, words=(many * 12).split())))
    assert len(wanted) > 12
    assert visible_entities(nlp(Doc(nlp.vocab, words=spaced(many * 12, "\n")))) == wanted


def test_earlier_entities_of_white_space_are_not_overlapped(encoder_dir):
    nlp = make_pipeline(encoder_dir, overwrite=False)
    words = ["Angela", "\n", "Merkel", "visited", "Paris"]
    assert (0, 3) in [(e.start, e.end) for e in nlp(Doc(nlp.vocab, words=words)).ents]
    doc = Doc(nlp.vocab, words=words)
    doc.set_ents([Span(doc, 1, 2, label="GAP")], default="missing")
    assert (1, 2, "GAP") in [(e.start, e.end, e.label_) for e in nlp(doc).ents]


def test_training_on_blank_words_is_training_without_them(encoder_dir):
    """The same losses and the same weights after some updates."""
    results = []
    for separator in (None, "\n"):
        nlp = make_pipeline(encoder_dir)
        losses, sgd = {}, Adam(learn_rate=1e-3)
        for text, entities in TEXTS:
            plain = nlp.make_doc(text)
            spans = [plain.char_span(*entity) for entity in entities]
            words, bounds = [t.text for t in plain], [(s.start, s.end, s.label_) for s in spans]
            if separator:
                words = spaced(" ".join(words), separator)
                bounds = [(2 * i + 1, 2 * j, label) for i, j, label in bounds]
            doc = Doc(nlp.vocab, words=words)
            doc.set_ents([Span(doc, i, j, label=x) for i, j, x in bounds], default="outside")
            nlp.update([Example(Doc(nlp.vocab, words=words), doc)], sgd=sgd, losses=losses)
        results.append((losses["maral_ner"], visible_entities(nlp(TEXTS[0][0]))))
    assert results[0] == results[1]


def test_gold_ends_in_white_space_do_not_count(nlp):
    words = ["Angela", "\n", "Merkel", "\n", "visited", "\t", "Paris", " "]
    doc = Doc(nlp.vocab, words=words)
    doc.set_ents([Span(doc, 0, 4, label="PER"), Span(doc, 5, 8, label="LOC")], default="outside")
    classes = {label: i for i, label in enumerate(LABELS, start=1)}
    found = gold_classes([Example(Doc(nlp.vocab, words=words), doc)], classes, 4)
    plain = Doc(nlp.vocab, words=["Angela", "Merkel", "visited", "Paris"])
    plain.set_ents(
        [Span(plain, 0, 2, label="PER"), Span(plain, 3, 4, label="LOC")], default="outside"
    )
    wanted = gold_classes(
        [Example(Doc(nlp.vocab, words=[t.text for t in plain]), plain)], classes, 4
    )
    assert found.classes.tolist() == wanted.classes.tolist()
    assert not (found.classes == UNKNOWN).any() and found.n_unaligned == 0
