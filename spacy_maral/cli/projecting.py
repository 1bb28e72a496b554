"""The command project-labels."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import CODE, FILE, GPU_ID, LAYER, MODEL, SEGMENTER, VERBOSE, Segmenter
from ._util import app, prepare, reported, show_counts


@app.command("project-labels")
def project_labels_cli(
    model: str = MODEL,
    source: Path = Arg(..., help="Labelled sentences (.spacy)", **FILE),
    target: Path = Arg(
        ..., help="Their translations: .txt with one in each line, .jsonl or .spacy", **FILE
    ),
    output: Path = Opt(..., "--output", "-o", dir_okay=False, help="File to write (.spacy)"),
    lang: str | None = Opt(
        None, "--lang", "-l", help="Language code of translations that are text"
    ),
    segmenter: Segmenter | None = SEGMENTER,
    layer: int | None = LAYER,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Give translated sentences the entities of their originals. The encoder of the
    pipeline finds the words that correspond to each other. A sentence is left out
    if an entity has no counterpart in it, or an unlikely one. The file can be a
    further source of train-teacher.
    """
    prepare(code, verbose)
    from ..adaptation.projection import project_labels

    with reported("project the labels"):
        report = project_labels(
            model, source, target, output, lang=lang,
            segmenter=None if segmenter is None else segmenter.value, layer=layer, gpu_id=gpu_id,
        )  # fmt: skip
    msg.good(
        f"{report.sentences:,} of {report.pairs:,} sentences, {report.words:,} words, "
        f"{report.entities:,} entities",
        output,
    )
    show_counts("Sentences that were left out", report.left_out)
