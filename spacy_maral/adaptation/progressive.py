"""Progressive cross-lingual adaptation: filter and refine pseudo-labels between epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation.metrics import noise_by_reliability, noise_ratio
from ..model.spans import OUTSIDE, softmax
from ..training.hooks import Hook, StepReport
from ..training.network import Network, collect
from ..training.settings import AdaptationSettings, TrainingSettings
from ..training.shares import Shard
from ..training.streams import Parts, Stream, share, source_stream
from .diagnostics import Diagnostics, EpochState, Side
from .filter import expected_errors, split_spans
from .pseudo_labels import PseudoLabels, overlap_losers
from .refinery import (
    Bank,
    above_mean,
    bank_share,
    neighbour_classes,
    refine,
    sample_bank,
)

SCORE_BATCH = 65_536


class Adaptation(Hook):
    """The target stream and its pseudo-labels, which this hook filters and refines.

    Features of the spans come from the training pass of the epoch that ends, or from a pass of
    their own without dropout. Target features are kept for every candidate span (float16), source
    features for the spans in the neighbour bank only.

    network (Network): The student.
    source (Corpus): Labelled documents.
    target (Corpus): Documents of the target language; their gold labels, if any, are read for the
        noise ratio in the log only, and only when the settings ask for it.
    labels (PseudoLabels): The teacher's soft labels.
    training (TrainingSettings): The section [student].
    settings (AdaptationSettings): The section [adaptation].
    seed (int): Seeds the bank and the mixtures.
    diagnostics (Diagnostics): Keeps figures and spans of each epoch for the report, which changes
        nothing in the run; None to keep nothing. Needs `words`.
    words (dict): Words of each document of "source" and "target", which the diagnostics show.
    parts (dict): Files of "source" and "target", where there are several: each has its own prior.
    """

    def __init__(
        self,
        network: Network,
        source: Shard,
        target: Shard,
        labels: PseudoLabels,
        *,
        training: TrainingSettings,
        settings: AdaptationSettings,
        seed: int,
        diagnostics: Diagnostics | None = None,
        words: Mapping[str, list[list[str]]] | None = None,
        parts: Mapping[str, Parts] | None = None,
    ) -> None:
        self.network = network
        self.diagnostics = diagnostics
        self.texts = words or {}
        self.training = training
        self.settings = settings
        self.seed = seed
        self.labels = labels.labels
        self.n_classes = len(labels.labels) + 1
        self.gold = target.corpus.classes if settings.diagnose_with_gold else None
        parts = parts or {}
        self.source = source_stream(
            source, self.n_classes, training.prior_scale, parts.get("source")
        )
        self.probabilities = target.own(labels.probabilities).astype(np.float32)
        self.reliable = np.ones(target.corpus.n_spans, dtype=bool)
        if labels.reliable is not None:
            self.reliable = target.own(labels.reliable).astype(bool)
        self.words = target.corpus.span_words()
        nothing = np.zeros(0)
        self.target = Stream(
            name="target", shard=target, targets=nothing, classes=nothing.astype(np.int64),
            prior=nothing, prior_scale=settings.target_prior_scale, weight=settings.target_weight,
            parts=parts.get("target"),
        )  # fmt: skip
        self.target_features = np.zeros((0, network.span_model.dim), dtype=np.float16)
        self.source_features = self.target_features
        self.bank_spans = self.bank_row = np.zeros(0, dtype=np.int64)
        self._set_labels()
        self.first_noise = self._noise()

    @property
    def is_first(self) -> bool:
        return self.target.shard.ranks.is_first

    def on_epoch_start(self, epoch: int) -> None:
        rng = np.random.default_rng([self.seed, epoch, 101])
        self.bank_spans = self._sample_bank(self.source.shard, self.source.classes, rng)
        self.bank_row = np.full(self.source.corpus.n_spans, -1, dtype=np.int64)
        self.bank_row[self.bank_spans] = np.arange(len(self.bank_spans))
        dim = self.network.span_model.dim
        if self.diagnostics is not None and epoch == 0 and self.is_first:
            self.diagnostics.start()
        if self._keeps_features(epoch):
            self.target_features = np.zeros((self.target.corpus.n_spans, dim), dtype=np.float16)
            self.source_features = np.zeros((len(self.bank_spans), dim), dtype=np.float16)

    def on_step(self, report: StepReport) -> None:
        if not self._keeps_features(report.epoch):
            return
        ids = report.batch.span_ids
        z = report.output.z.detach().to(torch.float16).cpu().numpy()
        if report.stream is self.target:
            self.target_features[ids] = z
        else:
            rows = self.bank_row[ids]
            self.source_features[rows[rows >= 0]] = z[rows >= 0]

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        info: dict[str, Any] = {"alpha": None, "changed": 0}
        works = self._works_after(epoch)
        if works or self.diagnostics is not None:
            if works and self.settings.features == "clean":
                self._collect_features()
            scores = self._scores()
            state = self._state(epoch, scores) if self.diagnostics is not None else None
            if works:
                info["alpha"] = self._alpha(epoch)
                info["changed"] = self._improve(scores, epoch, state)
            if self.diagnostics is not None and state is not None:
                state.reliable, state.refined = self._all(self.reliable), self._all(self.classes)
                if self.is_first:
                    self.diagnostics.record(state)
            self.target_features = self.source_features = self.target_features[:0]
        return {**info, **self._describe()}

    def _all(self, values: NDArray) -> NDArray:
        """What all processes have for the target's candidates."""
        return self.target.shard.all(values)

    def _improve(self, scores: NDArray[np.float32], epoch: int, state: EpochState | None) -> int:
        """Filter and refine; RETURNS (int): Number of labels that are others now."""
        before = self.classes.copy()
        if self.settings.filter:
            own = self._all(scores[np.arange(len(scores)), self.classes])
            reliable, mixtures = split_spans(
                own, self._all(self.classes), seed=self.seed + epoch, limits=self._limits()
            )
            self.reliable = self.target.shard.own(reliable)
            if state is not None:
                state.mixtures = mixtures
        self._refine(scores, epoch)
        self._set_labels()
        return int(self.target.shard.ranks.sum((before != self.classes).sum()))

    def _limits(self) -> NDArray[np.int64] | None:
        """Most labels of each class that the filter takes out; None for no limit."""
        if self.settings.filter_limit == "none":
            return None
        expected = expected_errors(self.probabilities, self.classes)
        return np.ceil(self.target.shard.ranks.sum(expected)).astype(np.int64)

    def _state(self, epoch: int, scores: NDArray[np.float32]) -> EpochState:
        """What the epoch was trained on, for the diagnostics."""
        source, target = self.source.shard, self.target.shard
        bank = source.rows(
            self.bank_spans, self.source.classes[self.bank_spans], self.source_features
        )
        return EpochState(
            epoch=epoch,
            source=Side(source, self.texts["source"], *bank),
            target=Side(
                target, self.texts["target"], np.arange(target.n_spans),
                self._all(self.classes).copy(), self._all(self.target_features),
            ),
            scores=self._all(scores),
            directions=self.network.span_model.statistics.direction.cpu().numpy(),
            reliable=self.reliable,
            probabilities=self._all(self.probabilities).copy(),
            refined=self.classes,
            mixtures={},
            gold=None if self.gold is None else self._all(self.gold),
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray]:
        kept = {
            "probabilities": self._all(self.probabilities),
            "reliable": self._all(self.reliable),
        }
        if len(self.target_features):
            # the checkpoint is one within an epoch
            kept["target_features"] = self._all(self.target_features)
            bank = self.source.shard.rows(self.bank_spans, self.source_features)
            kept["source_features"] = bank[1]
        return kept

    def restore(self, arrays: dict[str, NDArray]) -> None:
        own = self.target.shard.own
        self.probabilities, self.reliable = own(arrays["probabilities"]), own(arrays["reliable"])
        self._set_labels()
        if "target_features" in arrays:
            self.target_features = own(arrays["target_features"])
            shard = self.source.shard
            places = shard.rows(self.bank_spans)[0]
            mine = np.searchsorted(places, shard.spans[self.bank_spans])
            self.source_features = arrays["source_features"][mine]

    def _works_after(self, epoch: int) -> bool:
        """Whether labels are filtered and refined after an epoch: from the warm-up on, not last."""
        return self.settings.warmup_epochs - 1 <= epoch < self.training.epochs - 1

    def _keeps_features(self, epoch: int) -> bool:
        """Whether features of the training pass are kept; epochs without work need no other."""
        if self._works_after(epoch):
            return self.settings.features == "training"
        return self.diagnostics is not None

    def _alpha(self, epoch: int) -> float:
        s = self.settings
        span = self.training.epochs - 1 - s.warmup_epochs
        progress = (epoch + 1 - s.warmup_epochs) / span if span > 0 else 1.0
        return s.alpha_start + (s.alpha_end - s.alpha_start) * progress

    def _set_labels(self) -> None:
        """Hard labels without overlaps, the prior, and what the target stream trains on."""
        self.classes = self.probabilities.argmax(1).astype(np.int64)
        self.classes[overlap_losers(self.probabilities, *self.words)] = OUTSIDE
        soft = self.settings.target_labels == "soft"
        self.target.targets = self.probabilities if soft else self.classes
        shard = self.target.shard
        self.target.prior = share(shard.ranks.sum(self.probabilities.sum(0, dtype=np.float64)))
        if self.target.parts is not None:
            sums = [
                shard.ranks.sum(self.probabilities[shard.within(rows)].sum(0, dtype=np.float64))
                for rows in self.target.parts.spans(shard)
            ]
            self.target.part_priors = np.stack([share(part) for part in sums])
        self.target.weights = self.reliable.astype(np.float32)
        counted = {
            "all": np.ones_like(self.reliable), "reliable": self.reliable,
            "source": np.zeros_like(self.reliable),
        }[self.settings.statistics]  # fmt: skip
        self.target.classes = np.where(counted, self.classes, -1)

    def _collect_features(self) -> None:
        """Features of source and target from a pass without dropout."""
        dim, tokens = self.network.span_model.dim, self.training.batch_tokens
        found = [
            collect(
                self.network, corpus, dim, lambda output: output.z, batch_tokens=tokens, name=name
            )
            for corpus, name in (
                (self.source.corpus, "Source features"),
                (self.target.corpus, "Target features"),
            )
        ]
        self.source_features, self.target_features = found[0][self.bank_spans], found[1]

    def _scores(self) -> NDArray[np.float32]:
        """rho of every target span and class, from the features (Eq. 6), shape (n_spans, K)."""
        scores = np.empty((len(self.target_features), self.n_classes), dtype=np.float32)
        with torch.inference_mode():
            for i in range(0, len(scores), SCORE_BATCH):
                z = self.network.tensor(self.target_features[i : i + SCORE_BATCH]).float()
                rho = self.network.span_model.statistics.score(z)
                scores[i : i + SCORE_BATCH] = rho.cpu().numpy()
        return scores

    def _refine(self, scores: NDArray[np.float32], epoch: int) -> None:
        """Refine the unreliable labels, or all if there is no filter (Eq. 10, 11).

        scores (NDArray): rho of the own spans, shape (n_spans, K).
        """
        guidance = self.settings.guidance
        if guidance == "none":
            return
        doubtful = np.flatnonzero(~self.reliable)
        if not self.settings.filter:
            doubtful = np.arange(len(self.classes))
        graded = self.settings.guidance_weights == "graded"
        by_density = by_neighbours = None
        if guidance in ("both", "global"):
            rho = scores[doubtful]
            by_density = softmax(rho) if graded else above_mean(rho)
        if guidance in ("both", "local"):
            shares = self._neighbours(doubtful, epoch)
            by_neighbours = shares if graded else above_mean(shares)
        self.probabilities[doubtful] = refine(
            self.probabilities[doubtful],
            alpha=self._alpha(epoch),
            global_guidance=by_density,
            local_guidance=by_neighbours,
        )

    def _sample_bank(
        self, shard: Shard, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """This process's spans for the bank; either corpus has half of the room."""
        s = self.settings
        counts = shard.ranks.sum(np.bincount(classes, minlength=self.n_classes))
        share = bank_share(counts, s.bank_outside_rate, max(1, s.bank_size // 2))
        return sample_bank(classes, s.bank_outside_rate, shard.draw(rng), share)

    def _bank(self, rng: np.random.Generator) -> Bank:
        """Source spans with gold and target spans with pseudo-labels, of all processes."""
        source, target = self.source.shard, self.target.shard
        chosen = self._sample_bank(target, self.classes, rng)
        of_source = source.rows(
            self.bank_spans, self.source_features, self.source.classes[self.bank_spans]
        )
        of_target = target.rows(chosen, self.target_features[chosen], self.classes[chosen])
        return Bank(
            features=np.concatenate([of_source[1], of_target[1]], dtype=np.float32),
            classes=np.concatenate([of_source[2], of_target[2]]),
            spans=np.concatenate([np.full(len(of_source[0]), -1), of_target[0]]),
        )

    def _neighbours(self, doubtful: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Share of each class among the nearest neighbours of some of the own spans (Eq. 11)."""
        rng = np.random.default_rng([self.seed, epoch, 102])
        return neighbour_classes(
            self._bank(rng),
            self.target_features[doubtful],
            self.target.shard.spans[doubtful],
            k=self.settings.neighbours,
            n_classes=self.n_classes,
        )

    def _noise(self) -> float | None:
        """Noise of all labels, where gold may be looked at."""
        if self.gold is None:
            return None
        return noise_ratio(self._all(self.classes), self._all(self.gold))

    def _describe(self) -> dict[str, Any]:
        """What `_describe_spans` says of all target spans, and of those of each target."""
        classes, reliable = self._all(self.classes), self._all(self.reliable)
        gold = None if self.gold is None else self._all(self.gold)

        def describe(rows: slice) -> dict[str, Any]:
            return self._describe_spans(
                classes[rows], reliable[rows], None if gold is None else gold[rows]
            )

        info = describe(slice(None))
        if gold is not None:
            info["noise_ratio_start"] = self.first_noise
        if self.target.parts is not None:
            rows = self.target.parts.spans(self.target.shard)
            names = self.target.parts.names
            info["targets"] = {n: describe(part) for n, part in zip(names, rows, strict=True)}
        return info

    def _describe_spans(
        self,
        classes: NDArray[np.int64],
        reliable: NDArray[np.bool_],
        gold: NDArray[np.integer] | None,
    ) -> dict[str, Any]:
        """Reliable share of each class; the noise of the labels where gold may be looked at."""
        names = ["O", *self.labels]
        sizes = np.bincount(classes, minlength=self.n_classes)
        kept = np.bincount(classes[reliable], minlength=self.n_classes)
        info: dict[str, Any] = {
            "pseudo_labels": dict(zip(names, sizes.tolist(), strict=True)),
            "reliable": {
                name: float(k / n) if n else None
                for name, k, n in zip(names, kept, sizes, strict=True)
            },
        }
        if gold is not None:
            noise = noise_by_reliability(classes, gold, reliable)
            info["noise_ratio"] = noise.all
            info["noise_ratio_reliable"] = noise.reliable
        return info
