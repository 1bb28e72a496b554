"""Optimise a pipeline: its encoder computes in bfloat16 on a CPU."""

from __future__ import annotations

from pathlib import Path

from ...evaluation.evaluate import load_pipeline
from ...model.encoder.weights import FOR_INFERENCE, check_trainable
from .pipelines import Smaller, check_output, find_encoder, save_small


def optimise(model: str | Path, output: str | Path, *, test: str | Path | None = None) -> Smaller:
    """Make a pipeline predict faster on a CPU, in bfloat16. It cannot be trained further.

    EXAMPLE: optimise("student", "student-bfloat16", test="de-test.spacy").parity.speed_up

    model (str | Path): The pipeline: its folder, or its name if it is installed.
    output (str | Path): Folder for the new pipeline.
    test (str | Path): Labelled documents (.spacy) to compare the two pipelines on.
    RETURNS (Smaller): The changes, also in optimise.json and meta.json of the new pipeline.
    RAISES (MaralError): If the pipeline has no transformer of this package or is already optimised,
        or a file cannot be read or written.
    """
    check_output(Path(output))
    nlp = load_pipeline(model)
    shim, _ = find_encoder(nlp)
    check_trainable(shim._model)
    return save_small(nlp, model, Path(output), "optimise", {}, weights=FOR_INFERENCE, test=test)
