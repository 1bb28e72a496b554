from __future__ import annotations

from html.parser import HTMLParser

import pytest

from spacy_maral.evaluation.report.sentences import Marked, direction, mark_entities


class Reader(HTMLParser):
    """Collects the tags, the text, and the marked pieces of text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text, self.marks, self.open = [], "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "mark":
            self.marks.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "mark" in self.open:
            self.marks[-1] += data


def test_entities_are_marked_where_they_are():
    words = ["Ada", "Lovelace", "met", "Acme", "."]
    page = mark_entities(words, [Marked(3, 3, "ORG", 2), Marked(0, 1, "PER", 1, True)])
    found = Reader(page)
    assert found.marks == ["Ada LovelacePER", "AcmeORG"]
    assert found.text == "Ada LovelacePER met AcmeORG ."
    first, second = (attrs for tag, attrs in found.tags if tag == "mark")
    assert first == {"class": "ent pointed", "style": "--c:var(--s1)"}
    assert second == {"class": "ent plain", "style": "--c:var(--s2)"}
    assert not found.open


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", "</div><b>", "a&amp;\"'", "{bg}"])
def test_nothing_in_the_text_is_html(nasty):
    page = mark_entities([nasty, "x", nasty], [Marked(0, 0, nasty, 1)])
    found = Reader(page)
    assert {tag for tag, _ in found.tags} == {"div", "mark", "b"}
    assert found.text == f"{nasty}{nasty} x {nasty}"
    assert found.marks == [nasty + nasty]


def test_characters_that_html_may_not_have():
    found = Reader(mark_entities(["a\x00\nb", "\ud800c"], [Marked(1, 1, "L\x07", 1)]))
    assert found.text == "a  b ?cL "
    assert found.marks == ["?cL "]


def test_scripts_from_right_to_left():
    words = ["تهران", "پایتخت", "ایران"]
    assert direction(" ".join(words)) == "rtl"
    assert direction("Tehran 1 تا") == "ltr" == direction("")
    page = mark_entities(words, [Marked(0, 0, "LOC", 1)])
    assert Reader(page).marks == ["تهرانLOC"]
    assert "direction: rtl" in page
