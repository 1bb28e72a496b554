"""A pipeline whose encoder computes in small numbers on a CPU."""

from __future__ import annotations

from pathlib import Path

from ..evaluation import load_pipeline
from ..settings import check_choice
from ..weights import FOR_INFERENCE, check_trainable
from .pipelines import Smaller, check_output, find_encoder, save_small

TASK = "optimise"


def optimise(
    model: str | Path,
    output: str | Path,
    *,
    weights: str = "int8",
    test: str | Path | None = None,
) -> Smaller:
    """Make a pipeline predict faster on a CPU, in rounded numbers; it cannot be trained further.

    EXAMPLE: optimise("student", "student-int8", test="de-test.spacy").parity.speed_up

    model (str | Path): The pipeline: its folder, or its name if it is installed.
    output (str | Path): Folder for the new pipeline.
    weights (str): "int8" for the matrices of linear layers in 8 bits, or "bfloat16" for everything
        in 16, on processors that compute with them.
    test (str | Path): Labelled documents (.spacy) that both pipelines are compared on.
    RETURNS (Smaller): What changed, which the new pipeline's optimise.json and meta.json say too.
    RAISES (MaralError): If the pipeline has no transformer of this package or is optimised already,
        or a file cannot be read or written.
    """
    check_choice("weights", weights, FOR_INFERENCE)
    check_output(Path(output))
    nlp = load_pipeline(model)
    shim, _ = find_encoder(nlp)
    check_trainable(shim._model)
    return save_small(nlp, model, Path(output), TASK, {}, weights=weights, test=test)
