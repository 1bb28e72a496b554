"""spaCy pipelines with the same encoder and one other component each, briefly trained."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from .setting import Setting

MAX_WIDTH = 8
BATCH = 16
LEARN_RATE = 2e-3
PASSES = 2
PIPE_BATCH = 128
SPANS_KEY = "sc"

ENCODERS: dict[str, dict[str, Any]] = {
    "ours": {
        "@architectures": "spacy-maral.TransformerModel.v1",
        "get_spans": {
            "@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 128, "stride": 96,
            "max_chars": 480,
        },
        "tokenizer_config": {"use_fast": True},
    },
    # as spaCy's own `init config --gpu` writes it
    "spacy": {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "get_spans": {
            "@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96,
        },
        "tokenizer_config": {"use_fast": True},
    },
}  # fmt: skip
MEANS = {
    "@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}  # fmt: skip
COMPONENTS: dict[str, dict[str, Any]] = {
    "maral_ner": {
        "model": {
            "@architectures": "spacy-maral.SpanModel.v1",
            "tok2vec": {"@architectures": "spacy-maral.WordPieceEnds.v1"},
            "max_width": MAX_WIDTH,
            "pseudo_count": 10,
        }
    },
    # as spaCy's own `init config --gpu` writes them
    "ner": {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner",
            "extra_state_tokens": False, "hidden_width": 64, "maxout_pieces": 2,
            "use_upper": False, "nO": None, "tok2vec": MEANS,
        }
    },
    "spancat": {
        "spans_key": SPANS_KEY,
        "suggester": {
            "@misc": "spacy.ngram_range_suggester.v1", "min_size": 1, "max_size": MAX_WIDTH,
        },
        "model": {
            "@architectures": "spacy.SpanCategorizer.v1",
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128},
            "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None},
            "tok2vec": MEANS,
        },
    },
}  # fmt: skip


def build(setting: Setting, component: str, docs: Sequence[Doc], encoder: str = "ours") -> Language:
    """Make a pipeline of a transformer and one component, and train the component on documents.

    The training is short and the encoder frozen: the pipeline only has to find some entities.

    setting (Setting): The setting.
    component (str): One of COMPONENTS.
    docs (Sequence[Doc]): Labelled documents.
    encoder (str): One of ENCODERS; the weights are the same.
    RETURNS (Language): The pipeline.
    """
    fix_random_seed(0)
    nlp = spacy.blank("xx")
    model = ENCODERS[encoder] | {"name": str(setting.encoder)}
    nlp.add_pipe("transformer", config={"model": model, "max_batch_items": 4096})
    nlp.add_pipe(component, config=COMPONENTS[component])
    examples = [Example(copy_of(nlp, doc), labelled_copy(nlp, doc)) for doc in docs]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = LEARN_RATE
    frozen = ["transformer"]
    for number in range(PASSES):
        random.Random(number).shuffle(examples)
        for i in range(0, len(examples), BATCH):
            batch = examples[i : i + BATCH]
            nlp.update(batch, sgd=optimizer, exclude=frozen, annotates=frozen)
    return nlp


def copy_of(nlp: Language, doc: Doc) -> Doc:
    """A document with the words of another, without annotation."""
    spaces = [bool(token.whitespace_) for token in doc]
    return Doc(nlp.vocab, words=[token.text for token in doc], spaces=spaces)


def labelled_copy(nlp: Language, doc: Doc) -> Doc:
    """A copy with the document's entities, as entities and as spans."""
    copied = copy_of(nlp, doc)
    spans = [spacy.tokens.Span(copied, e.start, e.end, label=e.label_) for e in doc.ents]
    copied.set_ents(spans, default="outside")
    copied.spans[SPANS_KEY] = spans
    return copied


def read(nlp: Language, docs: Sequence[Doc], found: list[int]) -> float:
    """Annotate documents with a pipeline; RETURNS (float): Their number of words.

    found (list[int]): Receives the number of entities.
    """
    copies = map(partial(copy_of, nlp), docs)
    entities = words = 0
    for doc in nlp.pipe(copies, batch_size=PIPE_BATCH):
        words += len(doc)
        entities += len(doc.spans[SPANS_KEY]) if SPANS_KEY in doc.spans else len(doc.ents)
    found[:] = [entities]
    return words
