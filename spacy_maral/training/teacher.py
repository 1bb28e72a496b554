"""Training of a teacher: a model of the source language, which later labels target text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data.config import read_config
from ..data.files import Paths, as_paths
from ..errors import Errors, MaralError
from ..model.machine import use_device
from .folders import fingerprint, is_finished, run_folder
from .hooks import Evaluate
from .inputs import Inputs
from .logging import check_logger, reporting
from .loop import Run
from .masked_lm import check_head, masked_lm
from .pipelines import (
    Pipeline,
    build_pipeline,
    cache_of,
    check_component,
    evaluator,
    f1_on,
    report_width,
    run_seed,
    together,
)
from .processes import ALONE, Ranks, join, own_gpu
from .settings import TeacherSettings, check_sections, read_section
from .steps import fit_batches
from .streams import source_stream, text_stream
from .summary import finish, settle_offset
from .target_gold import TARGET_GOLD, TargetGold, check_select


def train_teacher(
    config_path: str | Path,
    *,
    source: Paths,
    dev: Paths,
    output: str | Path,
    target: Paths | None = None,
    lang: str | Sequence[str] | None = None,
    target_gold: Paths | None = None,
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    gpu_id: int = -1,
) -> Path:
    """Train a model on labelled documents of the source language, with the section [teacher].

    EXAMPLE: train_teacher("maral.cfg", source="train.spacy", dev="dev.spacy", output="teacher")

    config_path (str | Path): The configuration.
    source (Paths): Labelled training documents (.spacy); if there are several files, such as
        languages, each has its own label prior.
    dev (Paths): Labelled development documents of the source language (.spacy).
    output (str | Path): Folder for the pipeline; its subfolder "training" holds the log and the
        checkpoints.
    target (Paths | None): Documents of the target language (.spacy), whose entities are not used, or
        raw text (see `read_raw`), for masked language modelling with `mlm_weight`.
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each target.
    target_gold (Paths | None): Labelled sentences of target languages (.spacy), a file for each
        language, which join the training (see `TargetGold`).
    overrides (dict): Settings that replace those of the configuration, as {"section.key": value}.
    resume (bool): Resume from the last checkpoint in the folder, if there is one.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Path): The folder of the pipeline.
    RAISES (MaralError): If the configuration or the data cannot be used.
    """
    started, output = time.perf_counter(), Path(output)
    use_device(own_gpu(gpu_id))
    with join(on_gpu=gpu_id >= 0) as ranks:
        config = read_config(config_path, overrides)
        check_sections(config)
        settings = read_section(config, "teacher")
        check_component(config, "teacher", settings)
        if settings.select == "target_information":
            raise MaralError(Errors.M330.format(select=settings.select))
        check_select(settings, target_gold)
        if target is not None and not settings.mlm_weight:
            raise MaralError(Errors.M550.format(path=", ".join(map(str, as_paths(target)))))
        with run_folder(output, resume, ranks, as_paths(target or ())) as folder:
            inputs = Inputs.read(
                lang, source=source, dev=dev, target=target, target_gold=target_gold
            )
            labels = sorted({ent.label_ for doc in inputs.docs["source"] for ent in doc.ents})
            if not labels:
                raise MaralError(Errors.M312.format(path=", ".join(map(str, as_paths(source)))))
            identity = fingerprint(config, {"teacher": settings}, inputs.docs) | inputs.sizes()
            gold = TargetGold.choose(inputs, target_gold, labels, settings)
            if resume and is_finished(folder, identity):
                return output
            if ranks.is_first:
                check_logger(settings)
            if gold is not None:
                settings = gold.adjusted(settings)
                gold.join(inputs, ranks)
            pipeline = build_pipeline(config, labels, settings)
            check_head(pipeline, settings)
            run = prepare_teacher(
                pipeline, inputs, settings, folder, identity, run_seed(config), ranks, gold
            )
            inputs.forget()
            run.train(resume=resume)
            if ranks.is_first:
                chosen = settle_offset(pipeline, run, gold)
                finish(
                    pipeline, run, output, started, settings={"teacher": settings}, chosen=chosen,
                    gold=gold,
                )  # fmt: skip
    return output


def prepare_teacher(
    pipeline: Pipeline,
    inputs: Inputs,
    settings: TeacherSettings,
    folder: Path,
    identity: dict[str, Any],
    seed: int,
    ranks: Ranks = ALONE,
    gold: TargetGold | None = None,
) -> Run:
    """Prepare the run that trains a pipeline on "source"; its fingerprint is `identity`.

    gold (TargetGold | None): Target sentences, which are part of "source" already; those held out
        are scored after every epoch.

    Masked language modelling is on "target", if there is any, or else on the source's text.
    """
    pipeline.cache = cache_of(settings, folder)
    share = pipeline.deal(inputs.docs["source"], ranks, labelled=True, name="source")
    report_width(share, pipeline.labels)
    settings, note = fit_batches([share], settings, seed)
    if note and ranks.is_first:
        tqdm.write(note)
    evaluate: Evaluate | None = None
    if ranks.is_first:
        dev = pipeline.encode(inputs.docs["dev"], labelled=True, name="dev")
        parts = [evaluator(pipeline, dev, settings)]
        if gold is not None and gold.held_out:
            parts.append(f1_on(pipeline, gold.held_out, settings, TARGET_GOLD))
        evaluate = together(parts)
    n_classes = len(pipeline.labels) + 1
    stream = source_stream(share, n_classes, settings.prior_scale, inputs.parts.get("source"))
    streams = [stream]
    if "target" in inputs.docs:
        text = pipeline.deal(inputs.docs["target"], ranks, labelled=False, name="target")
        streams.append(text_stream(text, n_classes))
    pipeline.network.span_model.statistics.set_prior(pipeline.network.tensor(stream.prior))
    return Run(
        network=pipeline.network,
        extra=masked_lm(pipeline, settings, streams[-1].name),
        streams=streams,
        settings=settings,
        evaluate=evaluate,
        folder=folder,
        fingerprint=identity,
        seed=seed,
        hooks=reporting(pipeline, settings) if ranks.is_first else (),
        ranks=ranks,
    )
