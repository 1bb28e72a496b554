"""The commands evaluate and compare."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._util import CODE, GPU_ID, VERBOSE, app, prepare, reported


@app.command("evaluate")
def evaluate_cli(
    model: str = Arg(..., help="Model name or path"),
    data_path: Path = Arg(..., help="Labelled data (.spacy)", exists=True, dir_okay=False),
    output: Path | None = Opt(
        None, "--output", "-o", help="Output JSON file for metrics", dir_okay=False
    ),
    max_width: int | None = Opt(
        None,
        "--max-width",
        "-w",
        min=1,
        help="Longest entity, in words, that the paper's protocol counts; by default the model's",
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
    from ..data.files import write_json
    from ..evaluation.evaluate import evaluate_pipeline, load_pipeline
    from ..evaluation.tables import show_report

    with reported("evaluate the pipeline"):
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
    folder: Path = Arg(
        ...,
        help="Directory of the metrics teacher-SET.json and student-SET.json",
        exists=True,
        file_okay=False,
    ),
    output: Path | None = Opt(None, "--output", "-o", help="Output Markdown file", dir_okay=False),
) -> None:
    """
    Compare teacher and student on all test sets. The table shows F1 over all
    gold entities and by the paper's protocol, for every test set with metrics
    from the evaluate command.
    """
    from ..data.files import write_file
    from ..evaluation.tables import COMPARISON_HEADER, markdown_table, read_comparison

    with reported("compare the models"):
        rows = read_comparison(folder)
        if output is not None:
            write_file(output, markdown_table(COMPARISON_HEADER, rows))
    aligns = ("l", *("r" for _ in COMPARISON_HEADER[1:]))
    msg.table(rows, header=COMPARISON_HEADER, aligns=aligns, divider=True)
    if output is not None:
        msg.good("Saved table", output)
