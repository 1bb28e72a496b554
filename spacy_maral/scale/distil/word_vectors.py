"""Word vectors for a small pipeline: what the teacher's encoder makes of each word, from character n-grams."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vectors import Vectors  # type: ignore[import-not-found]

from ...errors import MaralError
from ...model.architectures import get_encoder
from ...model.encoder.layers import layer_stack
from ...model.visible import any_visible
from ...training.word_states import make_states, read_chunks
from .subwords import fit_table, mean_of_rows, principal_components

DIM, ROWS = 64, 20_000
"""Width of the vectors, and most rows of the table: 4.9 MiB."""
MOST_WORDS = 100_000
"""The most frequent words are read, at most so many."""
READ_AT_ONCE = 5_000
# as floret's own defaults for subwords of European languages
NGRAMS = {"minn": 3, "maxn": 5, "hash_count": 2, "hash_seed": 2166136261, "bow": "<", "eow": ">"}


def has_encoder(nlp: Language) -> bool:
    """Whether a pipeline has a transformer."""
    try:
        get_encoder(nlp)
    except MaralError:
        return False
    return True


def encoder_vectors(teacher: Language, counts: Counter[str]) -> Vectors:
    """Fit floret vectors to the last states of a pipeline's encoder for single words.

    The encoder reads each word alone. Its states are reduced to their principal components, and a table of
    hashed character n-grams is fitted to them, in which a word's vector is the mean of the rows of its
    n-grams. So words that the text does not have get a vector, too, from what they have in common
    with others. Words count by the logarithm of their frequency.

    teacher (Language): A pipeline with an encoder.
    counts (Counter[str]): Words of the text, with their frequencies, at least one of them visible.
    RETURNS (Vectors): The table, of spaCy's mode "floret".
    """
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    seen = (word for word in ordered if any_visible([single(teacher, word)]))
    words = list(islice(seen, MOST_WORDS))
    weights = np.log1p([counts[word] for word in words])
    states = read_words(teacher, words)
    wanted = principal_components(states, weights, min(DIM, states.shape[1]))
    probe = Vectors(mode="floret", data=np.zeros((1, 1), dtype=np.float32), **NGRAMS)
    hashes = [ngram_hashes(probe, word) for word in words]
    n_rows = min(ROWS, len(np.unique(np.concatenate(hashes))))
    rows = [(own % np.uint64(n_rows)).astype(np.int64) for own in hashes]
    table = fit_table(mean_of_rows(rows, n_rows), wanted, weights)
    return Vectors(mode="floret", data=table, **NGRAMS)


def read_words(teacher: Language, words: list[str]) -> NDArray[np.float32]:
    """The last state of the encoder for each word, read alone, shape (n, h)."""
    n_layers = len(layer_stack(get_encoder(teacher)[0])[1])
    states = make_states(teacher, n_layers or None, str(teacher.meta["name"]))
    docs = [single(teacher, word) for word in words]
    chunks = read_chunks(docs, states, READ_AT_ONCE, name="Words", unit="words")
    return np.concatenate([vectors for _, vectors in chunks])


def single(nlp: Language, word: str) -> Doc:
    """A document of one word."""
    return Doc(nlp.vocab, words=[word], spaces=[False])


def ngram_hashes(vectors: Vectors, word: str) -> NDArray[np.uint64]:
    """Hashes of a word's character n-grams, the whole word among them, as spaCy looks them up."""
    # spaCy shows neither by a public name
    every = [own for ngram in vectors._get_ngrams(word) for own in vectors._get_ngram_hashes(ngram)]  # type: ignore[attr-defined]
    return np.array(every, dtype=np.uint64)


def save_vectors(vectors: Vectors, folder: Path) -> None:
    """Save vectors as a pipeline, from which spaCy's training takes them."""
    nlp = spacy.blank("xx")
    nlp.vocab.vectors = vectors
    nlp.to_disk(folder)
