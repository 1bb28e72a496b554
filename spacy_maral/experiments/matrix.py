"""The plan of a benchmark: pairs, variants, seeds and sizes, read from a YAML file and checked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from thinc.api import Config

from ..data.config import read_config
from ..data.datasets import DATASETS, Layout
from ..data.formats.registry import AUTO, FORMATS
from ..data.yaml import read_yaml
from ..errors import Errors, MaralError, describe_problems
from ..training.settings import SCHEMAS, Section, read_section
from .overrides import load_config, without_effect

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
Sentences = Annotated[int, Field(ge=1)] | None
Seed = Annotated[int, Field(ge=0)]
Half = Literal["study", "page"]


def refuse_repeated(values: Sequence[object]) -> None:
    """Refuse a list that has a value twice: one run would count as several.

    RAISES (ValueError): With the values, if there are any.
    """
    if repeated := [str(value) for value, n in Counter(values).items() if n > 1]:
        verb = "is" if len(repeated) == 1 else "are"
        raise ValueError(f"{', '.join(repeated)} {verb} listed more than once")


class Parts(Section):
    """Names of the files of a dataset, each with {lang} in place of the language."""

    train: str = Field(description="Training text, of the target without its labels.")
    dev: str = Field(description="Development set of the source language.")
    test: str = Field(description="Test set of the target language.")

    @field_validator("*")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if "{" in name.replace("{lang}", "") or "}" in name.replace("{lang}", ""):
            raise ValueError("the only name in braces is {lang}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError("the file is below the folder of the dataset")
        return name


class OwnDataset(Section):
    """A dataset of the user's own, in the folder of its name."""

    name: Name = Field(description="Name of the dataset, and of its folder.")
    format: str = Field("auto", description="Format of its files, as of `convert`.")
    files: Parts = Field(description="Names of its files, or of folders that `convert` reads.")
    label_map: str | dict[str, str | None] | None = Field(
        None, description="New labels by label: pairs, a file, or coarse."
    )

    @field_validator("format")
    @classmethod
    def _check_format(cls, format: str) -> str:
        if format not in (AUTO, *FORMATS):
            raise ValueError(f"there is no such format, known are {', '.join((AUTO, *FORMATS))}")
        return format

    def relative_to(self, folder: Path) -> OwnDataset:
        """RETURNS (OwnDataset): The same, with the file of the label map relative to a folder."""
        if not isinstance(self.label_map, str) or self.label_map == "coarse":
            return self
        return self.model_copy(update={"label_map": str(folder / self.label_map)})


class LanguagePair(Section):
    """A dataset with a source and a target language."""

    dataset: Name = Field(description="Name of a dataset, such as wikiann.")
    source: Name = Field(description="Code of the source language.")
    target: Name = Field(description="Code of the target language.")

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.source}-{self.target}"


class Variant(Section):
    """How a variant differs from the configuration.

    `overrides` replaces settings of the student's training, `teacher` settings of the teacher's. A
    setting that both trainings need, such as the width of spans, must be in both. One that the
    training does not read, or that the benchmark sets itself, such as the seed, is refused. With
    `adapt = false` there is no student, and the teacher itself is the variant. With `train_on =
    target` too, the variant is the ceiling for the others: the training of a teacher with the
    target's own gold labels, with as many sentences and about as many steps as the teacher has. It
    takes the last epoch, so that no data choose one.
    """

    adapt: bool = Field(True, description="Whether to train a student.")
    train_on: Literal["source", "target"] = Field(
        "source",
        description="Language of the labelled text; target for the ceiling, without student.",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the student's training, by section.key."
    )
    teacher: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the teacher's training, by section.key."
    )
    target_sentences: Sentences = Field(
        None, description="Maximum of target sentences; by default that of the benchmark."
    )
    target_gold: Sentences = Field(
        None,
        description="Number of labelled target sentences that teacher and student are trained on, "
        "too, drawn from the target's training part without its raw sentences.",
    )
    target_gold_choice: Literal["random", "suggested"] = Field(
        "random",
        description="Whether these sentences are drawn at random, or suggested by a teacher that is "
        "trained without them (see `suggest`).",
    )
    translate: bool = Field(
        False,
        description="Whether teacher and student are trained on the source sentences translated word "
        "by word, too (see `translate_words`).",
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="Seeds of this variant; by default all."
    )

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int] | None) -> list[int] | None:
        refuse_repeated(seeds or [])
        return seeds


class Matrix(Section):
    """A benchmark: one run for each pair, seed and variant.

    `config` is relative to the file of the benchmark. The seed draws the sentences, and all variants
    of the same size get the same ones; the test set is the same for all seeds. `test_half` keeps
    studies, which choose settings, apart from the results that are published: a sentence is in one
    half by the digest of its text, whatever the seed and the order of the file. `diagnose` uses the
    gold labels of the target to measure the noise of the pseudo-labels, and `study` also uses them
    to measure the F1 on the test set after every epoch. Neither changes the training.
    """

    config: Path = Field(description="Configuration that the variants differ from.")
    source_sentences: Sentences = Field(None, description="Maximum of source sentences.")
    target_sentences: Sentences = Field(None, description="Maximum of target sentences.")
    dev_sentences: Sentences = Field(
        None, description="Maximum of sentences of the source's development set."
    )
    test_sentences: Sentences = Field(
        None, description="Maximum of sentences of the target's test set."
    )
    test_half: Half | None = Field(
        None, description="Half of the target's test set that is used; null for all of it."
    )
    seeds: list[Seed] = Field([0], min_length=1, description="Seeds; each pair runs with each.")
    datasets: list[OwnDataset] = Field([], description="Datasets of the user's own.")
    pairs: list[LanguagePair] = Field(min_length=1, description="Datasets and languages.")
    variants: dict[Name, Variant] = Field(min_length=1, description="Variants by name.")
    diagnose: bool = Field(
        False,
        description="Whether to measure the noise of pseudo-labels by the target's gold labels.",
    )
    study: bool = Field(
        False, description="Whether to measure also the F1 on the test set after every epoch."
    )

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        refuse_repeated(seeds)
        return seeds

    @field_validator("pairs")
    @classmethod
    def _check_pairs(cls, pairs: list[LanguagePair]) -> list[LanguagePair]:
        refuse_repeated([pair.name for pair in pairs])
        return pairs

    @model_validator(mode="after")
    def _check_datasets(self) -> Matrix:
        known = [*DATASETS, *(own.name for own in self.datasets)]
        for name in known:
            if known.count(name) > 1:
                raise ValueError(f"there are two datasets named {name}")
        for pair in self.pairs:
            if pair.dataset not in known:
                raise ValueError(
                    f"there is no dataset {pair.dataset!r}, known are {', '.join(known)}"
                )
        return self

    @property
    def uses_gold(self) -> bool:
        return self.diagnose or self.study

    def layout(self, dataset: str) -> Layout:
        """RETURNS (Layout): The files of a dataset of the user's own, or of a known one."""
        own = {own.name: own for own in self.datasets}.get(dataset)
        if own is None:
            return DATASETS[dataset]
        return Layout(own.files.model_dump(), own.format, own.label_map)


@dataclass(frozen=True)
class PlannedRun:
    """One variant of one pair with one seed, and the configurations of its two trainings.

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

    @property
    def is_ceiling(self) -> bool:
        return self.settings.train_on == "target"

    @property
    def is_suggested(self) -> bool:
        return self.settings.target_gold_choice == "suggested"


def read_matrix(path: Path, encoder: Path | None = None) -> Matrix:
    """Read and check the file of a benchmark.

    path (Path): A YAML file.
    encoder (Path): Folder of the encoder that replaces that of the configuration, if any.
    RETURNS (Matrix): The benchmark, with the path of its configuration relative to the working
        directory.
    RAISES (MaralError): If the file is no YAML, a key is unknown or out of range, or the settings of
        a variant cannot be used, or have no effect.
    """
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise MaralError(Errors.M420.format(path=path, problem=error)) from None
    if not isinstance(content, dict):
        problem = f"it holds a {type(content).__name__}, not keys and values"
        raise MaralError(Errors.M420.format(path=path, problem=problem))
    try:
        matrix = Matrix.model_validate(content)
    except ValidationError as error:
        problems = describe_problems(error, Matrix.model_fields)
        known = ", ".join(Matrix.model_fields)
        raise MaralError(Errors.M421.format(path=path, problems=problems, known=known)) from None
    datasets = [own.relative_to(path.parent) for own in matrix.datasets]
    changed = {"config": path.parent / matrix.config, "datasets": datasets}
    matrix = matrix.model_copy(update=changed)
    if not matrix.config.is_file():
        raise MaralError(Errors.M422.format(path=path, config=matrix.config))
    for name, variant in matrix.variants.items():
        _check_variant(path, matrix, name, variant)
    useless = [
        f"  variants.{name}.{problem}"
        for name, variant in matrix.variants.items()
        for problem in without_effect(
            matrix.config, variant.overrides, variant.teacher, matrix.seeds[0], encoder
        )
    ]
    if useless:
        raise MaralError(Errors.M428.format(path=path, problems="\n".join(useless)))
    return matrix


def plan_runs(matrix: Matrix, encoder: Path | None = None) -> list[PlannedRun]:
    """List all runs by seed, then pair, then variant: the first seed completes a table early.

    matrix (Matrix): The benchmark.
    encoder (Path): Folder of the encoder; by default that of the configuration.
    RETURNS (list[PlannedRun]): The runs.
    """
    runs = []
    for seed in matrix.seeds:
        planned = [
            (name, seed, variant, *configs_of(matrix, variant, seed=seed, encoder=encoder))
            for name, variant in matrix.variants.items()
            if variant.seeds is None or seed in variant.seeds
        ]
        runs += [PlannedRun(pair, *rest) for pair in matrix.pairs for rest in planned]
    return runs


def configs_of(
    matrix: Matrix, variant: Variant, *, seed: int, encoder: Path | None = None
) -> tuple[Config, Config | None]:
    """The complete, interpolated configurations of a variant's teacher and student."""
    teacher = load_config(matrix.config, variant.teacher, seed, encoder)
    if not variant.adapt:
        return teacher, None
    student = load_config(matrix.config, variant.overrides, seed, encoder)
    # a benchmark writes no reports, so its runs need not keep the data for one
    # a section that is missing is refused later
    adaptation = student.get("adaptation", {})
    adaptation.setdefault("diagnostics", False)
    if matrix.uses_gold:
        adaptation["diagnose_with_gold"] = True
    return teacher, student


def choose_runs(runs: Sequence[PlannedRun], only: Sequence[str]) -> list[PlannedRun]:
    """Choose runs by variant, pair and seed.

    runs (Sequence[PlannedRun]): All runs.
    only (Sequence[str]): Names of variants, pairs (DATASET-SOURCE-TARGET or SOURCE-TARGET) and
        seeds; each item may hold several, separated by commas. A run is chosen if it has one of the
        named variants, one of the named pairs and one of the named seeds; a kind of which nothing is
        named does not restrict the choice.
    RETURNS (list[PlannedRun]): The chosen runs.
    RAISES (MaralError): If a name fits no run, or no run fits them all.
    """

    def own(run: PlannedRun) -> dict[str, str]:
        return {"variant": run.variant, "pair": run.pair.name, "seed": str(run.seed)}

    known: dict[str, list[str]] = {
        kind: list(dict.fromkeys(own(run)[kind] for run in runs))
        for kind in ("variant", "pair", "seed")
    }
    chosen: dict[str, set[str]] = {}
    given = [part.strip() for item in only for part in item.split(",") if part.strip()]
    for name in given:
        found = {kind: {name} & set(values) for kind, values in known.items()}
        found["pair"] |= {pair for pair in known["pair"] if pair.endswith(f"-{name}")}
        kind = next((kind for kind in ("variant", "seed", "pair") if found[kind]), None)
        if kind is None:
            listed = "; ".join(f"{kind}s {', '.join(values)}" for kind, values in known.items())
            raise MaralError(Errors.M424.format(name=name, known=listed))
        chosen.setdefault(kind, set()).update(found[kind])
    fitting = [
        run for run in runs if all(own(run)[kind] in names for kind, names in chosen.items())
    ]
    if runs and not fitting:
        # every variant has all pairs, but it may have seeds of its own
        listed = _list_seeds(runs, chosen["variant"])
        raise MaralError(Errors.M424.format(name=", ".join(given), known=listed))
    return fitting


def _list_seeds(runs: Sequence[PlannedRun], variants: Collection[str]) -> str:
    """The seeds of variants, for a message."""
    seeds: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.variant in variants:
            seeds.setdefault(run.variant, {})[str(run.seed)] = None
    return "; ".join(f"{name} with seed {', '.join(own)}" for name, own in seeds.items())


def relevant(config: Config, sections: Sequence[str]) -> dict[str, Any]:
    """The sections that determine the outcome of a training, without the paths of encoder and cache.

    They are complete: a run is repeated if the default of a setting has changed since.
    """
    given = {
        name: read_section(config, name).model_dump() if name in SCHEMAS else config[name]
        for name in sections
        if name in config
    }
    found: dict[str, Any] = json.loads(json.dumps(given, default=str))
    found.get("components", {}).get("transformer", {}).get("model", {}).pop("name", None)
    for name in ("teacher", "student"):
        found.get(name, {}).pop("cache", None)
    return found


def _check_variant(path: Path, matrix: Matrix, name: str, variant: Variant) -> None:
    def refuse(where: str, problem: object) -> None:
        place = f"variants.{name}{where}"
        raise MaralError(Errors.M423.format(path=path, place=place, problem=problem)) from None

    if not variant.adapt and variant.overrides:
        refuse(".overrides", "there is no student to override settings of, adapt is false")
    if variant.adapt and variant.train_on == "target":
        refuse(".train_on", "the ceiling has no student, set adapt to false")
    if variant.train_on == "target" and variant.target_gold is not None:
        refuse(".target_gold", "the ceiling is trained on labelled target sentences alone")
    if variant.train_on == "target" and variant.translate:
        refuse(".translate", "the ceiling has no labelled source text to translate")
    if variant.target_gold_choice == "suggested" and variant.target_gold is None:
        refuse(".target_gold_choice", "set target_gold, the number of sentences to suggest")
    sees_target = variant.adapt or variant.translate or variant.target_gold is not None
    if variant.target_sentences is not None and not sees_target:
        refuse(".target_sentences", "a teacher does not see the target, adapt is false")
    base = read_config(matrix.config, interpolate=False)
    for kind in ("overrides", "teacher"):
        for key in getattr(variant, kind):
            if problem := _unknown_key(base, key):
                refuse(f".{kind}.{key}", problem)
    if variant.seeds is not None and not set(variant.seeds) <= set(matrix.seeds):
        refuse(".seeds", f"{variant.seeds} are not all among the seeds {matrix.seeds}")
    teacher, student = configs_of(matrix, variant, seed=matrix.seeds[0])
    try:
        _check_sections(teacher, "teacher")
        if student is not None:
            _check_sections(student, "student", "adaptation")
    except MaralError as error:
        refuse("", error)
    if student is not None:
        widths = {"teacher": max_width(teacher), "student": max_width(student)}
        if widths["teacher"] != widths["student"]:
            refuse("", Errors.M317.format(**widths))


def _check_sections(config: Config, *names: str) -> None:
    for name in names:
        read_section(config, name)


def _unknown_key(config: Config, key: str) -> str | None:
    """The reason why a key cannot be overridden, or None."""
    *sections, name = key.split(".")
    place: Any = config
    for section in sections:
        place = place.get(section) if isinstance(place, Mapping) else None
    if not sections or not isinstance(place, Mapping):
        return f"the configuration has no section [{'.'.join(sections)}]"
    # the sections with schemas may leave out keys that have defaults
    if sections[0] not in SCHEMAS and name not in place:
        return f"the section has no such key, it has {', '.join(place)}"
    return None


def max_width(config: Config) -> Any:
    """Longest span in words, None if the configuration does not set it."""
    return config["components"]["maral_ner"]["model"].get("max_width")
