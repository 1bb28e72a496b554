"""Word vectors that are fitted to what a teacher's encoder reads in single words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc

from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.scale.distil import subwords, word_vectors
from spacy_maral.scale.distil.word_vectors import encoder_vectors, has_encoder, save_vectors

WORDS = Counter({"Paris": 9, "Merkel": 4, "lebt": 3, "nach": 2, "Berlin": 1, "\u200e": 5, "a": 1})


@pytest.fixture(scope="module")
def teacher(world):
    return load_pipeline(world["teacher"])


@pytest.fixture(scope="module")
def vectors(teacher):
    return encoder_vectors(teacher, WORDS)


def own_state(teacher, word: str) -> np.ndarray:
    """Mean of the first and last piece's state in a document of one word, by the component itself."""
    doc = Doc(teacher.vocab, words=[word], spaces=[False])
    [states] = teacher.get_pipe("transformer").model.predict([doc]).doc_data[0].model_output[0]
    return (states[1] + states[-2]) / 2


def test_the_encoder_reads_each_word_alone(teacher):
    words = ["Paris", "lebt", "Merkel"]
    found = word_vectors.read_words(teacher, words)
    expected = [own_state(teacher, word) for word in words]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_words_get_vectors_like_their_states(teacher, monkeypatch):
    monkeypatch.setattr(subwords, "RIDGE", 1e-6)
    monkeypatch.setattr(subwords, "TOLERANCE", 1e-9)
    words = [word for word in WORDS if word != "\u200e"]
    states = word_vectors.read_words(teacher, words)
    found = encoder_vectors(teacher, WORDS).get_batch(words)
    # all distances between words are kept, up to one factor
    first, second = (
        np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(len(words), 1)]
        for x in (states, found)
    )
    assert np.corrcoef(first, second)[0, 1] > 0.99


def test_unknown_words_have_vectors_of_their_parts(vectors):
    unknown, known, other = vectors.get_batch(["Merkels", "Merkel", "nach"])
    assert np.abs(unknown).max() > 0

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(unknown, known) > cosine(unknown, other)


def test_the_table_has_bounds(teacher, vectors, monkeypatch):
    assert vectors.mode == "floret" and vectors.shape[1] == 32
    n_ngrams = vectors.shape[0]
    monkeypatch.setattr(word_vectors, "ROWS", 16)
    monkeypatch.setattr(word_vectors, "DIM", 4)
    assert encoder_vectors(teacher, WORDS).shape == (16, 4)
    # the two most frequent of the words that can be seen
    monkeypatch.setattr(word_vectors, "ROWS", 20_000)
    monkeypatch.setattr(word_vectors, "MOST_WORDS", 2)
    read = []
    monkeypatch.setattr(
        word_vectors,
        "read_words",
        lambda nlp, words: read.extend(words) or np.eye(2, 8, dtype=np.float32),
    )
    assert encoder_vectors(teacher, WORDS).shape[0] < n_ngrams and read == ["Paris", "Merkel"]


def test_saved_vectors_are_what_spacy_reads(vectors, tmp_path):
    save_vectors(vectors, tmp_path / "vectors")
    loaded = spacy.load(tmp_path / "vectors")
    np.testing.assert_array_equal(
        loaded.vocab.vectors.get_batch(["Paris"]), vectors.get_batch(["Paris"])
    )
    assert loaded("Paris")[0].has_vector


def test_a_pipeline_without_an_encoder(teacher):
    assert has_encoder(teacher) and not has_encoder(spacy.blank("xx"))
