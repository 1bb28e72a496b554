"""The overrides of a benchmark's variants: read into configurations, and refused without effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..data.config import read_config
from ..errors import MaralError, shown
from ..model.checks import SETTINGS_OF_USE

TEACHER_SECTIONS = ("system", "nlp", "components", "teacher")
STUDENT_SECTIONS = ("system", "nlp", "components", "student", "adaptation")
READ_BY = {"teacher": TEACHER_SECTIONS, "student": STUDENT_SECTIONS}
ENCODER = ("components.transformer.model.name", "paths.encoder")
"""What the encoder of the command line replaces."""
SET_BY_BENCHMARK = ("cache", "diagnose_with_gold")
"""Keys of the trainings' sections that no variant can set."""
PROBE = "another value"
"""Takes the place of an override, to see what changes with it."""


def load_config(
    path: Path, overrides: Mapping[str, Any], seed: int, encoder: Path | None
) -> Config:
    """Read a configuration with the settings of a run.

    path (Path): The configuration.
    overrides (Mapping): Settings of a variant.
    seed (int): Seed of the run.
    encoder (Path): Folder of the encoder that replaces that of the configuration, if any.
    RETURNS (Config): The configuration.
    RAISES (MaralError): If it cannot be read, or an override names no setting.
    """
    fixed: dict[str, Any] = {"system.seed": seed}
    if encoder is not None:
        fixed["components.transformer.model.name"] = str(encoder)
        if "paths" in read_config(path, interpolate=False):
            fixed["paths.encoder"] = str(encoder)
    return read_config(path, {**overrides, **fixed})


def without_effect(
    path: Path,
    student: Mapping[str, Any],
    teacher: Mapping[str, Any],
    seed: int,
    encoder: Path | None,
) -> Iterator[str]:
    """Find overrides that change nothing that their training reads, whatever their value.

    path, seed, encoder: As of `load_config`.
    student, teacher (Mapping): Overrides of a variant for its two trainings.
    YIELDS (str): The override, and why it has no effect.
    """
    for kind, training, overrides in (
        ("overrides", "student", student), ("teacher", "teacher", teacher),
    ):  # fmt: skip
        before = load_config(path, overrides, seed, encoder) if overrides else {}
        from_teacher = training == "student" and _starts_from_teacher(before)
        for key, value in overrides.items():
            # a student that starts from the teacher has what both have
            if from_teacher and teacher.get(key, PROBE) == value:
                continue
            try:
                after = load_config(path, {**overrides, key: PROBE}, seed, encoder)
                changes = _read_by(training, before) != _read_by(training, after)
            except MaralError:
                # a loss under a name of release 0.1, which is the only one that fits there
                changes = key.partition(".")[0] in READ_BY[training]
            if not changes:
                why = _reason(key, training, encoder, from_teacher)
                yield f"{kind}.{key} = {shown(value)}: {why}"


def _read_by(training: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training reads of a configuration, without what the benchmark sets."""
    found = {
        name: {k: v for k, v in config.get(name, {}).items() if k not in SET_BY_BENCHMARK}
        for name in READ_BY[training]
    }
    if training == "student" and _starts_from_teacher(config):
        component = found["components"].get("maral_ner", {})
        found["components"] = {name: component.get(name) for name in SETTINGS_OF_USE}
        del found["nlp"]
    return found


def _starts_from_teacher(config: Mapping[str, Any]) -> bool:
    return bool(config.get("adaptation", {}).get("init") == "teacher")


def _reason(key: str, training: str, encoder: Path | None, from_teacher: bool) -> str:
    """Why an override has no effect."""
    name = key.rpartition(".")[2]
    if key == "system.seed":
        return "the key 'seeds' of the benchmark sets it"
    if key in ENCODER and encoder is not None:
        return "the option --encoder sets it"
    if name == "diagnose_with_gold":
        return "the key 'diagnose' of the benchmark sets it"
    if name == "cache":
        return "all runs share the cache of the benchmark"
    if from_teacher and (key in ENCODER or key.partition(".")[0] in ("nlp", "components")):
        return "the student starts from the teacher (adaptation.init); set it in 'teacher', too"
    return f"the training of the {training} does not read it"
