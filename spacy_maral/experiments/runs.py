"""Run a benchmark: each training in a process of its own, each result in a file of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from thinc.api import Config

from ..data.files import digest, reading, write_file, write_json
from ..data.layout import LOG, RUN_FOLDER, SUMMARY
from ..errors import Errors, MaralError
from ..evaluation.tables import classes_without_labels
from ..model.machine import describe_machine
from ..training.settings import read_section
from .corpora import (
    Corpora,
    RawFile,
    annotated_key,
    draw_pool,
    file_hash,
    label_suggested,
    missing_files,
    prepare_corpora,
    raw_files,
    use_annotated,
    use_target_gold,
)
from .matrix import Matrix, PlannedRun, max_width, relevant
from .overrides import STUDENT_SECTIONS, TEACHER_SECTIONS
from .processes import run_process
from .results import Result

MODEL = "model"
WITHOUT_GOLD = {"target_gold": None, "target_gold_choice": "random"}
"""Settings of the variant whose teacher suggests sentences to another."""
SHOWN_LINES = 15
SUMMARY_KEYS = ("selected_epoch", "select", "peak_memory_bytes", "threads", "versions")
LOGGED_KEYS = (
    "epoch", "losses", "score", "dev_f1", "kappa", "centroid_cosine", "alpha", "changed", "reliable",
    "noise_ratio", "noise_ratio_reliable", "target_agreement", "target_density",
    "target_information", "target_gold_f1", "target_f1",
)  # fmt: skip
"""What a result keeps of each epoch in the log of a training."""


@dataclass
class Benchmark:
    """A benchmark and its folder.

    matrix (Matrix): The plan.
    data (Path): Folder with one folder per dataset.
    output (Path): Folder for corpora, teachers, results and tables.
    encoder (Path): Folder of the encoder; None for that of the configuration.
    gpu_id (int): GPU to use, -1 for the CPU.
    keep_models (bool): Whether to keep students and ceilings after their evaluation. Teachers are
        always kept.
    say (Callable): Receives messages about the progress.
    """

    matrix: Matrix
    data: Path
    output: Path
    encoder: Path | None = None
    gpu_id: int = -1
    keep_models: bool = False
    say: Callable[[str], None] = lambda text: None

    def files(self, run: PlannedRun) -> dict[str, RawFile]:
        return raw_files(self.matrix, run, self.data)

    def missing(self, run: PlannedRun) -> list[str]:
        """Files that a run needs and that the folder of the data does not have."""
        return missing_files(self.files(run))

    def state(self, run: PlannedRun) -> str:
        """What a run waits for: "no data", "to do", or "done"."""
        if self.missing(run):
            return "no data"
        return "to do" if self.result(run) is None else "done"

    def encoder_key(self, config: Config) -> str:
        """Fingerprint of an encoder's files, wherever they are; the name of one without files."""
        name = config["components"]["transformer"]["model"]["name"]
        files = sorted(p for p in Path(name).glob("*") if p.suffix in (".json", ".safetensors"))
        return digest([(p.name, file_hash(p)) for p in files]) if files else str(name)

    def teacher_key(self, run: PlannedRun) -> str:
        """Fingerprint of all that determines a teacher: most know no target language."""
        files = self.files(run)
        data = [files[role].key for role in ("train", "dev")]
        if run.settings.target_gold is not None:
            data.append(annotated_key(files, run.settings.target_gold))
        if run.is_suggested:
            data.append("suggested")
        if run.settings.translate:
            data += ["translated", files["target"].key]
        settings = relevant(run.teacher, TEACHER_SECTIONS)
        return digest([settings, self.encoder_key(run.teacher), data])

    def run_key(self, run: PlannedRun) -> str:
        """Fingerprint of all that determines a run's result. The variant's name is no part of it."""
        student = None if run.student is None else relevant(run.student, STUDENT_SECTIONS)
        data = [file.key for file in self.files(run).values()]
        kind = ["ceiling"] if run.is_ceiling else self._other_encoder(run)
        return digest([self.teacher_key(run), student, data, self.matrix.study, *kind])

    def _other_encoder(self, run: PlannedRun) -> list[str]:
        """The fingerprint of the student's encoder where it is not that of the teacher."""
        if run.student is None:
            return []
        own, teachers = self.encoder_key(run.student), self.encoder_key(run.teacher)
        return [] if own == teachers else [own]

    def result_path(self, run: PlannedRun) -> Path:
        return self.output / "runs" / f"{own_name(run, self.run_key(run))}.json"

    def result(self, run: PlannedRun) -> Result | None:
        """The result of a run, or None if the run is not finished with these settings."""
        key = self.run_key(run)
        # development versions wrote it under the name of the run alone
        paths = (self.output / "runs" / f"{name}.json" for name in (own_name(run, key), run.name))
        return next(filter(None, (read_result(path, key) for path in paths)), None)

    def results(self, runs: Sequence[PlannedRun]) -> list[Result]:
        """The results of the finished runs."""
        return [result for run in runs if (result := self.result(run)) is not None]

    def run(self, run: PlannedRun) -> Result | None:
        """Finish one run.

        run (PlannedRun): The run.
        RETURNS (dict): Its result, or None if another process is working on it.
        RAISES (MaralError): If a training or an evaluation fails.
        """
        try:
            with self._lock(f"run-{own_name(run, self.run_key(run))}", wait=False):
                result = self.result(run) or self._copy(run) or self._do(run)
                write_json(self.result_path(run), result)
                return result
        except Timeout:
            return None

    def _copy(self, run: PlannedRun) -> Result | None:
        """The result of another variant with the same effective settings."""
        key = self.run_key(run)
        for path in sorted((self.output / "runs").glob(f"{run.pair.name}-*.json")):
            if found := read_result(path, key):
                return {**found, **identity(run), "same_as": found["variant"]}
        return None

    def _do(self, run: PlannedRun) -> Result:
        """Train and evaluate the models of a run."""
        corpora = prepare_corpora(
            self.files(run), self.output / "corpora", gold=self.matrix.uses_gold,
            n_annotated=None if run.is_suggested else run.settings.target_gold,
        )  # fmt: skip
        if run.settings.translate:
            corpora = self._with_translated(run, corpora)
        if run.is_suggested:
            corpora = self._with_suggested(run, corpora)
        folder = self._teacher(run, corpora)
        scores = teacher_scores = self._evaluate(run, corpora, folder)
        if run.is_ceiling:
            gold = use_target_gold(corpora, self.files(run), self.output / "corpora")
            folder, corpora = self._ceiling(run, corpora, gold), gold
            scores = self._evaluate(run, corpora, folder)
        if run.student is not None:
            folder = self._student(run, corpora, folder)
            scores = self._evaluate(run, corpora, folder)
        training = summarise_training(folder / MODEL)
        if (run.student is not None or run.is_ceiling) and not self.keep_models:
            shutil.rmtree(folder)
        epochs = training.pop("epochs")
        return {
            **identity(run),
            **summarise_scores(scores, teacher_scores),
            **training,
            "sizes": corpora.sizes,
            "test_half": self.matrix.test_half,
            "max_width": max_width(run.teacher),
            "machine": describe_machine(self.gpu_id),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "settings": self.run_key(run),
            "epochs": epochs,
        }

    def _teacher(self, run: PlannedRun, corpora: Corpora) -> Path:
        """Train the teacher, unless one with its settings is there; RETURNS (Path): Its folder."""
        name = f"{run.pair.dataset}-{run.pair.source}-{run.seed}-{self.teacher_key(run)[:12]}"
        folder = self.output / "teachers" / name
        self._train(run, f"teacher {name}", run.teacher, corpora, folder)
        return folder

    def _with_suggested(self, run: PlannedRun, corpora: Corpora) -> Corpora:
        """Let a teacher that is trained without them suggest labelled target sentences.

        RETURNS (Corpora): The corpora of the run, with these sentences.
        """
        n, folder = run.settings.target_gold, self.output / "corpora"
        assert n is not None
        alone = replace(run, settings=run.settings.model_copy(update=WITHOUT_GOLD))
        teacher = self._teacher(alone, corpora)
        pool = draw_pool(self.files(run), folder, n)
        path = folder / f"{pool.stem}-{n}-{teacher.name}.spacy"
        with self._lock(path.stem):
            if not path.is_file():
                self.say(f"{run.name}: suggesting {n} sentences")
                chosen = teacher / f"suggested-{n}-{pool.stem}.spacy"
                self._call(run.name, "suggest", teacher / MODEL, pool, "-o", chosen, "--number", n)
                label_suggested(chosen, pool, path)
        return use_annotated(corpora, path)

    def _with_translated(self, run: PlannedRun, corpora: Corpora) -> Corpora:
        """Translate the training text of the source; RETURNS (Corpora): The corpora with it."""
        folder = self.output / "corpora"
        # the vectors of other encoders give other translations
        made_by = digest(
            [self.encoder_key(run.teacher), relevant(run.teacher, ("system", "components"))]
        )
        path = folder / f"{corpora.train.stem}-as-{corpora.target.stem}-{made_by[:8]}.spacy"
        with self._lock(path.stem):
            if not path.is_file():
                self.say(f"{run.name}: translating words")
                config = self._write_config(
                    run.teacher, "teacher", folder / "converted" / path.stem
                )
                self._call(
                    run.name, "translate-words", config, "--source", corpora.train,
                    "--target", corpora.target, "-o", path,
                )  # fmt: skip
        return replace(corpora, translated=path)

    def _ceiling(self, run: PlannedRun, source: Corpora, target: Corpora) -> Path:
        """Train on the target's gold labels, unless that is done; RETURNS (Path): The folder."""
        folder = self.output / "ceilings" / own_name(run, self.run_key(run))
        config = run.teacher.copy()
        section = config["teacher"]
        section["select"] = "last"
        epochs = read_section(run.teacher, "teacher").epochs
        section["epochs"] = as_many_steps(epochs, source.sizes["train"], target.sizes["train"])
        self._train(run, "ceiling", config, target, folder)
        return folder

    def _train(
        self, run: PlannedRun, what: str, config: Config, corpora: Corpora, folder: Path
    ) -> None:
        """Train a pipeline on labelled text, unless it is there or another process does it."""
        with self._lock(folder.name):
            if not has_finished(folder / MODEL):
                self.say(f"{run.name}: training the {what}")
                path = self._write_config(config, "teacher", folder)
                self._call(
                    folder.name, "train-teacher", path, *source_options(corpora),
                    "--dev", corpora.dev, "-o", folder / MODEL, "--resume", *gold_option(corpora),
                )  # fmt: skip

    def _student(self, run: PlannedRun, corpora: Corpora, teacher: Path) -> Path:
        """Train the student, or resume its training; RETURNS (Path): Its folder."""
        assert run.student is not None
        folder = self.output / "students" / own_name(run, self.run_key(run))
        labels = teacher / f"labels-{corpora.target.stem}.npz"
        with self._lock(f"{teacher.name}-{labels.stem}"):
            if not labels.is_file():
                self.say(f"{run.name}: labelling the target")
                self._call(run.name, "pseudo-label", teacher / MODEL, corpora.target, "-o", labels)
        if not has_finished(folder / MODEL):
            self.say(f"{run.name}: training the student")
            config = self._write_config(run.student, "student", folder)
            target = corpora.target_gold or corpora.target
            diagnosis = ("--diagnosis", corpora.test) if self.matrix.study else ()
            self._call(
                run.name, "adapt", config, "--teacher", teacher / MODEL,
                *source_options(corpora), "--dev", corpora.dev, "--target", target,
                "--labels", labels, "-o", folder / MODEL, "--resume", *diagnosis,
                *gold_option(corpora),
            )  # fmt: skip
        return folder

    def _evaluate(self, run: PlannedRun, corpora: Corpora, folder: Path) -> dict[str, Any]:
        """The metrics of a model on the test set and on the development set, by role."""
        found = {}
        for role, data in {"test": corpora.test, "dev": corpora.dev}.items():
            path = folder / f"metrics-{data.stem}.json"
            with self._lock(f"{folder.name}-{path.stem}"):
                if not path.is_file():
                    self.say(f"{run.name}: evaluating the {folder.parent.name[:-1]} on {role}")
                    self._call(run.name, "evaluate", folder / MODEL, data, "-o", path)
            found[role] = read_json(path)
        return found

    def _lock(self, name: str, *, wait: bool = True) -> FileLock:
        """A lock that processes in this folder share; the system frees it when its process ends."""
        folder = self.output / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", timeout=-1 if wait else 0)

    def _write_config(self, config: Config, section: str, folder: Path) -> Path:
        """Write a configuration, with the cache that all runs share; RETURNS (Path): Its file."""
        config, path = config.copy(), folder / f"{section}.cfg"
        config[section]["cache"] = str(self.output / "cache")
        write_file(path, config.to_str())
        return path

    def _call(self, log_name: str, command: str, *arguments: object) -> None:
        """Run a command of this package in a process of its own.

        RAISES (MaralError): If it fails, with the end of its output.
        RAISES (Interrupted): If a stop was requested.
        """
        log = self.output / "logs" / f"{log_name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = ["spacy", "maral", command, *map(str, arguments), "--gpu-id", str(self.gpu_id)]
        env = {k: v for k, v in os.environ.items() if k != "SPACY_CONFIG_OVERRIDES"}
        with log.open("a", encoding="utf8") as file:
            file.write(f"\n$ python -m {' '.join(words)}\n")
            file.flush()
            start = file.tell()
            code = run_process([sys.executable, "-m", *words], file, {**env, "PYTHONUTF8": "1"})
        if code:
            said = log.read_bytes()[start:].decode("utf8", "replace").strip().splitlines()
            tail = "\n".join(f"  {line}" for line in said[-SHOWN_LINES:])
            raise MaralError(Errors.M426.format(command=command, code=code, log=log, tail=tail))


def source_options(corpora: Corpora) -> tuple[object, ...]:
    """The options that give the labelled text of the source to a training."""
    translated = () if corpora.translated is None else ("--source", corpora.translated)
    return ("--source", corpora.train, *translated)


def gold_option(corpora: Corpora) -> tuple[object, ...]:
    """The option that gives the labelled target sentences to a training, or none."""
    return () if corpora.annotated is None else ("--target-gold", corpora.annotated)


def own_name(run: PlannedRun, key: str) -> str:
    """Name of what a run writes, by its key: a run of other settings does not replace it."""
    return f"{run.name}-{key[:8]}"


def identity(run: PlannedRun) -> Result:
    """The entries of a result that name its run."""
    return {
        **run.pair.model_dump(), "variant": run.variant, "seed": run.seed,
        "overrides": run.settings.overrides, "teacher_overrides": run.settings.teacher,
        "target_sentences": run.settings.target_sentences, "adapted": run.settings.adapt,
        "trained_on": run.settings.train_on,
        "target_gold": run.settings.target_gold,
        "target_gold_choice": run.settings.target_gold_choice,
        "translate": run.settings.translate,
    }  # fmt: skip


def as_many_steps(epochs: int, n_source: int, n_target: int) -> int:
    """Epochs over the target's sentences that have about as many steps as those over the source's.

    A batch holds a fixed number of word pieces, so that steps go by text. Fewer sentences get more
    epochs; there are never more sentences.
    """
    return max(epochs, round(epochs * n_source / n_target))


def summarise_scores(scores: dict[str, Any], teacher_scores: dict[str, Any]) -> Result:
    """The scores of a run, in [0, 1], from the metrics that `evaluate` writes."""
    test = scores["test"]
    return {
        **{name: test["micro"][name] for name in ("f1", "precision", "recall")},
        "paper_f1": test["paper_protocol"]["f1"],
        "dev_f1": scores["dev"]["micro"]["f1"],
        "teacher_f1": teacher_scores["test"]["micro"]["f1"],
        "per_type": {label: score["f1"] for label, score in test["per_type"].items()},
        "evaluation_seconds": sum(metrics["seconds"] for metrics in scores.values()),
    }


def summarise_training(model: Path) -> Result:
    """Time, memory, noise and epochs of a training, from its summary and its log.

    RAISES (MaralError): If the summary is missing or no JSON.
    """
    summary = read_json(model / RUN_FOLDER / SUMMARY)
    lines = (model / RUN_FOLDER / LOG).read_text(encoding="utf8").splitlines()
    logged = [json.loads(line) for line in lines]
    result = {
        **{key: summary[key] for key in SUMMARY_KEYS},
        # the summary of a resumed training covers only the time since it was resumed
        "seconds": max(summary["seconds"], sum(epoch["seconds"] for epoch in logged)),
        "precision_format": summary["precision"],
        "epochs": [{key: epoch[key] for key in LOGGED_KEYS if key in epoch} for epoch in logged],
        "without_labels": classes_without_labels(logged[-1]) if logged else [],
    }
    if "raw_target" in summary:
        result["raw_target"] = summary["raw_target"]
    if logged and "noise_ratio" in logged[-1]:
        result["noise_start"] = logged[0]["noise_ratio_start"]
        result["noise_end"] = logged[-1]["noise_ratio"]
    return result


def has_finished(model: Path) -> bool:
    """Whether the training of a pipeline is complete."""
    return (model / RUN_FOLDER / SUMMARY).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """RAISES (MaralError): If the file is missing or no JSON."""
    with reading(path, Errors.M427):
        return json.loads(path.read_text(encoding="utf8"))


def read_result(path: Path, settings: str) -> Result | None:
    """A result of these settings; None if the file is missing, damaged or of others."""
    try:
        found = read_json(path)
        return found if found["settings"] == settings else None
    except (MaralError, TypeError, KeyError):
        return None


def run_all(
    benchmark: Benchmark, runs: Sequence[PlannedRun], after: Callable[[], None]
) -> dict[str, str]:
    """Finish runs one after the other, and go on after a failure.

    benchmark (Benchmark): The benchmark.
    runs (Sequence[PlannedRun]): Its runs, or some of them.
    after (Callable): Called after each run, to write the tables.
    RETURNS (dict): Messages of the failures, by name of the run.
    """
    failed: dict[str, str] = {}
    for number, run in enumerate(runs, start=1):
        name = f"[{number}/{len(runs)}] {run.name}"
        if benchmark.result(run) is not None:
            benchmark.say(f"{name}: done before")
            continue
        started = time.perf_counter()
        try:
            result = benchmark.run(run)
        except MaralError as error:
            failed[run.name] = str(error)
            benchmark.say(f"{name}: FAILED\n{error}")
            continue
        if result is None:
            benchmark.say(f"{name}: another process is working on it")
            continue
        after()
        f1, teacher = 100 * result["f1"], 100 * result["teacher_f1"]
        seconds = time.perf_counter() - started
        benchmark.say(f"{name}: F1 {f1:.2f} (teacher {teacher:.2f}), {seconds:,.0f} s")
    return failed
