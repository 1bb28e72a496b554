"""A tokenizer for which characters without width stand for a space, as white space does."""

from __future__ import annotations

import re
from collections.abc import Callable

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc
from spacy.util import registry

# zero-width spaces, marks of the direction of text, and U+FFFD. Joiners and the soft hyphen are not
# among them: they belong to the words that they are in
_SEPARATORS = re.compile("([\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufffd]+)")


class SeparatorTokenizer(Tokenizer):
    """spaCy's rule-based tokenizer, with a word of its own for characters that stand for a space.

    The words between them are those that white space would give. Texts without such characters have
    spaCy's words.
    """

    def __call__(self, string: str) -> Doc:
        """Tokenize a text; RETURNS (Doc): The document, with the same text."""
        pieces = _SEPARATORS.split(string)
        if len(pieces) == 1:
            return super().__call__(string)
        words: list[str] = []
        spaces: list[bool] = []
        for number, piece in enumerate(pieces):
            if number % 2:
                words.append(piece)
                spaces.append(pieces[number + 1].startswith(" "))
                continue
            # the space after a separator is the separator's
            for token in super().__call__(piece.removeprefix(" ") if number else piece):
                words.append(token.text)
                spaces.append(bool(token.whitespace_))
        return Doc(self.vocab, words=words, spaces=spaces)


def make_tokenizer() -> Callable[[Language], SeparatorTokenizer]:
    """Make a tokenizer for which zero-width spaces and U+FFFD stand for a space.

    The rules are those of the language of the pipeline, as in spacy.Tokenizer.v1. A text from the
    web in which zero-width spaces, byte order marks, marks of direction or U+FFFD stand where spaces
    should be has the same words as with spaces. Joiners (U+200C, U+200D) and the soft hyphen divide
    no word.

    RETURNS (Callable): Makes the tokenizer of a pipeline.
    """
    make = registry.tokenizers.get("spacy.Tokenizer.v1")()

    def tokenizer(nlp: Language) -> SeparatorTokenizer:
        rules = make(nlp)
        return SeparatorTokenizer(
            nlp.vocab, rules.rules, rules.prefix_search, rules.suffix_search,
            rules.infix_finditer, rules.token_match, rules.url_match,
        )  # fmt: skip

    return tokenizer
