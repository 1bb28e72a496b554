"""The command report."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._util import CODE, GPU_ID, app, prepare, reported


@app.command("report")
def report_cli(
    run: Path = Arg(
        ..., help="Output directory of adapt or train-teacher", exists=True, file_okay=False
    ),
    output: Path = Opt(..., "--output", "-o", help="Output HTML file", dir_okay=False),
    gold: Path | None = Opt(
        None,
        "--gold",
        help="Labelled data (.spacy) in which to find mistakes, such as a test set of the target",
        exists=True,
        dir_okay=False,
    ),
    dev: Path | None = Opt(
        None,
        "--dev",
        "-d",
        help="Labelled development data of the source language (.spacy), used if --gold is missing",
        exists=True,
        dir_okay=False,
    ),
    code: Path | None = CODE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Report on a training run in one HTML file that needs no network: curves by
    epoch, the scores of the pseudo-labels with the filter's threshold, the
    geometry of the classes, a map of the spans, and the least reliable
    pseudo-labels. With labelled data, the report also shows the pipeline's
    mistakes.
    """
    prepare(code)
    from ..evaluation.report.page import write_report

    with reported("write the report"):
        path = write_report(run, output, gold=gold, dev=dev, gpu_id=gpu_id)
    msg.good("Saved report", path)
