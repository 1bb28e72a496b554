"""Progressive cross-lingual adaptation: improve the pseudo-labels between a student's epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation.metrics import noise_ratio
from ..model.spans import class_counts
from ..training.hooks import Hook, StepReport
from ..training.network import Network, collect
from ..training.settings import AdaptationSettings, StudentSettings
from ..training.shares import Share
from ..training.streams import Parts, Stream, source_stream
from .filter import Mixture
from .improve import TargetLabels, improve
from .operating_point import OperatingPoint
from .pseudo_labels import PseudoLabels
from .refinery import Bank, bank_share, neighbour_classes, sample_bank

SCORE_BATCH = 65_536


@dataclass
class KeptFeatures:
    """Features of some of this process's candidate spans on one side, from the training pass.

    share: Documents of the side. spans: The candidates, ascending, shape (n,). z: Features, shape
    (n, q).
    """

    share: Share
    spans: NDArray[np.int64]
    z: NDArray[np.float16]

    @classmethod
    def of(cls, share: Share, spans: NDArray[np.int64], dim: int) -> KeptFeatures:
        """Make room for the features of the given candidates, with q = `dim` numbers each."""
        return cls(share, spans, np.zeros((len(spans), dim), dtype=np.float16))

    def keep(self, report: StepReport) -> None:
        """Store the features of those spans of a batch that are to be kept."""
        if report.stream.share is not self.share or not len(self.spans):
            return
        ids = report.batch.span_ids
        places = np.searchsorted(self.spans, ids).clip(max=len(self.spans) - 1)
        kept = self.spans[places] == ids
        self.z[places[kept]] = report.output.z.detach().to(torch.float16).cpu().numpy()[kept]

    def everywhere(self) -> NDArray[np.float16]:
        """Gather the features from all processes, in the order of the documents."""
        return self.share.gather_spans(self.spans, self.z)[1]

    def restore(self, z: NDArray[np.float16]) -> None:
        """Take this process's part of the features that `everywhere` returned in an earlier run."""
        places = self.share.gather_spans(self.spans)[0]
        self.z = z[np.searchsorted(places, self.share.spans[self.spans])]


class Adaptation(Hook):
    """Keeps features during an epoch, and improves the target's pseudo-labels at its end.

    Features come from the training pass of the epoch, or from a separate pass without dropout. The
    filter and the refinery need the features of every target span and of the source spans in the
    neighbour bank; an epoch without improvement keeps only the features that `watch` asks for.

    network (Network): The student.
    source (Share): Labelled documents.
    target (Share): Documents of the target language. Gold labels, if present, are read only for
        figures in the log and the diagnostics, and only if the settings allow it.
    labels (PseudoLabels): The soft labels to start with (see `start_labels`). Missing ones are never
        trained on.
    training (StudentSettings): The section [student].
    settings (AdaptationSettings): The section [adaptation].
    seed (int): Seeds the bank and the mixtures.
    parts (Mapping[str, Parts] | None): Files of "source" and "target", where there are several;
        each file has its own prior.
    keys (NDArray[np.uint64] | None): Key of the string of each candidate span of the target (see
        `names.span_keys`), shape (n_spans,); needed if the setting `names` is "all".
    points (Sequence[OperatingPoint]): Operating points of the labels by file, for the log.

    `first_classes` has the class of each candidate span of the target by the labels to start with.
    """

    def __init__(
        self,
        network: Network,
        source: Share,
        target: Share,
        labels: PseudoLabels,
        *,
        training: StudentSettings,
        settings: AdaptationSettings,
        seed: int,
        parts: Mapping[str, Parts] | None = None,
        keys: NDArray[np.uint64] | None = None,
        points: Sequence[OperatingPoint] = (),
    ) -> None:
        self.network, self.training, self.settings, self.seed = network, training, settings, seed
        self.keys, self.points = keys, points
        self.names = ["O", *labels.labels]
        parts = parts or {}
        self.source = source_stream(
            source, len(self.names), training.prior_scale, parts.get("source")
        )
        self.target = Stream(
            "target", target, settings.target_prior_scale, parts.get("target"),
            weight=settings.target_weight,
        )  # fmt: skip
        self.words = target.span_words()
        self.part_spans = None if self.target.parts is None else self.target.parts.spans(target)
        self.gold: NDArray[np.integer] | None = None
        if settings.diagnose_with_gold and target.corpus.classes is not None:
            self.gold = target.all(target.corpus.classes)
        self.watch: Callable[[int, NDArray[np.int64]], NDArray[np.int64]] | None = None
        self.mixtures: dict[int, Mixture] = {}
        reliable = np.ones(target.n_spans, dtype=bool)
        if labels.reliable is not None:
            reliable = labels.reliable.astype(bool)
        self.known = labels.known
        self._take(labels.probabilities.astype(np.float32), reliable)
        self.before = self.labels
        self.first_classes = self.labels.classes.astype(np.int16)
        self.first_noise = (
            None if self.gold is None else noise_ratio(self.labels.classes, self.gold)
        )
        self._start(0)

    def on_epoch_start(self, epoch: int) -> None:
        self._start(epoch)
        self.midway = True

    def on_step(self, report: StepReport) -> None:
        self.source_features.keep(report)
        self.target_features.keep(report)

    def on_epoch_end(self, epoch: int) -> dict[str, Any]:
        self.before, self.mixtures, self.midway = self.labels, {}, False
        info: dict[str, Any] = {"alpha": None, "changed": 0}
        if self.improves_after(epoch):
            if self.settings.features == "clean":
                self.collect_features()
            info["alpha"] = self.alpha(epoch)
            labels, self.mixtures = improve(
                self.labels,
                self.target.share.all(self.scores(self.target_features.z)),
                lambda spans: self.neighbours(spans, epoch),
                self.settings,
                alpha=info["alpha"],
                seed=self.seed + epoch,
                words=self.words,
                parts=self.part_spans,
                keys=self.keys if self.settings.names == "all" else None,
            )
            self._train_on(labels)
            info["changed"] = int((self.before.classes != labels.classes).sum())
        return {**info, **self._describe()}

    def on_row(self, row: dict[str, Any]) -> None:
        # later hooks have read the features by now
        for kept in (self.source_features, self.target_features):
            kept.spans, kept.z = kept.spans[:0], kept.z[:0]

    def arrays(self) -> dict[str, NDArray]:
        kept: dict[str, NDArray] = {
            "probabilities": self.labels.probabilities,
            "reliable": self.labels.reliable,
        }
        if self.midway:
            kept["target_features"] = self.target_features.everywhere()
            kept["source_features"] = self.source_features.everywhere()
        return kept

    def restore(self, arrays: dict[str, NDArray]) -> None:
        self._take(arrays["probabilities"], arrays["reliable"])
        if self.midway:
            self._start(self.epoch)
            self.midway = True
            self.target_features.restore(arrays["target_features"])
            self.source_features.restore(arrays["source_features"])

    def improves_after(self, epoch: int) -> bool:
        """Whether labels improve after an epoch: from the last of the warm-up to the last but one."""
        return self.settings.warmup_epochs - 1 <= epoch < self.training.epochs - 1

    def alpha(self, epoch: int) -> float:
        """Weight of the old label in the refinement after an epoch; linear in the epoch."""
        s = self.settings
        span = self.training.epochs - 1 - s.warmup_epochs
        progress = (epoch + 1 - s.warmup_epochs) / span if span > 0 else 1.0
        return s.alpha_start + (s.alpha_end - s.alpha_start) * progress

    def scores(self, z: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores rho of spans with features (n, q) under every class (Eq. 6), shape (n, K)."""
        scores = np.empty((len(z), len(self.names)), dtype=np.float32)
        with torch.inference_mode():
            for i in range(0, len(z), SCORE_BATCH):
                part = self.network.tensor(z[i : i + SCORE_BATCH]).float()
                rho = self.network.span_model.statistics.score(part)
                scores[i : i + SCORE_BATCH] = rho.cpu().numpy()
        return scores

    def _start(self, epoch: int) -> None:
        """Draw the source's part of the bank, and make room for the features of an epoch."""
        self.epoch, self.midway = epoch, False
        rng = np.random.default_rng([self.seed, epoch, 101])
        source, target, dim = self.source.share, self.target.share, self.network.span_model.dim
        bank = self._sample(source, self.source.classes, rng)
        kept = np.zeros(0, dtype=np.int64)
        if self.improves_after(epoch) and self.settings.features == "training":
            kept = np.arange(target.corpus.n_spans)
        elif self.watch is not None:
            kept = target.own_among(self.watch(epoch, self.labels.classes))
        self.target_features = KeptFeatures.of(target, kept, dim)
        needed = self.improves_after(epoch) or self.watch is not None
        self.source_features = KeptFeatures.of(source, bank if needed else bank[:0], dim)

    def _take(self, probabilities: NDArray[np.float32], reliable: NDArray[np.bool_]) -> None:
        parts = self.part_spans
        self._train_on(TargetLabels.of(probabilities, reliable, self.words, parts, self.known))

    def _train_on(self, labels: TargetLabels) -> None:
        """Set the labels of the target stream."""
        own = self.target.share.own
        self.labels = labels
        classes, reliable = own(labels.classes), own(labels.reliable)
        soft = self.settings.target_labels == "soft"
        self.target.targets = own(labels.probabilities) if soft else classes
        self.target.weights = reliable.astype(np.float32)
        self.target.prior, self.target.part_priors = labels.prior, labels.part_priors
        counted = {
            "all": np.ones_like(reliable), "reliable": reliable,
            "source": np.zeros_like(reliable),
        }[self.settings.statistics]  # fmt: skip
        self.target.classes = np.where(counted, classes, -1)

    def collect_features(self) -> None:
        """Compute the features of source and target in a pass without dropout."""
        dim, tokens = self.network.span_model.dim, self.training.batch_tokens
        source, target = (
            collect(
                self.network, stream.corpus, dim, lambda output: output.z, batch_tokens=tokens,
                name=f"Features of the {stream.name}",
            )
            for stream in (self.source, self.target)
        )  # fmt: skip
        self.source_features.z = source[self.source_features.spans]
        self.target_features = KeptFeatures(self.target.share, np.arange(len(target)), target)

    def _sample(
        self, share: Share, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose this process's spans for the bank; source and target get half of its rows each."""
        s = self.settings
        counts = share.ranks.sum(class_counts(classes, len(self.names)))
        room = bank_share(counts, s.bank_outside_rate, max(1, s.bank_size // 2))
        return sample_bank(classes, s.bank_outside_rate, share.draw(rng), room)

    def _bank(self, rng: np.random.Generator) -> Bank:
        """Gather the bank: source spans with gold, and target spans with pseudo-labels."""
        source, target = self.source.share, self.target.share
        classes = target.own(self.labels.classes)
        chosen = self._sample(target, classes, rng)
        of_source = source.gather_spans(
            self.source_features.spans, self.source_features.z,
            self.source.classes[self.source_features.spans],
        )  # fmt: skip
        of_target = target.gather_spans(chosen, self.target_features.z[chosen], classes[chosen])
        return Bank(
            features=np.concatenate([of_source[1], of_target[1]], dtype=np.float32),
            classes=np.concatenate([of_source[2], of_target[2]]),
            spans=np.concatenate([np.full(len(of_source[0]), -1), of_target[0]]),
        )

    def neighbours(self, spans: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Share of each class among the nearest neighbours of some target spans (Eq. 10).

        Each process searches for the neighbours of its own spans.
        """
        share = self.target.share
        own = share.own_among(spans)
        found = neighbour_classes(
            self._bank(np.random.default_rng([self.seed, epoch, 102])),
            self.target_features.z[own],
            share.spans[own],
            k=self.settings.neighbours,
            n_classes=len(self.names),
        )
        return share.gather_spans(own, found)[1]

    def _describe(self) -> dict[str, Any]:
        """Figures for the log, of all pseudo-labels and of those of each target file."""
        info = describe_labels(self.names, self.labels, self.gold, slice(None))
        if self.points:
            info["label_offset"] = [point.offset for point in self.points]
        if self.gold is not None:
            info["noise_ratio_start"] = self.first_noise
        if self.target.parts is not None:
            info["targets"] = {
                name: describe_labels(self.names, self.labels, self.gold, rows)
                for name, rows in zip(self.target.parts.names, self.part_spans or (), strict=True)
            }
        return info


def describe_labels(
    names: Sequence[str], labels: TargetLabels, gold: NDArray[np.integer] | None, rows: slice
) -> dict[str, Any]:
    """Count the labels and the reliable share of each class, and the noise where gold may be read."""
    classes, reliable = labels.classes[rows], labels.reliable[rows]
    sizes = class_counts(classes, len(names))
    kept = class_counts(classes[reliable], len(names))
    info: dict[str, Any] = {
        "pseudo_labels": dict(zip(names, sizes.tolist(), strict=True)),
        "reliable": {
            name: float(k / n) if n else None for name, k, n in zip(names, kept, sizes, strict=True)
        },
    }
    if gold is not None:
        info["noise_ratio"] = noise_ratio(classes, gold[rows])
        info["noise_ratio_reliable"] = noise_ratio(classes[reliable], gold[rows][reliable])
    return info
