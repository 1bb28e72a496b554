"""The sections [teacher], [student] and [adaptation] of a configuration, with their defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ..data.languages import language_code
from ..errors import Errors, MaralError, Warnings, describe_problems
from ..model.checks import check_decision, make_loss, translate_loss, translate_outside

logger = logging.getLogger("spacy")
MAX_MARGIN = {"@losses": "spacy-maral.MaxMargin.v1"}
CROSS_ENTROPY = {"@losses": "spacy-maral.CrossEntropy.v1"}


class Section(BaseModel):
    """A configuration section, whose values cannot change; the text below a setting describes it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


LossBlock = Annotated[
    dict[str, Any],
    Field(
        description="Loss, as a block [teacher.loss] or [student.loss] with @losses: "
        "spacy-maral.MaxMargin.v1 (of rho, Eq. 7), spacy-maral.CrossEntropy.v1 (of the linear head), "
        "spacy-maral.SupCon.v1 (supervised contrastive), or one that you have registered."
    ),
]
Decision = Annotated[
    Literal["likelihood", "posterior", "linear"],
    Field(
        description="Decision rule of the saved model: rho (Eq. 6), rho plus the log prior, or the "
        "linear head (with a loss that trains it, such as CrossEntropy)."
    ),
]
Select = Annotated[
    Literal["source_dev", "last", "target_information", "target_gold"],
    Field(
        description="Epoch whose weights are saved: the best on the source's development data, the "
        "last, the one whose predictions on raw target text are the most certain and varied "
        "(students only), or the best on the held-out part of --target-gold. The default is the best "
        "on the source for a teacher, and the last for a student. Of epochs that are equally good, "
        "the later one is saved."
    ),
]


class TrainingSettings(Section):
    """Settings for the training of one model."""

    # true is no number
    model_config = ConfigDict(strict=True)

    loss: LossBlock = MAX_MARGIN
    decision: Decision = "likelihood"
    offset: float | Literal["auto"] = "auto"
    """Number that the saved pipeline adds to the scores of all entity classes before it decides; 'auto'
    chooses that of the best expected F1, by the F1 on the source's development data, and moves it
    towards the one that fits held-out sentences of --target-gold, if there are any. An offset of the
    component that is not 0 comes first."""
    outside_weight: float = Field(1.0, ge=0)
    """Weight of an outside span in the mean of the loss; an entity has weight 1. With 0, outside
    remains a class that entities are compared with."""
    prior_scale: float = Field(0.0, ge=0)
    """Factor on the log prior of the source in the max-margin loss."""
    epochs: int = Field(4, ge=1)
    """Passes over the labelled or the unlabelled text, whichever is longer."""
    batch_tokens: int = Field(384, ge=1)
    """Maximum number of word pieces in a batch, padding included."""
    min_updates: int = Field(1000, ge=0)
    """Number of updates below which a run makes its batches smaller than batch_tokens (down to 64 word
    pieces, and accumulate first), since few updates leave a model untrained; 0 to leave the batches
    as they are."""
    batch_docs: int = Field(0, ge=0)
    """Maximum number of documents in a batch; 0 for no limit."""
    accumulate: int = Field(1, ge=1)
    """Steps whose gradients make one update."""
    learn_rate: float = Field(1e-4, gt=0)
    """Peak learning rate of the encoder. `init-config` lowers it for encoders wider than 384."""
    head_learn_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the span model."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of AdamW; biases and norms have none."""
    warmup: float = Field(0.06, ge=0, lt=1)
    """Share of all steps in which the learning rates rise linearly; they then fall linearly to
    zero."""
    grad_clip: float = Field(1.0, gt=0)
    """Maximum norm of the gradient, over all weights together."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the matrix products; auto is bfloat16 where the device computes it natively,
    otherwise float16 on a GPU and float32 on a CPU."""
    deterministic: bool = False
    """Whether a GPU computes with algorithms that give the same weights each time. Training on a CPU
    always does, with any number of threads, as long as the number stays the same."""
    freeze_embeddings: bool = True
    """Whether to freeze the encoder's word embeddings."""
    freeze_layers: int = Field(6, ge=0)
    """Number of the encoder's lowest layers to freeze: by default some in a teacher, which could forget
    languages that it does not read, and none in a student. Frozen layers have no dropout, and the word
    embeddings are frozen with them. With half of the layers frozen, a student takes half as long."""
    cache: Path | None = Field(None, strict=False)
    """Folder that caches word pieces and frozen-layer states for this and later runs; it can be
    deleted while no run uses it. By default the cache is in the folder of the run, which deletes it
    when it finishes."""
    frozen_cache: float = Field(8.0, ge=0)
    """Maximum disk space, in GiB, for the frozen-layer states of all documents, and for what else is in
    the cache: other trainings may share it. Frozen-layer states that do not fit are computed again for
    every batch."""
    reset_means: bool = True
    """Whether the class means count for `pseudo_count` spans again at the start of each epoch, so
    that they forget features of earlier epochs."""
    select: Select = "source_dev"
    target_gold_share: float = Field(0.5, gt=0, lt=1)
    """Share of the sentences of --target-gold among the labelled sentences of an epoch: each is
    repeated as often as this needs, at most eight times."""
    target_gold_holdout: float | None = Field(None, ge=0, le=0.5)
    """Share of the sentences of --target-gold that is held out of the training, and on which each
    epoch is measured. By default 0.2 of 50 sentences or more, and none of fewer."""
    checkpoint_minutes: float = Field(0.0, ge=0)
    """Minutes between checkpoints within an epoch; 0 for none. A run always saves a checkpoint
    after each epoch."""
    logger: dict[str, Any] | None = None
    """A logger of spaCy's registry, as a block [teacher.logger] or [student.logger] with @loggers.
    """

    @model_validator(mode="before")
    @classmethod
    def translate(cls, given: Any) -> Any:
        """Translate `include_outside` of 0.1, where False is an outside weight of 0."""
        if isinstance(given, Mapping) and "include_outside" in given:
            logger.warning(Warnings.W206)
        return translate_outside(given)

    @field_validator("loss", mode="before")
    @classmethod
    def check_loss(cls, given: Any) -> Any:
        """Refuse a loss that cannot be made; translate the names of release 0.1."""
        block = translate_loss(given)
        make_loss(block)
        return block

    @model_validator(mode="after")
    def check_rule(self) -> TrainingSettings:
        """Refuse a decision rule that the loss does not train."""
        check_decision(self.decision, make_loss(self.loss))
        return self


class MaskedText(Section):
    """Settings of masked language modelling, which teacher and student have."""

    mlm_weight: float = Field(0.0, ge=0)
    """Weight of masked language modelling (Eq. 51), on target text; a teacher that gets none does it
    on its source text. Needs an encoder with a masked-language-model head."""
    mask_rate: float = Field(0.25, gt=0, lt=1)
    """Share of the word pieces that masked language modelling masks."""


class TeacherSettings(TrainingSettings, MaskedText):
    """Settings for the training of a teacher: [teacher]."""

    loss: LossBlock = CROSS_ENTROPY
    decision: Decision = "linear"


class StudentSettings(TrainingSettings):
    """Settings for the training of a student: [student]."""

    select: Select = "last"
    freeze_layers: int = Field(
        0, ge=0, description=TrainingSettings.model_fields["freeze_layers"].description
    )


class AdaptationSettings(MaskedText):
    """Settings for the use and improvement of target pseudo-labels: [adaptation]."""

    model_config = ConfigDict(strict=True)

    init: Literal["encoder", "teacher"] = "encoder"
    """Whether the student starts from the encoder or from the teacher, whose network and tokenizer it then keeps."""
    warmup_epochs: int = Field(1, ge=1)
    """Epochs with all pseudo-labels, before the first filtering and refinement."""
    target_labels: Literal["hard", "soft"] = "soft"
    """Target of the loss: the most probable class ('hard') or the distribution over classes
    ('soft')."""
    label_offset: float | Literal["auto"] = "auto"
    """Number that is added to the log probabilities of the entity classes in the teacher's labels; 'auto'
    chooses it for each file of the target, by its repeated strings."""
    target_prior_scale: float = Field(0.0, ge=0)
    """Factor on the log prior of the target in the max-margin loss."""
    target_weight: float = Field(1.0, ge=0)
    """Weight of the target's loss."""
    statistics: Literal["all", "reliable", "source"] = "reliable"
    """Target spans that the class means include, besides all source spans: all, those with reliable
    labels, or none ('source')."""
    features: Literal["training", "clean"] = "training"
    """Features for the filter and the refinery: those of the epoch's training pass, or those of a
    separate pass without dropout ('clean')."""
    filter: bool = True
    """Whether to filter out unreliable pseudo-labels."""
    filter_limit: Literal["none", "doubt"] = "doubt"
    """Maximum number of labels of a class that the filter removes: the number expected to be wrong by
    the labels' own probabilities ('doubt'), which is 0 if all of them are 1, or no limit, as in the
    paper ('none')."""
    filter_outside: float = Field(0.0, ge=0, le=1)
    """Maximum share of the outside labels that the filter removes; 1 for no limit of its own, as in
    the paper. The outside spans with the lowest scores are those that look like entities: without
    them a student finds more entities, whether there are more or not."""
    guidance: Literal["both", "global", "local", "none"] = "both"
    """Guidance that refines labels (Eq. 10): class densities (global), neighbours (local), both, or
    none."""
    guidance_mean: Literal["class", "span"] = "span"
    """Mean that a class has to exceed: its mean over the spans whose pseudo-label it is ('class', as
    in the paper; outside is also allowed where it is the best class), or the mean of the span over
    the classes ('span'). Without effect on graded guidance."""
    guidance_weights: Literal["equal", "graded"] = "equal"
    """How a guidance divides its share of a label: equally between the classes that it allows
    (Eq. 10), or in proportion to density or neighbours ('graded')."""
    names: Literal["off", "labels", "all"] = "labels"
    """Where the other mentions of a string in the target text correct a label (see
    docs/concepts.md): nowhere ('off'), in the teacher's pseudo-labels before the first epoch
    ('labels'), or there and, by the student's own probabilities, as a third guidance of each
    refinement ('all')."""
    names_type_weight: float = Field(0.75, ge=0, le=1)
    """Most weight of the other mentions' entity types in a label; the share of outside stays."""
    names_mixed_weight: float = Field(0.25, ge=0, le=1)
    """Most weight of the other mentions' mean distribution, outside included, in a label."""
    save_names: bool = True
    """Whether the pipeline is saved with a name memory, of hashed strings of the target text, by the
    student's own probabilities. It is used in prediction with the weights above, if
    components.maral_ner.names does not say otherwise."""
    neighbours: int = Field(200, ge=1)
    """Number of neighbours k of Eq. 10."""
    bank_outside_rate: float = Field(0.03, ge=0, le=1)
    """Share of the outside spans that the neighbour search includes."""
    bank_size: int = Field(262_144, ge=1)
    """Approximate maximum number of spans in the neighbour search, of source and target together;
    from more spans, a random sample is drawn."""
    alpha_start: float = Field(0.95, ge=0, le=1)
    """Share of the old label in a refined label, in the first refinement."""
    alpha_end: float = Field(0.80, ge=0, le=1)
    """The same share in the last refinement, also if it is the only one; it changes linearly in
    between."""
    diagnose_with_gold: bool = False
    """Whether to read gold labels of the target, if it has any, for the noise ratio in the log.
    They do not affect the run's result."""
    diagnostics: bool = True
    """Whether to keep figures of each epoch, and the words of some spans and sentences, for the
    report."""


class LanguageSettings(Section):
    """The languages of a run: [languages]. The section may be missing."""

    source: str = Field("xx", description="Language code of the labelled text; xx if unknown.")
    target: str = Field(
        "xx",
        description="Language code of the text to adapt to, which the package is named after, also "
        "where nlp.lang is xx because spaCy has no tokenizer for it; xx for several.",
    )


SCHEMAS: Mapping[str, type[Section]] = {
    "teacher": TeacherSettings,
    "student": StudentSettings,
    "adaptation": AdaptationSettings,
}
"""Class of each section."""


def read_section(config: Any, name: str) -> Any:
    """Validate one section of a configuration.

    config (Config): The whole configuration, interpolated.
    name (str): Name of the section: "teacher", "student" or "adaptation".
    RETURNS (Section): The settings.
    RAISES (MaralError): If the section is missing, a key is unknown, or a value is invalid.
    """
    schema = SCHEMAS[name]
    if name not in config:
        raise MaralError(Errors.M301.format(section=name, known=", ".join(schema.model_fields)))
    return _validated(schema, name, config[name])


def read_languages(config: Any) -> LanguageSettings:
    """Read the section [languages] of a configuration.

    config (Config): The whole configuration, interpolated.
    RETURNS (LanguageSettings): The languages; the defaults if the section is missing.
    RAISES (MaralError): If a key is unknown, or a value is no language code.
    """
    found = _validated(LanguageSettings, "languages", config.get("languages", {}))
    return LanguageSettings(source=language_code(found.source), target=language_code(found.target))


def _validated(schema: type[Section], name: str, given: Any) -> Any:
    try:
        return schema.model_validate(given)
    except ValidationError as error:
        problems = describe_problems(error, schema.model_fields, f"[{name}]")
        known = ", ".join(schema.model_fields)
        raise MaralError(Errors.M302.format(problems=problems, known=known)) from None


def check_sections(config: Any) -> None:
    """Validate all sections that a configuration has, those that a run does not use too.

    RAISES (MaralError): If a key is unknown, or a value is invalid.
    """
    for name in SCHEMAS:
        if name in config:
            read_section(config, name)
    read_languages(config)


SELECTION: Mapping[str, str] = {
    "source_dev": "score",
    "last": "epoch",
    "target_information": "target_information",
    "target_gold": "target_gold_f1",
}
"""Key of an epoch's row for each value of `select`; the epoch with the highest value is kept."""
