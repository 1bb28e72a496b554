"""The pipeline component: entities from scored candidate spans."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import logger
from thinc.api import Config, Model, Optimizer, set_dropout_rate, torch2xp
from thinc.types import Floats2d

from ..errors import Errors, MaralError, Warnings
from .architectures import (
    SpanBatch,
    SpanGradients,
    class_scores,
    get_span_module,
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
    name_settings,
    sealed,
    translate_cfg,
    translate_loss,
)
from .gold import annotated_runs, gold_classes
from .listening import check_encoded, check_source, listens_to_transformer
from .losses import MaxMargin, SpanLoss, label_spans
from .memory import give_back_memory
from .name_files import NAMES, names_from_bytes, names_to_bytes
from .names import NameMemory, refine_documents, refine_scores, span_keys
from .neighbours import check_sums, write_sums
from .offsets import Offset, class_offsets
from .predictions import Predictions, annotate, register_score
from .span_model import DECISIONS, SpanOutput
from .spans import Candidates, span_counts
from .visible import VisibleWords, any_visible

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
    "offset": 0.0,
    "overwrite": True,
    "scores": True,
    "threshold": 0.0,
    "spans_key": None,
    "spans_threshold": None,
    "names": None,
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
    offset: float | dict[str, float],
    overwrite: bool,
    scores: bool,
    threshold: float,
    spans_key: str | None,
    spans_threshold: float | None,
    names: dict[str, Any] | None,
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
    offset (float | dict[str, float]): Number that is added to the scores of the entity classes
        before the decision: above 0 for more entities, below 0 for fewer. One number for all labels,
        or numbers by label. Confidences are those of the shifted scores.
    overwrite (bool): Whether earlier entities of a document are replaced. If not, they are kept,
        and no new entity overlaps them, as with spaCy's own `ner`.
    scores (bool): Whether each new entity gets its confidence, from 0 to 1, as ent._.maral_score.
    threshold (float): Minimum confidence of an entity that is written; 0 writes all.
    spans_key (str): Key of doc.spans under which the entities and their confidences are written
        too; None to write none.
    spans_threshold (float): Minimum probability of other spans that are added under this key; None
        to add none.
    names (dict): Whether other mentions of a string correct the classes of a mention, as a block
        with any of type_weight (0.75), mixed_weight (0), consistency ("memory" for the strings that
        are saved with the component, or "doc" for the same document), leave_one_out (false); None
        for off. See `NameSettings`.
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
        offset=offset,
        overwrite=overwrite,
        scores=scores,
        threshold=threshold,
        spans_key=spans_key,
        spans_threshold=spans_threshold,
        names=names,
        keep_trf_data=keep_trf_data,
        scorer=scorer,
    )


class MaralNER(TrainablePipe):
    """Find entities by scoring all spans of up to `max_width` words (see `make_maral_ner`).

    settings: Any of `SETTINGS`, as `make_maral_ner` explains them.

    names: Memory of the strings of a text (see `NameMemory`), saved with the component; None for none.
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
        self.names: NameMemory | None = None
        self._warned = False
        self._n_words = 0

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Write the component as bytes, with a checksum of its settings.

        exclude (Iterable[str]): Parts to leave out.
        RETURNS (bytes): The bytes.
        """
        with sealed(self.cfg):
            data = super().to_bytes(exclude=exclude)
        if self.names is None or NAMES in exclude:
            return data
        parts = {**srsly.msgpack_loads(data), NAMES: names_to_bytes(self.names, self.labels)}
        return srsly.msgpack_dumps(parts)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component to a folder, with checksums of its settings and of spaCy's own files.

        path (str | Path): The folder.
        exclude (Iterable[str]): Parts to leave out.
        """
        with sealed(self.cfg):
            super().to_disk(path, exclude=exclude)
        write_sums(Path(path), self.vocab)
        if NAMES in exclude:
            return
        file = Path(path) / NAMES
        if self.names is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(names_to_bytes(self.names, self.labels))

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> MaralNER:
        """Load the component from bytes.

        bytes_data (bytes): The bytes that `to_bytes` returned.
        exclude (Iterable[str]): Parts to leave as they are.
        RETURNS (MaralNER): Itself.
        RAISES (MaralError): If the bytes are damaged, or their parts do not fit together.
        """
        with loading():
            check_parts(bytes_data, exclude)
            with self._read_settings():
                super().from_bytes(bytes_data, exclude=exclude)
            check_loaded(self.model, self.cfg)
            if NAMES not in exclude:
                self._read_names(srsly.msgpack_loads(bytes_data).get(NAMES))
        return self

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> MaralNER:
        """Load the component from a folder.

        path (str | Path): The folder.
        exclude (Iterable[str]): Parts to leave as they are.
        RETURNS (MaralNER): Itself.
        RAISES (MaralError): If the files are damaged, or do not fit together.
        """
        with loading():
            check_sums(Path(path))
            with self._read_settings():
                super().from_disk(path, exclude=exclude)
            check_loaded(self.model, self.cfg)
            if NAMES not in exclude:
                file = Path(path) / NAMES
                self._read_names(file.read_bytes() if file.is_file() else None)
        return self

    @contextmanager
    def _read_settings(self) -> Iterator[None]:
        """Read saved settings in the block, apart from those that later releases have added."""
        before, self.cfg = self.cfg, {}
        try:
            yield
            saved = translate_cfg(self.cfg)
        except BaseException:
            self.cfg = before
            raise
        self.cfg = configure({**before, "configured": {}, **saved}, before["configured"])

    def _read_names(self, data: bytes | None) -> None:
        """Take the saved name memory, or none, as from releases that had none."""
        self.names = None if data is None else names_from_bytes(data, self.labels)

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

    @property
    def offsets(self) -> NDArray[np.float32]:
        """RETURNS (NDArray[np.float32]): Number added to the scores of each class, shape (K,)."""
        return class_offsets(self.cfg["offset"], self.labels)

    def set_offset(self, offset: Offset) -> None:
        """Choose what is added to the scores of the entity classes before the decision.

        offset (float | Mapping[str, float]): A number for all labels, or numbers by label.
        RAISES (MaralError): If a number is out of range, or the component does not have a label.
        """
        class_offsets(offset, self.labels)
        self.cfg["offset"] = offset

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
        RAISES (MaralError): If there are no labels, or what the component listens to is not before it.
        """
        validate_get_examples(get_examples, "MaralNER.initialize")
        if nlp is not None:
            check_source(self.model, self.name, nlp)
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
        # both belong to the weights that are replaced
        self.names = None
        self.cfg.pop("calibration", None)
        for label in labels:
            self.add_label(label)
        self.model.set_dim("nO", len(self.labels) + 1, force=True)
        self.model.initialize(X=[eg.predicted for eg in islice(get_examples(), SAMPLE_DOCS)])
        self.set_decision(self.cfg["decision"])
        self.set_offset(self.cfg["offset"])
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
        RETURNS (Predictions): The candidates and their scores, corrected by the other mentions of
            their strings where the setting `names` is on, then shifted by the offset.
        RAISES (MaralError): If the component is not initialised, or what it listens to has not
            read a document.
        """
        docs = list(docs)
        found = self.score_spans(docs)
        return Predictions(found.candidates, self._consult_names(docs, found) + self.offsets)

    def _consult_names(self, docs: Sequence[Doc], found: Predictions) -> NDArray[np.floating]:
        """Correct scores by the other mentions of the candidates' strings, as `names` says."""
        settings = name_settings(self.cfg["names"])
        if settings is None or not len(found.candidates):
            return found.scores
        if settings.consistency == "memory" and self.names is None:
            return found.scores
        keys = span_keys(VisibleWords.of(docs).texts, found.candidates)
        if settings.consistency == "doc" or self.names is None:
            return refine_documents(found.scores, keys, found.candidates.owner, settings)
        return refine_scores(found.scores, keys, self.names, settings, own=settings.leave_one_out)

    def score_spans(self, docs: Sequence[Doc]) -> Predictions:
        """Score the candidate spans of documents by the model alone, without `names` and `offset`.

        docs (Sequence[Doc]): The documents.
        RETURNS (Predictions): The candidates and their scores.
        RAISES (MaralError): See `predict`.
        """
        n_classes = len(get_span_module(self.model).statistics.count)
        if not any_visible(docs):
            nothing = np.zeros((0, n_classes), dtype=np.float32)
            return Predictions(Candidates([0] * len(docs), 1), nothing)
        check_encoded(self.model, self.name, list(docs))
        batch = self.model.predict(list(docs))
        return Predictions(batch.candidates, class_scores(self.model, batch))

    def set_annotations(self, docs: Iterable[Doc], predictions: Predictions) -> None:
        """Write entities and their confidences to documents (see `predictions.annotate`).

        docs (Iterable[Doc]): The documents.
        predictions (Predictions): The output of `predict` for them.
        """
        docs = list(docs)
        annotate(docs, predictions, self.labels, self.cfg)
        if not self.cfg["keep_trf_data"] and listens_to_transformer(self.model):
            from .encoder.dropped import drop_output

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
        drop (float): Dropout rate of a tok2vec that belongs to this component alone. The span model
            and a transformer have rates of their own.
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
        set_dropout_rate(self.model, drop)
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


def set_names(
    nlp: Language, name: str, memory: NameMemory | None, settings: dict[str, Any] | None
) -> None:
    """Give a pipeline's component a name memory and its settings, to be saved with it.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    memory (NameMemory): The memory; None for none.
    settings (dict): Value of the component's setting `names`; None for off.
    RAISES (MaralError): If a setting is out of range.
    """
    name_settings(settings)
    pipe = cast(MaralNER, nlp.get_pipe(name))
    pipe.names = memory
    set_use(nlp, name, names=settings)


def set_use(nlp: Language, name: str, **settings: Any) -> None:
    """Change settings of use of a pipeline's component, to be saved with it.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    settings (Any): Values of some of SETTINGS_OF_USE, which are not checked.
    """
    cfg = cast(MaralNER, nlp.get_pipe(name)).cfg
    # so that another value in the configuration counts when it is loaded
    cfg |= {**settings, "configured": {**cfg["configured"], **settings}}
    nlp.get_pipe_config(name).update(settings)
