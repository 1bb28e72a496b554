"""The sections [teacher], [student] and [adaptation] of a configuration, with their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from spacy.util import load_config
from thinc.api import Config, ConfigValidationError

from ..errors import Errors, MaralError


class Section(BaseModel):
    """A configuration section: unknown keys are refused, values are not changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingSettings(Section):
    """How one model is trained: [teacher] and [student].

    A batch holds at most `batch_tokens` word pieces, padding included, and at most `batch_docs`
    documents (0: any number). Learning rates rise linearly over `warmup` of all steps and then fall
    linearly to zero. What frozen layers give is computed once, if it fits in `frozen_cache` GiB for
    all documents. `decision` is what the saved model decides by (see `span_model.DECISIONS`),
    `select` which epoch is saved (see `selection`). The state is saved after each epoch, and every
    `checkpoint_minutes` within one (0: not within).
    """

    loss: Literal["max_margin", "cross_entropy", "supcon"] = "max_margin"
    decision: Literal["likelihood", "posterior", "linear"] = "likelihood"
    include_outside: bool = True
    prior_scale: float = Field(1.0, ge=0)
    epochs: int = Field(5, ge=1)
    batch_tokens: int = Field(2048, ge=1)
    batch_docs: int = Field(0, ge=0)
    accumulate: int = Field(1, ge=1)
    learn_rate: float = Field(5e-5, gt=0)
    head_learn_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    freeze_embeddings: bool = False
    freeze_layers: int = Field(0, ge=0)
    frozen_cache: float = Field(2.0, ge=0)
    select: Literal[
        "source_dev", "last", "target_agreement", "target_density", "target_information"
    ] = "source_dev"
    checkpoint_minutes: float = Field(0.0, ge=0)
    logger: dict[str, Any] | None = None


class AdaptationSettings(Section):
    """How pseudo-labels of the target language are used and improved: [adaptation].

    For `warmup_epochs` all pseudo-labels are used; then, between epochs, the mixture filter keeps
    the reliable ones and the refinery moves the others by `1 - alpha`, with alpha linear from
    `alpha_start` to `alpha_end` over the remaining epochs. `diagnostics` keeps, beside the log, what
    the report draws: figures of each epoch, and the words of some spans and sentences.
    """

    init: Literal["encoder", "teacher"] = "encoder"
    warmup_epochs: int = Field(2, ge=1)
    target_labels: Literal["hard", "soft"] = "hard"
    target_prior_scale: float = Field(1.0, ge=0)
    target_weight: float = Field(1.0, ge=0)
    statistics: Literal["all", "reliable", "source"] = "reliable"
    features: Literal["training", "clean"] = "training"
    filter: bool = True
    guidance: Literal["both", "global", "local", "none"] = "both"
    neighbours: int = Field(200, ge=1)
    bank_outside_rate: float = Field(0.03, ge=0, le=1)
    reference_size: int = Field(2000, ge=1)
    alpha_start: float = Field(0.95, ge=0, le=1)
    alpha_end: float = Field(0.80, ge=0, le=1)
    mlm_weight: float = Field(0.0, ge=0)
    mask_rate: float = Field(0.25, gt=0, lt=1)
    diagnose_with_gold: bool = False
    diagnostics: bool = True


def read_config(
    path: str | Path, overrides: dict[str, Any] | None = None, *, interpolate: bool = True
) -> Config:
    """Read a configuration.

    path (str | Path): The file.
    overrides (dict): Settings that replace those of the file, as {"section.key": value}.
    interpolate (bool): Whether to put in what its variables stand for.
    RETURNS (Config): The configuration.
    RAISES (MaralError): If the file is missing or is no configuration.
    """
    try:
        return load_config(path, overrides or {}, interpolate=interpolate)
    except ConfigValidationError as error:
        short = ConfigValidationError.from_error(error, title="", show_config=False)
        problem = short.text.strip()
    except Exception as error:
        # the parser reports what it cannot read by whatever it fails with
        problem = f"{type(error).__name__}: {error}"
    raise MaralError(Errors.M217.format(path=path, problem=problem))


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
