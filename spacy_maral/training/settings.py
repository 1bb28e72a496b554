"""The sections [teacher], [student] and [adaptation] of a configuration, with their defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import Errors, MaralError, Warnings
from ..model.checks import translate_outside

logger = logging.getLogger("spacy")


class Section(BaseModel):
    """A configuration section: unknown keys are refused, values are not changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingSettings(Section):
    """How one model is trained: [teacher] and [student]."""

    loss: Literal["max_margin", "cross_entropy", "supcon"] = Field(
        "max_margin",
        description="Loss: max-margin on rho (Eq. 7), cross-entropy of the linear head, or "
        "supervised contrastive.",
    )
    decision: Literal["likelihood", "posterior", "linear"] = Field(
        "likelihood",
        description="What the saved model decides by: rho (Eq. 6), rho with the log prior, or the "
        "linear head (goes with cross_entropy).",
    )
    outside_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of an outside span in the mean of the loss; an entity has 1. With 0, "
        "outside still is a class that entities are compared with.",
    )
    prior_scale: float = Field(
        1.0, ge=0, description="Factor on the log prior of the source in the max-margin loss."
    )
    epochs: int = Field(
        5, ge=1, description="Passes over the longest of the labelled and the unlabelled text."
    )
    batch_tokens: int = Field(
        2048, ge=1, description="Most word pieces of a batch, padding included."
    )
    batch_docs: int = Field(0, ge=0, description="Most documents of a batch; 0 for any number.")
    accumulate: int = Field(1, ge=1, description="Steps whose gradients make one update.")
    learn_rate: float = Field(5e-5, gt=0, description="Highest learning rate of the encoder.")
    head_learn_rate: float = Field(
        5e-4, gt=0, description="Highest learning rate of the span model."
    )
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay of AdamW; none on biases and norms."
    )
    warmup: float = Field(
        0.06,
        ge=0,
        lt=1,
        description="Share of all steps in which the learning rates rise linearly; they then fall "
        "linearly to zero.",
    )
    grad_clip: float = Field(
        1.0, gt=0, description="Largest norm of the gradient, over all weights together."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of the matrix products; auto is bfloat16 where the device "
        "computes it natively, on older GPUs float16, otherwise float32.",
    )
    freeze_embeddings: bool = Field(
        False, description="Whether the encoder's word embeddings stay as they are."
    )
    freeze_layers: int = Field(
        0, ge=0, description="Lowest layers of the encoder that stay as they are, without dropout."
    )
    cache: Path | None = Field(
        None,
        description="Folder where word pieces and what frozen layers give are kept, for later "
        "trainings too; it can be deleted between trainings. By default they are in the folder of "
        "the run until it is finished.",
    )
    frozen_cache: float = Field(
        8.0,
        ge=0,
        description="Most space on the disk, in GiB, for what frozen layers give for all documents, "
        "so that it is computed once.",
    )
    select: Literal[
        "source_dev", "last", "target_agreement", "target_density", "target_information"
    ] = Field(
        "source_dev",
        description="Which epoch is saved: the best on the source's development data, the last, or "
        "the best by a signal of raw target text (students only).",
    )
    checkpoint_minutes: float = Field(
        0.0,
        ge=0,
        description="The state is saved after each epoch, and every so many minutes within one (0: "
        "not within).",
    )
    logger: dict[str, Any] | None = Field(
        None,
        description="A logger of spaCy's registry, as a block [teacher.logger] or [student.logger] "
        "with @loggers.",
    )

    @model_validator(mode="before")
    @classmethod
    def translate(cls, given: Any) -> Any:
        """Read what 0.1 called `include_outside`: without outside spans, their weight is 0."""
        if isinstance(given, Mapping) and "include_outside" in given:
            logger.warning(Warnings.W206)
        return translate_outside(given)


class AdaptationSettings(Section):
    """How pseudo-labels of the target language are used and improved: [adaptation]."""

    init: Literal["encoder", "teacher"] = Field(
        "encoder", description="Whether the student starts from the encoder or from the teacher."
    )
    warmup_epochs: int = Field(
        2,
        ge=1,
        description="Epochs with all pseudo-labels, before unreliable ones are filtered and refined.",
    )
    target_labels: Literal["hard", "soft"] = Field(
        "hard",
        description="Whether the loss takes the most probable class or the distribution over classes.",
    )
    target_prior_scale: float = Field(
        1.0, ge=0, description="Factor on the log prior of the target in the max-margin loss."
    )
    target_weight: float = Field(1.0, ge=0, description="Weight of the target's loss.")
    statistics: Literal["all", "reliable", "source"] = Field(
        "reliable",
        description="Which target spans the class means take in beside all source spans; 'source': "
        "none.",
    )
    features: Literal["training", "clean"] = Field(
        "training",
        description="Whether filter and refinery see the features of the epoch's training pass, or "
        "those of a pass of its own without dropout.",
    )
    filter: bool = Field(True, description="Whether unreliable pseudo-labels are filtered out.")
    filter_limit: Literal["none", "doubt"] = Field(
        "none",
        description="Most labels of a class that the filter takes out: no limit, or as many as are "
        "wrong by the labels' own probabilities ('doubt'; hard labels have none).",
    )
    guidance: Literal["both", "global", "local", "none"] = Field(
        "both",
        description="What refines labels: class densities (global, Eq. 10), neighbours (local, "
        "Eq. 11), both, or nothing.",
    )
    guidance_weights: Literal["equal", "graded"] = Field(
        "equal",
        description="Whether all classes that a guidance allows get the same share of a label "
        "(Eq. 10, 11), or each as much as its density or its neighbours say ('graded').",
    )
    neighbours: int = Field(200, ge=1, description="Number of neighbours k of Eq. 11.")
    bank_outside_rate: float = Field(
        0.03,
        ge=0,
        le=1,
        description="Share of the outside spans among which neighbours are searched.",
    )
    bank_size: int = Field(
        262_144,
        ge=1,
        description="About the most spans among which neighbours are searched, of source and target "
        "together; of more, some are drawn.",
    )
    alpha_start: float = Field(
        0.95,
        ge=0,
        le=1,
        description="What a refined label keeps of itself in the first refinement.",
    )
    alpha_end: float = Field(
        0.80, ge=0, le=1, description="The same in the last one; linear between."
    )
    mlm_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of masked language modelling on target text (Eq. 51); needs an encoder "
        "with such a head.",
    )
    mask_rate: float = Field(0.25, gt=0, lt=1, description="Share of the pieces that it masks.")
    diagnose_with_gold: bool = Field(
        False,
        description="Whether gold labels of the target, if it has any, may be looked at for the "
        "noise ratio in the log. Nothing in the run goes by them.",
    )
    diagnostics: bool = Field(
        True,
        description="Whether figures of each epoch, and the words of some spans and sentences, are "
        "kept for the report.",
    )


def read_section(config: Any, name: str, schema: type[Section]) -> Any:
    """Validate one section of a configuration.

    config (Config): The whole configuration, interpolated.
    name (str): Name of the top-level section.
    schema (type): What the section must look like.
    RETURNS (Section): The settings.
    RAISES (MaralError): If the section is missing or a key is unknown or out of range.
    """
    if name not in config:
        raise MaralError(Errors.M301.format(section=name, known=", ".join(schema.model_fields)))
    try:
        return schema.model_validate(config[name])
    except ValidationError as error:
        problems = "\n".join(
            f"  [{name}] {'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        known = ", ".join(schema.model_fields)
        raise MaralError(Errors.M302.format(problems=problems, known=known)) from None


SELECTION: Mapping[str, str] = {
    "source_dev": "score",
    "last": "epoch",
    "target_agreement": "target_agreement",
    "target_density": "target_density",
    "target_information": "target_information",
}
"""What each value of `select` goes by, as a key of an epoch's row; the highest is kept."""


ON_TARGET = tuple(name for name in SELECTION if name.startswith("target_"))
