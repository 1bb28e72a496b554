"""Words that translate each other, found by the vectors that an encoder gives them in two texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

# number of nearest words that a word's neighbourhood is measured by
NEIGHBOURS = 10
# a translation is this much nearer than the neighbours of both words are on average
MARGIN = 0.05


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
    translate nothing. A word gets the most similar one of its nearest words that it `may_become`, if
    there is one and the similarity is above MARGIN.

    source, target (WordMeans): The words of both texts.
    RETURNS (dict[str, str]): Target words by source word.
    """
    k = min(NEIGHBOURS, len(source.words), len(target.words))
    if not k:
        return {}
    cosines, nearest = _nearest(source.vectors, target.vectors, k)
    back, _ = _nearest(target.vectors, source.vectors, k)
    similarity = 2 * cosines - cosines.mean(1, keepdims=True) - back.mean(1)[nearest]
    allowed = [
        [may_become(word, target.words[other]) for other in others]
        for word, others in zip(source.words, nearest.tolist(), strict=True)
    ]
    similarity[~np.array(allowed)] = -np.inf
    best = similarity.argmax(1)
    rows = np.flatnonzero(similarity[np.arange(len(best)), best] > MARGIN)
    return {source.words[i]: target.words[nearest[i, best[i]]] for i in rows.tolist()}


def _nearest(
    vectors: NDArray[np.float32], others: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosines with the k nearest of the others, and their numbers, shape (n, k) each."""
    index = faiss.IndexFlatIP(others.shape[1])
    index.add(others)
    return index.search(vectors, k)


def may_become(word: str, other: str) -> bool:
    """Whether a word may be replaced by another: both begin with a letter, and both with a capital
    letter or neither, where both scripts have them."""
    if not (word[:1].isalpha() and other[:1].isalpha()):
        return False
    cased = all(text[:1].lower() != text[:1].upper() for text in (word, other))
    return not cased or word[:1].isupper() == other[:1].isupper()


def translate(word: str, lexicon: dict[str, str], *, is_name: bool) -> str | None:
    """The translation of a word of a sentence, None if there is none.

    A capitalised word that is no part of a name, such as the first of a sentence, may have that of
    the word in small letters.

    is_name (bool): Whether it is a part of an entity.
    """
    if word in lexicon:
        return lexicon[word]
    small = word.lower()
    if is_name or small == word or not word[:1].isupper() or small not in lexicon:
        return None
    found = lexicon[small]
    return found[:1].upper() + found[1:]
