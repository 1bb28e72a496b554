"""Pipelines in training: build, load and check them, encode their documents, evaluate them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spacy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config

from ..data.config import make_pipeline
from ..data.languages import MULTIPLE_LANGUAGES
from ..data.layout import CACHE, META
from ..errors import Errors, MaralError, Warnings
from ..evaluation.evaluate import open_pipeline
from ..evaluation.metrics import score_entities
from ..model.architectures import get_encoder, get_span_module
from ..model.checks import make_loss, translate_loss, translate_outside
from ..model.encoder.weights import check_trainable
from ..model.maral_ner import DEFAULT_CONFIG, set_use
from ..model.offsets import Offset
from ..model.visible import any_visible
from ..model.word_ends import WORD_PIECE_ENDS
from .cache import Cache
from .corpus import Corpus, digest_docs, digest_tokenizer, encode
from .hooks import Evaluate
from .network import Network, collect, predict_entities
from .processes import Ranks
from .settings import TrainingSettings, read_languages
from .shares import Share

logger = logging.getLogger("spacy")

COMPONENT = "maral_ner"
SCORE_TOKENS = 8192
DEFAULTS_OF_0_1 = {"prior_scale": 1.0}
# settings that the component also has, so that a saved pipeline can be trained further
SHARED_OPTIONS = ("decision", "prior_scale", "outside_weight")
# share of the encoder's peak rate that [training.optimizer] of a saved pipeline has: nlp.update has
# no warm-up, and one rate for all weights
LATER_RATE = 0.1


@dataclass
class Pipeline:
    """A pipeline, its torch modules, its entity labels, and its cache of encoded documents."""

    nlp: Language
    network: Network
    labels: list[str]
    cache: Cache | None = None

    def encode(self, docs: Sequence[Doc], *, labelled: bool, name: str) -> Corpus:
        """Encode documents as this pipeline tokenises them; a cache also keeps frozen-layer states.

        docs (Sequence[Doc]): The documents.
        labelled (bool): Whether to read entities.
        name (str): Name of the documents in messages.
        RAISES (MaralError): See `corpus.encode`.
        """
        _, tokenizer, get_spans = get_encoder(self.nlp)
        width = self.network.span_model.max_width

        def make() -> Corpus:
            return encode(
                docs, tokenizer, get_spans, self.labels, width, labelled=labelled, name=name
            )

        if self.cache is None:
            return make()
        tokens = digest_tokenizer(tokenizer, get_spans, docs)
        if tokens is None:
            # nothing tells its word pieces from those of another one
            corpus = make()
        else:
            key = {
                "what": "corpus of visible words without spaces",
                "docs": digest_docs(docs, labelled=labelled), "tokens": tokens, "max_width": width,
                "labels": self.labels if labelled else None,
            }  # fmt: skip
            corpus = Corpus.from_arrays(self.cache.arrays(key, lambda: make().arrays()))
        self.network.remember(corpus, self.cache)
        return corpus

    def class_scores(self, corpus: Corpus) -> NDArray[np.floating]:
        """Scores of all candidate spans by the decision rule, without an offset, shape (n_spans, K)."""
        return collect(
            self.network, corpus, len(self.labels) + 1, self.network.span_model.class_scores,
            batch_tokens=SCORE_TOKENS, name="Scores", dtype=torch.float32,
        )  # fmt: skip

    def class_probabilities(
        self,
        docs: Sequence[Doc],
        *,
        name: str,
        offset: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> NDArray[np.floating]:
        """Class probabilities of all candidate spans of raw target text, shape (n_spans, K).

        docs (Sequence[Doc]): The text, at least one word; its entities are not used.
        name (str): Title of the progress bar.
        offset (bool): Whether the pipeline's offset shifts them, as it does its decisions.
        dtype (torch.dtype): Number format of the table.
        """
        corpus = self.encode(docs, labelled=False, name="target")
        scores = (self.network if offset else self.network.span_model).class_scores
        return collect(
            self.network, corpus, len(self.labels) + 1, lambda output: scores(output).softmax(-1),
            batch_tokens=SCORE_TOKENS, name=name, dtype=dtype,
        )  # fmt: skip

    def set_offset(self, offset: Offset) -> None:
        """Decide with another offset (see `MaralNER.set_offset`)."""
        pipe = self.nlp.get_pipe(COMPONENT)
        pipe.set_offset(offset)  # type: ignore[attr-defined]
        set_use(self.nlp, COMPONENT, offset=offset)
        self.network.offsets = pipe.offsets  # type: ignore[attr-defined]

    def deal(self, docs: Sequence[Doc], ranks: Ranks, *, labelled: bool, name: str) -> Share:
        """Encode this process's share of some documents.

        RETURNS (Share): The encoded documents, and their positions among all documents.
        RAISES (MaralError): If there are not enough documents for all processes.
        """
        every = [ranks._replace(rank=rank).deal(docs) for rank in range(ranks.size)]
        if ranks.size > 1 and not all(map(any_visible, every)):
            raise MaralError(Errors.M327.format(size=ranks.size))
        return Share.of(self.encode(ranks.deal(docs), labelled=labelled, name=name), ranks)


def cache_of(settings: TrainingSettings, folder: Path) -> Cache:
    """Make the cache of a run: in the folder that the settings name, or in the run's own."""
    return Cache(settings.cache or folder / CACHE, settings.frozen_cache)


def run_seed(config: Config) -> int:
    """Read the seed of a configuration; the default is 0, as in spaCy."""
    return int(config.get("system", {}).get("seed") or 0)


def check_component(config: Config, section: str, settings: TrainingSettings) -> None:
    """Refuse a component whose settings contradict the training section, which would replace them.

    A component setting with its default value, as in a filled configuration, is no contradiction.

    config (Config): The configuration, as it was read.
    section (str): Name of the training section.
    settings (TrainingSettings): The training section.
    RAISES (MaralError): If a setting has different values in the component and in the section.
    """
    given = translate_outside(config.get("components", {}).get(COMPONENT, {}))
    for name in ("loss", *SHARED_OPTIONS):
        default = DEFAULT_CONFIG[name]
        found, wanted = translate_loss(given.get(name, default)), getattr(settings, name)
        if found not in (wanted, default, DEFAULTS_OF_0_1.get(name, default)):
            raise MaralError(
                Errors.M348.format(name=name, found=found, section=section, wanted=wanted)
            )


def build_pipeline(config: Config, labels: list[str], settings: TrainingSettings) -> Pipeline:
    """Make a new pipeline from a configuration, with a pretrained encoder and a new span model.

    RETURNS (Pipeline): The pipeline, ready for training.
    RAISES (MaralError): If the pipeline has no maral_ner.
    """
    torch.manual_seed(run_seed(config))
    spacy.util.fix_random_seed(run_seed(config))
    nlp = make_pipeline(config)
    require_component(nlp, "the configuration")
    nlp.config["initialize"]["components"] = {COMPONENT: {"labels": labels}}
    nlp.initialize()
    target = read_languages(config).target
    if target != MULTIPLE_LANGUAGES:
        # a language that spaCy does not have names the package, too
        nlp.meta["lang"] = target
    return as_pipeline(nlp, settings)


def load_pipeline(path: Path, settings: TrainingSettings | None = None) -> Pipeline:
    """Load a trained pipeline.

    settings (TrainingSettings): Settings of a further training; without them, the pipeline keeps
        its decision rule.
    RAISES (MaralError): If the folder has no pipeline, or the pipeline has no maral_ner.
    """
    check_folder(path)
    nlp = open_pipeline(path)
    require_component(nlp, path)
    return as_pipeline(nlp, settings)


def check_folder(path: Path) -> None:
    """RAISES (MaralError): If the folder does not exist or has no pipeline."""
    if not (path / META).is_file():
        raise MaralError(Errors.M313.format(path=path))


def require_component(nlp: Language, where: object) -> None:
    """Refuse a pipeline that the package's own commands cannot train.

    RAISES (MaralError): If it has no maral_ner, or one without a transformer; the message says where
        the pipeline is from.
    """
    pipes = ", ".join(nlp.pipe_names)
    if COMPONENT not in nlp.pipe_names:
        raise MaralError(Errors.M314.format(where=where, component=COMPONENT, pipes=pipes))
    if not reads_pieces(nlp):
        raise MaralError(Errors.M592.format(where=where, name=COMPONENT, pipes=pipes))


def reads_pieces(nlp: Language) -> bool:
    """Whether the maral_ner of a pipeline takes its word vectors from a transformer's word pieces."""
    model = nlp.get_pipe(COMPONENT).model  # type: ignore[attr-defined]
    return any(node.name == WORD_PIECE_ENDS for node in model.walk())


def as_pipeline(nlp: Language, settings: TrainingSettings | None) -> Pipeline:
    """Collect the torch modules of a pipeline; with settings, prepare them for training."""
    pipe = nlp.get_pipe(COMPONENT)
    encoder, tokenizer, _ = get_encoder(nlp)
    span_model = get_span_module(pipe.model)  # type: ignore[attr-defined]
    if settings is not None:
        check_trainable(encoder)
        options = {name: getattr(settings, name) for name in SHARED_OPTIONS}
        # a calibration belongs to the weights before the training
        pipe.cfg.pop("calibration", None)  # type: ignore[attr-defined]
        pipe.cfg.update(options)  # type: ignore[attr-defined]
        nlp.get_pipe_config(COMPONENT).update(options, loss=settings.loss)
        pipe.loss = make_loss(settings.loss)  # type: ignore[attr-defined]
        pipe.set_decision(settings.decision)  # type: ignore[attr-defined]
        optimizer = nlp.config["training"]["optimizer"]
        if optimizer == Language.default_config["training"]["optimizer"]:
            optimizer["learn_rate"] = LATER_RATE * settings.learn_rate
    network = Network(
        encoder,
        span_model,
        pad_id=tokenizer.pad_token_id,
        precision=settings.precision if settings else "auto",
        offsets=pipe.offsets,  # type: ignore[attr-defined]
    )
    if settings is not None:
        network.freeze(embeddings=settings.freeze_embeddings, layers=settings.freeze_layers)
    return Pipeline(nlp, network, list(pipe.labels))  # type: ignore[attr-defined]


def report_width(share: Share, labels: Sequence[str]) -> None:
    """Log a warning with the number of gold entities without a candidate span, by type too."""
    n_too_wide = int(share.ranks.sum(share.corpus.n_too_wide))
    if not n_too_wide:
        return
    gold = share.corpus.entities
    wide = gold.ends - gold.starts >= share.max_width
    n_of, n_wide = (
        share.ranks.sum(np.bincount(c, minlength=len(labels) + 1))
        for c in (gold.classes, gold.classes[wide])
    )
    by_type = [
        f"{label} {n_wide[c]:,} of {n_of[c]:,} ({100 * n_wide[c] / n_of[c]:.1f} %)"
        for c, label in enumerate(labels, start=1)
        if n_wide[c]
    ]
    found = {"n": n_too_wide, "share": 100 * n_too_wide / n_of.sum()}
    types = ", ".join(by_type)
    logger.warning(Warnings.W302.format(**found, max_width=share.max_width, by_type=types))


def evaluator(pipeline: Pipeline, dev: Corpus, settings: TrainingSettings) -> Evaluate:
    """Make a function that scores a network on the source language's development data."""

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


def f1_on(
    pipeline: Pipeline, docs: Sequence[Doc], settings: TrainingSettings, name: str
) -> Evaluate:
    """Make a function that gives the F1 on labelled documents as "NAME_f1"."""
    score = evaluator(pipeline, pipeline.encode(docs, labelled=True, name=name), settings)
    return lambda network: {f"{name}_f1": score(network)["dev_f1"]}


def together(parts: Sequence[Evaluate]) -> Evaluate:
    """Make one function of several that score a network."""
    return lambda network: {name: x for part in parts for name, x in part(network).items()}
