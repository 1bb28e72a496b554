"""What a benchmark is made of: pairs, variants, seeds and sizes, read from a file and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import srsly
from pydantic import Field, ValidationError, field_validator
from thinc.api import Config

from ..data.config import read_config
from ..data.datasets import DATASETS
from ..errors import Errors, MaralError
from ..training.settings import AdaptationSettings, Section, TrainingSettings, read_section

SCHEMAS: dict[str, type[Section]] = {
    "teacher": TrainingSettings, "student": TrainingSettings, "adaptation": AdaptationSettings
}  # fmt: skip
TEACHER_SECTIONS = ("system", "nlp", "components", "teacher")
STUDENT_SECTIONS = ("system", "nlp", "components", "student", "adaptation")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
Sentences = Annotated[int, Field(ge=1)] | None
Seed = Annotated[int, Field(ge=0)]


class LanguagePair(Section):
    """A dataset with a source and a target language."""

    dataset: str = Field(description="Name of a dataset, such as wikiann.")
    source: Name = Field(description="Code of the source language.")
    target: Name = Field(description="Code of the target language.")

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        if dataset not in DATASETS:
            raise ValueError(f"there is no such dataset, known are {', '.join(DATASETS)}")
        return dataset

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.source}-{self.target}"


class Variant(Section):
    """How a variant differs from the configuration.

    `overrides` are those of the student's training, `teacher` those of the teacher's; what concerns
    both, such as the width of spans, stands in both. Without `adapt` there is no student: the
    teacher itself is the variant. `seeds` limits the variant to some seeds.
    """

    adapt: bool = Field(True, description="Whether there is a student.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the student's training, by section.key."
    )
    teacher: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the teacher's training, by section.key."
    )
    target_sentences: Sentences = Field(
        None, description="Most sentences of the target; by default as many as the benchmark's."
    )
    seeds: list[Seed] | None = Field(None, description="Seeds of this variant; by default all.")


class Matrix(Section):
    """A benchmark: each pair with each seed and each variant is one run.

    `config` is relative to the file of the matrix. At most so many sentences are taken, by the
    seed, the same ones for all variants of that size; the test set is cut alike for all seeds.
    With `diagnose` the target's gold labels are looked at for the noise of the pseudo-labels, with
    `study` also for the F1 on the test set after every epoch; neither changes what is trained.
    """

    config: Path = Field(description="Configuration that the variants differ from.")
    source_sentences: Sentences = Field(None, description="Most sentences of the source.")
    target_sentences: Sentences = Field(None, description="Most sentences of the target.")
    dev_sentences: Sentences = Field(None, description="Most sentences of the source's dev set.")
    test_sentences: Sentences = Field(None, description="Most sentences of the target's test set.")
    seeds: list[Seed] = Field([0], min_length=1, description="Seeds; each pair runs with each.")
    pairs: list[LanguagePair] = Field(min_length=1, description="Datasets and languages.")
    variants: dict[Name, Variant] = Field(min_length=1, description="Variants by name.")
    diagnose: bool = Field(
        False, description="Whether gold labels of the target are looked at for the noise ratio."
    )
    study: bool = Field(
        False, description="Whether they are also looked at for the F1 on the test set."
    )

    @property
    def uses_gold(self) -> bool:
        return self.diagnose or self.study


@dataclass(frozen=True)
class PlannedRun:
    """One run: a variant of a pair with a seed, and the two configurations that it needs.

    student: None for a variant that is the teacher itself.
    """

    pair: LanguagePair
    variant: str
    seed: int
    settings: Variant
    teacher: Config
    student: Config | None

    @property
    def name(self) -> str:
        return f"{self.pair.name}-{self.variant}-{self.seed}"


def read_matrix(path: Path) -> Matrix:
    """Read and check the file of a benchmark.

    path (Path): A YAML file.
    RETURNS (Matrix): The benchmark; its configuration's path is relative to nothing but the
        working directory.
    RAISES (MaralError): If the file is no YAML, or a key is unknown or out of range, or a
        variant's settings cannot be used.
    """
    try:
        content = srsly.read_yaml(path)
    except Exception as error:
        # the YAML reader has errors of its own, which srsly does not export
        raise MaralError(Errors.M420.format(path=path, problem=error)) from None
    if not isinstance(content, dict):
        problem = f"it holds a {type(content).__name__}, not keys and values"
        raise MaralError(Errors.M420.format(path=path, problem=problem))
    try:
        matrix = Matrix(**content)
    except (ValidationError, TypeError) as error:
        raise MaralError(
            Errors.M421.format(
                path=path, problems=_problems(error), known=", ".join(Matrix.model_fields)
            )
        ) from None
    matrix = matrix.model_copy(update={"config": path.parent / matrix.config})
    if not matrix.config.is_file():
        raise MaralError(Errors.M422.format(path=path, config=matrix.config))
    for name, variant in matrix.variants.items():
        _check_variant(path, matrix, name, variant)
    return matrix


def plan_runs(matrix: Matrix, encoder: Path | None = None) -> list[PlannedRun]:
    """List all runs, by seed, then pair, then variant, so that a first full table comes early.

    matrix (Matrix): The benchmark.
    encoder (Path): Folder of the encoder; by default that of the configuration.
    RETURNS (list[PlannedRun]): The runs.
    """
    runs = []
    for seed in matrix.seeds:
        for variant, settings in matrix.variants.items():
            if settings.seeds is not None and seed not in settings.seeds:
                continue
            teacher, student = configs_of(matrix, settings, seed=seed, encoder=encoder)
            runs += [
                PlannedRun(pair, variant, seed, settings, teacher, student) for pair in matrix.pairs
            ]
    order = {pair.name: i for i, pair in enumerate(matrix.pairs)}
    return sorted(runs, key=lambda run: (matrix.seeds.index(run.seed), order[run.pair.name]))


def configs_of(
    matrix: Matrix, variant: Variant, *, seed: int, encoder: Path | None = None
) -> tuple[Config, Config | None]:
    """The configurations of a variant's teacher and student, whole and interpolated."""
    teacher = _load(matrix.config, variant.teacher, seed, encoder)
    if not variant.adapt:
        return teacher, None
    student = _load(matrix.config, variant.overrides, seed, encoder)
    # no report is made of the runs, so that nothing needs to be kept for one
    student["adaptation"].setdefault("diagnostics", False)
    if matrix.uses_gold:
        student["adaptation"]["diagnose_with_gold"] = True
    return teacher, student


def choose_runs(runs: Sequence[PlannedRun], only: Sequence[str]) -> list[PlannedRun]:
    """Choose runs by names of variants, names of pairs, and seeds.

    runs (Sequence[PlannedRun]): All runs.
    only (Sequence[str]): Names, each maybe several joined by commas; a pair is DATASET-SOURCE-TARGET
        or SOURCE-TARGET. Of each kind that is named, one must fit.
    RETURNS (list[PlannedRun]): The chosen runs; all if nothing is named.
    RAISES (MaralError): If a name fits no run.
    """
    names = [name.strip() for value in only for name in value.split(",") if name.strip()]
    known: dict[str, list[str]] = {
        "variant": list(dict.fromkeys(run.variant for run in runs)),
        "pair": list(dict.fromkeys(run.pair.name for run in runs)),
        "seed": list(dict.fromkeys(str(run.seed) for run in runs)),
    }
    chosen: dict[str, set[str]] = {}
    for name in names:
        long = [pair for pair in known["pair"] if pair == name or pair.endswith(f"-{name}")]
        if name in known["variant"]:
            chosen.setdefault("variant", set()).add(name)
        elif name in known["seed"]:
            chosen.setdefault("seed", set()).add(name)
        elif long:
            chosen.setdefault("pair", set()).update(long)
        else:
            listed = "; ".join(f"{kind}s {', '.join(values)}" for kind, values in known.items())
            raise MaralError(Errors.M424.format(name=name, known=listed))

    def fits(run: PlannedRun) -> bool:
        own = {"variant": run.variant, "pair": run.pair.name, "seed": str(run.seed)}
        return all(own[kind] in values for kind, values in chosen.items())

    return [run for run in runs if fits(run)]


def relevant(config: Config, sections: Sequence[str]) -> dict[str, Any]:
    """The sections that a training depends on, the places of encoder and cache left out."""
    found: dict[str, Any] = json.loads(
        json.dumps({name: config[name] for name in sections if name in config}, default=str)
    )
    transformer = found.get("components", {}).get("transformer", {}).get("model", {})
    transformer.pop("name", None)
    for name in ("teacher", "student"):
        found.get(name, {}).pop("cache", None)
    return found


def _load(path: Path, overrides: Mapping[str, Any], seed: int, encoder: Path | None) -> Config:
    fixed: dict[str, Any] = {"system.seed": seed}
    if encoder is not None:
        fixed["components.transformer.model.name"] = str(encoder)
        if "paths" in read_config(path, interpolate=False):
            fixed["paths.encoder"] = str(encoder)
    return read_config(path, {**overrides, **fixed})


def _check_variant(path: Path, matrix: Matrix, name: str, variant: Variant) -> None:
    base = read_config(matrix.config, interpolate=False)

    def refuse(where: str, problem: object) -> None:
        place = f"variants.{name}{where}"
        raise MaralError(Errors.M423.format(path=path, place=place, problem=problem)) from None

    if not variant.adapt and variant.overrides:
        refuse(".overrides", "there is no student to override settings of, adapt is false")
    if not variant.adapt and variant.target_sentences is not None:
        refuse(".target_sentences", "a teacher does not see the target, adapt is false")
    for kind in ("overrides", "teacher"):
        for key in getattr(variant, kind):
            problem = _unknown_key(base, key)
            if problem:
                refuse(f".{kind}.{key}", problem)
    if variant.seeds is not None and not set(variant.seeds) <= set(matrix.seeds):
        refuse(".seeds", f"{variant.seeds} are not all among the seeds {matrix.seeds}")
    teacher, student = configs_of(matrix, variant, seed=matrix.seeds[0])
    try:
        _check_sections(teacher, ["teacher"])
        if student is not None:
            _check_sections(student, ["student", "adaptation"])
    except MaralError as error:
        refuse("", error)
    if student is not None and _width(teacher) != _width(student):
        refuse("", Errors.M317.format(teacher=_width(teacher), student=_width(student)))


def _check_sections(config: Config, names: Sequence[str]) -> None:
    for name in names:
        settings = read_section(config, name, SCHEMAS[name])
        linear = isinstance(settings, TrainingSettings) and settings.decision == "linear"
        if linear and settings.loss != "cross_entropy":
            raise MaralError(Errors.M208.format(loss=settings.loss))


def _unknown_key(config: Config, key: str) -> str | None:
    """Why a key cannot be overridden, or None."""
    *sections, name = key.split(".")
    place: Any = config
    for section in sections:
        place = place.get(section) if isinstance(place, Mapping) else None
    if not sections or not isinstance(place, Mapping):
        return f"the configuration has no section [{'.'.join(sections)}]"
    # the other sections have schemas, which give every key a default
    if sections[0] not in SCHEMAS and name not in place:
        return f"the section has no such key, it has {', '.join(place)}"
    return None


def _width(config: Config) -> Any:
    return config["components"]["maral_ner"]["model"].get("max_width")


def _problems(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"  {error}"
    return "\n".join(
        f"  {'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    )
