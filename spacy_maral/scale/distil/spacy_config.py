"""The configuration of a small pipeline of spaCy's own components: tok2vec, and ner or spancat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import spacy
from spacy.cli.init_config import init_config
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import dict_to_dot, registry
from thinc.api import Config

from ...data.config import make_pipeline
from ...data.languages import SPACY_TOKENIZER, TOKENIZER
from ...errors import Errors, MaralError, did_you_mean
from .silver import DEV, TRAIN

COMPONENTS = (NER, SPANCAT) = ("ner", "spancat")
SPANS_KEY = "sc"
LABELS = "labels.json"
STREAMED = 100_000
"""More documents are read anew in each epoch; fewer stay in memory, and are shuffled in each."""


@dataclass(frozen=True)
class SmallPlan:
    """What a small pipeline is made from.

    teacher (Language): Gives the language, the tokenizer and the labels.
    labels (tuple[str, ...]): Entity labels.
    max_width (int): Longest span of the teacher, in words.
    component (str): "ner" or "spancat".
    vectors (str | None): Folder or name of a pipeline with static vectors.
    overrides (dict): Settings that replace those of the configuration.
    """

    teacher: Language
    labels: tuple[str, ...]
    max_width: int
    component: str = NER
    vectors: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def spans_key(self) -> str | None:
        return SPANS_KEY if self.component == SPANCAT else None

    def config(self, corpus: Path, *, n_documents: int) -> Config:
        """Make the configuration: that of `spacy init config`, with what is known.

        corpus (Path): Folder of the documents, see `silver`.
        n_documents (int): Documents to train on.
        RETURNS (Config): The configuration, not interpolated.
        RAISES (ConfigValidationError): If a setting is unknown or out of range.
        """
        nlp = self.teacher
        config = init_config(lang=str(nlp.lang), pipeline=[self.component], silent=True)
        tokenizer = nlp.config["nlp"]["tokenizer"]
        # ours has spaCy's rules, and spaCy alone has to load the new pipeline
        own = tokenizer["@tokenizers"] == TOKENIZER
        config["nlp"]["tokenizer"] = {"@tokenizers": SPACY_TOKENIZER} if own else tokenizer
        config["paths"] |= {"train": str(corpus / TRAIN), "dev": str(corpus / DEV)}
        if n_documents > STREAMED:
            config["training"]["max_epochs"] = -1
        if self.vectors is not None:
            config["paths"]["vectors"] = self.vectors
            config["initialize"]["vectors"] = "${paths.vectors}"
            config["components"]["tok2vec"]["model"]["embed"]["include_static_vectors"] = True
        if self.component == SPANCAT:
            config["components"][SPANCAT]["spans_key"] = SPANS_KEY
            config["components"][SPANCAT]["suggester"] = {
                "@misc": "spacy.ngram_range_suggester.v1", "min_size": 1, "max_size": self.max_width,
            }  # fmt: skip
        # a stream of documents is not searched for labels
        labels = {"@readers": "spacy.read_labels.v1", "path": str(corpus / LABELS), "require": True}
        config["initialize"]["components"][self.component] = {"labels": labels}
        return Config().from_str(config.to_str(), overrides=self.overrides, interpolate=False)

    def blank(self, config: Config) -> Language:
        """Make the pipeline, untrained, with the teacher's tokenizer, and check the configuration.

        RAISES (ConfigValidationError): If a setting is out of range.
        RAISES (MaralError): If an override names a setting that there is not.
        """
        nlp = make_pipeline(config)
        # spaCy drops what it does not know
        known = dict_to_dot(nlp.config)
        if unknown := [name for name in self.overrides if name not in known]:
            hint = did_you_mean(unknown[0], known)
            raise MaralError(Errors.M577.format(names=", ".join(unknown), hint=hint))
        registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)
        copy_tokenizer(self.teacher, nlp)
        return nlp

    def label_data(self) -> Any:
        """RETURNS (dict | list): The labels as the component takes them, as `spacy init labels` writes them."""
        nlp = spacy.blank("xx")
        doc = Doc(nlp.vocab, words=list(self.labels))
        doc.ents = [Span(doc, i, i + 1, label=label) for i, label in enumerate(self.labels)]
        doc.spans[SPANS_KEY] = list(doc.ents)
        pipe = nlp.add_pipe(self.component)
        nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
        return pipe.label_data  # type: ignore[attr-defined]


def copy_tokenizer(teacher: Language, nlp: Language) -> None:
    """Give a pipeline the tokenizer rules of another one, without its vocabulary."""
    ours, others = cast(Any, nlp.tokenizer), cast(Any, teacher.tokenizer)
    if hasattr(others, "to_bytes"):
        ours.from_bytes(others.to_bytes(exclude=["vocab"]), exclude=["vocab"])
