"""Characters without width divide words as spaces do; joiners and soft hyphens do not."""

from __future__ import annotations

import json
import pickle

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_maral.data.convert import convert
from spacy_maral.data.docs import read_docs
from spacy_maral.data.languages import TOKENIZER, blank_pipeline
from spacy_maral.model.visible import is_blank

SEPARATORS = ["\u200b", "\u2060", "\ufeff", "\ufffd", "\u200e", "\u200f", "\u202b", "\u2066"]
PARTS = ["Dr.", "Lindner", "don't", "(Leipzig)", "U.N.", "Bonn,", "e.g.", "10km", "!", "-", "«Rom»"]


@pytest.fixture(scope="module", params=["xx", "en", "de"])
def nlp(request):
    return blank_pipeline(request.param)


@pytest.fixture(scope="module")
def plain(nlp):
    """spaCy's own tokenizer of the same language."""
    return spacy.blank(nlp.lang)


@given(
    parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=6),
    separator=st.lists(st.sampled_from(SEPARATORS), min_size=1, max_size=3).map("".join),
    spaces=st.sampled_from(["", " "]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_words_are_those_of_the_text_with_spaces(nlp, plain, parts, separator, spaces):
    wanted = [token.text for token in nlp(" ".join(parts))]
    text = (separator + spaces).join(["", *parts, ""])
    doc = nlp(text)
    assert doc.text == text
    assert [token.text for token in doc if not is_blank(token.text)] == wanted
    assert wanted == [token.text for token in plain(" ".join(parts))]


def test_every_separator_is_blank_and_what_belongs_to_a_word_divides_none(nlp):
    assert all(map(is_blank, SEPARATORS))
    for word in ("می\u200cخواهم", "क\u094d\u200dष", "Lind\u00adner", "👩\u200d🚀", "a\u0301b"):
        assert [token.text for token in nlp(word)] == [
            token.text for token in spacy.blank("xx")(word)
        ]
    for text in ("", "\u200b", " \u200b ", "\ufffd\ufffd", "\n\u200b\n"):
        assert nlp(text).text == text


def test_it_is_saved_and_sent_to_other_processes(nlp, tmp_path):
    assert nlp.config["nlp"]["tokenizer"] == {"@tokenizers": TOKENIZER}
    nlp.tokenizer.add_special_case("Lindner", [{"ORTH": "Lind"}, {"ORTH": "ner"}])
    text = "Dr.\u200bLindner\ufffdand (Bob)"
    wanted = [token.text for token in nlp(text)]
    assert wanted[-5:] != [] and "Lind" in wanted
    nlp.to_disk(tmp_path / "nlp")
    for again in (
        spacy.load(tmp_path / "nlp").tokenizer,
        pickle.loads(pickle.dumps(nlp.tokenizer)),
    ):
        assert [token.text for token in again(text)] == wanted


def test_other_tokenizers_stay_as_they_are():
    assert blank_pipeline("zh").config["nlp"]["tokenizer"]["segmenter"] == "char"


def test_entities_in_text_without_spaces_are_aligned(tmp_path):
    row = {
        "text": "Petra\u200bLindner\u200bmet\ufffdBob",
        "entities": [[0, 13, "PER"], [18, 21, "PER"]],
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf8")
    assert convert(tmp_path / "a.jsonl", tmp_path / "a.spacy", lang="en").repairs == {}
    (doc,) = read_docs(tmp_path / "a.spacy")
    assert doc.text == row["text"]
    assert [(ent.start, ent.end, ent.text) for ent in doc.ents] == [
        (0, 3, "Petra\u200bLindner"), (6, 7, "Bob")
    ]  # fmt: skip
