"""The name memory against a transcription with dictionaries and loops."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from spacy_maral.errors import MaralError
from spacy_maral.model import name_files, names
from spacy_maral.model.name_files import names_from_bytes, names_to_bytes
from spacy_maral.model.names import (
    FLOOR,
    NameMemory,
    NameSettings,
    document_keys,
    enters,
    refine_labels,
    refine_scores,
    span_keys,
    word_hashes,
)
from spacy_maral.model.spans import Candidates, softmax

K, WIDTH = 4, 3
LABELS = ["LOC", "ORG", "PER"]
KNOWN = ["0xdda86a6d08dd8ce9", "0xe98c7141ba67690", "0xc7b259071f7baec9"]
KNOWN_WORD = "571ad7128a8ff183"


class Text:
    """Documents of few words, so that strings repeat, with the probabilities of their spans."""

    def __init__(self, seed: int, n_docs: int = 12) -> None:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(0, 9, n_docs)
        self.words = [str(w) for w in rng.choice(list("abcde"), lengths.sum())]
        self.candidates = Candidates(lengths, WIDTH)
        self.keys = span_keys(self.words, self.candidates)
        starts, ends = self.candidates.words
        self.strings = [" ".join(self.words[i : j + 1]) for i, j in zip(starts, ends, strict=True)]
        scores = rng.normal(size=(len(starts), K)) * 2
        scores[:, 0] += rng.choice([0.0, 3.0, 9.0], len(starts))
        self.scores = scores.astype(np.float32)
        self.p = softmax(self.scores)


def brute_memory(*texts):
    """{string: (sums, mentions)} by the rule that the module states."""
    looks_like_a_name = {
        s for t in texts for s, p in zip(t.strings, t.p, strict=True) if sum(p[1:]) >= FLOOR
    }
    sums, mentions = defaultdict(lambda: [0.0] * K), defaultdict(int)
    for text in texts:
        for string, p in zip(text.strings, text.p, strict=True):
            if string in looks_like_a_name:
                row = list(p) if sum(p[1:]) >= FLOOR else [1.0, 0.0, 0.0, 0.0]
                sums[string] = [a + b for a, b in zip(sums[string], row, strict=True)]
                mentions[string] += 1
    return sums, mentions


def brute_refine(text, memory, settings, *, own):
    """New probabilities, span by span, by the formula of the issue; None where nothing changes."""
    sums, mentions = memory
    rows = []
    for string, p in zip(text.strings, text.p, strict=True):
        n = mentions.get(string, 0) - own
        if n <= 0:
            rows.append(None)
            continue
        mine = list(p) if sum(p[1:]) >= FLOOR else [1.0, 0.0, 0.0, 0.0]
        others = [max(s - x * own, 0.0) for s, x in zip(sums[string], mine, strict=True)]
        new = list(p)
        m = sum(others[1:])
        if m > 0:
            a = settings.type_weight * m / (m + 1)
            entity = sum(p[1:])
            types = [
                (1 - a) * x / entity + a * t / m for x, t in zip(p[1:], others[1:], strict=True)
            ]
            new = [p[0], *(entity * t for t in types)]
        c = settings.mixed_weight * n / (n + 1)
        rows.append([(1 - c) * x + c * o / sum(others) for x, o in zip(new, others, strict=True)])
    return rows


def check_rows(found, before, wanted):
    changed = 0
    for new, old, row in zip(found, before, wanted, strict=True):
        if row is None:
            assert (new == old).all()
        else:
            np.testing.assert_allclose(new, row, atol=5e-5)
            changed += not np.allclose(new, old, atol=1e-3)
    assert changed > 10


def check_memory(memory, wanted, texts):
    sums, mentions = wanted
    places = {s: k for t in texts for s, k in zip(t.strings, t.keys, strict=True)}
    assert len(memory) == len(sums)
    found, at = memory.find(np.array([places[s] for s in sums], dtype=np.uint64))
    assert found.tolist() == list(range(len(sums)))
    np.testing.assert_allclose(memory.sums[at], list(sums.values()), atol=1e-4)
    assert memory.mentions[at].tolist() == [mentions[s] for s in sums]


# keys


def test_keys_are_equal_where_strings_are():
    text = Text(0, n_docs=60)
    by_string = defaultdict(set)
    for string, key in zip(text.strings, text.keys.tolist(), strict=True):
        by_string[string].add(key)
    assert all(len(keys) == 1 for keys in by_string.values())
    assert len({*text.keys.tolist()}) == len(by_string) > 100


def test_keys_do_not_depend_on_the_text_around_and_stay_the_same():
    alone = span_keys(["Angela", "Merkel"], Candidates([2], 2))
    words = ["die", "Angela", "Merkel", "sagt"]
    assert alone[1] == span_keys(words, Candidates([4], 3))[4]
    # saved memories hold them
    assert [hex(key) for key in alone] == KNOWN
    assert word_hashes(["Angela"])[0] == int.from_bytes(bytes.fromhex(KNOWN_WORD), "little")
    assert len(span_keys([], Candidates([0, 0], 3))) == 0


def test_keys_of_documents_differ():
    text = Text(1)
    own = document_keys(text.keys, text.candidates.owner)
    pairs = {*zip(text.candidates.owner.tolist(), text.strings, strict=True)}
    assert len({*own.tolist()}) == len(pairs) > len({*text.strings})


# building


def test_a_memory_holds_what_the_rule_says():
    text = Text(2)
    low = ~enters(text.p)
    assert low.any() and not low.all()
    check_memory(NameMemory.of(text.keys, text.p), brute_memory(text), [text])


def test_building_in_parts_is_exact_in_any_order(monkeypatch):
    texts = [Text(seed) for seed in range(5)]
    keys, p = (np.concatenate([getattr(t, name) for t in texts]) for name in ("keys", "p"))
    whole = NameMemory.of(keys, p)
    check_memory(whole, brute_memory(*texts), texts)
    for order, most in (([0, 1, 2, 3, 4], 1 << 17), ([3, 1, 4, 0, 2], 0), ([2, 0, 1, 4, 3], 40)):
        monkeypatch.setattr(names, "MERGE_STRINGS", most)
        part = NameMemory.streamed(
            ((texts[i].keys, texts[i].p) for i in order), (texts[i].keys for i in order), K
        )
        for name in ("keys", "sums", "mentions"):
            assert (getattr(part, name) == getattr(whole, name)).all(), name


def test_merging_adds():
    one, two = (NameMemory.of(t.keys, t.p) for t in (Text(0), Text(1)))
    both = NameMemory.merge([one, two])
    assert {*both.keys.tolist()} == {*one.keys.tolist(), *two.keys.tolist()}
    assert both.mentions.sum() == one.mentions.sum() + two.mentions.sum()
    np.testing.assert_allclose(both.sums.sum(0), one.sums.sum(0) + two.sums.sum(0))
    for name in ("keys", "sums", "mentions"):
        assert (getattr(both, name) == getattr(NameMemory.merge([two, one]), name)).all()


def test_finding_agrees_with_a_search_in_large_and_small_memories():
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 3, 1000, 70_000):
        keys = np.unique(rng.integers(0, 2**64, size, dtype=np.uint64))
        # keys that begin alike are in one bucket
        keys = np.unique(
            np.concatenate([keys, keys[: size // 3] ^ np.uint64(1), keys[:9] + np.uint64(7)])
        )
        memory = NameMemory(keys, np.zeros((len(keys), K)), np.ones(len(keys), np.uint64))
        asked = rng.permutation(
            np.concatenate([keys, rng.integers(0, 2**64, 500, dtype=np.uint64)])
        )
        rows, places = memory.find(asked)
        wanted = np.flatnonzero(np.isin(asked, keys))
        assert rows.tolist() == wanted.tolist()
        assert (keys[places] == asked[rows]).all()


# applying


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("types", "mixed"), [(0.75, 0.0), (0.0, 0.5), (0.75, 0.5), (0.0, 0.0)])
def test_scores_are_refined_by_the_formula(types, mixed, own):
    text, other = Text(3), Text(4, n_docs=5)
    settings = NameSettings(types, mixed)
    source = text if own else other
    memory = NameMemory.of(source.keys, source.p)
    for one in (memory, memory.compact()):
        found = refine_scores(text.scores, text.keys, one, settings, own=own)
        assert found.dtype == np.float32
        if types == mixed == 0:
            np.testing.assert_allclose(softmax(found), text.p, atol=1e-6)
            continue
        wanted = brute_refine(text, brute_memory(source), settings, own=own)
        check_rows(softmax(found), text.p, wanted)
        same = [row is None for row in wanted]
        assert any(same)
        assert (found[same] == text.scores[same]).all()


def test_labels_are_refined_without_the_mention_itself():
    text = Text(5)
    settings = NameSettings(0.75, 0.5)
    wanted = brute_refine(text, brute_memory(text), settings, own=True)
    before = text.p.astype(np.float32)
    check_rows(refine_labels(text.keys, before, settings), before, wanted)


def test_the_type_part_leaves_the_share_of_outside():
    text = Text(6)
    memory = NameMemory.of(text.keys, text.p)
    new = softmax(refine_scores(text.scores, text.keys, memory, NameSettings(), own=False))
    np.testing.assert_allclose(new[:, 0], text.p[:, 0], atol=1e-6)
    assert not np.allclose(new, text.p, atol=1e-2)


def test_impossible_classes_stay_impossible():
    text = Text(7)
    memory = NameMemory.of(text.keys, text.p)
    scores = text.scores.copy()
    scores[:, 2] = -np.inf
    new = refine_scores(scores, text.keys, memory, NameSettings(0.75, 0.5), own=False)
    assert np.isneginf(new[:, 2]).all()
    np.testing.assert_allclose(softmax(new).sum(1), 1)
    assert not np.allclose(softmax(new), softmax(scores), atol=1e-2)


def test_a_single_mention_says_nothing_about_itself():
    text = Text(8, n_docs=1)
    text.keys = np.arange(len(text.keys), dtype=np.uint64)
    memory = NameMemory.of(text.keys, text.p).compact()
    settings = NameSettings(0.75, 0.5)
    assert len(memory)
    assert (refine_scores(text.scores, text.keys, memory, settings, own=True) == text.scores).all()
    empty = NameMemory.empty(K)
    assert (refine_scores(text.scores, text.keys, empty, settings, own=False) == text.scores).all()


# settings and files


@pytest.mark.parametrize(
    "changed",
    [
        {"type_weight": 1.5}, {"type_weight": True}, {"mixed_weight": -0.1}, {"mixed_weight": "a"},
        {"consistency": "book"}, {"leave_one_out": 1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changed):
    with pytest.raises(MaralError, match=rf"^\[M500\] names\.{next(iter(changed))} "):
        NameSettings(**changed)


def test_a_memory_survives_its_bytes():
    text = Text(9)
    memory = NameMemory.of(text.keys, text.p)
    data = names_to_bytes(memory, LABELS)
    again = names_from_bytes(data, LABELS)
    for name in ("keys", "sums", "mentions"):
        assert (getattr(again, name) == getattr(memory.compact(), name)).all()
    assert names_to_bytes(again, LABELS) == data
    with pytest.raises(MaralError, match=r"^\[M503\].*LOC, ORG, PER.*component has PER"):
        names_from_bytes(data, ["PER"])


def test_a_million_strings_take_at_most_40_megabytes():
    n, k = 1_000_000, 5
    keys = np.arange(n, dtype=np.uint64)
    memory = NameMemory(keys, np.zeros((n, k)), np.ones(n, dtype=np.uint64)).compact()
    memory.find(keys[:1])
    assert memory.n_bytes + memory._starts.nbytes <= 40e6
    assert len(names_to_bytes(memory, list("abcd"))) <= 40e6


def test_damaged_bytes_are_refused(monkeypatch):
    text = Text(9)
    memory = NameMemory.of(text.keys, text.p)
    data = names_to_bytes(memory, LABELS)
    for place in (3, 20, len(data) // 2, len(data) - 1):
        bad = bytearray(data)
        bad[place] ^= 0x10
        with pytest.raises(MaralError, match=r"^\[M502\]"):
            names_from_bytes(bytes(bad), LABELS)
    for cut in (0, 7, len(data) - 1):
        with pytest.raises(MaralError, match=r"^\[M502\]"):
            names_from_bytes(data[:cut], LABELS)
    monkeypatch.setattr(name_files, "FORMAT_VERSION", 99)
    newer = names_to_bytes(memory, LABELS)
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M501\].*99"):
        names_from_bytes(newer, LABELS)
