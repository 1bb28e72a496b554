"""The three steps to a cross-lingual model: train a teacher, pseudo-label, adapt a student."""

from __future__ import annotations

import hashlib
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
from .loop import Run
from .pseudo_labels import PseudoLabels, predict_labels
from .schemas import AdaptationSettings, TrainingSettings, read_section
from .setup import (
    Pipeline,
    build_pipeline,
    check_width,
    evaluator,
    fingerprint,
    finish,
    load_pipeline,
    masked_lm,
    prepare_output,
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
    prepare_output(output, resume)
    docs = {"source": read_docs(source), "dev": read_docs(dev)}
    labels = sorted({ent.label_ for doc in docs["source"] for ent in doc.ents})
    if not labels:
        raise MaralError(Errors.M312.format(path=source))
    pipeline = build_pipeline(config, labels, settings)
    corpus = pipeline.encode(docs["source"], labelled=True, name="source")
    dev_corpus = pipeline.encode(docs["dev"], labelled=True, name="dev")
    report_width(corpus)
    stream = source_stream(corpus, len(labels) + 1, settings.prior_scale)
    pipeline.network.span_model.statistics.set_prior(pipeline.network.tensor(stream.prior))
    run = Run(
        network=pipeline.network,
        streams=[stream],
        settings=settings,
        evaluate=evaluator(pipeline, dev_corpus, settings),
        folder=output / "training",
        fingerprint=fingerprint(config, source=corpus.digest, dev=dev_corpus.digest),
        seed=run_seed(config),
        hooks=reporting(pipeline, settings),
    )
    run.train(resume=resume)
    finish(pipeline, run, output, started, settings={"teacher": settings})
    return output


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
    prepare_output(output, resume)
    docs = {"source": read_docs(source), "target": read_docs(target), "dev": read_docs(dev)}
    names, pseudo = teacher_labels(teacher, docs["target"], labels)
    if adaptation.init == "encoder":
        student = build_pipeline(config, names, settings)
    else:
        student = load_pipeline(teacher, settings)
    check_width(pseudo, student.network.span_model.max_width)
    run, hook = student_run(student, docs, pseudo, config, output / "training")
    run.train(resume=resume)
    student.network.span_model.statistics.set_prior(student.network.tensor(hook.target.prior))
    sections = {"student": settings, "adaptation": adaptation}
    finish(student, run, output, started, settings=sections)
    return output


def student_run(
    student: Pipeline,
    docs: dict[str, list[Doc]],
    labels: PseudoLabels,
    config: Config,
    folder: Path,
) -> tuple[Run, Adaptation]:
    """Put the run of a student together.

    student (Pipeline): What is trained.
    docs (dict): The documents of "source", "target" and "dev".
    labels (PseudoLabels): The teacher's labels of the target.
    config (Config): With the sections [student] and [adaptation].
    folder (Path): Where checkpoints and the log are kept.
    RETURNS (tuple): The run, and its hook that keeps the pseudo-labels.
    """
    settings = read_section(config, "student", TrainingSettings)
    adaptation = read_section(config, "adaptation", AdaptationSettings)
    labelled = {"source": True, "target": adaptation.diagnose_with_gold, "dev": True}
    corpora = {
        name: student.encode(docs[name], labelled=gold, name=name)
        for name, gold in labelled.items()
    }
    report_width(corpora["source"])
    seed = run_seed(config)
    hook = Adaptation(
        student.network, corpora["source"], corpora["target"], labels,
        training=settings, settings=adaptation, seed=seed, docs=docs,
        diagnostics=diagnostics(student, adaptation, folder, seed),
    )  # fmt: skip
    student.network.span_model.statistics.set_prior(student.network.tensor(hook.source.prior))
    digests = {name: corpus.digest for name, corpus in corpora.items()}
    digests["labels"] = hashlib.sha256(labels.probabilities.tobytes()).hexdigest()
    run = Run(
        network=student.network,
        extra=masked_lm(student, adaptation, hook.target),
        streams=[hook.source, hook.target],
        settings=settings,
        evaluate=evaluator(student, corpora["dev"], settings),
        folder=folder,
        fingerprint=fingerprint(config, **digests),
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


def teacher_labels(
    path: Path, target: Sequence[Doc], file: Path | None
) -> tuple[list[str], PseudoLabels]:
    """Entity labels of a teacher, and its pseudo-labels, from a file if there is one."""
    teacher = load_pipeline(path)
    corpus = teacher.encode(target, labelled=False, name="target")
    if file is not None:
        return teacher.labels, PseudoLabels.load(file, corpus, teacher.labels)
    labels = predict_labels(teacher.network, corpus, teacher.labels, batch_tokens=LABEL_TOKENS)
    return teacher.labels, labels
