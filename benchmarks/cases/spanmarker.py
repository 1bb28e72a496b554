"""Words per second of our pipeline and of SpanMarker, with the same weights of the encoder.

SpanMarker marks each candidate span in the encoder's input. It is not trained here. The bias of its
outside class is set so that it finds about as many entities as the gold labels have.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch

from ..pipelines import MAX_WIDTH, build, read
from ..setting import SOURCE, Setting
from ..timing import alternate, compare
from ..world import entity_labels, read_sample
from . import Unavailable

SHARE = 4
BATCHES = 32
TRIES = 8
BIAS = 4.0


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case.

    RAISES (Unavailable): If SpanMarker is not installed.
    """
    try:
        span_marker = import_module("span_marker")
    except ImportError as error:
        raise Unavailable(
            f"SpanMarker cannot be imported: {error}. Install it with pip install 'spacy-maral[bench]', "
            "or leave out the case infer_vs_spanmarker."
        ) from error
    train = read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    # fewer sentences, because SpanMarker is slow
    docs = read_sample(setting, SOURCE, "dev", max(4, setting.sizes.infer_sentences // SHARE))
    words = [[token.text for token in doc] for doc in docs]
    gold = sum(len(doc.ents) for doc in docs)
    torch.manual_seed(0)
    model = span_marker.SpanMarkerModel.from_pretrained(
        str(setting.encoder), labels=["O", *entity_labels(train)],
        entity_max_length=MAX_WIDTH, model_max_length=128,
    )  # fmt: skip
    calibrate(model, words, gold)
    nlp, found = build(setting, "maral_ner", train), [0]
    found_by_other = [0]

    def other() -> float:
        predicted = model.predict(words, batch_size=BATCHES)
        found_by_other[:] = [sum(map(len, predicted))]
        return sum(map(len, words))

    trials = alternate({"ours": partial(read, nlp, docs, found), "other": other}, setting.repeats)
    return compare(trials, unit="words/s") | {
        "other_is": f"SpanMarker {version('span-marker')}, batches of {BATCHES}",
        "precision": "float32",
        "max_width": MAX_WIDTH,
        "entities_found": {"ours": found[0], "other": found_by_other[0]},
        "entities_gold": gold,
        "sentences": len(docs),
    }


def calibrate(model: Any, words: list[list[str]], wanted: int) -> None:
    """Set the bias of the outside class by bisection, so that about `wanted` entities are found."""
    bias = model.classifier.bias.data
    low, high = -BIAS, BIAS
    sample = words[: max(1, len(words) // SHARE)]
    share = wanted * len(sample) / len(words)
    for _ in range(TRIES):
        bias[0] = (low + high) / 2
        if sum(map(len, model.predict(sample, batch_size=BATCHES))) > share:
            low = float(bias[0])
        else:
            high = float(bias[0])
