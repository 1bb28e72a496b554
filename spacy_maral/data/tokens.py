"""Split plain text into words and sentences by the rules of a language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from spacy.tokens import Doc, Token

from .languages import blank_pipeline

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")


class Words(NamedTuple):
    """A piece of a text: its first character, its words, and whether a space follows each word."""

    start: int
    words: list[str]
    spaces: list[bool]


class Splitter:
    """Split text into sentences of words, without any model.

    spaCy's tokenizer of the language makes the words, its rule-based `sentencizer` the sentences. A
    blank line ends a sentence too. Words are not changed; white space at the ends of a sentence is
    left out.

    lang (str): Language code (see `blank_pipeline`).
    split (bool): Whether to split sentences; otherwise a text is one piece.
    segmenter (str | None): How Chinese words are found (see `blank_pipeline`).
    RAISES (MaralError): If the language's tokenizer cannot be made.
    """

    def __init__(self, lang: str, *, split: bool = True, segmenter: str | None = None) -> None:
        self.nlp = blank_pipeline(lang, segmenter)
        self.lang, self.split = lang, split
        # called by itself, as the pipeline would refuse texts of a million characters
        self.sentencizer = self.nlp.create_pipe("sentencizer")

    def __call__(self, text: str) -> Iterator[Words]:
        """Split a text.

        text (str): The text.
        YIELDS (Words): Its pieces that hold more than white space.
        """
        if not self.split:
            yield from _piece(list(self.nlp.tokenizer(text)), 0)
            return
        start = 0
        for end, resume in [*((m.start(), m.end()) for m in _PARAGRAPH.finditer(text)), (None, 0)]:
            yield from self.sentences(self.nlp.tokenizer(text[start:end]), start)
            start = resume

    def sentences(self, doc: Doc, start: int = 0) -> Iterator[Words]:
        """Split a tokenized document, by its own sentences if it has any.

        doc (Doc): The document.
        start (int): Its first character in its text.
        YIELDS (Words): Its sentences that hold more than white space.
        """
        if not self.split:
            yield from _piece(list(doc), start)
            return
        if not doc.has_annotation("SENT_START"):
            doc = self.sentencizer(doc)
        for sentence in doc.sents if len(doc) else ():
            yield from _piece(list(sentence), start)


def _piece(tokens: list[Token], start: int) -> Iterator[Words]:
    """Tokens as a piece, without white space at the ends; no piece of white space alone."""
    while tokens and tokens[-1].is_space:
        tokens.pop()
    first = next((i for i, token in enumerate(tokens) if not token.is_space), len(tokens))
    if kept := tokens[first:]:
        spaces = [bool(token.whitespace_) for token in kept[:-1]] + [False]
        yield Words(start + kept[0].idx, [token.text for token in kept], spaces)
