"""The encoder against ONNX Runtime and OpenVINO, with the same weights, on the same word pieces.

Every side reads a batch in the parts that our pipelines cut it into, rows of about the same length. Only
what computes the states of a part differs. Seconds are those of CPU time, which other work on the machine
changes least; with several threads they count those that wait, too.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import product
from typing import Any, cast

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import ArgsKwargs
from torch import Tensor, from_numpy

from spacy_maral.errors import MaralError
from spacy_maral.model.encoder.files import EncoderObjects, load_pretrained
from spacy_maral.model.encoder.pieces import tokenize
from spacy_maral.model.encoder.shim import EncoderShim
from spacy_maral.model.encoder.weights import has_bfloat16, prepare_inference
from spacy_maral.model.encoder.windows import configure_bounded_windows

from ..pipelines import PIPE_BATCH
from ..runtimes import INPUTS, Encoder, export, onnx_runtime, open_vino
from ..setting import SOURCE, Setting
from ..timing import Trials, alternate, compare
from ..world import read_sample
from . import Unavailable
from .packed import texts_of

PACKAGES = {"onnx": "ONNX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
LENGTHS = (5, 20, 100, 500)
# words of a trial at most, by the texts at once
WORDS = {1: 640, PIPE_BATCH: 2560}
# words of the texts in the batches that the case's ratio is of
MAIN = 20
# the other sides, and which of ours each is compared with
OTHERS = {
    "ONNX Runtime": "ours", "OpenVINO": "ours", "OpenVINO, bfloat16": "ours, bfloat16",
}  # fmt: skip
# a dozen layers sum numbers of a size of about 1 in another order
ROUNDING = 1e-3

Batch = dict[str, Tensor]


class Side(EncoderShim):
    """Reads word pieces as pipelines do, and may let another function compute the states."""

    def __init__(self, objects: EncoderObjects, encoder: Encoder | None = None) -> None:
        super().__init__(objects, max_batch_pieces=32768)
        self.encoder = encoder

    def _fastest(self) -> Any:
        return self.encoder or super()._fastest()

    def states(self, batch: Batch) -> Tensor:
        """States of word pieces, shape (rows, length, width), in float32."""
        output: Any = self.predict(ArgsKwargs((), batch))
        return cast(Tensor, output.last_hidden_state)


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case.

    RAISES (Unavailable): If one of the packages is not installed.
    RAISES (MaralError): If the states of a side differ from ours by more than rounding.
    """
    check_installed(name)
    objects = load_pretrained(str(setting.encoder), {"use_fast": True}, {})
    sides = load_sides(objects, setting)
    docs = read_sample(setting, SOURCE, "dev", setting.sizes.infer_sentences)
    words = [token.text for doc in docs for token in doc]
    differences = dict.fromkeys(sides, 0.0)
    trials: dict[tuple[int, int], Trials] = {}
    for (length, size), batches in make_batches(objects, words).items():
        for side, difference in compare_states(sides, batches[0]).items():
            differences[side] = max(differences[side], difference)
        work = length * size * len(batches)
        found = {side: partial(read, shim, batches, work) for side, shim in sides.items()}
        trials[length, size] = alternate(found, setting.repeats)
    return report(trials) | {"largest_difference_of_states": differences}


def check_installed(name: str) -> None:
    """Check that what the case compares with is there."""
    for package, title in PACKAGES.items():
        try:
            import_module(package)
        except ImportError as error:
            raise Unavailable(
                f"{title} cannot be imported: {error}. Install it with pip install 'spacy-maral[bench]', "
                f"or leave out the case {name}."
            ) from error


def load_sides(objects: EncoderObjects, setting: Setting) -> dict[str, Side]:
    """Make all that computes states, by name."""
    file, threads = export(setting.encoder, setting.scratch / "encoder.onnx"), setting.threads
    found = {
        "ours": Side(objects),
        "ONNX Runtime": Side(objects, onnx_runtime(file, threads)),
        "OpenVINO": Side(objects, open_vino(file, threads, "f32")),
    }
    if has_bfloat16():
        half = EncoderObjects(objects.tokenizer, deepcopy(objects.encoder))
        prepare_inference(half.encoder, "bfloat16")
        found["ours, bfloat16"] = Side(half)
        found["OpenVINO, bfloat16"] = Side(objects, open_vino(file, threads, "bf16"))
    return found


def make_batches(objects: EncoderObjects, words: list[str]) -> dict[tuple[int, int], list[Batch]]:
    """The batches of a trial, by the words of a text and the texts at once."""
    found = {}
    for length, (size, most) in product(LENGTHS, WORDS.items()):
        texts = texts_of(words, length)[: min(PIPE_BATCH, max(1, most // length))]
        if texts:
            size = min(size, len(texts))
            starts = range(0, len(texts), size)
            found[length, size] = [make_batch(objects, texts[i : i + size]) for i in starts]
    return found


def make_batch(objects: EncoderObjects, texts: list[str]) -> Batch:
    """The word pieces of texts, shape (windows, length), and which of them are no padding."""
    docs = [Doc(Vocab(), words=text.split()) for text in texts]
    pieces, _ = tokenize(objects.tokenizer, configure_bounded_windows()(docs))
    return {name: from_numpy(getattr(pieces, name)) for name in INPUTS}


def read(side: Side, batches: list[Batch], work: float) -> float:
    """Compute the states of batches; RETURNS (float): Their number of words."""
    for batch in batches:
        side.states(batch)
    return work


def compare_states(sides: dict[str, Side], batch: Batch) -> dict[str, float]:
    """The largest difference of each side's states from ours.

    RAISES (MaralError): If a side in float32 differs by more than rounding.
    """
    visible = batch["attention_mask"] > 0
    wanted = sides["ours"].states(batch)[visible]
    found = {}
    for name, side in sides.items():
        found[name] = float((side.states(batch)[visible] - wanted).abs().max())
        if found[name] > ROUNDING and "bfloat16" not in name:
            raise MaralError(f"States of {name} differ from ours by {found[name]:.2g}.")
    return found


def report(trials: dict[tuple[int, int], Trials]) -> dict[str, Any]:
    """The case's row, with times and ratios by the words of a text and the texts at once."""
    times: list[list[Any]] = []
    ratios: list[list[Any]] = []
    result: dict[str, Any] = {}
    for (length, size), found in trials.items():
        place = [length, size]
        costs = [np.median(found.cost(side, cpu=True)) for side in found.work]
        times.append(place + [1000 * length * float(cost) for cost in costs])
        rows = {
            other: compare(found, unit="words per CPU second", ours=ours, other=other, cpu=True)
            for other, ours in OTHERS.items()
            if other in found.work
        }
        ratios.append(place + [row["ratio"] for row in rows.values()])
        if length == MAIN:
            other_is = f"ONNX Runtime {version('onnxruntime')}, {size} texts of {MAIN} words"
            result = rows["ONNX Runtime"] | {"other_is": other_is}
    columns = ["words", "texts at once"]
    return result | {
        "openvino": version("openvino"),
        "tables": {
            "milliseconds of CPU time of a text": [columns + list(found.work), *times],
            "ours is so many times as fast as": [columns + list(rows), *ratios],
        },
    }
