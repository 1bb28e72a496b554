"""The commands calibrate and suspects."""

from __future__ import annotations

from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import CODE, FILE, FOLDER, GPU_ID
from ._util import WITH_OVERRIDES, app, prepare, read_overrides, reported
from .training import OVERRIDES

N_SHOWN = 10


@app.command("calibrate")
def calibrate_cli(
    model: Path = Arg(..., help="Directory of the pipeline", **FOLDER),
    data_path: Path = Opt(
        ..., "--on", **FILE, help="Labelled data (.spacy) that the model was not trained on"
    ),
    output: Path | None = Opt(
        None,
        "--output",
        "-o",
        file_okay=False,
        help="Directory for the calibrated pipeline; by default it replaces the old one",
    ),
    precision: float | None = Opt(
        None,
        "--precision",
        help="Set the threshold so that entities have this precision, e.g. 0.95",
    ),
    code: Path | None = CODE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Make confidences say how often they are right. On labelled data, preferably
    of the target, a temperature and a shift for each class are fitted to the
    predicted entities. They change ent._.maral_score only, not which entities
    are found. With --precision, the threshold of the component is set too. The
    error after calibration is measured by fits to one half of the data on the
    other half.
    """
    prepare(code)
    from ..training.calibrate import calibrate

    with reported("calibrate the pipeline"):
        report = calibrate(model, data_path, output=output, precision=precision, gpu_id=gpu_id)
    rows = [
        (label, f"{temperature:.2f}", f"{report.shift[label]:+.2f}")
        for label, temperature in report.temperature.items()
    ]
    msg.table(rows, header=("", "temperature", "shift"), aligns=("l", "r", "r"), divider=True)
    msg.text(f"{report.n_decisions:,} predicted entities, {report.n_correct:,} of them correct")
    msg.text(
        f"Expected calibration error: {100 * report.before:.1f} % before, "
        f"{100 * report.after:.1f} % after"
    )
    if report.precision is not None and report.recall is not None:
        msg.text(
            f"Threshold {report.threshold:.4f}: precision {100 * report.precision:.1f} %, "
            f"recall {100 * report.recall:.1f} %"
        )
    msg.good("Saved pipeline", output or model)


@app.command("suspects", context_settings=WITH_OVERRIDES, epilog=OVERRIDES)
def suspects_cli(
    ctx: typer.Context,
    data_path: Path = Arg(..., help="Labelled data (.spacy)", **FILE),
    output: Path = Opt(
        ..., "--output", "-o", dir_okay=False, help="Output file (.jsonl), the most doubtful first"
    ),
    model: Path | None = Opt(
        None, "--model", **FOLDER, help="Pipeline that was not trained on the data"
    ),
    config: Path | None = Opt(
        None, "--config", **FILE, help="Config to train a model for each fold with"
    ),
    folds: int | None = Opt(
        None, "--folds", min=2, help="Number of folds with --config; by default 5"
    ),
    code: Path | None = CODE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Find gold labels that are probably wrong. All sentences with an entity, labelled
    or found by the model, are ranked by how much a model doubts their labels that
    has not seen them: one that was not trained on the data (--model), or models that
    are each trained on the other folds (--config, by the section [teacher]), of which
    one holds all copies of a sentence. Look at the first tenth of the list, correct
    the labels, and train again.
    """
    overrides = read_overrides(ctx)
    prepare(code)
    from ..training.suspects import find_suspects

    with reported("find suspects"):
        found = find_suspects(
            data_path, output, model=model, config=config, folds=folds, overrides=overrides,
            gpu_id=gpu_id,
        )  # fmt: skip
    rows = [
        (f"{s.suspicion:.2f}", first.gold, first.predicted, first.text[:30], s.text[:80])
        for s in found[:N_SHOWN]
        for first in s.suspects[:1]
    ]
    msg.table(rows, header=("doubt", "gold", "model", "words", "sentence"), divider=True)
    msg.good(f"Saved {len(found):,} sentences with entities, the most doubtful first", output)
