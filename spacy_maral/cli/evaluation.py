"""The commands evaluate, compare and report."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ..errors import refuse_unused
from ._options import CODE, FILE, FOLDER, GPU_ID, MODEL, VERBOSE
from ._util import app, prepare, reported


@app.command("evaluate")
def evaluate_cli(
    model: str = MODEL,
    data_path: Path = Arg(..., help="Labelled data (.spacy)", **FILE),
    output: Path | None = Opt(
        None, "--output", "-o", help="Output JSON file for metrics", dir_okay=False
    ),
    max_width: int | None = Opt(
        None, "--max-width", "-w", min=1, help="Longest entity of the paper's protocol, in words"
    ),
    batch_size: int | None = Opt(
        None, "--batch-size", "-b", min=1, help="Documents per batch; by default the model's"
    ),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Evaluate a trained pipeline. An entity is correct if both its boundaries
    and its type are correct, and all gold entities count. The paper's protocol
    is shown beside it: its recall ignores gold entities longer than the
    model's longest span. The pipeline gets the documents' own words and spaces
    ('spacy evaluate' tokenises the text again, so its scores can differ). The
    output file has fractions, and the tables have percentages.
    """
    prepare(code, verbose)
    from ..data.files import prove_writable, write_json
    from ..evaluation.evaluate import evaluate_pipeline, load_pipeline
    from ..evaluation.tables import show_report

    with reported("evaluate the pipeline"):
        if output is not None:
            prove_writable(output, inputs=[data_path])
        nlp = load_pipeline(model, gpu_id=gpu_id)
        result = evaluate_pipeline(nlp, data_path, batch_size=batch_size, max_width=max_width)
        if output is not None:
            write_json(output, {"model": model, "data": str(data_path), **result.to_dict()})
    show_report(result.report, msg)
    msg.text(f"{result.n_docs:,} documents, {result.words_per_second:,.0f} words/s")
    if output is not None:
        msg.good("Saved metrics", output)


@app.command("compare")
def compare_cli(
    folder: Path = Arg(..., help="Directory of teacher-SET.json and student-SET.json", **FOLDER),
    output: Path | None = Opt(None, "--output", "-o", help="Output Markdown file", dir_okay=False),
) -> None:
    """
    Compare teacher and student on all test sets. The table shows F1 over all
    gold entities and by the paper's protocol, for every test set with metrics
    from the evaluate command.
    """
    from ..data.files import prove_writable, write_file
    from ..evaluation.tables import COMPARISON_HEADER, markdown_table, read_comparison

    with reported("compare the models"):
        if output is not None:
            prove_writable(output, inputs=folder.glob("*.json"))
        rows = read_comparison(folder)
        if output is not None:
            write_file(output, markdown_table(COMPARISON_HEADER, rows))
    aligns = ("l", *("r" for _ in COMPARISON_HEADER[1:]))
    msg.table(rows, header=COMPARISON_HEADER, aligns=aligns, divider=True)
    if output is not None:
        msg.good("Saved table", output)


@app.command("report")
def report_cli(
    runs: list[Path] = Arg(..., help="Output directories of adapt or train-teacher", **FOLDER),
    output: Path = Opt(..., "--output", "-o", help="Output HTML file", dir_okay=False),
    gold: list[Path] = Opt(
        [],
        "--gold",
        **FILE,
        help="Labelled data (.spacy) in which to find mistakes; can be repeated, once per language",
    ),
    dev: list[Path] = Opt(
        [],
        "--dev",
        "-d",
        **FILE,
        help="Labelled source data (.spacy), used without --gold; can be repeated",
    ),
    teacher: Path | None = Opt(
        None,
        "--teacher",
        "-t",
        **FOLDER,
        help="Teacher's pipeline, to compare one run with on the labelled data",
    ),
    code: Path | None = CODE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Report on a training run in one HTML file that needs no network: a verdict
    in words, curves by epoch, the pseudo-labels of each target and class, their
    scores with the filter's threshold, the geometry of the classes, a map of
    the spans, and the least reliable pseudo-labels. With labelled data, such as
    a test set of each target, the report also shows the pipeline's mistakes and
    the entities that it misses, and with --teacher what the adaptation gained.
    Several runs are compared: their curves in one chart, scores by class, and
    sentences in which they differ.
    """
    prepare(code)
    from ..data.files import prove_writable
    from ..evaluation.report.comparison import write_comparison
    from ..evaluation.report.page import write_report

    with reported("write the report"):
        prove_writable(output, inputs=[*gold, *dev])
        if len(runs) > 1:
            reason = "several runs are compared with each other"
            refuse_unused(["--teacher"] if teacher else [], reason, "report on one run")
            path = write_comparison(runs, output, gold=gold, dev=dev, gpu_id=gpu_id)
        else:
            path = write_report(runs[0], output, gold=gold, dev=dev, teacher=teacher, gpu_id=gpu_id)
    msg.good("Saved report", path)
