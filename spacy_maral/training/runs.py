"""The three steps to a cross-lingual model: train a teacher, pseudo-label, adapt a student."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from spacy.util import load_config
from thinc.api import Config

from ..errors import Errors, MaralError
from .adaptation import Adaptation
from .diagnostics import FOLDER, Diagnostics
from .evaluators import DIAGNOSIS, student_evaluator
from .folders import (
    RUN_FOLDER,
    digest_labels,
    digest_pipeline,
    fingerprint,
    is_finished,
    prepare_output,
)
from .interrupts import sole_run
from .loop import Run
from .pseudo_labels import PseudoLabels, predict_labels
from .schemas import AdaptationSettings, TrainingSettings, read_section
from .selection import ON_TARGET
from .setup import (
    Pipeline,
    build_pipeline,
    check_head,
    check_width,
    evaluator,
    finish,
    load_pipeline,
    masked_lm,
    read_docs,
    report_width,
    reporting,
    run_seed,
    use_device,
)
from .streams import source_stream

LABEL_TOKENS = 8192


def train_teacher(
    config_path: Path,
    *,
    source: Path,
    dev: Path,
    output: Path,
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    gpu_id: int = -1,
) -> Path:
    """Train a model on labelled documents of the source language, by the section [teacher].

    config_path (Path): The configuration.
    source (Path): Labelled training documents (.spacy).
    dev (Path): Labelled development documents of the source language (.spacy).
    output (Path): Folder for the pipeline; its subfolder "training" holds log and checkpoints.
    overrides (dict): Settings that replace those of the configuration, as {"section.key": value}.
    resume (bool): Go on from the last checkpoint in the folder, if there is one.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Path): The folder of the pipeline.
    RAISES (MaralError): If the configuration or the data cannot be used.
    """
    started = time.perf_counter()
    use_device(gpu_id)
    config = load_config(config_path, overrides or {}, interpolate=True)
    settings = read_section(config, "teacher", TrainingSettings)
    if settings.select in ON_TARGET:
        raise MaralError(Errors.M330.format(select=settings.select))
    with sole_run(output / RUN_FOLDER):
        folder = prepare_output(output, resume)
        docs = {"source": read_docs(source), "dev": read_docs(dev)}
        labels = sorted({ent.label_ for doc in docs["source"] for ent in doc.ents})
        if not labels:
            raise MaralError(Errors.M312.format(path=source))
        identity = fingerprint(config, {"teacher": settings}, docs)
        if resume and is_finished(folder, identity):
            return output
        pipeline = build_pipeline(config, labels, settings)
        run = teacher_run(pipeline, docs, settings, folder, identity, run_seed(config))
        run.train(resume=resume)
        finish(pipeline, run, output, started, settings={"teacher": settings})
    return output


def teacher_run(
    pipeline: Pipeline,
    docs: dict[str, list[Doc]],
    settings: TrainingSettings,
    folder: Path,
    identity: dict[str, Any],
    seed: int,
) -> Run:
    """Put the run of a teacher together.

    pipeline (Pipeline): What is trained.
    docs (dict): The documents of "source" and "dev".
    settings (TrainingSettings): The section [teacher].
    folder (Path): Where checkpoints and the log are kept.
    identity (dict): The run's fingerprint.
    seed (int): Seeds batches and dropout.
    RETURNS (Run): The run.
    """
    corpus = pipeline.encode(docs["source"], labelled=True, name="source")
    dev_corpus = pipeline.encode(docs["dev"], labelled=True, name="dev")
    report_width(corpus, pipeline.labels)
    stream = source_stream(corpus, len(pipeline.labels) + 1, settings.prior_scale)
    pipeline.network.span_model.statistics.set_prior(pipeline.network.tensor(stream.prior))
    return Run(
        network=pipeline.network,
        streams=[stream],
        settings=settings,
        evaluate=evaluator(pipeline, dev_corpus, settings),
        folder=folder,
        fingerprint=identity,
        seed=seed,
        hooks=reporting(pipeline, settings),
    )


def pseudo_label(model: Path, target: Path, output: Path, *, gpu_id: int = -1) -> Path:
    """Let a trained pipeline label documents of the target language, softly.

    model (Path): Folder of the teacher's pipeline.
    target (Path): Documents (.spacy); entities in them are not looked at.
    output (Path): File for the labels.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Path): The file.
    RAISES (MaralError): If the pipeline has no maral_ner, or the documents cannot be read.
    """
    use_device(gpu_id)
    teacher = load_pipeline(model)
    corpus = teacher.encode(read_docs(target), labelled=False, name="target")
    labels = predict_labels(teacher.network, corpus, teacher.labels, batch_tokens=LABEL_TOKENS)
    labels.save(output)
    return output


def adapt(
    config_path: Path,
    *,
    teacher: Path,
    source: Path,
    target: Path,
    dev: Path,
    output: Path,
    labels: Path | None = None,
    diagnosis: Path | None = None,
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    gpu_id: int = -1,
) -> Path:
    """Adapt a student to the target language, by the sections [student] and [adaptation].

    config_path (Path): The configuration.
    teacher (Path): Folder of the teacher's pipeline.
    source (Path): Labelled training documents of the source language (.spacy).
    target (Path): Documents of the target language (.spacy); their entities are not used.
    dev (Path): Labelled development documents of the source language (.spacy).
    output (Path): Folder for the pipeline; its subfolder "training" holds log and checkpoints.
    labels (Path): Pseudo-labels of the target, as `pseudo_label` wrote them; by default the
        teacher is asked.
    diagnosis (Path): Labelled documents of the target language (.spacy), to write their F1 into
        the log after every epoch, for studies; nothing in the run goes by it.
    overrides (dict): Settings that replace those of the configuration.
    resume (bool): Go on from the last checkpoint in the folder, if there is one.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Path): The folder of the pipeline.
    RAISES (MaralError): If the configuration, the labels or the data cannot be used.
    """
    started = time.perf_counter()
    use_device(gpu_id)
    config = load_config(config_path, overrides or {}, interpolate=True)
    settings = read_section(config, "student", TrainingSettings)
    adaptation = read_section(config, "adaptation", AdaptationSettings)
    sections = {"student": settings, "adaptation": adaptation}
    if diagnosis is not None and not adaptation.diagnose_with_gold:
        raise MaralError(Errors.M331.format(path=diagnosis))
    with sole_run(output / RUN_FOLDER):
        folder = prepare_output(output, resume)
        docs = {"source": read_docs(source), "target": read_docs(target), "dev": read_docs(dev)}
        if diagnosis is not None:
            docs[DIAGNOSIS] = read_docs(diagnosis)
        origin = {"teacher": digest_pipeline(teacher)}
        if labels is not None:
            origin["pseudo-labels"] = digest_labels(labels)
        identity = fingerprint(config, sections, docs, **origin)
        if resume and is_finished(folder, identity):
            return output
        student, pseudo = student_and_labels(config, teacher, docs["target"], labels)
        run, hook = student_run(student, docs, pseudo, config, folder, identity)
        run.train(resume=resume)
        student.network.span_model.statistics.set_prior(student.network.tensor(hook.target.prior))
        finish(student, run, output, started, settings=sections)
    return output


def student_and_labels(
    config: Config, teacher_path: Path, target: Sequence[Doc], file: Path | None
) -> tuple[Pipeline, PseudoLabels]:
    """Make the student, see that it fits the teacher, and get the teacher's labels.

    config (Config): With the sections [student] and [adaptation].
    teacher_path (Path): Folder of the teacher's pipeline.
    target (Sequence[Doc]): Documents of the target language.
    file (Path): Pseudo-labels made earlier; None to ask the teacher.
    RETURNS (tuple): The student, and the pseudo-labels.
    RAISES (MaralError): If student and teacher, or labels and documents, do not fit.
    """
    settings = read_section(config, "student", TrainingSettings)
    adaptation = read_section(config, "adaptation", AdaptationSettings)
    teacher = load_pipeline(teacher_path)
    if adaptation.init == "encoder":
        student = build_pipeline(config, teacher.labels, settings)
    else:
        student = load_pipeline(teacher_path, settings)
    check_width(teacher, student)
    check_head(student, adaptation)
    return student, teacher_labels(teacher, target, file)


def student_run(
    student: Pipeline,
    docs: dict[str, list[Doc]],
    labels: PseudoLabels,
    config: Config,
    folder: Path,
    identity: dict[str, Any],
) -> tuple[Run, Adaptation]:
    """Put the run of a student together.

    student (Pipeline): What is trained.
    docs (dict): The documents of "source", "target" and "dev", and maybe of "diagnosis".
    labels (PseudoLabels): The teacher's labels of the target.
    config (Config): With the sections [student] and [adaptation].
    folder (Path): Where checkpoints and the log are kept.
    identity (dict): The run's fingerprint.
    RETURNS (tuple): The run, and its hook that keeps the pseudo-labels.
    """
    settings = read_section(config, "student", TrainingSettings)
    adaptation = read_section(config, "adaptation", AdaptationSettings)
    labelled = {"source": True, "target": adaptation.diagnose_with_gold, "dev": True}
    corpora = {
        name: student.encode(docs[name], labelled=gold, name=name)
        for name, gold in labelled.items()
    }
    report_width(corpora["source"], student.labels)
    seed = run_seed(config)
    hook = Adaptation(
        student.network, corpora["source"], corpora["target"], labels,
        training=settings, settings=adaptation, seed=seed, docs=docs,
        diagnostics=diagnostics(student, adaptation, folder, seed),
    )  # fmt: skip
    student.network.span_model.statistics.set_prior(student.network.tensor(hook.source.prior))
    run = Run(
        network=student.network,
        extra=masked_lm(student, adaptation, hook.target),
        streams=[hook.source, hook.target],
        settings=settings,
        evaluate=student_evaluator(student, corpora, docs, labels, settings, seed),
        folder=folder,
        fingerprint=identity,
        seed=seed,
        hooks=[hook, *reporting(student, settings)],
    )
    return run, hook


def diagnostics(
    student: Pipeline, settings: AdaptationSettings, folder: Path, seed: int
) -> Diagnostics | None:
    """What keeps figures and spans of each epoch, or None if the settings want nothing kept."""
    if not settings.diagnostics:
        return None
    temperature = student.network.span_model.statistics.temperature
    return Diagnostics(folder / FOLDER, student.labels, temperature=temperature, seed=seed)


def teacher_labels(teacher: Pipeline, target: Sequence[Doc], file: Path | None) -> PseudoLabels:
    """A teacher's pseudo-labels of documents, from a file if there is one."""
    corpus = teacher.encode(target, labelled=False, name="target")
    if file is not None:
        return PseudoLabels.load(file, corpus, teacher.labels)
    return predict_labels(teacher.network, corpus, teacher.labels, batch_tokens=LABEL_TOKENS)
