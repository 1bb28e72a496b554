"""The operating point: the offset of the entity scores that fits a raw text, found without labels.

A model's scores shift with language and genre, and with them the balance of precision and recall. The
mentions of one string are several looks at the same thing: most strings are names in nearly all of their
mentions, or in nearly none. A latent-class model of the mentions' scores tells the two kinds of strings
apart, and with them how many names there are in the text and how many of them are found at each offset,
without trusting the level of any score. The offset at which as many mentions are found as there are names
balances precision and recall, which is where F1 is highest or nearly so.

The model sees mistakes that change from mention to mention. It does not see a mistake that a model makes in
every mention of a string, and counts the mistakes that it sees too high. Therefore only a quarter of the
offset is taken (docs/results-appendix.md has figures).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.confidence import sigmoid
from ..model.spans import OUTSIDE, resolve_overlaps, touching

REACH = 6.0
"""Least log odds, below 0, of a candidate that is looked at."""
EDGES = np.array([-5.0, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8])
"""Edges of the bins of log odds; occurrences out of reach are a bin of their own."""
MOST = 8
"""Number of mentions of one string that count: its mentions are not independent."""
SHRINK = 0.25
FEW = 50
"""Number of repeated strings at which the offset is halved."""
OFFSETS = np.arange(-4, 4.125, 0.125)
LEVELS = 20
"""Least number of different log odds that say how the mentions stand to each other."""
ROUNDS = 300
SMOOTH = 0.5
FAR = 50.0


@dataclass(frozen=True)
class OperatingPoint:
    """What the repeated strings of a text say about a model.

    offset: Offset of the entity scores to take. precision, recall: Expected precision and recall of
    finding names at an offset of 0, as far as the repeated strings show; None without any. strings:
    Number of strings with two mentions or more.
    """

    offset: float = 0.0
    precision: float | None = None
    recall: float | None = None
    strings: int = 0


def find_operating_point(
    keys: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    words: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> OperatingPoint:
    """Find the offset of the entity scores at which as many mentions are found as there are names.

    keys (NDArray[np.integer]): Key of each candidate span's string, shape (n,).
    probabilities (NDArray): Class probabilities of each candidate, shape (n, K).
    words (tuple): First and last word of each candidate, numbered over all documents.
    RETURNS (OperatingPoint): The offset, which is 0 without repeated strings, and for probabilities
        of only a few values, such as those of an annotator without scores.
    """
    chosen, odds = find_mentions(keys, probabilities, words)
    strings, owner, n = np.unique(keys[chosen], return_inverse=True, return_counts=True)
    repeated = int((n > 1).sum())
    if not repeated or len(np.unique(odds)) < LEVELS:
        return OperatingPoint(strings=repeated)
    bins = np.digitize(odds, EDGES) + 1
    bins[np.isneginf(odds)] = 0
    counts = np.zeros((len(strings), len(EDGES) + 2))
    np.add.at(counts, (owner, bins), 1)
    is_name = name_probabilities(counts)[owner]
    found = len(odds) - np.searchsorted(np.sort(odds), -OFFSETS, side="right")
    gaps = np.abs(found - is_name.sum())
    # of equally good offsets, the one that changes least
    best = min(OFFSETS[gaps == gaps.min()], key=abs)
    right = is_name[odds > 0].sum()
    return OperatingPoint(
        offset=float(SHRINK * best * repeated / (repeated + FEW)),
        precision=float(right / max(1, (odds > 0).sum())),
        recall=float(right / is_name.sum()),
        strings=repeated,
    )


def find_mentions(
    keys: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    words: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the mentions of all strings that may be names.

    Mentions are the entities of a generous decision, with REACH added to the entity scores, and all
    other occurrences of their strings that do not touch such an entity.

    RETURNS (tuple): The candidates, shape (m,), and the log odds of the best entity class against outside,
        -inf for the other occurrences, shape (m,).
    """
    starts, ends = words
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(probabilities, dtype=np.float64))
        best = logs[:, OUTSIDE + 1 :].max(1)
        odds = np.where(np.isneginf(best), -np.inf, best - logs[:, OUTSIDE])
    near = np.flatnonzero(odds > -REACH)
    kept = near[resolve_overlaps(starts[near], ends[near], np.minimum(odds[near], FAR) + REACH)]
    is_mention = np.zeros(len(odds), dtype=bool)
    is_mention[kept] = True
    free = ~touching(starts, ends, kept)
    chosen = np.flatnonzero(is_mention | (free & np.isin(keys, np.unique(keys[is_mention]))))
    return chosen, np.where(is_mention[chosen], odds[chosen], -np.inf)


def name_probabilities(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability that each string is a name, by a latent-class model of its mentions' scores.

    Each string is a name or not; the scores of its mentions are drawn from the distribution of its
    kind over the bins. Both distributions are fitted by EM to the strings with two mentions or more;
    strings with one mention have a share of names of their own.

    counts (NDArray): Number of mentions of each string in each bin of scores, in ascending order of
        the scores, shape (n, n_bins).
    RETURNS (NDArray[np.float64]): Shape (n,).
    """
    n = counts.sum(1)
    counts = counts * np.minimum(1, MOST / np.maximum(n, 1))[:, None]
    repeated = n > 1
    n_bins = counts.shape[1]
    rising = np.exp(np.linspace(-3, 3, n_bins))
    name, other = rising / rising.sum(), rising[::-1] / rising.sum()
    share = 0.5
    for _ in range(ROUNDS):
        weight = _posterior(counts[repeated], name, other, share)
        name, other = (_distribution(w @ counts[repeated]) for w in (weight, 1 - weight))
        share = _inside(weight.mean())
    single = 0.5
    for _ in range(ROUNDS if (~repeated).any() else 0):
        single = _inside(_posterior(counts[~repeated], name, other, single).mean())
    return _posterior(counts, name, other, np.where(repeated, share, single))


def _posterior(counts, name, other, share):  # type: ignore[no-untyped-def]
    return sigmoid(np.log(share / (1 - share)) + counts @ np.log(name / other))


def _distribution(counts):  # type: ignore[no-untyped-def]
    smooth = counts + SMOOTH / len(counts)
    return smooth / smooth.sum()


def _inside(share):  # type: ignore[no-untyped-def]
    return float(np.clip(share, 1e-3, 1 - 1e-3))
