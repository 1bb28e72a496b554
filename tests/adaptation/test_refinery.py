from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_maral.adaptation import refinery
from spacy_maral.adaptation.refinery import (
    Bank,
    above_mean,
    bank_share,
    build_index,
    class_means,
    neighbour_classes,
    refine,
    sample_bank,
    sample_classes,
)
from spacy_maral.model.spans import OUTSIDE, UNKNOWN

K = 4


def unit_rows(rng, n, dim=6) -> np.ndarray:
    rows = rng.normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def neighbours_by_sorting(bank: Bank, features, spans, k) -> np.ndarray:
    """Shares of the classes among the k nearest others, one query after the other."""
    shares = np.zeros((len(features), K))
    for i, (z, span) in enumerate(zip(features, spans, strict=True)):
        products = bank.features.astype(np.float64) @ z.astype(np.float64)
        ranked = [b for b in np.argsort(-products) if bank.spans[b] != span]
        for b in ranked[:k]:
            shares[i, bank.classes[b]] += 1 / len(ranked[:k])
    return shares


def make_case(seed, n_source, n_target, n_queries):
    rng = np.random.default_rng(seed)
    target = unit_rows(rng, n_target + 5)
    in_bank = rng.permutation(n_target + 5)[:n_target]
    bank = Bank(
        features=np.concatenate([unit_rows(rng, n_source), target[in_bank]]),
        classes=rng.integers(0, K, n_source + n_target),
        spans=np.concatenate([np.full(n_source, -1), in_bank]),
    )
    queries = rng.integers(0, n_target + 5, n_queries)
    return bank, target[queries], queries


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 20), st.integers(0, 12),
    st.sampled_from([1, 3, 200]),
)  # fmt: skip
def test_neighbours_are_those_of_a_full_sort(seed, n_source, n_target, n_queries, k):
    bank, features, spans = make_case(seed, n_source, n_target, n_queries)
    shares = neighbour_classes(bank, features, spans, k=k, n_classes=K)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, neighbours_by_sorting(bank, features, spans, k), atol=1e-6)


def clustered_rows(rng, n, dim=16, clusters=12) -> np.ndarray:
    rows = unit_rows(rng, clusters, dim)[rng.integers(0, clusters, n)]
    rows = rows + 0.2 * rng.normal(size=(n, dim)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_large_bank_is_searched_in_lists():
    rng = np.random.default_rng(0)
    features, queries = np.split(clustered_rows(rng, 20_200), [20_000])
    exact = build_index(features, exact_rows=20_000).search(queries, 50)[1]
    found = build_index(features, exact_rows=19_999).search(queries, 50)[1]
    wanted = np.argsort(-(queries @ features.T), axis=1)[:, :50]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]
    assert np.mean(shared) / 50 > 0.9
    assert (found != exact).any()
    assert [set(row) for row in exact] == [set(row) for row in wanted]


def test_lists_are_the_same_each_time():
    rng = np.random.default_rng(1)
    features, queries = clustered_rows(rng, 3000), clustered_rows(rng, 50)
    first, second = (build_index(features, exact_rows=0).search(queries, 20)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_neighbours_of_a_large_bank(monkeypatch):
    rng = np.random.default_rng(2)
    features = clustered_rows(rng, 4000)
    bank = Bank(features, rng.integers(0, K, 4000), np.arange(4000))
    exact = neighbour_classes(bank, features[:300], np.arange(300), k=20, n_classes=K)
    monkeypatch.setattr(refinery, "EXACT_ROWS", 3999)
    shares = neighbour_classes(bank, features[:300], np.arange(300), k=20, n_classes=K)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert 0 < np.abs(shares - exact).mean() < 0.02


def test_a_span_is_not_its_own_neighbour():
    rng = np.random.default_rng(0)
    features = unit_rows(rng, 3)
    bank = Bank(features, np.array([1, 2, 3]), np.array([10, 11, 12]))
    shares = neighbour_classes(bank, features, np.array([10, 11, 12]), k=1, n_classes=K)
    assert (shares[[0, 1, 2], [1, 2, 3]] == 0).all()
    assert (shares.sum(1) == 1).all()
    # the same vector as a source span does count
    bank.spans[:] = -1
    shares = neighbour_classes(bank, features, np.array([10, 11, 12]), k=1, n_classes=K)
    assert (shares[[0, 1, 2], [1, 2, 3]] == 1).all()


def test_a_bank_of_nothing_but_the_span_itself():
    bank = Bank(np.eye(1, 6, dtype=np.float32), np.array([2]), np.array([5]))
    assert not neighbour_classes(bank, bank.features, np.array([5]), k=3, n_classes=K).any()
    empty = Bank(np.zeros((0, 6), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    shares = neighbour_classes(empty, bank.features, np.array([5]), k=3, n_classes=K)
    assert shares.tolist() == [[0.0] * K]


def test_queries_go_in_blocks(monkeypatch):
    bank, features, spans = make_case(1, 30, 30, 23)
    whole = neighbour_classes(bank, features, spans, k=5, n_classes=K)
    monkeypatch.setattr(refinery, "QUERY_BATCH", 4)
    assert (neighbour_classes(bank, features, spans, k=5, n_classes=K) == whole).all()


def test_half_precision_queries():
    bank, features, spans = make_case(2, 40, 0, 10)
    half = features.astype(np.float16)
    shares = neighbour_classes(bank, half, spans, k=4, n_classes=K)
    np.testing.assert_allclose(shares, neighbours_by_sorting(bank, half, spans, 4), atol=1e-6)


def test_the_bank_holds_all_entities_and_a_share_of_the_outside():
    classes = np.random.default_rng(0).choice([0, 0, 0, 0, 1, 3], 60_000)
    chosen = sample_bank(classes, 0.03, np.random.default_rng(1).random(len(classes)))
    assert (np.diff(chosen) > 0).all()
    assert set(np.flatnonzero(classes != 0)) <= set(chosen)
    rate = np.sum(classes[chosen] == 0) / np.sum(classes == 0)
    assert rate == pytest.approx(0.03, abs=0.004)
    assert (
        sample_bank(classes, 0.0, np.random.default_rng(1).random(len(classes)))
        == np.flatnonzero(classes)
    ).all()
    assert len(sample_bank(classes, 1.0, np.random.default_rng(1).random(len(classes)))) == len(
        classes
    )
    assert (
        sample_bank(classes, 0.03, np.random.default_rng(1).random(len(classes))) == chosen
    ).all()


def test_a_bank_has_room_for_so_many():
    classes = np.random.default_rng(0).choice([0, 0, 0, 0, 1, 3], 60_000)
    counts = np.bincount(classes, minlength=K)
    draws = np.random.default_rng(1).random(len(classes))
    all_of_them = sample_bank(classes, 0.03, draws)
    assert bank_share(counts, 0.03, 60_000) == 1.0
    share = bank_share(counts, 0.03, 5000)
    chosen = sample_bank(classes, 0.03, draws, share)
    assert len(chosen) == pytest.approx(5000, abs=250)
    assert set(chosen) < set(all_of_them)
    # every class has the share that it had
    before, after = (np.bincount(classes[c], minlength=K) / len(c) for c in (all_of_them, chosen))
    np.testing.assert_allclose(after, before, atol=0.02)
    assert bank_share(np.zeros(K, np.int64), 0.03, 10) == 1.0


def test_above_mean():
    values = np.array([[3.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [-9.0, -1.0, 0.0, -8.0]])
    assert above_mean(values).tolist() == [
        [True, False, False, False], [False] * 4, [False, True, True, False]
    ]  # fmt: skip
    # a span without neighbours is told nothing
    assert not above_mean(np.zeros((1, K), dtype=np.float32)).any()


def test_the_two_means_of_an_example():
    """By hand: the means of the classes are those of rows 0 and 2, and of row 1: 2 and 4."""
    values = np.array([[3.0, 1.0], [5.0, 4.0], [1.0, 0.0]])
    means = class_means(values, np.array([0, 1, 0]))
    assert means.tolist() == [2.0, 4.0]
    assert above_mean(values, means).tolist() == [[True, False], [True, False], [False, False]]
    assert above_mean(values).tolist() == [[True, False], [True, False], [True, False]]


def test_the_mean_of_a_class_is_over_the_spans_with_its_label():
    rng = np.random.default_rng(3)
    values, classes = rng.normal(size=(50, K)), rng.integers(0, K - 1, 50)
    means = class_means(values, classes)
    for c in range(K - 1):
        own = [values[i, c] for i in range(50) if classes[i] == c]
        assert means[c] == pytest.approx(sum(own) / len(own))
    assert means[K - 1] == np.inf  # no span has this label
    # spans without a label do not count
    more = np.concatenate([values, rng.normal(size=(9, K))])
    assert (class_means(more, np.append(classes, [UNKNOWN] * 9)) == means).all()
    allowed = above_mean(values, means)
    assert all(allowed[i, c] == (values[i, c] > means[c]) for i in range(50) for c in range(K))


def test_spans_are_drawn_from_each_class():
    classes = np.repeat([0, 2, 3], [500, 7, 30])
    chosen = sample_classes(classes, 20, np.random.default_rng(0))
    assert np.bincount(classes[chosen]).tolist() == [20, 0, 7, 20]
    assert (np.diff(chosen) > 0).all()
    assert (sample_classes(classes, 20, np.random.default_rng(0)) == chosen).all()
    assert (sample_classes(classes, 20, np.random.default_rng(1)) != chosen).any()


# Eq. 11


def refine_row(p, d_c, d_n, alpha):
    """Eq. 11 for one span without a norm: the guidances share out what the old label gives up."""
    total = sum(d_c) + sum(d_n)
    if not total:
        return p
    return [alpha * a + (1 - alpha) * (b + c) / total for a, b, c in zip(p, d_c, d_n, strict=True)]


def test_a_refinement_by_hand():
    """The neighbours allow three classes and get three fifths; each guidance a half would be another label."""
    d_c, d_n = np.array([[1, 1, 0, 0]], dtype=bool), np.array([[0, 1, 1, 1]], dtype=bool)
    p = np.array([[0.6, 0.4, 0.0, 0.0]])
    new = refine(p, alpha=0.8, global_guidance=d_c, local_guidance=d_n)
    np.testing.assert_allclose(new, [[0.52, 0.40, 0.04, 0.04]], atol=1e-7)
    # labels that do not sum to 1, as half precision leaves them, are made to
    doubled = refine(2 * p, alpha=0.8, global_guidance=d_c, local_guidance=d_n)
    np.testing.assert_allclose(doubled, new, atol=1e-7)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("use", ["both", "global", "local", "none"])
@pytest.mark.parametrize("alpha", [1.0, 0.95, 0.8, 0.0])
def test_refinement_is_that_of_the_equations(use, alpha, graded):
    rng = np.random.default_rng(11)
    n = 300
    p = rng.dirichlet(np.full(K, 0.4), n).astype(np.float32)
    d_c, d_n = rng.random((2, n, K)) < 0.35
    d_c[:40] = False
    d_n[20:60] = False
    if graded:
        d_c, d_n = d_c * rng.random((n, K)), d_n * rng.random((n, K))
    by_density = d_c if use in ("both", "global") else None
    by_neighbours = d_n if use in ("both", "local") else None
    new = refine(p, alpha=alpha, global_guidance=by_density, local_guidance=by_neighbours)
    expected = [
        refine_row(
            p[i].tolist(),
            (by_density if by_density is not None else np.zeros((n, K)))[i].astype(float).tolist(),
            (by_neighbours if by_neighbours is not None else np.zeros((n, K)))[i]
            .astype(float)
            .tolist(),
            alpha,
        )
        for i in range(n)
    ]
    assert new.dtype == np.float32
    np.testing.assert_allclose(new, expected, atol=1e-6)
    np.testing.assert_allclose(new.sum(1), 1, atol=1e-6)


def test_a_label_without_guidance_stays_as_it_is():
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.25] * 4], dtype=np.float32)
    nothing = np.zeros((2, K), dtype=bool)
    new = refine(p, alpha=0.0, global_guidance=nothing, local_guidance=nothing)
    np.testing.assert_allclose(new, p, atol=1e-7)


def test_guidance_moves_a_label_step_by_step():
    p = np.array([[0.6, 0.4, 0.0, 0.0]], dtype=np.float32)
    only_one = np.array([[False, True, False, False]])
    steps = []
    for _ in range(8):
        p = refine(p, alpha=0.95, global_guidance=only_one, local_guidance=only_one)
        steps.append(p[0, 1])
    assert (np.diff(steps) > 0).all()
    assert steps[1] < 0.5 < steps[-1]


def test_refinement_does_not_change_its_input():
    p = np.array([[0.5, 0.5, 0.0, 0.0]], dtype=np.float32)
    before = p.copy()
    refine(p, alpha=0.5, global_guidance=np.ones((1, K), bool), local_guidance=None)
    assert (p == before).all()


def test_no_rows():
    nothing = np.zeros((0, K))
    mask = nothing.astype(bool)
    new = refine(nothing, alpha=0.9, global_guidance=mask, local_guidance=mask)
    assert new.shape == (0, K)


def test_a_rate_of_zero_leaves_out_all_outside_spans():
    """Also one that draws 0."""
    classes, draws = np.array([OUTSIDE, 1, OUTSIDE, UNKNOWN]), np.array([0.0, 0.9, 0.5, 0.0])
    assert sample_bank(classes, 0.0, draws).tolist() == [1]
