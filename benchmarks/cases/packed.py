"""Prediction with packed matrices (`model/encoder/packed.py`), against the encoder's own layers.

latency_short: Milliseconds of `nlp(text)` for single texts of 5 and of 20 words. infer_vs_layers:
Words per second of `nlp.pipe` over texts of 20 words. Both sides have the same weights, in float32.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from spacy.language import Language
from torch import Tensor

from spacy_maral.model.encoder import packed
from spacy_maral.model.encoder.shim import EncoderShim

from ..pipelines import PIPE_BATCH, build
from ..setting import SOURCE, Setting
from ..timing import alternate, compare
from ..world import read_sample
from .profile import matrix_product

LENGTHS = (5, 20)
OTHER = "the layers of transformers, with matrices in PyTorch's order"
# where cProfile shows the parts of a prediction: part of a file's path, and of a function's name
ENCODER, PRODUCTS = "encoder", "encoder, products of matrices"
INNER = {
    # not by oneDNN's functions, which have one name there
    PRODUCTS: ("packed.py", "_linear"),
    "encoder, attention": ("~", "scaled_dot_product_attention"),
}
OUTER = {
    "words (spaCy)": ("language.py", "make_doc"),
    "word pieces and their alignment": ("encoder", "tokenize"),
    "span model and class scores": ("maral_ner.py", "score_spans"),
    "entities": ("maral_ner.py", "set_annotations"),
}
PARTS = {ENCODER: ("packed.py", "__call__"), **INNER, **OUTER}
QUANTILES = {"p50": 0.5, "p99": 0.99}


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    train = read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    words = [
        token.text
        for doc in read_sample(setting, SOURCE, "dev", setting.sizes.infer_sentences)
        for token in doc
    ]
    nlps = {side: build(setting, "maral_ner", train) for side in ("ours", "other")}
    if name == "latency_short":
        found = latency(nlps, words, setting.repeats)
    else:
        found = throughput(nlps, words, setting)
    return {"other_is": OTHER, "precision": "float32", **found}


def latency(nlps: dict[str, Language], words: list[str], repeats: int) -> dict[str, Any]:
    """Milliseconds of single texts."""
    rows: list[list[Any]] = []
    result: dict[str, Any] = {}
    for length in LENGTHS:
        texts = texts_of(words, length)[:200]
        seconds: dict[str, list[float]] = {side: [] for side in nlps}
        sides = {
            side: partial(one_by_one, nlp, texts, seconds[side], CONTEXTS[side])
            for side, nlp in nlps.items()
        }
        found = compare(alternate(sides, repeats), unit="ms a text", rate=False)
        for quantile, share in QUANTILES.items():
            ours, other = (1000 * float(np.quantile(seconds[side], share)) for side in nlps)
            rows.append([f"{length} words, {quantile}", ours, other, other / ours])
        if not result:
            result = found | {key: 1000 * found[key] for key in ("ours", "other")}
    header = ["text", "ours ms", "other ms", "ours is so many times as fast"]
    return result | {"tables": {"milliseconds of a text": [header, *rows]}}


def throughput(nlps: dict[str, Language], words: list[str], setting: Setting) -> dict[str, Any]:
    """Words per second, and where the time goes."""
    texts = texts_of(words, LENGTHS[-1])
    sides = {side: partial(in_batches, nlp, texts, CONTEXTS[side]) for side, nlp in nlps.items()}
    found = compare(alternate(sides, setting.repeats), unit="words/s")
    seconds = seconds_of_parts(nlps["ours"], texts)
    total = sum(seconds.values())
    with counted() as operations:
        in_batches(nlps["ours"], texts, nullcontext)
    achieved = sum(operations) / seconds[PRODUCTS] / 1e9
    possible = matrix_product(setting.sizes.product, torch.float32)
    return found | {
        "texts": len(texts),
        "words": LENGTHS[-1],
        "batch": PIPE_BATCH,
        "tables": {
            "where the time goes": [
                ["part", "share of the CPU time"],
                *([part, value / total] for part, value in seconds.items()),
            ],
            "billions of operations a second": [
                ["what", "GFLOP/s"],
                ["products of matrices of the encoder", achieved],
                [f"a product of matrices of side {setting.sizes.product}", possible],
                ["share", achieved / possible],
            ],
        },
    }


def seconds_of_parts(nlp: Language, texts: list[str]) -> dict[str, float]:
    """CPU time of the parts of `nlp.pipe`, by cProfile, whose own cost is part of them."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(in_batches, nlp, texts, nullcontext)
    stats = pstats.Stats(profile)
    seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for (file, _, name), (*_, cumulated, _) in stats.stats.items():  # type: ignore[attr-defined]
        for part, (place, function) in PARTS.items():
            if place in file and function in name:
                seconds[part] += cumulated
    # the sum of all functions' own seconds would miss one of oneDNN's
    total = max(cumulated for (*_, cumulated, _) in stats.stats.values())  # type: ignore[attr-defined]
    encoder = seconds.pop(ENCODER)
    seconds["encoder, rest"] = encoder - sum(seconds[part] for part in INNER)
    seconds["rest"] = total - encoder - sum(seconds[part] for part in OUTER)
    return seconds


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the floating-point operations of the products with packed matrices."""
    operations: list[int] = []
    before = packed._linear, packed._linear_plus

    def counting(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def product(x: Tensor, matrix: tuple[Tensor, Tensor], *rest: Any) -> Tensor:
            # the width of the result is that of the bias
            operations.append(2 * x.numel() * matrix[1].numel())
            return function(x, matrix, *rest)

        return product

    packed._linear, packed._linear_plus = map(counting, before)
    try:
        yield operations
    finally:
        packed._linear, packed._linear_plus = before


def texts_of(words: list[str], length: int) -> list[str]:
    """Texts of so many words."""
    return [" ".join(words[i : i + length]) for i in range(0, len(words) - length + 1, length)]


def one_by_one(nlp: Language, texts: list[str], seconds: list[float], context: Callable) -> float:
    """Read texts alone; RETURNS (float): Their number."""
    with context():
        for text in texts:
            started = time.perf_counter()
            nlp(text)
            seconds.append(time.perf_counter() - started)
    return len(texts)


def in_batches(nlp: Language, texts: list[str], context: Callable) -> float:
    """Read texts in batches; RETURNS (float): Their number of words."""
    with context():
        return sum(map(len, nlp.pipe(texts, batch_size=PIPE_BATCH)))


@contextmanager
def unpacked() -> Iterator[None]:
    """Predict with the encoder's own layers."""
    before = EncoderShim._fastest
    EncoderShim._fastest = lambda shim: shim._model  # type: ignore[method-assign]
    try:
        yield
    finally:
        EncoderShim._fastest = before  # type: ignore[method-assign]


CONTEXTS = {"ours": nullcontext, "other": unpacked}
