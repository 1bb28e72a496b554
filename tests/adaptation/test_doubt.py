from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from spacy_maral.adaptation.doubt import LEVELS, choose_sentences, find_doubtful

NOTHING = np.zeros(0, dtype=np.int64)


def overlap(a, b, starts, ends) -> bool:
    return starts[a] <= ends[b] and starts[b] <= ends[a]


@pytest.mark.parametrize("seed", range(20))
def test_doubtful_spans_are_the_best_set_without_overlaps(seed):
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.integers(0, 6, 8))
    ends = starts + rng.integers(0, 3, 8)
    probabilities = rng.dirichlet([4, 1, 1], 8)
    probabilities[0] = [0, 1, 0]
    doubts = 1 - probabilities.max(1)
    found = find_doubtful(probabilities, starts, ends)
    doubtful = [i for i in range(8) if doubts[i] >= LEVELS[-1]]
    best = max(
        doubts[list(group)].sum()
        for size in range(len(doubtful) + 1)
        for group in combinations(doubtful, size)
        if not any(overlap(a, b, starts, ends) for a, b in combinations(group, 2))
    )
    assert found.doubts.sum() == pytest.approx(best)
    np.testing.assert_allclose(found.doubts, doubts[found.spans])
    assert set(found.spans.tolist()) <= set(doubtful)


def test_missed_candidates_are_doubtful_and_certain_spans_are_not():
    probabilities = np.array(
        [[0.7, 0.3, 0.0], [0.9995, 0.0005, 0.0], [0.02, 0.5, 0.48], [0.0, 1.0, 0.0]]
    )
    words = np.arange(4)
    found = find_doubtful(probabilities, words, words)
    assert found.spans.tolist() == [0, 2]
    np.testing.assert_allclose(found.doubts, [0.3, 0.5])
    assert not len(find_doubtful(probabilities[:0], NOTHING, NOTHING).spans)


def slowly(owner, names, doubts, usable, n, seed, costs) -> tuple[list[int], int]:
    """The same choice, by looking at everything again for each sentence."""
    order = np.random.default_rng(seed).permutation(usable).tolist()
    chosen: list[int] = []
    known: set[int] = set()

    def gain(sentence, level):
        best: dict[int, float] = {}
        for o, name, doubt in zip(owner, names, doubts, strict=True):
            if o == sentence and name not in known and doubt >= level:
                best[name] = max(best.get(name, 0.0), doubt)
        return sum(best.values()) / costs[sentence]

    levels = list(LEVELS)
    while levels and len(chosen) < min(n, len(order)):
        best = max(order, key=lambda s: (gain(s, levels[0]), -order.index(s)))
        if gain(best, levels[0]) == 0:
            levels = levels[1:]
            continue
        chosen.append(best)
        known |= {name for o, name in zip(owner, names, strict=True) if o == best}
    rest = [s for s in order if s not in chosen][: n - len(chosen)]
    return chosen + rest, len(chosen)


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_that_of_brute_force(seed):
    rng = np.random.default_rng(100 + seed)
    n_spans, n_docs = int(rng.integers(0, 40)), int(rng.integers(1, 20))
    owner = rng.integers(0, n_docs, n_spans)
    names = rng.integers(0, 12, n_spans)
    # powers of two add up exactly, and make ties; from a half to less than all levels
    doubts = 0.5 ** rng.integers(1, 12, n_spans)
    usable = np.flatnonzero(rng.random(n_docs) < 0.8)
    n = int(rng.integers(1, 25))
    # division by these is exact, too
    costs = 2.0 ** rng.integers(0, 4, n_docs) if seed % 2 else None
    found = choose_sentences(owner, names, doubts, usable, n=n, seed=seed, costs=costs)
    ones = np.ones(n_docs)
    wanted, n_doubtful = slowly(
        owner, names, doubts, usable.tolist(), n, seed, ones if costs is None else costs
    )
    assert found.sentences.tolist() == wanted and found.n_doubtful == n_doubtful
    assert len(set(wanted)) == len(wanted) == min(n, len(usable))


def test_no_name_fills_the_list():
    """A hundred sentences doubt one name most; each of ten doubts another name a little."""
    owner = np.arange(110)
    names = np.concatenate([np.zeros(100, dtype=np.int64), np.arange(1, 11)])
    doubts = np.concatenate([np.full(100, 0.6), np.full(10, 0.2)])
    found = choose_sentences(owner, names, doubts, np.arange(110), n=11, seed=0)
    assert sorted(names[found.sentences].tolist()) == list(range(11))
    assert names[found.sentences[0]] == 0 and found.n_doubtful == 11
    more = choose_sentences(owner, names, doubts, np.arange(110), n=20, seed=0)
    assert more.n_doubtful == 11 and len(set(more.sentences.tolist())) == 20


def test_many_small_doubts_do_not_outweigh_a_great_one():
    owner = np.array([0] * 50 + [1, 2])
    names = np.arange(52)
    doubts = np.array([0.05] * 50 + [0.2, 0.0005])
    found = choose_sentences(owner, names, doubts, np.arange(4), n=4, seed=0)
    assert found.sentences[:2].tolist() == [1, 0] and found.n_doubtful == 2


def test_the_seed_decides_ties_and_nothing_else():
    owner, names, doubts = np.arange(30), np.arange(30), np.full(30, 0.5)
    doubts[7] = 0.6
    every = np.arange(30)
    runs = [
        choose_sentences(owner, names, doubts, every, n=5, seed=seed).sentences.tolist()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2] and runs[0][0] == runs[2][0] == 7
