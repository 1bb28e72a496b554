"""The pipeline component: entities from scored candidate spans."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import logger
from thinc.api import Config, Model, Optimizer, torch2xp
from thinc.types import Floats2d

from ..errors import Errors, MaralError, Warnings
from .architectures import (
    SpanBatch,
    SpanGradients,
    check_encoded,
    class_scores,
    get_span_module,
    listens,
    to_torch,
)
from .checks import (
    SETTINGS_OF_USE,
    check_choice,
    check_decision,
    check_loaded,
    check_parts,
    check_settings,
    configure,
    loading,
    make_loss,
    sealed,
    translate_cfg,
    translate_loss,
)
from .encoder.dropped import drop_output
from .gold import annotated_runs, gold_classes
from .losses import MaxMargin, SpanLoss, label_spans
from .memory import give_back_memory
from .neighbours import check_sums, write_sums
from .predictions import Predictions, annotate, register_score
from .span_model import DECISIONS, SpanOutput
from .spans import Candidates, span_counts
from .visible import any_visible

if hasattr(os, "register_at_fork"):
    # a forked process has none of the threads that torch would wait for, as in nlp.pipe(n_process=2)
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

OUTSIDE_NAME = "O"
SAMPLE_DOCS = 10
# after so many words, freed memory is returned to the system
WORDS_TO_TRIM = 50_000

DEFAULT_MODEL = Config().from_str(
    """
    [model]
    @architectures = "spacy-maral.SpanModel.v1"
    max_width = 8
    dim = 64
    hidden_width = 384
    dropout = 0.1

    [model.tok2vec]
    @architectures = "spacy-maral.WordPieceEnds.v1"
    grad_factor = 1.0
    upstream = "*"
    """
)["model"]
SETTINGS: dict[str, Any] = {
    "decision": "likelihood",
    "prior_scale": 0.0,
    "outside_weight": 1.0,
    "memory": 10000.0,
    "overwrite": True,
    "scores": True,
    "threshold": 0.0,
    "spans_key": None,
    "spans_threshold": None,
    "keep_trf_data": False,
}
DEFAULT_CONFIG: dict[str, Any] = {
    "model": DEFAULT_MODEL,
    "loss": {"@losses": "spacy-maral.MaxMargin.v1"},
    **SETTINGS,
    # read from configurations of 0.1
    "include_outside": True,
    "scorer": {"@scorers": "spacy-maral.entity_scorer.v1"},
}


def make_entity_scorer() -> Callable[..., dict[str, Any]]:
    """Make the entity scorer: strict precision, recall and F-score, in total and per type."""
    return score_entities


def score_entities(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """Score entities; both boundaries and the type must match.

    examples (Iterable[Example]): Predicted documents with their references.
    RETURNS (dict): ents_p, ents_r, ents_f and ents_per_type.
    """
    return get_ner_prf(examples, **kwargs)


@Language.factory(
    "maral_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.maral_score"],
    default_config=DEFAULT_CONFIG,
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_maral_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], SpanBatch],
    loss: Callable | str,
    decision: str,
    prior_scale: float,
    outside_weight: float,
    include_outside: bool,
    memory: float,
    overwrite: bool,
    scores: bool,
    threshold: float,
    spans_key: str | None,
    spans_threshold: float | None,
    keep_trf_data: bool,
    scorer: Callable | None,
) -> MaralNER:
    """Make the component that finds entities by scoring all spans of up to `max_width` words.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): Scores the candidate spans, such as spacy-maral.SpanModel.v1.
    loss (Callable): Loss of `update`, from the registry `losses`: spacy-maral.MaxMargin.v1 (Eq. 7),
        spacy-maral.CrossEntropy.v1 (of the linear head), spacy-maral.SupCon.v1 (supervised
        contrastive), or one of your own.
    decision (str): Decision rule: "likelihood" (rho, Eq. 6), "posterior" (rho and the log prior) or
        "linear" (the linear head; needs a loss that trains it, such as CrossEntropy).
    prior_scale (float): Factor on the log prior in the max-margin loss.
    outside_weight (float): Weight of an outside span in the mean loss; an entity has the weight 1.
    memory (float): Maximum number of spans that each running class mean counts for in `update`;
        older spans are forgotten.
    overwrite (bool): Whether earlier entities of a document are replaced. If not, they are kept,
        and no new entity overlaps them, as with spaCy's own `ner`.
    scores (bool): Whether each new entity gets its confidence, from 0 to 1, as ent._.maral_score.
    threshold (float): Minimum confidence of an entity that is written; 0 writes all.
    spans_key (str): Key of doc.spans under which the entities and their confidences are written
        too; None to write none.
    spans_threshold (float): Minimum probability of other spans that are added under this key; None
        to add none.
    keep_trf_data (bool): Whether documents keep the encoder's output in doc._.trf_data. Otherwise it
        is dropped once the entities are found, as it takes more memory than all the rest. A later component that uses it needs it; without, it raises an error that says so.
    scorer (Callable): Scores the component.
    include_outside (bool): Setting of release 0.1; if false, the outside weight is 0.
    RETURNS (MaralNER): The component.
    RAISES (MaralError): If a setting is out of its range.
    """
    return MaralNER(
        nlp,
        model,
        name,
        loss=make_loss(translate_loss(loss)) if isinstance(loss, str) else loss,
        decision=decision,
        prior_scale=prior_scale,
        outside_weight=outside_weight if include_outside else 0.0,
        memory=memory,
        overwrite=overwrite,
        scores=scores,
        threshold=threshold,
        spans_key=spans_key,
        spans_threshold=spans_threshold,
        keep_trf_data=keep_trf_data,
        scorer=scorer,
    )


class MaralNER(TrainablePipe):
    """Find entities by scoring all spans of up to `max_width` words (see `make_maral_ner`).

    settings: Any of `SETTINGS`, as `make_maral_ner` explains them.
    """

    def __init__(
        self,
        nlp: Language,
        model: Model[list[Doc], SpanBatch],
        name: str = "maral_ner",
        *,
        loss: SpanLoss | None = None,
        scorer: Callable | None = score_entities,
        **settings: Any,
    ) -> None:
        if unknown := settings.keys() - SETTINGS:
            raise TypeError(f"MaralNER has no setting {', '.join(sorted(unknown))}")
        register_score()
        self.vocab = nlp.vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": [], **SETTINGS, **settings}
        self.loss = MaxMargin() if loss is None else loss
        self.cfg["configured"] = {key: self.cfg[key] for key in SETTINGS_OF_USE}
        check_settings(self.cfg)
        check_decision(self.cfg["decision"], self.loss)
        self._warned = False
        self._n_words = 0

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Write the component as bytes, with a checksum of its settings.

        exclude (Iterable[str]): Parts to leave out.
        RETURNS (bytes): The bytes.
        """
        with sealed(self.cfg):
            return super().to_bytes(exclude=exclude)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component to a folder, with checksums of its settings and of spaCy's own files.

        path (str | Path): The folder.
        exclude (Iterable[str]): Parts to leave out.
        """
        with sealed(self.cfg):
            super().to_disk(path, exclude=exclude)
        write_sums(Path(path), self.vocab)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> MaralNER:
        """Load the component from bytes.

        bytes_data (bytes): The bytes that `to_bytes` returned.
        exclude (Iterable[str]): Parts to leave as they are.
        RETURNS (MaralNER): Itself.
        RAISES (MaralError): If the bytes are damaged, or their parts do not fit together.
        """
        with loading():
            check_parts(bytes_data, exclude)
            given, self.cfg["configured"] = self.cfg["configured"], {}
            super().from_bytes(bytes_data, exclude=exclude)
            self.cfg = configure(translate_cfg(self.cfg), given)
            check_loaded(self.model, self.cfg)
        return self

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> MaralNER:
        """Load the component from a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Parts to leave as they are.
        RETURNS (MaralNER): Itself.
        RAISES (MaralError): If the files are damaged, or do not fit together.
        """
        with loading():
            given, self.cfg["configured"] = self.cfg["configured"], {}
            check_sums(Path(path))
            super().from_disk(path, exclude=exclude)
            self.cfg = configure(translate_cfg(self.cfg), given)
            check_loaded(self.model, self.cfg)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): Entity labels; class i + 1 is labels[i], class 0 is outside."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): The labels, for `spacy init labels` and `initialize`."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before the component is initialised.

        label (str): The label.
        RETURNS (int): 0 if the component had the label already, otherwise 1.
        RAISES (MaralError): If the label is not valid, or the component is initialised already.
        """
        if not isinstance(label, str) or not label or label == OUTSIDE_NAME:
            raise MaralError(Errors.M211.format(label=label))
        if label in self.cfg["labels"]:
            return 0
        if self.model.has_dim("nO"):
            raise MaralError(
                Errors.M207.format(label=label, name=self.name, labels=", ".join(self.labels))
            )
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def set_decision(self, decision: str) -> None:
        """Choose the decision rule.

        decision (str): "likelihood", "posterior" or "linear".
        RAISES (MaralError): If there is no such rule, or the component is not initialised.
        """
        check_choice("decision", decision, DECISIONS)
        get_span_module(self.model).decision = decision
        self.cfg["decision"] = decision

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
    ) -> None:
        """Collect the labels, make the span model and set its class prior from the data.

        get_examples (Callable): Returns representative examples.
        nlp (Language): The pipeline.
        labels (list[str]): The labels, in the format of `label_data`. By default, the labels of the
            examples and those added before, in alphabetical order.
        RAISES (MaralError): If there are no labels.
        """
        validate_get_examples(get_examples, "MaralNER.initialize")
        counts: Counter[str] = Counter()
        lengths: list[int] = []
        for eg in get_examples():
            lengths += annotated_runs(eg.reference)
            counts.update(ent.label_ for ent in eg.reference.ents)
        if labels is None:
            labels = sorted({*self.labels, *counts})
        if not labels:
            raise MaralError(Errors.M214.format(name=self.name))
        self.model.set_dim("nO", None, force=True)  # type: ignore[arg-type]
        self.cfg["labels"] = []
        for label in labels:
            self.add_label(label)
        self.model.set_dim("nO", len(self.labels) + 1, force=True)
        self.model.initialize(X=[eg.predicted for eg in islice(get_examples(), SAMPLE_DOCS)])
        self.set_decision(self.cfg["decision"])
        self._set_prior(counts, lengths)

    def _set_prior(self, counts: Counter[str], lengths: list[int]) -> None:
        """Set the class prior to the share of each class among the annotated candidate spans."""
        module = get_span_module(self.model)
        entities = [counts[label] for label in self.labels]
        n_outside = int(span_counts(lengths, module.max_width).sum()) - sum(entities)
        if sum(entities):
            module.statistics.set_prior(torch.tensor([max(n_outside, 1), *entities]))

    def predict(self, docs: Iterable[Doc]) -> Predictions:
        """Score the candidate spans of documents, without changing the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (Predictions): The candidates and their scores.
        RAISES (MaralError): If the component is not initialised, or no transformer has read a
            document.
        """
        docs = list(docs)
        n_classes = len(get_span_module(self.model).statistics.count)
        if not any_visible(docs):
            nothing = np.zeros((0, n_classes), dtype=np.float32)
            return Predictions(Candidates([0] * len(docs), 1), nothing)
        check_encoded(self.model, self.name, docs)
        batch = self.model.predict(docs)
        scores = class_scores(self.model, batch)
        return Predictions(batch.candidates, scores)

    def set_annotations(self, docs: Iterable[Doc], predictions: Predictions) -> None:
        """Write entities and their confidences to documents (see `predictions.annotate`).

        docs (Iterable[Doc]): The documents.
        predictions (Predictions): The output of `predict` for them.
        """
        docs = list(docs)
        annotate(docs, predictions, self.labels, self.cfg)
        if not self.cfg["keep_trf_data"] and listens(self.model):
            drop_output(docs)
        self._n_words += sum(map(len, docs))
        if self._n_words >= WORDS_TO_TRIM:
            # many short-lived blocks of all sizes leave gaps, which glibc would keep
            give_back_memory()
            self._n_words = 0

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Train on a batch, then update the class means with its spans (Eq. 8).

        examples (Iterable[Example]): The batch.
        drop (float): Not used: the span model and the transformer have dropout rates of their own.
        sgd (Optimizer): The optimizer.
        losses (dict): Losses by component; the loss of the batch is added.
        RETURNS (dict): The updated losses.
        RAISES (MaralError): If a gold label is not among the labels.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        validate_examples(examples := list(examples), "MaralNER.update")
        if not any_visible(eg.predicted for eg in examples):
            return losses
        batch, backprop = self.model.begin_update([eg.predicted for eg in examples])
        classes = self._gold(examples)
        loss, d_output = self._loss(batch, classes)
        backprop(d_output)  # type: ignore[arg-type]
        if sgd is not None:
            self.finish_update(sgd)
        z = to_torch(self.model, batch.z)
        statistics = get_span_module(self.model).statistics
        statistics.update(z, torch.from_numpy(classes).to(z.device), memory=self.cfg["memory"])
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: SpanBatch
    ) -> tuple[float, SpanGradients]:
        """Compute the loss of a batch and its gradients.

        examples (Iterable[Example]): The batch.
        scores (SpanBatch): Output of the model for the batch.
        RETURNS (tuple): The loss, and its gradients with respect to z and logits (None for one that
            the loss does not use).
        """
        examples = list(examples)
        validate_examples(examples, "MaralNER.get_loss")
        return self._loss(scores, self._gold(examples))

    def _gold(self, examples: list[Example]) -> NDArray[np.int64]:
        """Gold classes of the candidates; warns once if entities have no candidate."""
        numbers = {label: i for i, label in enumerate(self.labels, start=1)}
        max_width = get_span_module(self.model).max_width
        gold = gold_classes(examples, numbers, max_width)
        if (gold.n_unaligned or gold.n_too_wide) and not self._warned:
            self._warned = True
            found = {"n_unaligned": gold.n_unaligned, "n_too_wide": gold.n_too_wide}
            logger.warning(Warnings.W201.format(name=self.name, max_width=max_width, **found))
        return gold.classes

    def _loss(self, batch: SpanBatch, classes: NDArray[np.int64]) -> tuple[float, SpanGradients]:
        """The loss that the settings name, and its gradients with respect to z and logits."""
        z = to_torch(self.model, batch.z, requires_grad=True)
        logits = to_torch(self.model, batch.logits, requires_grad=True)
        module = get_span_module(self.model)
        spans = label_spans(
            module,
            SpanOutput(z, logits),
            torch.from_numpy(classes).to(z.device),
            log_prior=self.cfg["prior_scale"] * module.statistics.prior.log(),
            outside_weight=self.cfg["outside_weight"],
        )
        loss = self.loss(spans)
        loss.backward()
        return loss.item(), (_gradient(z), _gradient(logits))


def _gradient(tensor: torch.Tensor) -> Floats2d | None:
    return None if tensor.grad is None else cast(Floats2d, torch2xp(tensor.grad))
