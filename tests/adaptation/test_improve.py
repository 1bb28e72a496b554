"""The paper's step as a function of arrays, against a transcription span by span."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from spacy_maral.adaptation import improve as module
from spacy_maral.adaptation.filter import split_scores
from spacy_maral.adaptation.improve import TargetLabels, improve
from spacy_maral.model.names import FLOOR
from spacy_maral.model.spans import OUTSIDE, UNKNOWN, Candidates
from spacy_maral.training.settings import AdaptationSettings

LENGTHS, WIDTH, K, ALPHA = (7, 4, 9, 1, 12) * 4, 3, 4, 0.6
CANDIDATES = Candidates(LENGTHS, WIDTH)
N = len(CANDIDATES)


@pytest.fixture
def world():
    """Soft labels, scores and neighbour shares of some documents."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([4.0, 0.5, 0.5, 0.5], N).astype(np.float32)
    labels = TargetLabels.of(probabilities, rng.random(N) < 0.8, CANDIDATES.words)
    rho = rng.normal(size=(N, K)).astype(np.float32)
    rho[np.arange(N), labels.classes] += np.where(rng.random(N) < 0.7, 6, -2)
    return labels, rho, rng.dirichlet(np.ones(K), N).astype(np.float32)


def run(world, shares=None, **changed):
    """Improve the labels; RETURNS: New labels, mixtures, and the spans whose neighbours were asked for."""
    labels, rho, near = world
    asked: list[np.ndarray] = []

    def neighbours(spans):
        asked.append(spans)
        return (near if shares is None else shares)[spans]

    settings = AdaptationSettings(**{"filter_limit": "none", "filter_outside": 1.0, **changed})
    new, mixtures = improve(
        labels, rho, neighbours, settings, alpha=ALPHA, seed=0, words=CANDIDATES.words
    )
    return new, mixtures, asked


def transcription(world, reliable, *, filters, guidance, weights, mean="span"):
    """New soft labels, span by span (Eq. 10 and 11)."""
    labels, rho, near = world
    means = {
        name: [np.mean([v[i, c] for i in range(N) if labels.classes[i] == c]) for c in range(K)]
        for name, v in (("global", rho), ("local", near))
    }
    expected = labels.probabilities.astype(np.float64)
    for i in range(N):
        if filters and reliable[i]:
            continue
        d = np.zeros(K)
        for name, values in (("global", rho[i]), ("local", near[i])):
            if guidance not in ("both", name):
                continue
            share = (values > (means[name] if mean == "class" else values.mean())).astype(float)
            if mean == "class" and name == "global" and values.argmax() == OUTSIDE:
                share[OUTSIDE] = 1.0  # the exception of the authors' code
            if weights == "graded":
                share = softmax(values.astype(np.float64)) if name == "global" else values
            d += share
        if d.any():
            expected[i] = ALPHA * expected[i] + (1 - ALPHA) * d / d.sum()
    return expected


def without_overlaps(probabilities):
    """Hard labels: in each document the likeliest set of entities that do not overlap, of all sets."""
    classes = np.zeros(N, dtype=int)
    log = np.log(probabilities.astype(np.float64))
    for doc in range(len(LENGTHS)):
        own = np.flatnonzero(CANDIDATES.owner == doc)
        wanted = [i for i in own if log[i].argmax() != OUTSIDE]
        sets = [
            chosen
            for size in range(len(wanted) + 1)
            for chosen in itertools.combinations(wanted, size)
            if all(
                CANDIDATES.ends[a] < CANDIDATES.starts[b]
                or CANDIDATES.ends[b] < CANDIDATES.starts[a]
                for a, b in itertools.combinations(chosen, 2)
            )
        ]
        best = max(sets, key=lambda chosen: sum(log[i].max() - log[i, OUTSIDE] for i in chosen))
        for i in best:
            classes[i] = log[i].argmax()
    return classes


MEANS = ("class", "span")


@pytest.mark.parametrize("weights", ["equal", "graded"])
@pytest.mark.parametrize("guidance", ["both", "global", "local", "none"])
@pytest.mark.parametrize("filters", [True, False])
def test_labels_are_filtered_and_refined(world, filters, guidance, weights):
    labels, rho, _ = world
    before = labels.probabilities.copy()
    new, mixtures, asked = run(world, filter=filters, guidance=guidance, guidance_weights=weights)
    reliable, split = labels.reliable, set()
    if filters:
        reliable = np.zeros(N, dtype=bool)
        for c in np.unique(labels.classes):
            members = np.flatnonzero(labels.classes == c)
            reliable[members], mixture = split_scores(rho[members, c], seed=0)
            split |= {c} if mixture is not None else set()
    assert (new.reliable == reliable).all() and 0 < reliable.sum() < N
    assert set(mixtures) == split
    expected = transcription(world, reliable, filters=filters, guidance=guidance, weights=weights)
    np.testing.assert_allclose(new.probabilities, expected, atol=1e-6)
    assert (new.classes == without_overlaps(new.probabilities)).all()
    np.testing.assert_allclose(new.prior, new.probabilities.mean(0), rtol=1e-6)
    # what goes in stays as it is, and neighbours are looked for once, where they are needed
    assert (labels.probabilities == before).all()
    if guidance in ("both", "local"):
        (spans,) = asked
        assert spans.tolist() == np.flatnonzero(~reliable if filters else np.ones(N)).tolist()
    else:
        assert not asked


@pytest.mark.parametrize("guidance", ["both", "global", "local"])
@pytest.mark.parametrize("filters", [True, False])
def test_a_class_may_have_to_exceed_its_mean_over_its_spans(world, filters, guidance):
    changed = {"filter": filters, "guidance": guidance}
    new, _, asked = run(world, guidance_mean="class", **changed)
    expected = transcription(
        world, new.reliable, filters=filters, guidance=guidance, weights="equal", mean="class"
    )
    np.testing.assert_allclose(new.probabilities, expected, atol=1e-6)
    other, _, _ = run(world, **changed)
    assert not np.allclose(new.probabilities, other.probabilities, atol=1e-3)
    # neighbours are looked for once, for the means as well
    assert [spans.tolist() for spans in asked] == [list(range(N))] * (guidance != "global")
    # a graded guidance has no mean
    graded = [run(world, guidance_weights="graded", guidance_mean=m, **changed)[0] for m in MEANS]
    assert (graded[0].probabilities == graded[1].probabilities).all()


KEYS = np.random.default_rng(7).integers(0, N // 3, N).astype(np.uint64)


def shares_of_others(p):
    """Mean distribution of the other spans with the same key, span by span."""
    rows = np.zeros((N, K))
    for i in range(N):
        same = [k for k in range(N) if KEYS[k] == KEYS[i]]
        # strings that nowhere look like a name are not known
        if len(same) > 1 and max(1 - p[k, OUTSIDE] for k in same) >= FLOOR:
            outside = np.eye(K)[OUTSIDE]
            low = [1 - p[k, OUTSIDE] < FLOOR for k in same]
            parts = [outside if x else p[k] for k, x in zip(same, low, strict=True) if k != i]
            rows[i] = np.mean(parts, axis=0)
    return rows


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("weights", ["equal", "graded"])
@pytest.mark.parametrize("guidance", ["local", "none"])
def test_other_mentions_of_a_string_are_a_guidance(world, guidance, weights, mean):
    labels, rho, near = world
    changed = {"guidance": guidance, "guidance_weights": weights, "guidance_mean": mean}
    changed |= {"filter_limit": "none", "filter_outside": 1.0}
    new, _ = improve(
        labels, rho, lambda spans: near[spans], AdaptationSettings(**changed), alpha=ALPHA, seed=0,
        words=CANDIDATES.words, keys=KEYS,
    )  # fmt: skip
    shares = {"names": shares_of_others(softmax(rho.astype(np.float64), axis=1))}
    known = shares["names"].any(1)
    assert 0 < known.sum() < N
    if guidance == "local":
        shares["local"] = near
    expected = labels.probabilities.astype(np.float64)
    for i in np.flatnonzero(~new.reliable):
        d = np.zeros(K)
        for name, values in shares.items():
            of = [
                [
                    v[c]
                    for k, v in enumerate(values)
                    if labels.classes[k] == c and (name == "local" or known[k])
                ]
                for c in range(K)
            ]
            limit = np.array([np.mean(v) for v in of]) if mean == "class" else values[i].mean()
            d += values[i] if weights == "graded" else (values[i] > limit).astype(float)
        if d.any():
            expected[i] = ALPHA * expected[i] + (1 - ALPHA) * d / d.sum()
    np.testing.assert_allclose(new.probabilities, expected, atol=1e-5)
    plain, _, _ = run(world, **changed)
    assert not np.allclose(plain.probabilities, new.probabilities, atol=1e-3)


def test_the_filter_takes_out_the_lowest_scores_up_to_the_limit(world):
    labels, rho, _ = world
    own = rho[np.arange(N), labels.classes]
    free, limited = (
        run(world, guidance="none", filter_limit=limit)[0].reliable for limit in ("none", "doubt")
    )
    limited_classes = 0
    for c in np.unique(labels.classes):
        members = labels.classes == c
        limit = np.ceil((1 - labels.probabilities[members, c].astype(float)).sum())
        taken = members & ~limited
        if (members & ~free).sum() > limit:
            limited_classes += 1
            assert taken.sum() == limit
            assert own[taken].max() < own[members & limited].min()
        else:
            assert (taken == (members & ~free)).all()
    assert limited_classes


@pytest.mark.parametrize("most", [0.0, 0.01, 0.5])
def test_outside_labels_have_a_limit_of_their_own(world, most):
    labels, rho, _ = world
    free, limited = (run(world, guidance="none", filter_outside=x)[0].reliable for x in (1.0, most))
    outside = labels.classes == OUTSIDE
    assert (free == limited)[~outside].all()
    taken, allowed = outside & ~limited, int(most * outside.sum())
    assert taken.sum() == min(allowed, (outside & ~free).sum())
    own = rho[:, OUTSIDE]
    assert own[taken].max(initial=-np.inf) <= own[outside & limited].min()
    assert (outside & ~free).sum() > 0.01 * outside.sum()


def test_a_span_without_any_guidance_keeps_its_label(world):
    labels, _, _ = world
    new, _, _ = run(world, np.zeros((N, K), dtype=np.float32), guidance="local", filter=False)
    np.testing.assert_allclose(new.probabilities, labels.probabilities, atol=1e-6)


def test_each_file_of_the_target_has_a_prior_of_its_own(world):
    labels, rho, near = world
    parts = [slice(0, N // 3), slice(N // 3, N)]
    new, _ = improve(
        labels, rho, lambda spans: near[spans], AdaptationSettings(), alpha=ALPHA, seed=0,
        words=CANDIDATES.words, parts=parts,
    )  # fmt: skip
    for prior, rows in zip(new.part_priors, parts, strict=True):
        sums = np.maximum(new.probabilities[rows].sum(0, dtype=float), 0.5)
        np.testing.assert_allclose(prior, sums / sums.sum(), rtol=1e-6)


def test_the_step_fits_a_screen_and_knows_arrays_only():
    lines, _ = inspect.getsourcelines(improve)
    assert len(lines) <= 80
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf8"))
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not words & {"torch", "ranks", "logger", "Share", "Network"}


def test_missing_labels_are_in_no_class_and_no_prior(world):
    labels, _, _ = world
    rng = np.random.default_rng(1)
    known = rng.random(N) < 0.6
    part = slice(0, N // 3)
    found = TargetLabels.of(labels.probabilities, labels.reliable, CANDIDATES.words, [part], known)
    assert found.known.tolist() == known.tolist()
    assert (found.classes[~known] == UNKNOWN).all()
    assert found.classes[known].tolist() == labels.classes[known].tolist()
    assert found.reliable.tolist() == (labels.reliable & known).tolist()
    for prior, rows in ((found.prior, slice(None)), (found.part_priors[0], part)):
        counted = labels.probabilities[rows][known[rows]].sum(0, dtype=np.float64)
        np.testing.assert_allclose(prior, counted / counted.sum(), rtol=1e-6)
