"""Read configuration files, with settings replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import load_config, load_model_from_config
from thinc.api import Config, ConfigValidationError

from ..errors import Errors, MaralError, did_you_mean, first_line
from ..model.checks import LOSSES_OF_0_1, translate_loss

# What the parser says of a setting that is a line and a block, and what to do about it.
CONFLICT = "found conflicting values"
TWICE = "is set by a line and by a block of this name; delete the line, such as 'logger = null'"


def read_config(
    path: str | Path, overrides: dict[str, Any] | None = None, *, interpolate: bool = True
) -> Config:
    """Read a configuration.

    path (str | Path): The file.
    overrides (dict): Settings that replace those of the file, as {"section.key": value}.
    interpolate (bool): Whether to replace variables by their values.
    RETURNS (Config): The configuration.
    RAISES (MaralError): If the file is missing or is no configuration, or a path is replaced that it
        does not have.
    """
    try:
        overrides = _translate(path, overrides or {})
        known = [f"paths.{name}" for name in load_config(path, interpolate=False).get("paths", {})]
        for key in overrides:
            if key.startswith("paths.") and key not in known:
                raise ValueError(f"it has no setting {key}.{did_you_mean(key, known)}".rstrip("."))
        return load_config(path, overrides, interpolate=interpolate)
    except ConfigValidationError as error:
        short = ConfigValidationError.from_error(error, title="", show_config=False)
        problem = short.text.strip().replace(CONFLICT, TWICE)
    except Exception as error:
        # the parser raises errors of any kind
        problem = f"{type(error).__name__}: {error}"
    raise MaralError(Errors.M217.format(path=path, problem=problem))


def make_pipeline(config: Config) -> Language:
    """Make the pipeline of a configuration, untrained, with defaults for the settings that it lacks.

    RAISES (ConfigValidationError): If a setting has another type, or is missing.
    RAISES (MaralError): If it names a language, a component or a function that there is not.
    """
    try:
        return load_model_from_config(config, auto_fill=True)
    except (ConfigValidationError, MaralError):
        raise
    except (ValueError, ImportError) as error:
        raise MaralError(Errors.M219.format(problem=first_line(error))) from error


def _translate(path: str | Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """Translate overrides such as student.loss = "supcon", of release 0.1, if the loss is a block."""
    found = {}
    for key, value in overrides.items():
        old = key.endswith(".loss") and value in LOSSES_OF_0_1
        if old and f"[{key}]" in Path(path).read_text(encoding="utf8"):
            key, value = f"{key}.@losses", translate_loss(value)["@losses"]
        found[key] = value
    return found
