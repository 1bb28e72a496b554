"""The command benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._util import GPU_ID, app, reported


@app.command("benchmark")
def benchmark_cli(
    matrix_path: Path = Arg(
        ..., help="File of datasets, languages, variants and seeds (.yml)", exists=True,
        dir_okay=False,
    ),
    data: Path = Opt(
        ..., "--data", "-d", exists=True, file_okay=False,
        help="Directory of the raw data, with one directory a dataset",
    ),
    output: Path = Opt(
        ..., "--output", "-o", file_okay=False,
        help="Directory for corpora, teachers, results and tables",
    ),
    encoder: Path | None = Opt(
        None, "--encoder", "-e", exists=True, file_okay=False,
        help="Directory of the encoder; by default that of the config file",
    ),
    only: list[str] = Opt(
        [], "--only", "-O",
        help="Do these only: variants, pairs such as en-de, seeds; several by commas",
    ),
    keep_models: bool = Opt(False, "--keep-models", "-k", help="Keep the students"),
    dry_run: bool = Opt(False, "--dry-run", "-D", help="List the runs and what is done"),
    gpu_id: int = GPU_ID,
) -> None:  # fmt: skip
    """
    Run a benchmark: every pair of languages with every variant and seed. Each
    training is a process of its own, each result a file in runs/, and what is
    finished is not done again, so that the same command goes on after a
    break; several may run at once and share the work. Teachers are trained
    once for all variants with the same settings of theirs. The output is
    table.md, table.csv and results.json. Labels of a target's test set serve
    the scores only.
    """
    from ..experiments.matrix import choose_runs, plan_runs, read_matrix
    from ..experiments.runs import Benchmark, run_all
    from ..experiments.tables import write_tables

    with reported("run the benchmark"):
        matrix = read_matrix(matrix_path)
        runs = plan_runs(matrix, encoder)
        chosen = choose_runs(runs, only)
        benchmark = Benchmark(
            matrix, data, output, encoder, gpu_id=gpu_id, keep_models=keep_models, say=typer.echo
        )
        if dry_run:
            states = [(r.name, "to do" if benchmark.result(r) is None else "done") for r in chosen]
            msg.table(states, header=("run", "state"), divider=True)
            return

        def write() -> None:
            write_tables(output, benchmark.results(runs))

        failed = run_all(benchmark, chosen, write)
        write()
    msg.good("Saved tables to output directory", output)
    if failed:
        listed = ", ".join(failed)
        msg.fail(f"{len(failed)} of {len(chosen)} runs failed: {listed}", "Their logs are in logs/")
        sys.exit(1)
