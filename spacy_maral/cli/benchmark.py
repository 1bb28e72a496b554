"""The command benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import FILE, FOLDER, GPU_ID
from ._util import app, reported


@app.command("benchmark")
def benchmark_cli(
    matrix_path: Path = Arg(
        ..., help="YAML file with datasets, languages, variants and seeds", **FILE
    ),
    data: Path = Opt(
        ..., "--data", **FOLDER, help="Directory with one directory of raw data per dataset"
    ),
    output: Path = Opt(
        ..., "--output", "-o", file_okay=False, help="Directory for models, results and tables"
    ),
    encoder: Path | None = Opt(
        None, "--encoder", "-e", **FOLDER, help="Directory of the encoder; by default the config's"
    ),
    only: list[str] = Opt(
        [], "--only", "-O", help="Only these variants, pairs (en-de) or seeds, separated by commas"
    ),
    keep_models: bool = Opt(
        False, "--keep-models", "-k", help="Keep the trained students and ceilings"
    ),
    dry_run: bool = Opt(False, "--dry-run", help="List the runs and their states, and exit"),
    gpu_id: int = GPU_ID,
) -> None:
    """
    Run a benchmark: every language pair with every variant and seed. Each
    training runs in its own process, and each result becomes a file in runs/,
    which a run with other settings does not replace.
    To continue after a break, repeat the command: it skips finished runs.
    Several such commands can run at once and share the work. Variants with
    the same teacher settings share one teacher. The output is table.md,
    table.csv and results.json. A variant with train_on = target is trained on
    the labels of the target's training set, as the ceiling for the others. The
    labels of a target's test set are used for scores only.
    """
    from ..data.files import prove_writable
    from ..experiments.matrix import choose_runs, plan_runs, read_matrix
    from ..experiments.runs import Benchmark, run_all
    from ..experiments.tables import write_tables

    with reported("run the benchmark"):
        matrix = read_matrix(matrix_path, encoder)
        runs = plan_runs(matrix, encoder)
        chosen = choose_runs(runs, only)
        benchmark = Benchmark(
            matrix, data, output, encoder, gpu_id=gpu_id, keep_models=keep_models, say=typer.echo
        )
        if dry_run:
            states = [(run.name, benchmark.state(run)) for run in chosen]
            msg.table(states, header=("run", "state"), divider=True)
            if paths := sorted({path for run in chosen for path in benchmark.missing(run)}):
                msg.warn("Missing files", "\n".join(paths))
            return
        prove_writable(output, folder=True)

        def write() -> None:
            write_tables(output, benchmark.results(runs))

        failed = run_all(benchmark, chosen, write)
        write()
    msg.good("Saved tables to output directory", output)
    if failed:
        listed = ", ".join(failed)
        msg.fail(f"{len(failed)} of {len(chosen)} runs failed: {listed}", "Their logs are in logs/")
        sys.exit(1)
