from __future__ import annotations

from collections import Counter

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab
from transformers import AutoTokenizer

from spacy_maral.model.encoder.windows import configure_bounded_windows
from spacy_maral.training.data_checks import (
    FileCounts,
    count_pieces,
    coverage,
    known_share,
    retokenise,
    shared_sentences,
)

VOCAB = Vocab()


def doc(text: str, *ents: tuple[int, int, str], labelled: bool = True) -> Doc:
    found = Doc(VOCAB, words=text.split())
    if labelled:
        found.set_ents([Span(found, *ent) for ent in ents], default="outside")
    return found


def test_counts_of_a_part():
    docs = [
        doc("Ada met Ada", (0, 1, "PER"), (2, 3, "PER")),
        doc("ADA met ada"),
        doc(""),
        doc("New York City", (0, 3, "LOC"), labelled=True),
        doc("raw", labelled=False),
    ]
    part = FileCounts("source", True, docs)
    assert (part.n_words, part.n_empty, part.n_repeated) == (10, 1, 1)
    assert part.n_unlabelled == 1
    assert part.entities == {"PER": 2, "LOC": 1}
    assert part.widths == {"PER": {1: 2}, "LOC": {3: 1}}
    assert part.words["ada"] == 4 and part.sentences["ada met ada"] == 2
    assert part.names == {("ada", "PER"): 2, ("new york city", "LOC"): 1}
    assert part.n_candidates(2) == 3 * 5
    assert not FileCounts("target", False, docs).entities


def test_coverage():
    c = coverage(Counter({1: 90, 2: 8, 5: 1, 9: 1}), 4)
    assert (c.n_entities, c.n_covered, c.longest, c.enough) == (100, 98, 9, 5)
    assert c.share == 0.98
    assert coverage(Counter({1: 2, 3: 2}), 3).share == 1.0
    empty = coverage(Counter(), 4)
    assert (empty.n_entities, empty.longest, empty.enough) == (0, 0, 0)


def test_shared_sentences_whatever_their_case():
    first = FileCounts("a", False, [doc("One two"), doc("three"), doc("")])
    second = FileCounts(
        "b", False, [doc("ONE TWO"), doc("one two"), doc("four"), doc(""), doc("five")]
    )
    shared = shared_sentences(first, second)
    assert shared == {"one two": 2}
    assert shared_sentences(second, first) == {"one two": 1}
    assert not shared_sentences(first, FileCounts("c", False, [doc("")]))


def test_known_share():
    assert known_share(["a", "b"], Counter({"a": 3, "c": 1})) == (0.5, 0.75)
    assert known_share([], Counter()) == (0, 0)


def test_entities_that_the_tokenizer_cuts():
    nlp = spacy.blank("xx")
    words = ["West", "Berlin", "er", "U.S.", "firm"]
    cut = Doc(VOCAB, words=words, spaces=[True, False, True, True, False])
    cut.set_ents([Span(cut, 0, 2, "LOC"), Span(cut, 4, 5, "ORG")], default="outside")
    joined = Doc(VOCAB, words=["(a)", "b"])
    joined.set_ents([Span(joined, 0, 2, "ORG")], default="outside")
    found = retokenise(nlp, [cut, joined, doc("nothing")], 3)
    assert [t.text for t in nlp.make_doc("West Berliner (a)")] == [
        "West",
        "Berliner",
        "(",
        "a",
        ")",
    ]
    assert (found.n_entities, found.n_cut, found.n_too_wide) == (3, 1, 1)
    assert found.examples == ["West Berlin"]
    assert retokenise(nlp, [joined], 1).n_too_wide == 0, "it was too wide before"


def test_word_pieces(encoder_dir):
    tokenizer = AutoTokenizer.from_pretrained(str(encoder_dir))
    windows = configure_bounded_windows(24, 16, 60)
    docs = [doc("Paris", (0, 1, "LOC")), doc("Ω Ω a"), doc("\u200b b", (0, 2, "X")), doc("a " * 50)]
    pieces = count_pieces(
        FileCounts("dev", True, docs), tokenizer, windows, tokenizer.all_special_ids
    )
    plain = tokenizer("Paris", add_special_tokens=False)["input_ids"]
    assert all(pieces.counts[piece] >= 1 for piece in plain)
    assert not set(pieces.counts) & set(tokenizer.all_special_ids)
    assert pieces.n_unknown >= 2, "Ω is not in the vocabulary"
    assert pieces.n_long == 1
    assert pieces.n_lost_ends in (0, 1) and (pieces.n_lost_ends == 0) == (pieces.n_lost == 0)


@pytest.mark.parametrize("labelled", [True, False])
def test_entities_of_unlabelled_parts_are_not_looked_at(encoder_dir, labelled):
    part = FileCounts("x", labelled, [doc("Paris", (0, 1, "LOC"))])
    assert bool(part.names) == bool(part.widths) == labelled
