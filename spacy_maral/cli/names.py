"""The commands names build, names show and names drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import CODE, GPU_ID, MODEL, VERBOSE
from ._util import app, prepare, reported, show_counts

if TYPE_CHECKING:
    from ..scale.names import NameFacts

HELP = "The name memory of a pipeline: strings of raw text and what their mentions look like"
names_app = typer.Typer(name="names", help=HELP, no_args_is_help=True)
app.add_typer(names_app)


@names_app.command("build")
def build_cli(
    model: str = MODEL,
    text: list[Path] = Arg(..., exists=True, help="Raw text (.txt, .jsonl, .spacy) or directories"),
    output: Path = Opt(
        ..., "--output", "-o", help="Directory for the new pipeline; may be that of the old one"
    ),
    lang: str | None = Opt(None, "--lang", "-l", help="Language code, by default the pipeline's"),
    type_weight: float = Opt(
        0.75, "--type-weight", min=0.0, max=1.0, help="Most weight of the other mentions' types"
    ),
    mixed_weight: float = Opt(
        0.0,
        "--mixed-weight",
        min=0.0,
        max=1.0,
        help="Most weight of the other mentions' distribution, outside included",
    ),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Save a pipeline with a name memory of raw text. The pipeline labels the text,
    and the memory keeps, for each string that looks like a name, what its
    mentions look like together. In prediction it corrects single mentions. The
    memory holds hashes, not the strings; whoever guesses a string can look it
    up.
    """
    prepare(code, verbose)
    from ..scale.names import add_names

    with reported("build the name memory"):
        facts = add_names(
            model, text, output, type_weight=type_weight, mixed_weight=mixed_weight, lang=lang,
            gpu_id=gpu_id,
        )  # fmt: skip
    _show(facts)
    msg.good("Saved pipeline", output)


@names_app.command("show")
def show_cli(
    model: str = MODEL,
    strings: list[str] = Arg([], help="Strings to look up"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
) -> None:
    """
    Show the size of a pipeline's name memory, and what it knows of strings: the
    number of their mentions, and the mean probability of each class.
    """
    prepare(code, verbose)
    from ..scale.names import look_up

    with reported("show the name memory"):
        facts, known = look_up(model, strings)
    _show(facts)
    for row in known:
        shares = ", ".join(f"{label} {share:.3f}" for label, share in row.shares.items())
        msg.text(
            f"{row.string}: {row.mentions:,} mentions: {shares}"
            if shares
            else f"{row.string}: not stored"
        )


@names_app.command("drop")
def drop_cli(
    model: Path = Arg(..., exists=True, file_okay=False, help="Directory of the pipeline"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
) -> None:
    """
    Remove the name memory from a pipeline's directory, and turn it off.
    """
    prepare(code, verbose)
    from ..scale.names import drop_names

    with reported("drop the name memory"):
        facts = drop_names(model)
    msg.good(f"Removed {facts.strings:,} strings", model)


def _show(facts: NameFacts) -> None:
    sizes = {"strings": facts.strings, "mentions": facts.mentions, "bytes": facts.n_bytes}
    show_counts("Name memory", sizes)
    on = (
        "off"
        if facts.settings is None
        else ", ".join(f"{k} {v}" for k, v in facts.settings.items())
    )
    msg.text(f"Setting names: {on}")
