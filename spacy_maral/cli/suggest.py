"""The command suggest."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import CODE, FILE, GPU_ID, LANG, MODEL, TARGET_TEXT, VERBOSE
from ._util import app, prepare, reported
from .data import ExportFormat


@app.command("suggest")
def suggest_cli(
    model: str = MODEL,
    target: list[Path] = Arg(..., exists=True, help=TARGET_TEXT),
    output: Path = Opt(..., "--output", "-o", dir_okay=False, help="File to write"),
    n: int | None = Opt(None, "--number", min=1, help="Number of sentences  [default: 100]"),
    words: int | None = Opt(
        None, "--words", min=1, help="Most words of all sentences; chooses them by their doubts per word"
    ),
    format: ExportFormat = Opt(
        "jsonl", "--format", "-f", help="Format to write, unless the file ends in .spacy"
    ),
    lang: list[str] = LANG,
    random: bool = Opt(False, "--random", help="Draw the sentences at random, to compare"),
    exclude: list[Path] = Opt(
        None, "--exclude", **FILE,
        help="Sentences not to suggest (.spacy), such as annotated ones; can be repeated",
    ),
    seed: int = Opt(0, "--seed", min=0, help="Seed of the random draw and of ties"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:  # fmt: skip
    """
    Suggest the sentences of raw text that are worth annotating: those with the
    most names that the model doubts, entities that it may have missed included,
    and each name once; with --words, those with the most for their length. The
    file has the model's entities, for the annotation tool to correct. 'convert' reads the corrected file, for --target-gold.
    """
    prepare(code, verbose)
    from ..adaptation.suggest import suggest

    with reported("suggest sentences"):
        found = suggest(
            model, target, output, n=n, words=words, format=format.value, lang=lang or None,
            random=random, exclude=exclude or None, seed=seed, gpu_id=gpu_id,
        )  # fmt: skip
    msg.good(f"{found.sentences:,} sentences, {found.words:,} words", output)
    msg.text(
        f"{found.doubtful:,} by their doubtful names, {found.sentences - found.doubtful:,} at "
        f"random; {found.entities:,} entities are filled in"
    )
