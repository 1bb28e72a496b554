"""Words that translate each other: the vectors of words, the nearest ones, and what may take the place of a word."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_maral.adaptation.lexicon import (
    FORBIDDEN,
    KEPT,
    MARGIN,
    NEIGHBOURS,
    RAISED,
    WordMeans,
    average_words,
    change_of,
    find_translations,
    of_other_scripts,
    translate,
    translate_name,
)


def words_of(rng, n, prefix):
    vectors = rng.normal(size=(n, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return WordMeans([f"{prefix}{i}" for i in range(n)], vectors)


def by_brute_force(source, target):
    """CSLS as in Conneau et al. (2018), pair by pair, over the nearest words of each source word."""
    cosines = source.vectors.astype(float) @ target.vectors.astype(float).T
    k = min(NEIGHBOURS, *cosines.shape)
    found = {}
    for i, word in enumerate(source.words):
        near = sorted(range(len(target.words)), key=lambda j: -cosines[i, j])[:k]
        scores = {
            j: 2 * cosines[i, j] - cosines[i, near].mean() - np.sort(cosines[:, j])[-k:].mean()
            for j in near
        }
        best = max(scores, key=scores.__getitem__)
        if scores[best] > MARGIN:
            found[word] = target.words[best]
    return found


@pytest.mark.parametrize(("n", "m"), [(60, 80), (80, 25), (4, 7)])
def test_translations_are_those_of_csls(n, m):
    rng = np.random.default_rng(n)
    source, target = words_of(rng, n, "a"), words_of(rng, m, "b")
    found = find_translations(source, target)
    assert found == by_brute_force(source, target)
    assert found


def test_a_word_near_to_everything_translates_nothing():
    # each word is nearest to the hub, and then to a word of its own, which no other is near to
    n, axes = 12, np.eye(25, dtype=np.float32)
    source = WordMeans([f"a{i}" for i in range(n)], 0.6 * axes[0] + 0.8 * axes[1 : n + 1])
    own = 0.7 * axes[1 : n + 1] + np.float32(0.51**0.5) * axes[n + 1 : 2 * n + 1]
    hub = np.concatenate([axes[:1], own])
    target = WordMeans(["hub", *(f"b{i}" for i in range(n))], hub)
    assert (source.vectors @ target.vectors.T).argmax(1).tolist() == [0] * n
    assert find_translations(source, target) == {f"a{i}": f"b{i}" for i in range(n)}


def test_no_text_has_no_translations():
    none = average_words([])
    assert none.words == [] and find_translations(none, none) == {}
    some = WordMeans(["a"], np.ones((1, 1), dtype=np.float32))
    assert find_translations(some, none) == {} == find_translations(none, some)


def test_vectors_of_words_are_means_over_their_places_less_that_of_the_text():
    rng = np.random.default_rng(0)
    words = list("abacabcaad")
    vectors = rng.normal(size=(10, 4)) + 3
    vectors[9] = 0
    chunks = [(words[:4], vectors[:4]), (words[4:], vectors[4:])]
    found = average_words(chunks)
    # d has no vector
    assert found.words == ["a", "b", "c"]
    for word, direction in zip(found.words, found.vectors, strict=True):
        mean = vectors[[w == word for w in words]].mean(0) - vectors[:9].mean(0)
        np.testing.assert_allclose(direction, mean / np.linalg.norm(mean), rtol=1e-5)


def test_a_chunk_without_vectors_changes_nothing():
    rng = np.random.default_rng(0)
    chunk = list("ab"), rng.normal(size=(2, 3))
    nothing = ["x"], np.zeros((1, 3))
    alone, both = average_words([chunk]), average_words([nothing, chunk, nothing])
    assert both.words == alone.words
    np.testing.assert_array_equal(both.vectors, alone.vectors)
    assert average_words([nothing]).words == []


@pytest.mark.parametrize(
    ("word", "other", "change"),
    [
        ("house", "Haus", RAISED), ("house", "huis", KEPT), ("Germany", "Duitsland", KEPT),
        ("Germany", "duits", FORBIDDEN), ("Germany", "آلمان", KEPT), ("آلمان", "germany", KEPT),
        ("1", "een", FORBIDDEN), ("one", "1", FORBIDDEN), (",", ",", FORBIDDEN), ("", "a", FORBIDDEN),
        ("a", "", FORBIDDEN), ("Germany", "გერმანია", KEPT), ("გერმანია", "Germany", KEPT),
        ("été", "Sommer", RAISED),
    ],
)  # fmt: skip
def test_signs_and_capital_letters_are_not_lost(word, other, change):
    assert change_of(word, other) == change


def near(*rows):
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_nearest_word_that_is_allowed_is_taken():
    source = WordMeans(["house", "Rome"], near([1, 0, 0], [0, 1, 0]))
    vectors = near([1, 0.1, 0], [1, 0.2, 0], [0, 1, 0.1], [0.1, 1, 0], [0, 0, 1])
    found = find_translations(source, WordMeans(["9", "huis", "rom", "Rom", "9"], vectors))
    assert found == {"house": "huis", "Rome": "Rom"}


@pytest.mark.parametrize(("n_raised", "expected"), [(1, "klein"), (2, "Groß")])
def test_small_words_become_capitalised_ones_where_many_do(n_raised, expected):
    """Ten words in small letters, of which one or two have a capitalised word that is nearest."""
    axes = np.eye(10, dtype=np.float32)
    source = WordMeans([f"w{i}" for i in range(10)], axes)
    names = [f"Groß{i}" if i < n_raised else f"gleich{i}" for i in range(10)]
    target = WordMeans([*names, "klein"], np.concatenate([axes, near(axes[0] + 0.2 * axes[5])]))
    found = find_translations(source, target)
    assert found["w0"].rstrip("0") == expected
    assert all(found[f"w{i}"] == f"gleich{i}" for i in range(2, 10))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("brown", "bruin"), ("Brown", "Bruin"), ("Rome", "Rom"), ("rome", None), ("BROWN", "Bruin"),
        ("else", None), ("Else", None),
    ],
)  # fmt: skip
def test_words_in_small_letters_may_begin_a_sentence(word, expected):
    assert translate(word, {"brown": "bruin", "Rome": "Rom"}) == expected


def test_translations_in_another_script_are_found():
    pairs = {"Rome": "Rom", "josef": "জোসেফ", "été": "summer", "مدينة": "stad", "Ōsaka": "大阪"}
    assert of_other_scripts(pairs).keys() == {"josef", "مدينة", "Ōsaka"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Brown", None), ("brown", "bruin"), ("Berlin", "Берлин"), ("Rome", "Rom"), ("Bonn", None)],
)
def test_names_in_small_letters_serve_for_other_scripts(word, expected):
    names = {"brown": "bruin", "berlin": "берлин", "Rome": "Rom"}
    assert translate_name(word, names) == expected


def test_no_capital_is_made_where_a_script_has_none():
    assert translate("The", {"the": "და"}) == "და"
