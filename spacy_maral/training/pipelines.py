"""What the runs share: pipelines, documents, evaluation, output folders, reports."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_model_from_config
from thinc.api import Config
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM

from ..data.files import remove, remove_folder, write_text
from ..data.layout import CACHE, META, SUMMARY
from ..errors import Errors, MaralError, Warnings
from ..evaluation.metrics import score_entities
from ..model.architectures import get_encoder, get_span_module
from ..model.encoder.weights import check_trainable
from ..model.memory import peak_memory
from .cache import Cache
from .checkpoint import list_checkpoints, writing
from .corpus import Corpus, digest_docs, digest_tokenizer, encode
from .folders import write_pipeline
from .hooks import Hook
from .logging import EpochLines, SpacyLogger
from .loop import Run
from .network import Network, input_embeddings, predict_entities
from .processes import Ranks
from .selection import SELECTION
from .settings import AdaptationSettings, Section, TrainingSettings
from .shares import Shard
from .streams import MaskedLM, Stream

logger = logging.getLogger("spacy")

COMPONENT = "maral_ner"
# settings that the component has as well, for a saved pipeline to be trained further
SHARED_OPTIONS = ("loss", "decision", "prior_scale", "include_outside", "outside_weight")


@dataclass
class Pipeline:
    """A pipeline, its torch modules, its entity labels, and what is kept of encoded documents."""

    nlp: Language
    network: Network
    labels: list[str]
    cache: Cache | None = None

    def encode(self, docs: Sequence[Doc], *, labelled: bool, name: str) -> Corpus:
        """Documents as arrays, tokenised as this pipeline does, with what frozen layers give."""
        _, tokenizer, get_spans = get_encoder(self.nlp)
        width = self.network.span_model.max_width

        def make() -> Corpus:
            return encode(
                docs, tokenizer, get_spans, self.labels, width, labelled=labelled, name=name
            )

        if self.cache is None:
            return make()
        key = {
            "what": "corpus", "docs": digest_docs(docs, labelled=labelled),
            "tokens": digest_tokenizer(tokenizer, get_spans, docs), "max_width": width,
            "labels": self.labels if labelled else None,
        }  # fmt: skip
        corpus = Corpus.from_arrays(self.cache.arrays(key, lambda: make().arrays()))
        self.network.remember(corpus, self.cache)
        return corpus

    def deal(self, docs: Sequence[Doc], ranks: Ranks, *, labelled: bool, name: str) -> Shard:
        """This process's share of some documents, encoded, and where it stands among all of them.

        RAISES (MaralError): If there are not enough documents for all processes.
        """
        every = [ranks._replace(rank=rank).deal(docs) for rank in range(ranks.size)]
        if ranks.size > 1 and not all(any(map(len, share)) for share in every):
            raise MaralError(Errors.M327.format(size=ranks.size))
        return Shard.of(self.encode(ranks.deal(docs), labelled=labelled, name=name), ranks)


def cache_of(settings: TrainingSettings, folder: Path) -> Cache:
    """What a run keeps of encoded documents: in a folder of the settings, or in its own.

    settings (TrainingSettings): The settings.
    folder (Path): The run's folder.
    RETURNS (Cache): The cache.
    """
    return Cache(settings.cache or folder / CACHE, settings.frozen_cache)


def run_seed(config: Config) -> int:
    """The seed of a configuration, 0 without one as in spaCy's own defaults."""
    return int(config.get("system", {}).get("seed") or 0)


def build_pipeline(config: Config, labels: list[str], settings: TrainingSettings) -> Pipeline:
    """Make a fresh pipeline from a configuration: pretrained encoder, new span model.

    config (Config): The configuration.
    labels (list[str]): Entity labels.
    settings (TrainingSettings): For the decision rule and the number format.
    RETURNS (Pipeline): Ready for training.
    RAISES (MaralError): If the pipeline has no maral_ner.
    """
    torch.manual_seed(run_seed(config))
    spacy.util.fix_random_seed(run_seed(config))
    nlp = load_model_from_config(config, auto_fill=True)
    require_component(nlp, "the configuration")
    nlp.config["initialize"]["components"] = {COMPONENT: {"labels": labels}}
    nlp.initialize()
    return as_pipeline(nlp, settings)


def load_pipeline(path: Path, settings: TrainingSettings | None = None) -> Pipeline:
    """Load a trained pipeline.

    path (Path): Its folder.
    settings (TrainingSettings): What it will be trained with; without, it keeps its decision rule.
    RETURNS (Pipeline): The pipeline.
    RAISES (MaralError): If there is no pipeline in the folder, or none with a maral_ner.
    """
    check_folder(path)
    nlp = spacy.load(path)
    require_component(nlp, path)
    return as_pipeline(nlp, settings)


def check_folder(path: Path) -> None:
    """Refuse a folder without a pipeline.

    RAISES (MaralError): If there is none in it, or no such folder.
    """
    if not (path / META).is_file():
        raise MaralError(Errors.M313.format(path=path))


def require_component(nlp: Language, where: object) -> None:
    """Refuse a pipeline without the component.

    RAISES (MaralError): If there is no maral_ner.
    """
    if COMPONENT not in nlp.pipe_names:
        pipes = ", ".join(nlp.pipe_names)
        raise MaralError(Errors.M314.format(where=where, component=COMPONENT, pipes=pipes))


def as_pipeline(nlp: Language, settings: TrainingSettings | None) -> Pipeline:
    """The torch modules behind a pipeline; with settings, ready to be trained by them."""
    pipe = nlp.get_pipe(COMPONENT)
    encoder, tokenizer, _ = get_encoder(nlp)
    span_model = get_span_module(pipe.model)  # type: ignore[attr-defined]
    if settings is not None:
        check_trainable(encoder)
        options = {name: getattr(settings, name) for name in SHARED_OPTIONS}
        pipe.cfg.update(options)  # type: ignore[attr-defined]
        nlp.get_pipe_config(COMPONENT).update(options)
        pipe.set_decision(settings.decision)  # type: ignore[attr-defined]
    network = Network(
        encoder,
        span_model,
        pad_id=tokenizer.pad_token_id,
        precision=settings.precision if settings else "auto",
    )
    if settings is not None:
        network.freeze(embeddings=settings.freeze_embeddings, layers=settings.freeze_layers)
    return Pipeline(nlp, network, list(pipe.labels))  # type: ignore[attr-defined]


def report_width(shard: Shard, labels: Sequence[str]) -> None:
    """Say how many gold entities have no candidate span, in all and by type."""
    n_too_wide = int(shard.ranks.sum(shard.corpus.n_too_wide))
    if not n_too_wide:
        return
    gold = shard.corpus.entities
    wide = gold.ends - gold.starts >= shard.max_width
    n_of, n_wide = (
        shard.ranks.sum(np.bincount(c, minlength=len(labels) + 1))
        for c in (gold.classes, gold.classes[wide])
    )
    by_type = [
        f"{label} {n_wide[c]:,} of {n_of[c]:,} ({100 * n_wide[c] / n_of[c]:.1f} %)"
        for c, label in enumerate(labels, start=1)
        if n_wide[c]
    ]
    logger.warning(
        Warnings.W302.format(
            n=n_too_wide,
            share=100 * n_too_wide / n_of.sum(),
            max_width=shard.max_width,
            by_type=", ".join(by_type),
        )
    )


def check_width(wanted: int, student: Pipeline) -> None:
    """Refuse pseudo-labels of other candidates than the student's.

    wanted (int): Longest span that has a label, in words.
    student (Pipeline): The student.
    RAISES (MaralError): If the student has another span width.
    """
    found = student.network.span_model.max_width
    if found != wanted:
        raise MaralError(Errors.M317.format(teacher=wanted, student=found))


def evaluator(
    pipeline: Pipeline, dev: Corpus, settings: TrainingSettings
) -> Callable[[Network], dict[str, float]]:
    """A function that scores a network on the source language's development set."""

    def evaluate(network: Network) -> dict[str, float]:
        predicted = predict_entities(network, dev, batch_tokens=4 * settings.batch_tokens)
        report = score_entities(dev.entities, predicted, pipeline.labels)
        return {
            "score": report.f1,
            "dev_precision": report.precision,
            "dev_recall": report.recall,
            "dev_f1": report.f1,
        }

    return evaluate


def reporting(pipeline: Pipeline, settings: TrainingSettings) -> list[Hook]:
    """Hooks that tell how a run is going."""
    hooks: list[Hook] = [EpochLines(settings.epochs)]
    if settings.logger is not None:
        hooks.append(SpacyLogger(settings.logger, pipeline.nlp, settings.epochs))
    return hooks


def encoder_name(pipeline: Pipeline) -> str:
    """Name or folder of the pretrained encoder."""
    return pipeline.nlp.get_pipe("transformer").model.attrs["name"]  # type: ignore[attr-defined]


def check_head(pipeline: Pipeline, settings: AdaptationSettings) -> None:
    """Refuse to train a language model that the encoder has no head for.

    RAISES (MaralError): If the settings weigh that loss, and there is no pretrained LM head, or it
        is of another vocabulary.
    """
    if not settings.mlm_weight:
        return
    _, tokenizer, _ = get_encoder(pipeline.nlp)
    name = encoder_name(pipeline)
    config = AutoConfig.from_pretrained(name)
    architectures = config.architectures or []
    if not any(a.endswith("ForMaskedLM") for a in architectures) or tokenizer.mask_token_id is None:
        raise MaralError(Errors.M318.format(encoder=name, architectures=", ".join(architectures)))
    rows = len(cast(Any, input_embeddings(pipeline.network.encoder)).weight)
    if rows != config.vocab_size:
        raise MaralError(Errors.M462.format(rows=rows, encoder=name, scores=config.vocab_size))


def masked_lm(pipeline: Pipeline, settings: AdaptationSettings, target: Stream) -> nn.Module | None:
    """Give the target stream a masked-language-model loss, if the settings weigh one.

    RETURNS (nn.Module): The encoder's LM head, to be trained along, or None.
    RAISES (MaralError): If the encoder has no pretrained LM head.
    """
    if not settings.mlm_weight:
        return None
    check_head(pipeline, settings)
    _, tokenizer, _ = get_encoder(pipeline.nlp)
    full = AutoModelForMaskedLM.from_pretrained(encoder_name(pipeline))
    head = full.lm_head if hasattr(full, "lm_head") else full.cls
    full.get_output_embeddings().weight = input_embeddings(pipeline.network.encoder).weight
    loss = MaskedLM(
        head.to(pipeline.network.device),
        tokenizer.mask_token_id,
        tokenizer.all_special_ids,
        settings.mask_rate,
    )
    target.extra = (settings.mlm_weight, loss)
    return head


def finish(
    pipeline: Pipeline, run: Run, output: Path, started: float, *, settings: dict[str, Section]
) -> None:
    """Write the pipeline and a summary of the run; checkpoints are no longer needed.

    Of several processes the first does it.

    pipeline (Pipeline): With the selected weights.
    run (Run): The finished run.
    output (Path): The pipeline's folder.
    started (float): `time.perf_counter` at the start.
    settings (dict): The sections of the configuration that the run went by.
    """
    if not run.ranks.is_first:
        return
    nlp = pipeline.nlp
    key = SELECTION[run.settings.select]
    chosen = max(run.rows, key=lambda row: (row[key], row["epoch"]))
    nlp.meta["performance"] = {
        "source_dev_ents_p": chosen["dev_precision"],
        "source_dev_ents_r": chosen["dev_recall"],
        "source_dev_ents_f": chosen["dev_f1"],
    }
    _, tokenizer, _ = get_encoder(nlp)
    if tokenizer.is_fast:
        # what is saved does not depend on what was read last, or found in the cache
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
    with writing(run.folder):
        write_pipeline(nlp, run.folder / "pipeline.tmp", output)
    summary = summarise(pipeline, run, chosen, settings) | {
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory(),
    }
    # in this order, so that a run killed here can still be resumed
    with writing(run.folder):
        write_text(run.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
        for checkpoint in list_checkpoints(run.folder):
            remove_folder(checkpoint)
        remove(run.folder / CACHE)


def summarise(
    pipeline: Pipeline, run: Run, chosen: dict[str, Any], settings: dict[str, Section]
) -> dict[str, Any]:
    """What a run was made with and of; chosen is the row of the epoch that is saved."""
    return {
        "selected_epoch": chosen["epoch"],
        "select": run.settings.select,
        "seed": run.seed,
        "precision": run.network.precision,
        "threads": torch.get_num_threads(),
        "processes": run.ranks.size,
        "machine": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "labels": pipeline.labels,
        "data": {
            stream.name: {
                "documents": stream.shard.n_docs,
                "words": stream.shard.n_words,
                "candidate_spans": stream.shard.n_spans,
            }
            for stream in run.streams
        },
        "settings": {name: section.model_dump(mode="json") for name, section in settings.items()},
        "fingerprint": run.fingerprint,
    }


PACKAGES = ("spacy-maral", "spacy", "spacy-transformers", "thinc", "torch", "transformers")
