"""Words that translate each other, found by the vectors that an encoder gives them in two texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .refinery import build_index

# number of nearest words that a word's neighbourhood is measured by
NEIGHBOURS = 10
# a translation is this much nearer than the neighbours of both words are on average
MARGIN = 0.05
# a language capitalises its nouns if more than this share of the words with a small letter change it
NOUNS = 0.1
KEPT, RAISED, FORBIDDEN = range(3)


@dataclass
class WordMeans:
    """Words of a text, in order of first appearance, and their directions.

    vectors: Shape (n, h), of length 1: the mean over all places of a word, after the mean over all
    words of the text is subtracted, since what all words have in common, such as the language, says
    nothing about their meaning.
    """

    words: list[str]
    vectors: NDArray[np.float32]


def average_words(chunks: Iterable[tuple[Sequence[str], NDArray[np.floating]]]) -> WordMeans:
    """Average the vectors of each word.

    chunks (Iterable): Words and their vectors, shape (n, h), of some sentences at a time. A word
        without a vector has zeros, and is left out.
    RETURNS (WordMeans): The words.
    """
    numbers: dict[str, int] = {}
    sums: NDArray[np.float64] = np.zeros((0, 0))
    counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    for words, vectors in chunks:
        known: NDArray[np.bool_] = (vectors != 0).any(axis=1)
        given = [word for word, has_vector in zip(words, known, strict=True) if has_vector]
        rows = np.array([numbers.setdefault(word, len(numbers)) for word in given], dtype=np.int64)
        new = len(numbers) - len(counts), vectors.shape[1]
        counts = np.concatenate([counts, np.zeros(new[0], dtype=np.int64)])
        sums = np.concatenate([sums.reshape(-1, new[1]), np.zeros(new)])
        counts += np.bincount(rows, minlength=len(counts))
        np.add.at(sums, rows, vectors[known])
    if not numbers:
        return WordMeans([], np.zeros((0, 0), dtype=np.float32))
    centred = sums / counts[:, None] - sums.sum(0) / counts.sum()
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.maximum(lengths, np.finfo(np.float64).tiny)
    return WordMeans(list(numbers), directions.astype(np.float32))


def find_translations(source: WordMeans, target: WordMeans) -> dict[str, str]:
    """Find the words of a text that translate words of another.

    The similarity of two words is twice their cosine, less the mean cosine of each with its nearest
    words of the other text (CSLS, Conneau et al. 2018), so that words that are near to everything
    translate nothing. A word gets the most similar one of its nearest words that `change_of` allows,
    if the similarity is above MARGIN.

    Words with a small letter get capitalised ones only if more than NOUNS of them would: that is how a
    language looks that writes its nouns so, as German does. In others, these are names.

    source, target (WordMeans): The words of both texts.
    RETURNS (dict[str, str]): Target words by source word.
    """
    k = min(NEIGHBOURS, len(source.words), len(target.words))
    if not k:
        return {}
    cosines, nearest = _nearest(source.vectors, target.vectors, k)
    back, _ = _nearest(target.vectors, source.vectors, k)
    similarity = 2 * cosines - cosines.mean(1, keepdims=True) - back.mean(1)[nearest]
    changes = np.array(
        [
            [change_of(word, target.words[other]) for other in others]
            for word, others in zip(source.words, nearest.tolist(), strict=True)
        ]
    )
    similarity[changes == FORBIDDEN] = -np.inf
    rows, best = _above_margin(similarity)
    small = np.array([_has_case(word[:1]) and word[:1].islower() for word in source.words])
    raised = changes[rows, best] == RAISED
    if raised.sum() <= NOUNS * small[rows].sum():
        similarity[changes == RAISED] = -np.inf
        rows, best = _above_margin(similarity)
    found = zip(rows.tolist(), nearest[rows, best].tolist(), strict=True)
    return {source.words[i]: target.words[j] for i, j in found}


def _above_margin(
    similarity: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows whose highest similarity is above MARGIN, and the columns that have it."""
    best = similarity.argmax(1)
    rows = np.flatnonzero(similarity[np.arange(len(best)), best] > MARGIN)
    return rows, best[rows]


def _nearest(
    vectors: NDArray[np.float32], others: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosines with the k nearest of the others, and their numbers, shape (n, k) each."""
    return build_index(others, exact_rows=len(others)).search(vectors, k)


def change_of(word: str, other: str) -> int:
    """What a translation changes: FORBIDDEN if it takes signs for words or a capital letter away,
    RAISED if it makes a small letter a capital one, and else KEPT, as between scripts of which one has
    no capital letters."""
    a, b = word[:1], other[:1]
    if not (a.isalpha() and b.isalpha()):
        return FORBIDDEN
    if not (_has_case(a) and _has_case(b)) or a.isupper() == b.isupper():
        return KEPT
    return FORBIDDEN if a.isupper() else RAISED


def _has_case(letter: str) -> bool:
    """Whether words may begin with a capital form of a letter; Georgian has one for headlines only."""
    return letter.lower() != letter.title()


def of_other_scripts(lexicon: dict[str, str]) -> dict[str, str]:
    """The translations that begin with a letter of another script than their word."""
    return {w: other for w, other in lexicon.items() if _script(w) != _script(other)}


def _script(word: str) -> str:
    """The script of the first letter, as Unicode names it, such as "LATIN"."""
    script = unicodedata.name(unicodedata.normalize("NFKC", word[:1])[:1], "").partition(" ")[0]
    return "JAPANESE" if script in ("CJK", "HIRAGANA", "KATAKANA") else script


def translate(word: str, lexicon: dict[str, str]) -> str | None:
    """The translation of a word that belongs to no name, None if there is none.

    A capitalised one, such as the first of a sentence, may have that of the word in small letters.
    """
    if word in lexicon:
        return lexicon[word]
    small = word.lower()
    if small == word or not word[:1].isupper() or small not in lexicon:
        return None
    found = lexicon[small]
    return found[:1].title() + found[1:]


def translate_name(word: str, names: dict[str, str]) -> str | None:
    """The translation of a word of a name, None if there is none.

    A capitalised word may have that of the word in small letters, as dictionaries write it, only in
    another script: "Brown" is no colour.
    """
    if word in names:
        return names[word]
    found = translate(word, names)
    return None if found is None or _script(found) == _script(word) else found
