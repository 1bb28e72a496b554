"""Run a benchmark: each training in a process of its own, each result in a file of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from thinc.api import Config

from ..data.files import digest, write_file, write_json
from ..data.layout import LOG, RUN_FOLDER, SUMMARY
from ..errors import Errors, MaralError
from ..model.machine import describe_machine
from .corpora import Corpora, RawFile, file_hash, prepare_corpora, raw_files
from .matrix import (
    STUDENT_SECTIONS,
    TEACHER_SECTIONS,
    Matrix,
    PlannedRun,
    relevant,
)
from .processes import run_process

MODEL = "model"
SHOWN_LINES = 15
ROW_KEYS = (
    "epoch", "losses", "score", "dev_f1", "kappa", "centroid_cosine", "alpha", "changed", "reliable",
    "noise_ratio", "noise_ratio_reliable", "target_agreement", "target_density",
    "target_information", "target_f1",
)  # fmt: skip
Say = Callable[[str], None]


@dataclass
class Benchmark:
    """A benchmark and the folder that it is done in.

    matrix (Matrix): What is to be run.
    data (Path): Folder with one folder a dataset.
    output (Path): Folder for corpora, teachers, results and tables.
    encoder (Path): Folder of the encoder; None for that of the configuration.
    gpu_id (int): GPU to use, -1 for the CPU.
    keep_models (bool): Whether students are kept after their evaluation. Teachers always are.
    say (Callable): Is told what happens.
    """

    matrix: Matrix
    data: Path
    output: Path
    encoder: Path | None = None
    gpu_id: int = -1
    keep_models: bool = False
    say: Say = field(default=lambda text: None)

    def files(self, run: PlannedRun) -> dict[str, RawFile]:
        return raw_files(self.matrix, run, self.data)

    def encoder_key(self, config: Config) -> str:
        """What tells one encoder from another, wherever its folder is."""
        name = config["components"]["transformer"]["model"]["name"]
        files = sorted(p for p in Path(name).glob("*") if p.suffix in (".json", ".safetensors"))
        return digest([(p.name, file_hash(p)) for p in files]) if files else str(name)

    def teacher_key(self, run: PlannedRun) -> str:
        """Fingerprint of all that a teacher depends on; not of the target language."""
        files = self.files(run)
        data = [files[role].key for role in ("train", "dev")]
        settings = relevant(run.teacher, TEACHER_SECTIONS)
        return digest([settings, self.encoder_key(run.teacher), data])

    def run_key(self, run: PlannedRun) -> str:
        """Fingerprint of all that a run's result depends on; not of the variant's name."""
        student = None if run.student is None else relevant(run.student, STUDENT_SECTIONS)
        data = [file.key for file in self.files(run).values()]
        return digest([self.teacher_key(run), student, data, self.matrix.study])

    def result_path(self, run: PlannedRun) -> Path:
        return self.output / "runs" / f"{run.name}.json"

    def result(self, run: PlannedRun) -> dict[str, Any] | None:
        """The result of a run, or None if it is not finished with these settings."""
        found = read_result(self.result_path(run))
        return found if found is not None and found["settings"] == self.run_key(run) else None

    def results(self, runs: Sequence[PlannedRun]) -> list[dict[str, Any]]:
        """The results of the runs that are finished."""
        return [result for run in runs if (result := self.result(run)) is not None]

    def run(self, run: PlannedRun) -> dict[str, Any] | None:
        """Do one run, as far as it is not done.

        run (PlannedRun): What to run.
        RETURNS (dict): Its result, or None if another process is at it.
        RAISES (MaralError): If a training or an evaluation fails.
        """
        path = self.result_path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock(run.name, wait=False):
                result = self.result(run) or self._copy(run) or self._do(run)
                write_json(path, result)
                return result
        except Timeout:
            return None

    def _copy(self, run: PlannedRun) -> dict[str, Any] | None:
        """The result of another variant with the same settings in effect."""
        key = self.run_key(run)
        for path in sorted(self.result_path(run).parent.glob(f"{run.pair.name}-*.json")):
            found = read_result(path)
            if found is not None and found["settings"] == key:
                return {**found, **identity(run), "same_as": found["variant"]}
        return None

    def _do(self, run: PlannedRun) -> dict[str, Any]:
        corpora = prepare_corpora(
            self.files(run), self.output / "corpora", gold=self.matrix.uses_gold
        )
        teacher = self._teacher(run, corpora)
        model, training = teacher / MODEL, read_summary(teacher / MODEL)
        sets = {"test": corpora.test, "dev": corpora.dev}
        of_teacher = self._evaluate(run, model, sets, teacher)
        if run.student is None:
            scores, rows = of_teacher, read_rows(model)
        else:
            folder = self.output / "students" / f"{run.name}-{self.run_key(run)[:8]}"
            model = self._student(run, corpora, teacher, folder)
            scores = self._evaluate(run, model, sets, folder)
            training, rows = read_summary(model), read_rows(model)
            if not self.keep_models:
                shutil.rmtree(folder)
        return {
            **identity(run),
            **summarise_scores(scores, of_teacher),
            **summarise_training(training, rows),
            "sizes": corpora.sizes,
            "max_width": run.teacher["components"]["maral_ner"]["model"].get("max_width"),
            "machine": describe_machine(self.gpu_id),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "settings": self.run_key(run),
            "epochs": rows,
        }

    def _teacher(self, run: PlannedRun, corpora: Corpora) -> Path:
        """Train the teacher, unless there is one by the same settings; RETURNS: Its folder."""
        name = f"{run.pair.dataset}-{run.pair.source}-{run.seed}-{self.teacher_key(run)[:12]}"
        folder = self.output / "teachers" / name
        with self._lock(name):
            if not has_finished(folder / MODEL):
                self.say(f"{run.name}: training the teacher {name}")
                config = self._write_config(run.teacher, "teacher", folder / "teacher.cfg")
                self._call(
                    folder.name, "train-teacher", config, "--source", corpora.train,
                    "--dev", corpora.dev, "-o", folder / MODEL, "--resume",
                )  # fmt: skip
        return folder

    def _student(self, run: PlannedRun, corpora: Corpora, teacher: Path, folder: Path) -> Path:
        """Train the student, or go on with its training; RETURNS: Its pipeline's folder."""
        assert run.student is not None
        labels = teacher / f"labels-{corpora.target.stem}.npz"
        with self._lock(f"{teacher.name}-{labels.stem}"):
            if not labels.is_file():
                self.say(f"{run.name}: labelling the target")
                self._call(run.name, "pseudo-label", teacher / MODEL, corpora.target, "-o", labels)
        output = folder / MODEL
        if not has_finished(output):
            self.say(f"{run.name}: training the student")
            config = self._write_config(run.student, "student", folder / "student.cfg")
            target = corpora.target_gold or corpora.target
            diagnosis = ("--diagnosis", corpora.test) if self.matrix.study else ()
            self._call(
                run.name, "adapt", config, "--teacher", teacher / MODEL,
                "--source", corpora.train, "--dev", corpora.dev, "--target", target,
                "--labels", labels, "-o", output, "--resume", *diagnosis,
            )  # fmt: skip
        return output

    def _evaluate(
        self, run: PlannedRun, model: Path, sets: dict[str, Path], folder: Path
    ) -> dict[str, Any]:
        """Metrics on test and dev set, by role."""
        found = {}
        for role, data in sets.items():
            path = folder / f"metrics-{data.stem}.json"
            with self._lock(f"{folder.name}-{path.stem}"):
                if not path.is_file():
                    self.say(f"{run.name}: evaluating the {folder.parent.name[:-1]} on {role}")
                    self._call(run.name, "evaluate", model, data, "-o", path)
            found[role] = read_json(path)
        return found

    def _lock(self, name: str, *, wait: bool = True) -> FileLock:
        """A lock between processes in this folder; a process that ends lets go of it."""
        folder = self.output / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", timeout=-1 if wait else 0)

    def _write_config(self, config: Config, section: str, path: Path) -> Path:
        """Write a configuration by which all runs share one cache; RETURNS: Its file."""
        config = config.copy()
        config[section]["cache"] = str(self.output / "cache")
        write_file(path, config.to_str())
        return path

    def _call(self, log_name: str, command: str, *arguments: object) -> None:
        """Run a command of this package in a process of its own.

        RAISES (MaralError): If it fails, with the end of what it said.
        RAISES (Interrupted): If a stop is asked for meanwhile.
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


def identity(run: PlannedRun) -> dict[str, Any]:
    """What a result is the result of."""
    return {
        "dataset": run.pair.dataset,
        "source": run.pair.source,
        "target": run.pair.target,
        "variant": run.variant,
        "seed": run.seed,
        "overrides": run.settings.overrides,
        "teacher_overrides": run.settings.teacher,
        "target_sentences": run.settings.target_sentences,
        "adapted": run.settings.adapt,
    }


def summarise_scores(scores: dict[str, Any], of_teacher: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run, in [0, 1], from metrics as `evaluate` writes them."""
    test = scores["test"]
    return {
        "f1": test["micro"]["f1"],
        "precision": test["micro"]["precision"],
        "recall": test["micro"]["recall"],
        "paper_f1": test["paper_protocol"]["f1"],
        "dev_f1": scores["dev"]["micro"]["f1"],
        "teacher_f1": of_teacher["test"]["micro"]["f1"],
        "per_type": {label: score["f1"] for label, score in test["per_type"].items()},
        "evaluation_seconds": sum(result["seconds"] for result in scores.values()),
    }


def summarise_training(summary: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Time, memory and noise of a training, from its summary and its log."""
    result = {
        "selected_epoch": summary["selected_epoch"],
        "select": summary["select"],
        # a resumed run's summary knows only the time since then
        "seconds": max(summary["seconds"], sum(row.pop("seconds") for row in rows)),
        "peak_memory_bytes": summary["peak_memory_bytes"],
        "threads": summary["threads"],
        "precision_format": summary["precision"],
        "versions": summary["versions"],
    }
    if rows and "noise_ratio" in rows[-1]:
        result["noise_start"] = rows[0]["noise_ratio_start"]
        result["noise_end"] = rows[-1]["noise_ratio"]
    for row in rows:
        row.pop("noise_ratio_start", None)
    return result


def has_finished(model: Path) -> bool:
    """Whether the training of a pipeline is complete."""
    return (model / RUN_FOLDER / SUMMARY).is_file()


def read_summary(model: Path) -> dict[str, Any]:
    """The summary of a training.

    RAISES (MaralError): If it is missing or no JSON.
    """
    return read_json(model / RUN_FOLDER / SUMMARY)


def read_rows(model: Path) -> list[dict[str, Any]]:
    """The epochs of a training, without what is of no use in a table."""
    lines = (model / RUN_FOLDER / LOG).read_text(encoding="utf8").splitlines()
    kept = (*ROW_KEYS, "seconds", "noise_ratio_start")
    return [{k: row[k] for k in kept if k in row} for row in map(json.loads, lines)]


def read_json(path: Path) -> dict[str, Any]:
    """RAISES (MaralError): If the file is missing or no JSON."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise MaralError(Errors.M427.format(path=path, problem=error)) from None
    return content


def read_result(path: Path) -> dict[str, Any] | None:
    """A result, or None if there is none that can be read: it is then made again."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "settings" in content else None


def run_all(
    benchmark: Benchmark, runs: Sequence[PlannedRun], after: Callable[[], None]
) -> dict[str, str]:
    """Do runs, one after the other; one that fails does not keep the others from being done.

    benchmark (Benchmark): Where and how.
    runs (Sequence[PlannedRun]): What.
    after (Callable): Called after each run, to write the tables.
    RETURNS (dict): Why runs failed, by name.
    """
    failed: dict[str, str] = {}
    for number, run in enumerate(runs, start=1):
        place = f"[{number}/{len(runs)}]"
        if benchmark.result(run) is not None:
            benchmark.say(f"{place} {run.name}: done before")
            continue
        started = time.perf_counter()
        try:
            result = benchmark.run(run)
        except MaralError as error:
            failed[run.name] = str(error)
            benchmark.say(f"{place} {run.name}: FAILED\n{error}")
            continue
        if result is None:
            benchmark.say(f"{place} {run.name}: another process is at it")
            continue
        after()
        f1, teacher = 100 * result["f1"], 100 * result["teacher_f1"]
        benchmark.say(
            f"{place} {run.name}: F1 {f1:.2f} (teacher {teacher:.2f}), "
            f"{time.perf_counter() - started:,.0f} s"
        )
    return failed
