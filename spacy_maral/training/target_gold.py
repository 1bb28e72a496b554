"""Labelled sentences of the target language: some join the training, some are held out."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..data.files import Paths, as_paths
from ..errors import Errors, MaralError, Warnings
from .inputs import Inputs, logger, part_names
from .processes import Ranks
from .settings import TrainingSettings
from .streams import Parts

TARGET_GOLD = "target_gold"
# a fifth of fewer sentences would measure little
ENOUGH_TO_HOLD_OUT, HELD_OUT = 50, 0.2
# read more often, they are learnt by heart (docs/results-appendix.md)
MOST_REPEATS = 8
# sides whose sentences measure the model, and must not teach it
MEASURING = ("dev", "diagnosis")

Settings = TypeVar("Settings", bound=TrainingSettings)


@dataclass(frozen=True)
class TargetGold:
    """The labelled sentences of the target language that a run uses.

    names: Names of their files. train: The sentences of each file that join the training. held_out:
    Those that only measure the epochs. keys: The texts of both (see `text_key`). repeats: How often
    the training reads each sentence of `train` in a pass over the source. holdout: Share of all texts
    whose digests hold them out.
    """

    names: tuple[str, ...]
    train: tuple[list[Doc], ...]
    held_out: list[Doc]
    keys: frozenset[str]
    repeats: int
    holdout: float

    @classmethod
    def choose(
        cls, inputs: Inputs, paths: Paths | None, labels: Sequence[str], settings: TrainingSettings
    ) -> TargetGold | None:
        """Divide the sentences of "target_gold" into those to train on and those held out.

        A sentence that "dev" or "diagnosis" have, too, is left out, and one that "source" has, too,
        is never held out. Sentences are the same if their texts differ in white space only.

        inputs (Inputs): The documents of the run; only read.
        paths (Paths | None): Files of the sentences; None without any.
        labels (Sequence[str]): Entity labels of the model.
        settings (TrainingSettings): Share of the training, and share held out.
        RETURNS (TargetGold | None): The sentences; None without any.
        RAISES (MaralError): If a label is unknown, or no sentence is left to train on.
        """
        if paths is None:
            return None
        given = as_paths(paths)
        files = parted(inputs.docs[TARGET_GOLD], inputs.parts.get(TARGET_GOLD))
        for docs, path in zip(files, given, strict=True):
            check_labels(docs, labels, str(path))
        measured = text_keys(chain.from_iterable(inputs.docs.get(side, ()) for side in MEASURING))
        kept = [[doc for doc in docs if text_key(doc) not in measured] for docs in files]
        n_all, n_kept = sum(map(len, files)), sum(map(len, kept))
        shown = ", ".join(map(str, given))
        if n_kept < n_all:
            found = {"n": n_all - n_kept, "n_docs": n_all, "path": shown}
            logger.warning(Warnings.W511.format(**found))
        share = settings.target_gold_holdout
        if share is None:
            share = HELD_OUT if n_kept >= ENOUGH_TO_HOLD_OUT else 0.0
        source = inputs.docs["source"]
        trained = text_keys(source)
        held = {key for key in text_keys(chain(*kept)) - trained if is_held_out(key, share)}
        train = tuple([doc for doc in docs if text_key(doc) not in held] for docs in kept)
        n_train = sum(map(len, train))
        if not n_train:
            raise MaralError(Errors.M512.format(path=shown, n_docs=n_all, n_held=n_kept))
        return cls(
            part_names(given),
            train,
            [doc for doc in chain(*kept) if text_key(doc) in held],
            frozenset(text_keys(chain(*kept))),
            count_repeats(len(source), n_train, settings.target_gold_share),
            share,
        )

    @property
    def n_train(self) -> int:
        return sum(map(len, self.train))

    def join(self, inputs: Inputs, ranks: Ranks) -> None:
        """Add the sentences to train on to the end of "source", each `repeats` times, and say so.

        Each of their files has its own label prior, as the files of the source have.
        """
        if ranks.is_first:
            tqdm.write(self.describe(len(inputs.docs["source"])))
        source = inputs.docs["source"]
        parts = inputs.parts.get("source", Parts(("source",), (len(source),)))
        repeated = {
            # copies, since the encoder tells documents apart by their identity
            f"{name} (target gold)": [doc.copy() for _ in range(self.repeats) for doc in docs]
            for name, docs in zip(self.names, self.train, strict=True)
            if docs
        }
        inputs.docs["source"] = [*source, *chain(*repeated.values())]
        inputs.parts["source"] = Parts(
            (*parts.names, *repeated), (*parts.sizes, *map(len, repeated.values()))
        )

    def adjusted(self, settings: Settings) -> Settings:
        """Choose the epoch as usual if it is to be chosen by held-out sentences and there are none."""
        if self.held_out or settings.select != TARGET_GOLD:
            return settings
        usual = type(settings).model_fields["select"].default
        found = {"n": self.n_train, "enough": ENOUGH_TO_HOLD_OUT, "usual": usual}
        logger.warning(Warnings.W510.format(**found))
        return settings.model_copy(update={"select": usual})

    def summary(self) -> dict[str, Any]:
        """Numbers of sentences, for the summary of the run."""
        return {
            "documents": self.n_train + len(self.held_out),
            "trained": self.n_train,
            "repeats": self.repeats,
            "held_out": len(self.held_out),
            "holdout": self.holdout,
        }

    def describe(self, n_source: int) -> str:
        """The numbers of sentences in words; `n_source` is the number of source documents."""
        n = self.n_train * self.repeats
        share = 100 * n / (n + n_source)
        held = f"{len(self.held_out)} are held out by the digests of their texts"
        if not self.held_out:
            held = f"none is held out (from {ENOUGH_TO_HOLD_OUT} on, a fifth is)"
        times = "once" if self.repeats == 1 else f"{self.repeats} times"
        return (
            f"Target gold: {self.n_train} sentences are trained on, each {times} "
            f"({share:.0f} % of the labelled sentences); {held}"
        )


def check_select(settings: TrainingSettings, paths: Paths | None) -> None:
    """Refuse to choose the epoch by labelled target sentences if there are none.

    RAISES (MaralError): If there are none.
    """
    if settings.select == TARGET_GOLD and paths is None:
        raise MaralError(Errors.M510.format(select=settings.select))


def parted(docs: Sequence[Doc], parts: Parts | None) -> list[Sequence[Doc]]:
    """Divide the documents of a side by its files."""
    if parts is None:
        return [docs]
    ends = [sum(parts.sizes[: i + 1]) for i in range(len(parts.sizes))]
    return [docs[end - size : end] for size, end in zip(parts.sizes, ends, strict=True)]


def check_labels(docs: Sequence[Doc], labels: Sequence[str], path: str) -> None:
    """Refuse gold entities of labels that the source does not have.

    RAISES (MaralError): At the first such entity.
    """
    for number, doc in enumerate(docs, start=1):
        for ent in doc.ents:
            if ent.label_ not in labels:
                found = {"label": ent.label_, "text": ent.text, "labels": ", ".join(labels)}
                raise MaralError(Errors.M511.format(path=path, number=number, **found))


def text_key(doc: Doc) -> str:
    """The text of a document without white space, by which sentences are compared.

    The same sentence may have other words in another file.
    """
    return "".join(unicodedata.normalize("NFC", doc.text).split())


def text_keys(docs: Iterable[Doc]) -> set[str]:
    """The texts of documents, without those that have none."""
    return {key for doc in docs if (key := text_key(doc))}


def number_texts(docs: Iterable[Doc]) -> NDArray[np.int64]:
    """Number the different texts of documents, from 0; RETURNS (NDArray): That of each document."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(text_key(doc), len(numbers)) for doc in docs]
    return np.array(found, dtype=np.int64)


def is_held_out(key: str, share: float) -> bool:
    """Whether a text is among the share that is held out: by its digest, whatever else there is."""
    number = int.from_bytes(hashlib.sha256(key.encode("utf8", "surrogatepass")).digest()[:8], "big")
    return number < share * 2**64


def count_repeats(n_source: int, n_gold: int, share: float) -> int:
    """How often to read gold sentences so that they are a share of all labelled sentences.

    n_source (int): Number of source sentences.
    n_gold (int): Number of gold sentences, at least 1.
    share (float): The share, above 0 and below 1.
    RETURNS (int): From 1 to MOST_REPEATS.
    """
    wanted = round(share / (1 - share) * n_source / n_gold)
    return min(max(wanted, 1), MOST_REPEATS)
