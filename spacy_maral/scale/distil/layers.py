"""Distil a pipeline into one whose encoder has fewer layers, by the teacher's soft labels of raw text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config
from tqdm.auto import tqdm

from ...data.files import Paths, as_paths, remove, writing_output
from ...errors import Errors, MaralError
from ...evaluation.evaluate import load_pipeline, without_labels
from ...model.checks import check_choice
from ...model.encoder.layers import layer_stack
from ...model.encoder.weights import check_trainable
from ...model.maral_ner import set_use
from ...model.spans import class_counts, class_shares
from ...training.folders import digest_pipeline, fingerprint, is_finished, run_folder
from ...training.inputs import read_targets
from ...training.logging import check_logger, reporting
from ...training.loop import Run
from ...training.pipelines import (
    COMPONENT,
    Pipeline,
    as_pipeline,
    cache_of,
    evaluator,
    report_width,
    require_component,
    run_seed,
)
from ...training.processes import ALONE
from ...training.settings import StudentSettings, read_section
from ...training.steps import fit_batches
from ...training.streams import Stream, source_stream
from ...training.summary import chosen_row, finish
from ...training.target_gold import is_held_out, text_key
from ..annotate.model import model_version
from ..names import component
from ..shrink.parity import pair
from ..shrink.pipelines import Smaller, find_encoder, report_small
from .cutting import choose_layers, cut_layers
from .folders import describe_gold, read_labelled, work_folder
from .silver import Labelled

TASK = "distil"
DEFAULTS = """
[system]
seed = 0

[student]
select = "source_dev"
"""
SELECTIONS = ("source_dev", "last")


def distil_layers(
    model: str | Path,
    texts: Paths,
    output: str | Path,
    *,
    keep: str = "6",
    lang: str | Sequence[str] | None = None,
    gold: Paths | None = None,
    dev: Paths | None = None,
    test: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> Smaller:
    """Distil a pipeline into one with fewer layers of the encoder, trained on its soft labels of raw text.

    The new pipeline starts with the weights of the layers that are kept. A call that was stopped goes
    on when it is repeated.

    EXAMPLE: distil_layers("student", ["german.txt"], "small", keep="0,3,6,9,11", lang="de")

    model (str | Path): The teacher: the folder of a pipeline with maral_ner, or its name.
    texts (Paths): Raw text, or documents (.spacy) whose entities are not used.
    output (str | Path): Folder for the new pipeline; its subfolder "training" holds the log and the
        checkpoints.
    keep (str): Layers to keep: their number, or their numbers from 0, separated by commas.
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each; by default
        the teacher's.
    gold (Paths | None): Labelled documents (.spacy) to train on, too.
    dev (Paths | None): Labelled documents (.spacy) that choose the epoch, and on which the pipelines
        are compared if there is no test; by default the teacher's entities in a part of the text
        choose the epoch.
    test (str | Path | None): Labelled documents (.spacy) to compare the two pipelines on.
    overrides (dict | None): Settings of the training (see [student] in docs/config.md), such as
        {"student.epochs": 8}, and {"system.seed": 1}.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Smaller): The changes, also in distil.json and meta.json of the new pipeline.
    RAISES (MaralError): If the teacher, its encoder, the text, the labelled data or a setting cannot be
        used, or a file cannot be written.
    """
    started, output = time.perf_counter(), Path(output)
    plan = LayersPlan.read(model, keep, overrides or {}, gpu_id=gpu_id)
    teacher = plan.teacher
    labelled = read_labelled(component(teacher).labels, gold=gold, dev=dev, test=test)
    work = work_folder(output, [model, *as_paths(texts)])
    docs = [
        doc
        for part in read_targets(as_paths(texts), lang or str(teacher.lang))
        for doc in part
        if text_key(doc) not in labelled.measured
    ]
    with run_folder(output, True, ALONE) as folder:
        identity = plan.fingerprint(docs, labelled)
        if not is_finished(folder, identity):
            check_logger(plan.settings)
            student = plan.cut(folder)
            run = prepare(student, plan, docs, labelled, folder, identity)
            run.train(resume=True)
            finish(
                student, run, output, started, settings={"student": plan.settings},
                chosen=chosen_row(run), facts={"select": describe_choice(plan.settings, labelled)},
            )  # fmt: skip
    facts: dict[str, Any] = {
        "to": "layers", "teacher": model_version(str(model)),
        "layers": pair(plan.n_layers, len(plan.kept)), "kept": plan.kept,
        "silver": {"documents": len(docs), "words": sum(map(len, docs))},
    }  # fmt: skip
    if labelled.gold:
        facts["gold"] = describe_gold(labelled)
    result = report_small(teacher, output, TASK, facts, labelled.test)
    with writing_output(output):
        remove(work)
    return result


@dataclass(frozen=True)
class LayersPlan:
    """What a pipeline with fewer layers is made from.

    model (str | Path): The teacher's folder or name.
    teacher (Language): The teacher.
    n_layers (int): Number of layers of its encoder.
    kept (list[int]): Numbers of the layers that the new pipeline keeps, ascending.
    config (Config): The sections [system] and [student].
    settings (StudentSettings): Those of [student]; loss and decision rule are the teacher's.
    """

    model: str | Path
    teacher: Language
    n_layers: int
    kept: list[int]
    config: Config
    settings: StudentSettings

    @classmethod
    def read(
        cls, model: str | Path, keep: str, overrides: dict[str, Any], *, gpu_id: int
    ) -> LayersPlan:
        """Load the teacher, and check it, the layers and the settings.

        RAISES (MaralError): If the teacher or its encoder cannot be used, or the layers or a setting
            are wrong.
        """
        teacher = load_pipeline(model, gpu_id=gpu_id)
        require_component(teacher, model)
        shim, _ = find_encoder(teacher)
        check_trainable(shim._model)
        n_layers = len(layer_stack(shim._model)[1])
        kept = choose_layers(keep, n_layers)
        config = Config().from_str(DEFAULTS, overrides=overrides)
        return cls(model, teacher, n_layers, kept, config, read_settings(config, teacher))

    def fingerprint(self, docs: Sequence[Doc], labelled: Labelled) -> dict[str, Any]:
        """Identify the run (see `folders.fingerprint`).

        docs (Sequence[Doc]): Raw text.
        """
        data = {"target": docs, "gold": labelled.gold, "dev": labelled.dev or []}
        teacher = digest_pipeline(Path(str(self.teacher.path)))
        found = fingerprint(self.config, {"student": self.settings}, data, teacher=teacher)
        return {**found, "layers": self.kept}

    def cut(self, folder: Path) -> Pipeline:
        """Load the teacher once more, cut its layers, and prepare it for training in a folder."""
        nlp = load_pipeline(self.model)
        cut_layers(find_encoder(nlp)[0], self.kept)
        student = as_pipeline(nlp, self.settings)
        # the soft labels have the teacher's offset already; its threshold fits its own confidences only
        student.set_offset(0.0)
        set_use(nlp, COMPONENT, threshold=0.0)
        student.cache = cache_of(self.settings, folder)
        return student


def read_settings(config: Config, teacher: Language) -> StudentSettings:
    """Read the settings of the training; loss and decision rule are the teacher's.

    RAISES (MaralError): If a setting is unknown or invalid.
    """
    settings = component(teacher).cfg
    given = {
        "loss": teacher.get_pipe_config(COMPONENT)["loss"], "decision": settings["decision"],
        "prior_scale": settings["prior_scale"], "outside_weight": settings["outside_weight"],
    }  # fmt: skip
    section = {"student": {**given, **config["student"]}}
    found: StudentSettings = read_section(section, "student")
    check_choice("select", found.select, list(SELECTIONS))
    return found


def prepare(
    student: Pipeline,
    plan: LayersPlan,
    docs: Sequence[Doc],
    labelled: Labelled,
    folder: Path,
    identity: dict[str, Any],
) -> Run:
    """Prepare the run that trains a cut pipeline on the teacher's soft labels.

    docs (Sequence[Doc]): Raw text.
    labelled (Labelled): Gold documents.
    identity (dict): The run's fingerprint.
    RETURNS (Run): The run.
    RAISES (MaralError): If too little text is left, or no entity is there to choose the epoch by.
    """
    settings, seed = plan.settings, run_seed(plan.config)
    trained, dev = divide(docs, labelled, plan.teacher)
    streams = [soft_stream(student, as_pipeline(plan.teacher, None), trained, settings)]
    if labelled.gold:
        share = student.deal(labelled.gold, ALONE, labelled=True, name="gold")
        report_width(share, student.labels)
        streams.append(source_stream(share, len(student.labels) + 1, settings.prior_scale))
    settings, note = fit_batches([stream.share for stream in streams], settings, seed)
    if note:
        tqdm.write(note)
    prior = student.network.tensor(streams[0].prior)
    student.network.span_model.statistics.set_prior(prior)
    return Run(
        network=student.network,
        streams=streams,
        settings=settings,
        evaluate=evaluator(student, student.encode(dev, labelled=True, name="dev"), settings),
        folder=folder,
        fingerprint=identity,
        seed=seed,
        hooks=reporting(student, settings),
    )


def describe_choice(settings: StudentSettings, labelled: Labelled) -> str:
    """By what the saved epoch is chosen (see `SELECTED`)."""
    if settings.select == "last":
        return "last"
    return "teacher" if labelled.dev is None else "dev"


def divide(
    docs: Sequence[Doc], labelled: Labelled, teacher: Language
) -> tuple[list[Doc], list[Doc]]:
    """Divide raw text into documents to train on, and documents with entities to choose the epoch by.

    RAISES (MaralError): If there are no documents to train on, or no entities to choose by.
    """
    share = labelled.held_out_share(len(docs))
    held = [is_held_out(text_key(doc), share) for doc in docs]
    trained = [doc for doc, out in zip(docs, held, strict=True) if not out]
    dev = labelled.dev
    if dev is None:
        texts = [doc for doc, out in zip(docs, held, strict=True) if out]
        dev = list(teacher.pipe(without_labels(teacher, texts)))
    n_entities = sum(len(doc.ents) for doc in dev)
    n_words = sum(map(len, trained))
    if not n_words or not n_entities:
        found = {"n": len(trained), "words": n_words, "held_out": n_entities}
        raise MaralError(Errors.M576.format(**found))
    return trained, dev


def soft_stream(
    student: Pipeline, teacher: Pipeline, docs: Sequence[Doc], settings: StudentSettings
) -> Stream:
    """Make the stream of raw text with the teacher's probabilities of all candidate spans."""
    share = student.deal(docs, ALONE, labelled=False, name="target")
    stream = Stream("target", share, settings.prior_scale, None)
    stream.targets = teacher.class_probabilities(docs, name="Soft labels")
    stream.classes = stream.targets.argmax(1)
    stream.prior = class_shares(class_counts(stream.classes, len(teacher.labels) + 1))
    return stream
