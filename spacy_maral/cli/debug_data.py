"""The command debug-data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from spacy.cli._util import Arg, Opt
from wasabi import MESSAGES, Printer

from ._util import CODE, WITH_OVERRIDES, app, prepare, read_overrides, reported

if TYPE_CHECKING:
    from spacy.language import Language

    from ..data.checks import Part


@app.command("debug-data", context_settings=WITH_OVERRIDES)
def debug_data_cli(
    ctx: typer.Context,
    config_path: Path = Arg(..., help="Path to config file", exists=True, dir_okay=False),
    source: Path = Opt(
        ...,
        "--source",
        "-s",
        help="Labelled training data of the source language (.spacy)",
        exists=True,
        dir_okay=False,
    ),
    dev: Path = Opt(
        ...,
        "--dev",
        "-d",
        help="Labelled development data of the source language (.spacy)",
        exists=True,
        dir_okay=False,
    ),
    targets: list[Path] = Opt(
        [],
        "--target",
        "-T",
        help="Text of a target language (.spacy). Can be given several times",
        exists=True,
        dir_okay=False,
    ),
    tests: list[Path] = Opt(
        [],
        "--test",
        "-E",
        help="Labelled test data (.spacy). Can be given several times",
        exists=True,
        dir_okay=False,
    ),
    code: Path | None = CODE,
    ignore_warnings: bool = Opt(
        False, "--ignore-warnings", "-IW", help="Ignore warnings, only show stats and errors"
    ),
    verbose: bool = Opt(False, "--verbose", "-V", help="Print additional information and examples"),
    no_format: bool = Opt(False, "--no-format", "-NF", help="Don't pretty-print the results"),
) -> None:
    """
    Analyze and debug the data of a training. Shows entities by type, entities
    that no candidate span, tokenizer or encoder can reach, the vocabulary that
    source and target share, empty, unlabelled, long and repeated documents, and
    sentences that are in two files. The encoder is looked at if it is here;
    nothing is downloaded. Exits with 1 if there are errors. To override
    settings in the config, you can pass them as command line options, for
    instance --components.maral_ner.model.max_width 12.
    """  # fmt: skip
    overrides = read_overrides(ctx.args)
    prepare(code, verbose)
    from ..data.debugging import DataReport

    with reported("check the data"):
        parts, nlp = _load(config_path, overrides, source, dev, targets, tests)
        report = DataReport(
            Printer(pretty=not no_format, ignore_warnings=ignore_warnings), parts, nlp, verbose
        )
        report.show()
    sys.exit(1 if report.msg.counts[MESSAGES.FAIL] else 0)


def _load(
    config_path: Path, overrides: dict[str, Any], source: Path, dev: Path, targets: list[Path],
    tests: list[Path],
) -> tuple[list[Part], Language]:  # fmt: skip
    """Read the files and make the pipeline, without the encoder's weights."""
    from spacy.util import load_config, load_model_from_config

    from ..data import read_docs
    from ..data.checks import Part
    from ..training.setup import require_component

    config = load_config(config_path, overrides, interpolate=True)
    nlp = load_model_from_config(config, auto_fill=True)
    require_component(nlp, "the configuration")
    parts = [Part("source", True, read_docs(source)), Part("dev", True, read_docs(dev))]
    for name, labelled, paths in (("target", False, targets), ("test", True, tests)):
        for number, path in enumerate(paths, start=1):
            title = name if len(paths) == 1 else f"{name} {number}"
            parts.append(Part(title, labelled, read_docs(path)))
    return parts, nlp
