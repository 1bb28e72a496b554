"""Checks of the component's settings, when they are given and when they are loaded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import srsly
from spacy.util import logger, registry
from thinc.api import Model
from thinc.loss import Loss

from ..errors import Errors, MaralError, Warnings, first_line
from .confidence import check_calibration
from .losses import SpanLoss, trains_head
from .names import NameSettings
from .offsets import check_offset, class_offsets
from .span_model import DECISIONS, SpanModel

CHECKSUM = "sha256"
FLAGS = ("overwrite", "scores", "keep_trf_data")
SETTINGS_OF_USE = (
    "offset", "overwrite", "scores", "threshold", "spans_key", "spans_threshold", "names",
    "keep_trf_data",
)  # fmt: skip
LOSSES_OF_0_1 = {
    "max_margin": "spacy-maral.MaxMargin.v1",
    "cross_entropy": "spacy-maral.CrossEntropy.v1",
    "supcon": "spacy-maral.SupCon.v1",
}
NUMBERS = ("prior_scale", "outside_weight", "memory", "threshold")


def configure(saved: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Let settings of use that the configuration gives anew replace those that a component saved.

    saved (dict): The component's settings, as it saved them.
    given (dict): Settings of use in the configuration.
    RETURNS (dict): The settings. A setting of use is as saved if the configuration is still the one
        that it was saved with, so that a change of `cfg` in Python is not lost.
    """
    before = saved.get("configured", {})
    changed = {name: x for name, x in given.items() if name not in before or before[name] != x}
    return {**saved, **changed, "configured": given}


def translate_cfg(cfg: dict[str, Any]) -> dict[str, Any]:
    """Check the checksum of a component's saved settings, and translate those of release 0.1.

    cfg (dict): The settings. Those of 0.1 have no checksum, and hold the name of the loss.
    RETURNS (dict): The settings, without the checksum.
    RAISES (ValueError): If they do not have their checksum.
    """
    wanted = cfg.pop(CHECKSUM, None)
    if wanted not in (None, _digest(cfg)):
        raise ValueError("the settings (cfg) do not have their checksum")
    return {name: value for name, value in translate_outside(cfg).items() if name != "loss"}


@contextmanager
def sealed(cfg: dict[str, Any]) -> Iterator[None]:
    """Give settings their checksum while they are saved."""
    cfg[CHECKSUM] = _digest(cfg)
    try:
        yield
    finally:
        del cfg[CHECKSUM]


def _digest(cfg: dict[str, Any]) -> str:
    """SHA-256 of settings, as srsly writes numbers."""
    text = srsly.json_dumps(srsly.json_loads(srsly.json_dumps(cfg)), sort_keys=True)
    return hashlib.sha256(text.encode("utf8")).hexdigest()


def translate_outside(given: Any) -> Any:
    """Replace the setting `include_outside` of release 0.1 by an outside weight.

    given (Any): Settings. A value that is not a mapping, or lacks the setting, is not changed.
    RETURNS (Any): The settings, with an outside weight of 0 where `include_outside` was false.
    """
    if not isinstance(given, Mapping) or "include_outside" not in given:
        return given
    settings = dict(given)
    if settings.pop("include_outside") is False:
        settings["outside_weight"] = 0.0
    return settings


def translate_loss(given: Any) -> Any:
    """Replace the name of a loss of release 0.1 by a block of the registry `losses`, with a warning.

    given (Any): A loss in a configuration. Anything but such a name is not changed.
    RETURNS (Any): The block, as {"@losses": name}.
    """
    if not isinstance(given, str) or given not in LOSSES_OF_0_1:
        return given
    logger.warning(Warnings.W207.format(old=given, new=LOSSES_OF_0_1[given]))
    return {"@losses": LOSSES_OF_0_1[given]}


def make_loss(block: Any) -> SpanLoss:
    """Make a loss from its block in a configuration.

    block (dict): The block, with "@losses".
    RETURNS (SpanLoss): The loss.
    RAISES (MaralError): If the block does not name a registered loss, its settings are wrong, or the
        loss is one of Thinc's, which know nothing of spans.
    """
    try:
        loss = registry.resolve({"loss": block})["loss"]
        if isinstance(loss, Loss) or not callable(loss):
            raise ValueError(f"a {type(loss).__name__} is no loss of labelled spans")
    except Exception as error:
        # the factory of a user's loss may raise anything
        known = ", ".join(LOSSES_OF_0_1.values())
        problem = first_line(error).encode("utf8", "backslashreplace").decode("utf8")
        raise MaralError(Errors.M227.format(block=block, problem=problem, known=known)) from error
    return loss


def check_decision(decision: str, loss: SpanLoss) -> None:
    """Refuse the decision rule "linear" together with a loss that does not train the linear head.

    RAISES (MaralError): If the two do not fit.
    """
    if decision == "linear" and not trains_head(loss):
        raise MaralError(Errors.M208.format(loss=type(loss).__name__))


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not one of the known values.

    RAISES (MaralError): If the value is unknown.
    """
    if value not in known:
        raise MaralError(Errors.M215.format(name=name, value=value, known=", ".join(known)))


def check_settings(cfg: Mapping[str, Any]) -> None:
    """Refuse settings of the component that are out of range.

    cfg (Mapping): The settings (see `make_maral_ner`).
    RAISES (MaralError): If a setting is out of range.
    """
    check_choice("decision", cfg["decision"], DECISIONS)
    if cfg["prior_scale"] < 0 or cfg["outside_weight"] < 0 or cfg["memory"] <= 0:
        raise MaralError(Errors.M212.format(**cfg))
    threshold, key = cfg["spans_threshold"], cfg["spans_key"]
    if threshold is not None and not (key and 0 < threshold <= 1):
        raise MaralError(Errors.M213.format(threshold=threshold, key=key))
    if not 0 <= cfg["threshold"] <= 1:
        raise MaralError(Errors.M226.format(threshold=cfg["threshold"]))
    check_offset(cfg["offset"])
    name_settings(cfg["names"])


def name_settings(given: Mapping[str, Any] | None) -> NameSettings | None:
    """Read the setting `names` of the component; None for off.

    RAISES (MaralError): If it has an unknown key, or a value is out of range.
    """
    if given is None:
        return None
    known = [field.name for field in fields(NameSettings)]
    if not isinstance(given, Mapping) or (unknown := [key for key in given if key not in known]):
        found = repr(given)[:80] if not isinstance(given, Mapping) else ", ".join(unknown)
        raise MaralError(Errors.M504.format(found=found, known=", ".join(known)))
    return NameSettings(**given)


@contextmanager
def loading() -> Iterator[None]:
    """Turn every exception that damaged bytes cause during loading into one error.

    RAISES (MaralError): If loading fails.
    """
    try:
        yield
    except MaralError:
        raise
    except Exception as error:
        # msgpack, JSON, spaCy's vocabulary and thinc each raise exceptions of their own
        problem = f"{type(error).__name__}: {error}"
        raise MaralError(Errors.M218.format(problem=problem)) from error


def check_parts(bytes_data: bytes, exclude: Iterable[str]) -> None:
    """Check that a component's bytes hold its settings and model; spaCy ignores missing parts.

    bytes_data (bytes): The bytes.
    exclude (Iterable[str]): Parts that are not needed.
    RAISES (ValueError): If a part is missing.
    """
    found = srsly.msgpack_loads(bytes_data)
    missing = {"cfg", "model"} - {*exclude, *(found if isinstance(found, dict) else ())}
    if missing:
        raise ValueError(f"there is no {' and no '.join(sorted(missing))}")


def check_loaded(model: Model, cfg: Mapping[str, Any]) -> None:
    """Check that loaded settings have the right types and fit the loaded model.

    model (Model): The component's model.
    cfg (Mapping): Its settings.
    RAISES (MaralError): If a setting is out of range.
    RAISES (ValueError): If a setting has the wrong type, or the labels do not fit the classes.
    """
    for name in FLAGS:
        _require(isinstance(cfg[name], bool), name, cfg[name])
    for name in NUMBERS:
        _require(_is_number(cfg[name]), name, cfg[name])
    threshold, key = cfg["spans_threshold"], cfg["spans_key"]
    _require(threshold is None or _is_number(threshold), "spans_threshold", threshold)
    _require(key is None or isinstance(key, str), "spans_key", key)
    if key is not None:
        key.encode("utf8")
    check_settings(cfg)
    check_calibration(cfg.get("calibration"), len(cfg["labels"]))
    labels = cfg["labels"]
    strings = isinstance(labels, list) and all(isinstance(x, str) and x for x in labels)
    _require(strings and len({"O", *labels}) == len(labels) + 1, "labels", labels)
    for label in labels:
        label.encode("utf8")
    class_offsets(cfg["offset"], labels)
    size = model.attrs["max_batch_spans"]
    _require(type(size) is int and size > 0, "max_batch_spans", size)
    module = model.layers[1].shims[0]._model
    if isinstance(module, SpanModel) and module.head.out_features != len(labels) + 1:
        raise ValueError(f"{module.head.out_features} classes for {len(labels)} labels and outside")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _require(holds: bool, name: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r:.80}")
