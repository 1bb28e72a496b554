"""Adapt a student to the target language with pseudo-labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from spacy.util import logger
from thinc.api import Config
from tqdm.auto import tqdm

from ..data.config import read_config
from ..data.files import Paths, as_paths
from ..data.layout import DIAGNOSTICS, META
from ..errors import Errors, MaralError, Warnings
from ..model.checks import SETTINGS_OF_USE
from ..model.machine import use_device
from ..model.maral_ner import DEFAULT_CONFIG, set_names, set_use
from ..model.visible import is_blank
from ..training.folders import digest_labels, digest_pipeline, fingerprint, is_finished, run_folder
from ..training.hooks import Evaluate, Hook
from ..training.inputs import Inputs, warn_of_words
from ..training.logging import check_logger, reporting
from ..training.loop import Run
from ..training.masked_lm import check_head, masked_lm
from ..training.network import Network
from ..training.pipelines import (
    COMPONENT,
    Pipeline,
    build_pipeline,
    cache_of,
    check_component,
    check_folder,
    evaluator,
    f1_on,
    load_pipeline,
    report_width,
    run_seed,
    together,
)
from ..training.processes import ALONE, Ranks, join, own_gpu
from ..training.settings import AdaptationSettings, Section, StudentSettings, read_section
from ..training.shares import Share
from ..training.steps import fit_batches
from ..training.summary import finish, settle_offset
from ..training.target_gold import TARGET_GOLD, TargetGold, check_select
from ..training.target_sample import TargetSample
from .chunks import CHUNK_DOCS, predict
from .diagnostics import Diagnostics
from .outcome import score_teacher, settle_comparison, settle_target, teacher_labels
from .progressive import Adaptation
from .pseudo_labels import PseudoLabels, read_labels, without_texts
from .start_labels import start_labels
from .target_names import Strings

DIAGNOSIS = "diagnosis"
Study = Callable[[Network, TargetSample], Hook]


@dataclass
class StudentPlan:
    """Settings of a student: the configuration, and its sections [student] and [adaptation]."""

    config: Config
    training: StudentSettings
    adaptation: AdaptationSettings

    @classmethod
    def read(cls, path: str | Path, overrides: dict[str, Any] | None) -> StudentPlan:
        """Read the configuration.

        RAISES (MaralError): If a section is missing or has an invalid setting.
        """
        config = read_config(path, overrides)
        training = read_section(config, "student")
        check_component(config, "student", training)
        return cls(config, training, read_section(config, "adaptation"))

    @property
    def sections(self) -> dict[str, Section]:
        return {"student": self.training, "adaptation": self.adaptation}

    @property
    def seed(self) -> int:
        return run_seed(self.config)

    def check(self, teacher: Path | None, labels: Paths | None, diagnosis: Paths | None) -> None:
        """Refuse arguments that do not fit together, before any work is done.

        RAISES (MaralError): If pseudo-labels or initial weights have no source, or labelled target
            text is given although the settings do not allow its use.
        """
        if diagnosis is not None and not self.adaptation.diagnose_with_gold:
            raise MaralError(Errors.M331.format(path=diagnosis))
        if teacher is None and labels is None:
            raise MaralError(Errors.M335)
        if teacher is None and self.adaptation.init == "teacher":
            raise MaralError(Errors.M336)
        if teacher is not None:
            check_folder(teacher)
        improves = self.adaptation.filter or self.adaptation.guidance != "none"
        warmup, epochs = self.adaptation.warmup_epochs, self.training.epochs
        if improves and warmup >= epochs:
            logger.warning(Warnings.W336.format(warmup=warmup, epochs=epochs))


def adapt(
    config_path: str | Path,
    *,
    source: Paths,
    target: Paths,
    dev: Paths,
    output: str | Path,
    teacher: str | Path | None = None,
    labels: Paths | None = None,
    target_gold: Paths | None = None,
    diagnosis: Paths | None = None,
    lang: str | Sequence[str] | None = None,
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    gpu_id: int = -1,
    study: Study | None = None,
) -> Path:
    """Adapt a student to the target language with the sections [student] and [adaptation].

    Each of several source or target files, such as languages, has its own label prior; all files
    share the class means.

    EXAMPLE: adapt("maral.cfg", teacher="teacher", source="train.spacy", dev="dev.spacy",
        target=["de.spacy", "fr.txt"], lang=["de", "fr"], output="student")

    config_path (str | Path): The configuration.
    source (Paths): Labelled training documents of the source language (.spacy).
    target (Paths): Documents of the target language (.spacy), whose entities are not used, or raw
        text (see `read_raw`).
    dev (Paths): Labelled development documents of the source language (.spacy).
    output (str | Path): Folder for the pipeline; its subfolder "training" holds the log and
        the checkpoints.
    teacher (str | Path | None): Folder of the teacher's pipeline. Not needed with labels, unless
        the student starts from it.
    labels (Paths | None): Pseudo-labels written by `pseudo_label`: one file for the whole target,
        or one for each file of the target. By default the teacher predicts them.
    target_gold (Paths | None): Labelled sentences of the target languages (.spacy), a file for each
        language, which join the source (see `TargetGold`). The target is read without them. The run
        ends with the F1 of student and teacher on those that are held out, if the teacher has a maral_ner
        that was not trained on them.
    diagnosis (Paths | None): Labelled documents of the target language (.spacy), for studies. Their
        F1 is logged after every epoch and has no effect on the run.
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each target.
    overrides (dict): Settings that replace those of the configuration.
    resume (bool): Resume from the last checkpoint in the folder, if there is one.
    gpu_id (int): GPU to use, -1 for the CPU.
    study (Study | None): Makes a further hook of the run, from the network and a sample of the
        target, for studies.
    RETURNS (Path): The folder of the pipeline.
    RAISES (MaralError): If the configuration, the labels or the data cannot be used.
    """
    started, output = time.perf_counter(), Path(output)
    folder_of_teacher = None if teacher is None else Path(teacher)
    use_device(own_gpu(gpu_id))
    with join(on_gpu=gpu_id >= 0) as ranks:
        plan = StudentPlan.read(config_path, overrides)
        plan.check(folder_of_teacher, labels, diagnosis)
        check_select(plan.training, target_gold)
        read = [*as_paths(target), *([] if folder_of_teacher is None else [folder_of_teacher])]
        with run_folder(output, resume, ranks, read) as folder:
            if ranks.is_first:
                warn_of_words(plan.config, as_paths(target), lang)
            inputs = Inputs.read(
                lang, source=source, target=target, dev=dev, target_gold=target_gold,
                diagnosis=diagnosis,
            )  # fmt: skip
            files = origins(folder_of_teacher, labels)
            identity = fingerprint(plan.config, plan.sections, inputs.docs, **files)
            identity |= inputs.sizes()
            if resume and is_finished(folder, identity):
                return output
            if ranks.is_first:
                check_logger(plan.training)
            student, pseudo = student_and_labels(plan, folder_of_teacher, inputs, labels)
            if ranks.is_first:
                pseudo.warn(", ".join(map(str, as_paths(labels or folder_of_teacher or ()))))
            gold = TargetGold.choose(inputs, target_gold, student.labels, plan.training)
            if gold is not None:
                plan = replace(plan, training=gold.adjusted(plan.training))
                pseudo = without_texts(pseudo, inputs, gold.keys)
                gold.join(inputs, ranks)
            of_teacher = score_teacher(folder_of_teacher, gold) if ranks.is_first else None
            run, hook = prepare_student(
                student, inputs, pseudo, plan, folder, identity, ranks, study, gold
            )
            docs = inputs.docs["target"]
            if not plan.adaptation.save_names:
                docs = docs[:CHUNK_DOCS]
            inputs.forget()
            run.train(resume=resume)
            prior = student.network.tensor(hook.target.prior)
            student.network.span_model.statistics.set_prior(prior)
            # the first process alone has the selected weights
            if ranks.is_first:
                chosen = settle_offset(student, run, gold)
                facts: dict[str, Any] = settle_target(
                    student, docs, hook.first_classes, plan.adaptation
                )
                facts |= settle_comparison(student, gold, of_teacher)
                if folder_of_teacher is not None:
                    facts["teacher"] = teacher_scores(folder_of_teacher)
                finish(
                    student, run, output, started, settings=plan.sections, chosen=chosen,
                    facts=facts, gold=gold,
                )  # fmt: skip
    return output


def origins(teacher: Path | None, labels: Paths | None) -> dict[str, str]:
    """Digests of the teacher and the pseudo-labels, for the fingerprint of a run."""
    found = {} if teacher is None else {"teacher": digest_pipeline(teacher)}
    if labels is not None:
        found["pseudo-labels"] = " + ".join(map(digest_labels, as_paths(labels)))
    return found


def student_and_labels(
    plan: StudentPlan, teacher: Path | None, inputs: Inputs, files: Paths | None
) -> tuple[Pipeline, PseudoLabels]:
    """Make the student and the pseudo-labels, and check that they fit together.

    files (Paths | None): Files of pseudo-labels; None to let the teacher predict them.
    RAISES (MaralError): If student and teacher, or labels and documents, do not fit together.
    """
    asked = pseudo = None
    if files is not None:
        pseudo = read_labels(files, inputs, None if teacher is None else teacher_labels(teacher))
        names, width = pseudo.labels, pseudo.max_width
    else:
        assert teacher is not None
        asked = load_pipeline(teacher)
        names, width = asked.labels, asked.network.span_model.max_width
    if plan.adaptation.init == "encoder" or teacher is None:
        student = build_pipeline(plan.config, names, plan.training)
    else:
        student = load_pipeline(teacher, plan.training)
        # the teacher's own ones, such as offset, names and threshold, fit the teacher's scores only
        own = {**DEFAULT_CONFIG, **plan.config["components"][COMPONENT]}
        set_use(student.nlp, COMPONENT, **{name: own[name] for name in SETTINGS_OF_USE})
        student.set_offset(own["offset"])
        set_names(student.nlp, COMPONENT, None, own["names"])
    found = student.network.span_model.max_width
    if found != width:
        raise MaralError(Errors.M317.format(teacher=width, student=found))
    check_head(student, plan.adaptation)
    if pseudo is None:
        assert asked is not None
        pseudo = predict(asked, inputs.docs["target"])
    return student, pseudo


def teacher_scores(path: Path) -> dict[str, float]:
    """Scores of a teacher on its development data, as far as its own training has saved them."""
    kept = json.loads((path / META).read_text(encoding="utf8")).get("performance", {})
    names = {"dev_precision": "p", "dev_recall": "r", "dev_f1": "f"}
    keys = {name: f"source_dev_ents_{key}" for name, key in names.items()}
    return {name: kept[key] for name, key in keys.items() if kept.get(key) is not None}


def prepare_student(
    student: Pipeline,
    inputs: Inputs,
    labels: PseudoLabels,
    plan: StudentPlan,
    folder: Path,
    identity: dict[str, Any],
    ranks: Ranks = ALONE,
    study: Study | None = None,
    gold: TargetGold | None = None,
) -> tuple[Run, Adaptation]:
    """Prepare the run of a student.

    inputs (Inputs): Documents of "source", "target" and "dev", and optionally of "diagnosis".
    labels (PseudoLabels): Pseudo-labels of the target.
    identity (dict): The run's fingerprint.
    gold (TargetGold | None): Target sentences, which are part of "source" already; those held out
        are scored after every epoch.
    RETURNS (tuple): The run, and its hook that keeps the pseudo-labels.
    """
    docs = inputs.docs
    student.cache = cache_of(plan.training, folder)
    source, target = (
        student.deal(docs[name], ranks, labelled=gold, name=name)
        for name, gold in (("source", True), ("target", plan.adaptation.diagnose_with_gold))
    )
    report_width(source, student.labels)
    training, note = fit_batches([source, target], plan.training, plan.seed)
    if note and ranks.is_first:
        tqdm.write(note)
    plan = replace(plan, training=training)
    hook = prepare_labels(student, inputs, labels, plan, source, target)
    student.network.span_model.statistics.set_prior(student.network.tensor(hook.source.prior))
    hooks: list[Hook] = [hook]
    if plan.adaptation.diagnostics:
        hooks.append(Diagnostics(folder / DIAGNOSTICS, hook, words_of(docs, "source", "target")))
    evaluate: Evaluate | None = None
    if ranks.is_first:
        evaluate, more = watch(student, docs, target, labels, plan, study, gold)
        hooks += more
    run = Run(
        network=student.network,
        extra=masked_lm(student, plan.adaptation),
        streams=[hook.source, hook.target],
        settings=training,
        evaluate=evaluate,
        folder=folder,
        fingerprint=identity,
        seed=plan.seed,
        hooks=hooks,
        ranks=ranks,
    )
    return run, hook


def prepare_labels(
    student: Pipeline,
    inputs: Inputs,
    labels: PseudoLabels,
    plan: StudentPlan,
    source: Share,
    target: Share,
) -> Adaptation:
    """Make the labels that a student starts with, and the hook that improves them.

    source, target (Share): What this process has of both sides.
    RETURNS (Adaptation): The hook.
    """
    settings, parts = plan.adaptation, inputs.parts.get("target")
    strings = Strings.of(inputs.docs["target"], target.max_width)
    start, points = start_labels(
        labels.probabilities, strings, settings, None if parts is None else parts.spans(target),
        labels.known,
    )  # fmt: skip
    return Adaptation(
        student.network, source, target, replace(labels, probabilities=start),
        training=plan.training, settings=settings, seed=plan.seed, parts=inputs.parts,
        keys=strings.keys if settings.names == "all" else None, points=points,
    )  # fmt: skip


def watch(
    student: Pipeline,
    docs: Mapping[str, Sequence[Doc]],
    target: Share,
    labels: PseudoLabels,
    plan: StudentPlan,
    study: Study | None,
    gold: TargetGold | None,
) -> tuple[Evaluate, list[Hook]]:
    """Make what scores each epoch of a student, and the hooks that study it and tell of it.

    docs (Mapping): See `student_evaluator`; and those of "target".
    target (Share): The target, of which a sample is drawn where a score or a study needs it.
    labels (PseudoLabels): Pseudo-labels of the target.
    RETURNS (tuple): The evaluation and the hooks, all for the first process alone.
    """
    training, sample = plan.training, None
    if training.select == "target_information" or DIAGNOSIS in docs or study is not None:
        sample = TargetSample.draw(
            student, docs["target"], target.doc_spans, labels.probabilities, training, plan.seed
        )
    hooks = [] if study is None or sample is None else [study(student.network, sample)]
    evaluate = student_evaluator(student, docs, sample, training, gold)
    return evaluate, [*hooks, *reporting(student, training)]


def student_evaluator(
    student: Pipeline,
    docs: Mapping[str, Sequence[Doc]],
    sample: TargetSample | None,
    settings: StudentSettings,
    gold: TargetGold | None = None,
) -> Evaluate:
    """Make the evaluation of a student: scores on source dev, and on the target where asked for.

    docs (Mapping): Documents of "dev", and optionally labelled target documents under "diagnosis",
        whose F1 is logged as "target_f1" and has no effect on the run.
    sample (TargetSample | None): A sample of the target, whose information is a score.
    gold (TargetGold | None): Target sentences; F1 on those held out is logged as "target_gold_f1".
    """
    dev = student.encode(docs["dev"], labelled=True, name="dev")
    parts: list[Evaluate] = [evaluator(student, dev, settings)]
    if sample is not None:
        parts.append(sample.information)
    if gold is not None and gold.held_out:
        parts.append(f1_on(student, gold.held_out, settings, TARGET_GOLD))
    if DIAGNOSIS in docs:
        parts.append(f1_on(student, docs[DIAGNOSIS], settings, "target"))
    return together(parts)


def words_of(docs: Mapping[str, Sequence[Doc]], *names: str) -> dict[str, list[list[str]]]:
    """Visible words of each document of each side; they take a tenth of the documents' memory."""
    return {
        name: [[token.text for token in doc if not is_blank(token.text)] for doc in docs[name]]
        for name in names
    }
