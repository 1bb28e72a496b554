"""Name memory: what all mentions of a string say about one of them.

A memory holds the strings that look like a name somewhere in a text, as hashes, with the sum of the
class probabilities of their mentions. A mention enters with its probabilities if its entity
probability is at least `FLOOR`. Only strings with such a mention are stored; their other mentions
count as one mention that is outside each. Sums are taken on a grid of `GRID`, in float64, where they are
exact: a memory does not depend on the order of its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Errors, MaralError
from .spans import OUTSIDE, Candidates, softmax

FLOOR = 0.02
"""Least entity probability of a mention that enters a memory with its probabilities."""
GRID = 2.0**-20
MERGE_STRINGS = 1 << 17
SCOPES = ("memory", "doc")
# odd, so that no bit of a word's hash is lost
BASE = np.uint64(0x9E3779B97F4A7C15)
MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class NameSettings:
    """How the other mentions of a string change the class probabilities of one mention.

    type_weight (float): Most weight of the others' entity types, from 0 to 1. The share of outside
        does not change.
    mixed_weight (float): Most weight of the others' mean distribution, outside included, from 0
        to 1.
    consistency (str): The others: those in the saved memory ("memory"), or those in the same
        document ("doc").
    leave_one_out (bool): Whether the saved memory was built from the text at hand, so that a
        mention's own share has to be taken out of it. In the same document it always is.
    RAISES (MaralError): If a setting is out of range.
    """

    type_weight: float = 0.75
    mixed_weight: float = 0.0
    consistency: str = "memory"
    leave_one_out: bool = False

    def __post_init__(self) -> None:
        for name, rule, holds in (
            ("type_weight", "a number from 0 to 1", _is_weight(self.type_weight)),
            ("mixed_weight", "a number from 0 to 1", _is_weight(self.mixed_weight)),
            ("consistency", f"one of {', '.join(SCOPES)}", self.consistency in SCOPES),
            ("leave_one_out", "true or false", isinstance(self.leave_one_out, bool)),
        ):
            if not holds:
                value = getattr(self, name)
                raise MaralError(Errors.M500.format(name=name, rule=rule, value=repr(value)[:80]))


def _is_weight(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


@dataclass
class NameMemory:
    """Strings with the summed class probabilities of their mentions.

    keys: Hashes of the strings, ascending, shape (n,). sums: Sums of the class probabilities,
    outside first, shape (n, K). mentions: Number of mentions, shape (n,).
    """

    keys: Keys
    sums: NDArray[np.floating]
    mentions: NDArray[np.unsignedinteger]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        return self.keys.nbytes + self.sums.nbytes + self.mentions.nbytes

    @classmethod
    def empty(cls, n_classes: int) -> NameMemory:
        """Make a memory of nothing, for K = `n_classes` with outside."""
        return cls(np.zeros(0, np.uint64), np.zeros((0, n_classes)), np.zeros(0, np.uint64))

    @classmethod
    def of(cls, keys: Keys, probabilities: NDArray[np.floating]) -> NameMemory:
        """Build a memory from all candidate spans of a text.

        keys (NDArray[np.uint64]): Key of each span (see `span_keys`), shape (m,).
        probabilities (NDArray): Class probabilities of each span, shape (m, K).
        RETURNS (NameMemory): With sums in float64.
        """
        stored = np.unique(keys[enters(probabilities)])
        memory = cls(stored, np.zeros((len(stored), probabilities.shape[1])), stored)
        rows, places = memory.find(keys)
        shares, size = contribution(probabilities[rows]), len(stored)
        for c, column in enumerate(shares.T):
            memory.sums[:, c] = np.bincount(places, weights=column, minlength=size)
        memory.mentions = np.bincount(places, minlength=size).astype(np.uint64)
        return memory

    @classmethod
    def streamed(
        cls,
        spans: Iterable[tuple[Keys, NDArray[np.floating]]],
        keys: Iterable[Keys],
        n_classes: int,
    ) -> NameMemory:
        """Build the memory of a text in two passes, without all of its candidate spans at once.

        spans (Iterable): Keys and class probabilities of some spans after the other, as for `of`.
        keys (Iterable): Keys of all these spans once more, to count those that are as good as outside.
        n_classes (int): K.
        RETURNS (NameMemory): What `of` makes of all spans.
        """
        waiting, n_waiting = [cls.empty(n_classes)], 0
        for part, probabilities in spans:
            entered = enters(probabilities)
            waiting.append(cls.of(part[entered], probabilities[entered]))
            n_waiting += len(waiting[-1])
            # few merges into a large memory
            if n_waiting > MERGE_STRINGS:
                waiting, n_waiting = [cls.merge(waiting)], 0
        memory = cls.merge(waiting)
        occurrences = np.zeros(len(memory), dtype=np.int64)
        for part in keys:
            occurrences += memory.occurrences(part)
        return memory.count(occurrences)

    @classmethod
    def merge(cls, parts: Sequence[NameMemory]) -> NameMemory:
        """Add the memories of several texts.

        A string that only some of the texts store keeps the mentions of those; `count` adds the others.

        parts (Sequence[NameMemory]): One or more memories with the same K.
        RETURNS (NameMemory): With sums in float64.
        """
        keys = np.unique(np.concatenate([part.keys for part in parts]))
        sums = np.zeros((len(keys), parts[0].sums.shape[1]))
        mentions = np.zeros(len(keys), dtype=np.uint64)
        for part in parts:
            places = np.searchsorted(keys, part.keys)
            sums[places] += part.sums
            mentions[places] += part.mentions.astype(np.uint64)
        return cls(keys, sums, mentions)

    def count(self, occurrences: NDArray[np.integer]) -> NameMemory:
        """Raise the numbers of mentions to those of a text; the new mentions are outside.

        occurrences (NDArray): How often the text has each stored string (see `occurrences`),
            shape (n,); at least `mentions`.
        RETURNS (NameMemory): With sums in float64.
        """
        sums, mentions = self.sums.astype(np.float64), occurrences.astype(np.uint64)
        sums[:, OUTSIDE] += mentions - self.mentions.astype(np.uint64)
        return NameMemory(self.keys, sums, mentions)

    def occurrences(self, keys: Keys) -> NDArray[np.int64]:
        """How often each stored string is among keys, shape (n,)."""
        return np.bincount(self.find(keys)[1], minlength=len(self)).astype(np.int64)

    def compact(self) -> NameMemory:
        """Round to the types that a memory is saved with: sums in float32, mentions in uint32."""
        most = np.iinfo(np.uint32).max
        mentions = np.minimum(self.mentions, most).astype(np.uint32)
        return NameMemory(self.keys, self.sums.astype(np.float32), mentions)

    def find(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the keys of spans.

        keys (NDArray[np.uint64]): Keys, shape (m,).
        RETURNS (tuple): Numbers of the keys that are stored, and their places in the memory, both of
            shape (n_found,).
        """
        buckets = (keys >> self._shift).astype(np.int64)
        rows = np.flatnonzero(self._starts[buckets] < self._starts[buckets + 1])
        places, stops = self._starts[buckets[rows]], self._starts[buckets[rows] + 1]
        found, found_places = [], []
        # a bucket has few keys
        while len(rows):
            hit = self.keys[places] == keys[rows]
            found.append(rows[hit])
            found_places.append(places[hit])
            places = places + 1
            left = ~hit & (places < stops)
            rows, places, stops = rows[left], places[left], stops[left]
        if not found:
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing
        every = np.concatenate(found)
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate(found_places)[order]

    @property
    def _shift(self) -> np.uint64:
        """Bits of a key below those that number its bucket."""
        return np.uint64(64 - max(1, len(self)).bit_length())

    @cached_property
    def _starts(self) -> NDArray[np.int32]:
        """First place of each bucket of keys that begin alike, and the end."""
        n_buckets = 1 << (64 - int(self._shift))
        firsts = np.arange(n_buckets, dtype=np.uint64) << self._shift
        return np.append(np.searchsorted(self.keys, firsts), len(self)).astype(np.int32)

    def others(
        self, places: NDArray[np.int64], own: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum the probabilities of the other mentions of strings.

        places (NDArray[np.int64]): Places of the strings, shape (m,).
        own (NDArray | None): Class probabilities of the mentions, which are then part of the memory
            and taken out of it, shape (m, K); None if they are not.
        RETURNS (tuple): Sums, shape (m, K), and numbers of the other mentions, shape (m,).
        """
        sums = self.sums[places].astype(np.float64)
        mentions = self.mentions[places].astype(np.float64)
        if own is not None:
            sums = np.maximum(sums - contribution(own), 0)
            mentions = np.maximum(mentions - 1, 0)
        return sums, mentions


def enters(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each mention enters a memory with its probabilities, shape (m,)."""
    return probabilities[:, 1:].sum(1, dtype=np.float64) >= FLOOR


def contribution(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """What each mention adds to the sums of its string, shape (m, K)."""
    shares = np.round(probabilities.astype(np.float64) / GRID) * GRID
    shares[~enters(probabilities)] = np.eye(1, shares.shape[1], OUTSIDE)
    return shares


def shift(
    probabilities: NDArray[np.floating],
    others: NDArray[np.float64],
    mentions: NDArray[np.float64],
    settings: NameSettings,
) -> NDArray[np.float64]:
    """Move class probabilities towards what the other mentions of the same strings say.

    With p the probabilities, T the entity part of the others' sums, m its mass, and n their number:
    types <- (1 - a) types(p) + a T / m with a = type_weight m / (m + 1), while the share of outside
    stays; then p <- (1 - c) p + c mean(others) with c = mixed_weight n / (n + 1).

    probabilities (NDArray): p, shape (m, K).
    others (NDArray[np.float64]): Sums of the others, shape (m, K).
    mentions (NDArray[np.float64]): n, shape (m,).
    settings (NameSettings): The weights.
    RETURNS (NDArray[np.float64]): Shape (m, K).
    """
    new = probabilities.astype(np.float64)
    entity, mass = new[:, 1:].sum(1), others[:, 1:].sum(1)
    rows = np.flatnonzero((mass > 0) & (entity > 0) & (mentions > 0))
    share, m = entity[rows, None], mass[rows, None]
    a = settings.type_weight * m / (m + 1)
    new[rows, 1:] = (1 - a) * new[rows, 1:] + a * share * others[rows, 1:] / m
    total = others.sum(1)
    rows = np.flatnonzero((total > 0) & (mentions > 0))
    n = mentions[rows, None]
    c = settings.mixed_weight * n / (n + 1)
    new[rows] = (1 - c) * new[rows] + c * others[rows] / total[rows, None]
    return new


def refine_labels(
    keys: Keys, probabilities: NDArray[np.floating], settings: NameSettings
) -> NDArray[np.float32]:
    """Refine the class probabilities of a text by a memory of the same text, leave-one-out.

    keys (NDArray[np.uint64]): Key of each candidate span, shape (m,).
    probabilities (NDArray): Class probabilities of each, shape (m, K).
    settings (NameSettings): The weights.
    RETURNS (NDArray[np.float32]): Shape (m, K); rows without another mention are as they were.
    """
    new = probabilities.astype(np.float32)
    memory = NameMemory.of(keys, probabilities)
    rows, places = memory.find(keys)
    own = probabilities[rows]
    new[rows] = shift(own, *memory.others(places, own), settings)
    return new


def other_shares(keys: Keys, probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean distribution of the other mentions of each span's string in a text.

    keys (NDArray[np.uint64]): Key of each candidate span, shape (m,).
    probabilities (NDArray): Class probabilities of each, shape (m, K).
    RETURNS (NDArray[np.float32]): Shape (m, K); rows without other mentions are 0.
    """
    shares = np.zeros(probabilities.shape, dtype=np.float32)
    memory = NameMemory.of(keys, probabilities)
    rows, places = memory.find(keys)
    others, mentions = memory.others(places, probabilities[rows])
    total = others.sum(1, keepdims=True)
    known = (mentions > 0)[:, None] & (total > 0)
    shares[rows] = np.divide(others, total, out=np.zeros_like(others), where=known)
    return shares


def refine_scores(
    scores: NDArray[np.floating],
    keys: Keys,
    memory: NameMemory,
    settings: NameSettings,
    *,
    own: bool,
) -> NDArray[np.floating]:
    """Refine class scores, whose softmax are the class probabilities, by a memory.

    scores (NDArray): Scores of candidate spans, shape (m, K); -inf for impossible classes.
    keys (NDArray[np.uint64]): Key of each span, shape (m,).
    memory (NameMemory): The memory.
    settings (NameSettings): The weights.
    own (bool): Whether the spans are part of the memory, and are to be taken out of it.
    RETURNS (NDArray): Scores; those of a span whose probabilities change are their logarithms, the
        others are as they were.
    """
    rows, places = memory.find(keys)
    before = softmax(scores[rows])
    others, mentions = memory.others(places, before if own else None)
    others[np.isneginf(scores[rows])] = 0
    after = shift(before, others, mentions, settings)
    changed = (after != before).any(1)
    new = scores.copy()
    with np.errstate(divide="ignore"):
        new[rows[changed]] = np.log(after[changed])
    return new


def refine_documents(
    scores: NDArray[np.floating], keys: Keys, owner: NDArray[np.int64], settings: NameSettings
) -> NDArray[np.floating]:
    """Refine class scores by the other mentions of the same string in the same document.

    scores, keys, settings: See `refine_scores`.
    owner (NDArray[np.int64]): Document of each span, shape (m,).
    RETURNS (NDArray): Scores, as of `refine_scores`.
    """
    own = document_keys(keys, owner)
    memory = NameMemory.of(own, softmax(scores))
    return refine_scores(scores, own, memory, settings, own=True)


def document_keys(keys: Keys, owner: ArrayLike) -> Keys:
    """Keys that differ between documents, for a memory of each document, shape (n_spans,)."""
    return _mix(keys ^ _mix((np.asarray(owner, dtype=np.uint64) + np.uint64(1)) * BASE))


def word_hashes(words: Sequence[str]) -> Keys:
    """Stable 64-bit hashes of words, shape (n_words,)."""
    known = {
        word: blake2b(word.encode("utf8", "surrogatepass"), digest_size=8).digest()
        for word in set(words)
    }
    return np.frombuffer(b"".join(map(known.__getitem__, words)), dtype="<u8").astype(np.uint64)


def span_keys(words: Sequence[str], candidates: Candidates) -> Keys:
    """Stable 64-bit hashes of the strings of candidate spans.

    The hash of a string is a polynomial in the hashes of its words, modulo 2 ** 64.

    words (Sequence[str]): The words of all documents, shape (n_words,).
    candidates (Candidates): Spans of these words.
    RETURNS (NDArray[np.uint64]): Shape (n_spans,).
    """
    hashes = word_hashes(words)
    width = min(candidates.max_width, len(words))
    table = np.empty((width, len(words)), dtype=np.uint64)
    for w in range(width):
        table[w] = hashes if w == 0 else table[w - 1] * BASE
        table[w, : len(words) - w] += hashes[w:] if w else 0
    return _mix(table[candidates.ends - candidates.starts, candidates.words[0]])


def _mix(values: Keys) -> Keys:
    """Spread all bits over all others (the finaliser of SplitMix64, one-to-one)."""
    values = (values ^ (values >> np.uint64(30))) * MIXERS[0]
    values = (values ^ (values >> np.uint64(27))) * MIXERS[1]
    return values ^ (values >> np.uint64(31))
