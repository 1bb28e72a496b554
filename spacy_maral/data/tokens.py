"""Split plain text into words and sentences by the rules of a language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, Token

from .languages import blank_pipeline

# spaCy's tokenizer takes a minute for 20,000 of one sign, and a day for a million
_RUN = re.compile(r"(\S)\1{255,}")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")


class Words(NamedTuple):
    """A piece of a text: its first character, its words, and whether a space follows each word."""

    start: int
    words: list[str]
    spaces: list[bool]


def tokenize(nlp: Language, text: str) -> Doc:
    """Tokenize a text; a run of 256 or more of one sign is a word, whatever the tokenizer does.

    nlp (Language): The pipeline.
    text (str): The text.
    RETURNS (Doc): The document, with the same text.
    """
    found = list(_RUN.finditer(text))
    if not found:
        return nlp.tokenizer(text)
    words: list[str] = []
    spaces: list[bool] = []
    done = 0
    for run in [*found, None]:
        for token in nlp.tokenizer(text[done : run.start() if run else None]):
            words.append(token.text)
            spaces.append(bool(token.whitespace_))
        if run:
            done = run.end()
            words.append(run.group())
            spaces.append(text.startswith(" ", done))
            done += spaces[-1]
    return Doc(nlp.vocab, words=words, spaces=spaces)


class Splitter:
    """Split text into sentences of words, without any model.

    spaCy's tokenizer of the language makes the words, its rule-based `sentencizer` the sentences. A
    blank line ends a sentence too. Words are not changed; white space at the ends of a sentence is
    left out.

    lang (str): Language code (see `blank_pipeline`).
    split (bool): Whether to split sentences; otherwise a text is one piece.
    segmenter (str | None): How Chinese words are found (see `blank_pipeline`).
    nlp (Language | None): Pipeline whose tokenizer makes the words, instead of the language's.
    RAISES (MaralError): If the language's tokenizer cannot be made.
    """

    def __init__(
        self,
        lang: str,
        *,
        split: bool = True,
        segmenter: str | None = None,
        nlp: Language | None = None,
    ) -> None:
        self.nlp = blank_pipeline(lang, segmenter) if nlp is None else nlp
        self.lang, self.split = lang, split
        # called by itself, as the pipeline would refuse texts of a million characters
        self.sentencizer = self.nlp.create_pipe("sentencizer")

    def __call__(self, text: str) -> Iterator[Words]:
        """Split a text.

        text (str): The text.
        YIELDS (Words): Its pieces that hold more than white space.
        """
        if not self.split:
            yield from _piece(list(tokenize(self.nlp, text)), 0)
            return
        start = 0
        for end, resume in [*((m.start(), m.end()) for m in _PARAGRAPH.finditer(text)), (None, 0)]:
            yield from self.sentences(tokenize(self.nlp, text[start:end]), start)
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
