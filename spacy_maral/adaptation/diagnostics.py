"""Records of each epoch of an adaptation for its report: scores, geometry, spans to look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.files import replacing, write_text
from ..data.layout import DIAGNOSTICS_VERSION
from ..model.geometry import centroid_cosine, class_quantiles, compactness, span_margins
from ..model.spans import OUTSIDE, UNKNOWN, class_counts
from ..training.hooks import Hook
from ..training.shares import Share
from .filter import Mixture
from .improve import TargetLabels
from .progressive import Adaptation

N_BINS = 240
# maximum number of target spans that the figures describe
SAMPLE_SPANS = 1 << 17
LOW_MARGIN = 0.05
N_DOUBTFUL = 30
CONTEXT = 20
MAX_TEXT = 60


@dataclass
class Side:
    """Spans of one language, with their classes and features.

    corpus: The documents. words: Words of all documents. spans: Numbers among all candidates, shape
    (n,). classes: Shape (n,). z: Features, shape (n, q).
    """

    corpus: Share
    words: Sequence[Sequence[str]]
    spans: NDArray[np.int64]
    classes: NDArray[np.int64]
    z: NDArray[np.float16]


@dataclass
class EpochState:
    """The labels that an epoch was trained on, and the state of the adaptation at its end.

    source: Spans of the neighbour bank, with gold classes. target: Candidates with the
    pseudo-labels of the epoch; all that have one or, of more than SAMPLE_SPANS, a sample. scores: rho of
    these candidates, shape (n, K). directions: Mean directions of the classes, shape (K, q).
    before, after: Labels of all candidates, before and after the improvement. mixtures: Mixtures by
    class, empty without a filter. gold: Gold classes of all candidates, None where they may not be
    read.
    """

    epoch: int
    source: Side
    target: Side
    scores: NDArray[np.float32]
    directions: NDArray[np.floating]
    before: TargetLabels
    after: TargetLabels
    mixtures: dict[int, Mixture]
    gold: NDArray[np.integer] | None


class Diagnostics(Hook):
    """Describes each epoch of an adaptation in files for the report, without an effect on the run.

    The figures of an epoch describe all target spans or, of more than SAMPLE_SPANS, a sample in
    which the classes have equal shares, so that few features have to be kept.

    folder (Path): Folder of the files.
    adaptation (Adaptation): Keeps features and labels; this hook must come after it.
    words (Mapping[str, Sequence]): Words of each document of "source" and "target".
    """

    def __init__(
        self, folder: Path, adaptation: Adaptation, words: Mapping[str, Sequence[Sequence[str]]]
    ) -> None:
        temperature = adaptation.network.span_model.statistics.temperature
        self.adaptation = adaptation
        self.words = words
        self.files = EpochFiles(
            folder, adaptation.names[1:], temperature=temperature, seed=adaptation.seed
        )
        adaptation.watch = self.wanted

    def wanted(self, epoch: int, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the target spans with labels that the figures of an epoch describe; ascending."""
        known = np.flatnonzero(classes != UNKNOWN)
        if len(known) <= SAMPLE_SPANS:
            return known
        rng = np.random.default_rng([self.adaptation.seed, epoch, 105])
        return known[balanced_sample(classes[known], SAMPLE_SPANS, rng)]

    def on_epoch_start(self, epoch: int) -> None:
        if epoch == 0 and self.adaptation.target.share.ranks.is_first:
            # files of an earlier run
            shutil.rmtree(self.files.folder, ignore_errors=True)

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        state = self.state(epoch)
        if self.adaptation.target.share.ranks.is_first:
            self.files.record(state)
        return {}

    def state(self, epoch: int) -> EpochState:
        """Collect the state of the adaptation at the end of an epoch from all processes."""
        a = self.adaptation
        source, target = a.source.share, a.target.share
        bank = a.source_features.spans
        known = source.gather_spans(bank, a.source.classes[bank], a.source_features.z)
        own = target.own_among(self.wanted(epoch, a.before.classes))
        z = a.target_features.z[np.searchsorted(a.target_features.spans, own)]
        spans, z, scores = target.gather_spans(own, z, a.scores(z))
        return EpochState(
            epoch=epoch,
            source=Side(source, self.words["source"], *known),
            target=Side(target, self.words["target"], spans, a.before.classes[spans], z),
            scores=scores,
            directions=a.network.span_model.statistics.direction.cpu().numpy(),
            before=a.before,
            after=a.labels,
            mixtures=a.mixtures,
            gold=a.gold,
        )


class EpochFiles:
    """Writes two files per epoch: .epoch-0001.json, and span features of a sample, .epoch-0001.npz.

    Both files quote text. Their names begin with a dot, so that `spacy package` puts neither into a
    wheel or sdist. The contents depend on the run alone: a resumed run writes the same bytes again.

    folder (Path): Folder of the files.
    labels (Sequence[str]): Entity labels; class i + 1 is labels[i].
    temperature (float): tau; rho lies between -1 / tau and 1 / tau.
    seed (int): Seed of the samples.
    sample_size (int): Maximum number of spans of a language in a sample.
    """

    def __init__(
        self,
        folder: Path,
        labels: Sequence[str],
        *,
        temperature: float,
        seed: int,
        sample_size: int = 1500,
    ) -> None:
        self.folder = folder
        self.names = ["O", *labels]
        self.edges = np.linspace(-1 / temperature, 1 / temperature, N_BINS + 1)
        self.seed = seed
        self.sample_size = sample_size

    def record(self, state: EpochState) -> None:
        """Write the files of an epoch, each whole or not at all."""
        stem = self.folder / f".epoch-{state.epoch + 1:04d}"
        self._write_sample(stem.with_suffix(".npz"), state)
        text = json.dumps(self.describe(state), ensure_ascii=False, separators=(",", ":"))
        write_text(stem.with_suffix(".json"), text + "\n")

    def describe(self, state: EpochState) -> dict[str, Any]:
        """Contents of an epoch's JSON file, with classes in the order of "classes"."""
        classes, n_classes = state.target.classes, len(self.names)
        rho = state.scores[np.arange(len(classes)), classes]
        bins = (np.searchsorted(self.edges, rho, side="right") - 1).clip(0, N_BINS - 1)
        counted = {"counts": np.ones(len(classes), dtype=bool)}
        gold = None if state.gold is None else state.gold[state.target.spans]
        if gold is not None:
            counted["counts_noisy"] = (classes != gold) & (gold != UNKNOWN)
        before, after = state.before, state.after
        return {
            "format_version": DIAGNOSTICS_VERSION,
            "epoch": state.epoch + 1,
            "classes": self.names,
            "edges": self.edges.round(9).tolist(),
            **{
                name: _table(classes[rows], bins[rows], n_classes, N_BINS).tolist()
                for name, rows in counted.items()
            },
            "mixtures": [
                asdict(state.mixtures[c]) if c in state.mixtures else None for c in range(n_classes)
            ],
            "filtered": bool(state.mixtures),
            "pseudo_labels": class_counts(before.classes, n_classes).tolist(),
            "reliable": class_counts(before.classes[after.reliable], n_classes).tolist(),
            "changes": _table(
                before.classes[before.known], after.classes[before.known], n_classes
            ).tolist(),
            "gold": None if gold is None else _against_gold(rho, classes, gold, n_classes),
            "centroid_cosine": _plain(centroid_cosine(state.directions)),
            "source": _geometry(state.source, state.directions),
            "target": _geometry(state.target, state.directions),
            "doubtful": self._doubtful(state, rho),
        }

    def _doubtful(self, state: EpochState, rho: NDArray[np.floating]) -> list[dict[str, Any]]:
        """The entity pseudo-labels with the lowest scores, one per document, with their context."""
        target = state.target
        entities = np.flatnonzero(target.classes != OUTSIDE)
        order = entities[np.argsort(rho[entities], kind="stable")]
        docs, starts, ends = _places(target, target.spans[order])
        _, first = np.unique(docs, return_index=True)
        found = []
        for place in np.sort(first)[:N_DOUBTFUL]:
            row, doc, start, end = (int(x[place]) for x in (order, docs, starts, ends))
            span, label = int(target.spans[row]), int(target.classes[row])
            begin = max(0, start - CONTEXT)
            found.append(
                {
                    "doc": doc,
                    "words": target.words[doc][begin : end + 1 + CONTEXT],
                    "start": start - begin,
                    "end": end - begin,
                    "class": label,
                    "rho": round(float(rho[row]), 4),
                    "student": int(state.scores[row].argmax()),
                    "probability": round(float(state.before.probabilities[span, label]), 4),
                    "reliable": bool(state.after.reliable[span]),
                    "refined": int(state.after.classes[span]),
                    "gold": _known(state.gold, span),
                }
            )
        return found

    def _write_sample(self, path: Path, state: EpochState) -> None:
        """Write a sample of the spans of both languages, in which the classes have equal shares."""
        parts: list[dict[str, NDArray]] = []
        for number, side in enumerate((state.source, state.target)):
            rng = np.random.default_rng([self.seed, state.epoch, 103 + number])
            rows = balanced_sample(side.classes, self.sample_size, rng)
            reliable = np.ones(len(rows), dtype=bool)
            if side is state.target:
                reliable = state.after.reliable[side.spans[rows]]
            doc, start, end = _places(side, side.spans[rows])
            places = zip(doc.tolist(), start.tolist(), end.tolist(), strict=True)
            texts = [" ".join(side.words[d][i : j + 1])[:MAX_TEXT] for d, i, j in places]
            parts.append(
                {
                    "z": side.z[rows],
                    "side": np.full(len(rows), number, dtype=np.int8),
                    "classes": side.classes[rows].astype(np.int16),
                    "reliable": reliable,
                    "doc": doc,
                    "start": start,
                    "end": end,
                    "text": np.array(texts, dtype=f"<U{MAX_TEXT}"),
                }
            )
        with replacing(path) as temporary, temporary.open("wb") as file:
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            arrays["format_version"] = np.array(DIAGNOSTICS_VERSION)
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def balanced_sample(
    classes: NDArray[np.integer], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rows so that the classes have equal shares; rare classes leave room to others.

    classes (NDArray): Class of each row, shape (n,).
    size (int): Maximum number of rows.
    rng (np.random.Generator): Draws the rows.
    RETURNS (NDArray[np.int64]): Rows, ascending.
    """
    order = rng.permutation(len(classes))
    ranks = np.empty(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        members = order[classes[order] == c]
        ranks[members] = np.arange(len(members))
    return np.sort(order[np.argsort(ranks[order], kind="stable")[:size]])


def _table(
    rows: NDArray[np.integer], columns: NDArray[np.integer], n_rows: int, n_columns: int = 0
) -> NDArray[np.int64]:
    """Count pairs, shape (n_rows, n_columns); as many columns as rows if 0."""
    width = n_columns or n_rows
    flat = rows.astype(np.int64) * width + columns
    return np.bincount(flat, minlength=n_rows * width).reshape(n_rows, width)


def _geometry(side: Side, directions: NDArray[np.floating]) -> dict[str, Any]:
    """Compactness and margins of the classes of one language."""
    z, n_classes = side.z.astype(np.float32), len(directions)
    if n_classes < 2 or not len(z):
        return {"spans": len(z)}
    margins = span_margins(z, side.classes, directions)
    smallest, low = (
        class_quantiles(margins, side.classes, n_classes, share) for share in (0.0, LOW_MARGIN)
    )
    return {
        "spans": len(z),
        "compactness": _plain(compactness(z, side.classes, directions)),
        "margin": _plain(smallest),
        "margin_low": _plain(low),
        "overall_margin": float(f"{margins.min():.7g}"),
    }


def _known(gold: NDArray[np.integer] | None, span: int) -> int | None:
    """Gold class of a span; None where it may not be read, or is not annotated."""
    return None if gold is None or gold[span] == UNKNOWN else int(gold[span])


def _against_gold(
    rho: NDArray[np.floating], classes: NDArray[np.int64], gold: NDArray[np.integer], n_classes: int
) -> dict[str, Any]:
    """Mean rho of correct and of wrong labels: of the spans labelled as entities, and by label."""
    found: dict[str, Any] = {}
    noisy = (classes != gold) & (gold != UNKNOWN)
    for name, rows in (("clean", classes == gold), ("noisy", noisy)):
        entities = rows & (classes != OUTSIDE)
        sums = np.bincount(classes[rows], weights=rho[rows], minlength=n_classes)
        counts = np.bincount(classes[rows], minlength=n_classes)
        with np.errstate(invalid="ignore"):
            found[f"rho_{name}_by_class"] = _plain(sums / counts)
        found[f"n_{name}"] = int(entities.sum())
        mean = rho[entities].mean(dtype=np.float64) if entities.any() else np.nan
        found[f"rho_{name}"] = _plain(np.array([mean]))[0]
    return found


def _plain(values: NDArray[np.floating]) -> list:
    """Nested lists of numbers with seven significant digits; None if a number is not finite."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(f"{v:.7g}") if np.isfinite(v) else None for v in values.tolist()]


def _places(
    side: Side, spans: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Document of each span, and its first and last word within the document."""
    starts, ends = side.corpus.span_words()
    docs = np.searchsorted(side.corpus.doc_spans, spans, side="right") - 1
    base = side.corpus.doc_words[docs]
    return docs, starts[spans] - base, ends[spans] - base
