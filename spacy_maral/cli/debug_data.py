"""The command debug-data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from spacy.cli._util import Opt
from wasabi import MESSAGES, Printer

from ._options import CODE, CONFIG, DEV, FILE, LANG, SOURCE, TARGET_TEXT
from ._util import WITH_OVERRIDES, app, prepare, read_overrides, reported

if TYPE_CHECKING:
    from spacy.language import Language

    from ..training.data_checks import FileCounts

TARGET = Opt([], "--target", "-T", exists=True, help=f"{TARGET_TEXT}; can be repeated")


@app.command("debug-data", context_settings=WITH_OVERRIDES)
def debug_data_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: list[Path] = SOURCE,
    dev: list[Path] = DEV,
    targets: list[Path] = TARGET,
    lang: list[str] = LANG,
    tests: list[Path] = Opt(
        [], "--test", "-E", **FILE, help="Labelled test data (.spacy); can be repeated"
    ),
    code: Path | None = CODE,
    ignore_warnings: bool = Opt(
        False, "--ignore-warnings", "-IW", help="Ignore warnings, only show stats and errors"
    ),
    verbose: bool = Opt(
        False, "--verbose", "-V", "-VV", help="Print additional information and examples"
    ),
    no_format: bool = Opt(False, "--no-format", "-NF", help="Don't pretty-print the results"),
) -> None:
    """
    Analyze and debug training data. Shows entities by type; entities that no
    candidate span, tokenizer or encoder can reach; the vocabulary that source
    and target share; empty, unlabelled, long and repeated documents; and
    sentences that occur in two files. The command checks the encoder only if it
    is on this machine, and downloads nothing. It exits with 1 if there are
    errors. To override settings in the config, pass them as command line
    options, for instance --components.maral_ner.model.max_width 12.
    """
    overrides = read_overrides(ctx)
    prepare(code, verbose)
    from ..training.data_report import DataReport

    with reported("check the data"):
        parts, nlp = _load(config_path, overrides, source, dev, targets, lang or None, tests)
        printer = Printer(pretty=not no_format, ignore_warnings=ignore_warnings)
        DataReport(printer, parts, nlp, verbose).show()
    sys.exit(1 if printer.counts[MESSAGES.FAIL] else 0)


def _load(
    config_path: Path, overrides: dict[str, Any], source: list[Path], dev: list[Path],
    targets: list[Path], lang: list[str] | None, tests: list[Path],
) -> tuple[list[FileCounts], Language]:  # fmt: skip
    """Read the files and build the pipeline without the encoder's weights."""
    from ..data.config import make_pipeline, read_config
    from ..data.docs import read_docs
    from ..data.languages import start_tokenizer
    from ..training.data_checks import FileCounts
    from ..training.inputs import read_targets
    from ..training.pipelines import require_component
    from ..training.settings import check_sections

    config = read_config(config_path, overrides)
    check_sections(config)
    nlp = make_pipeline(config)
    require_component(nlp, "the configuration")
    start_tokenizer(nlp)
    parts = [
        FileCounts(name, True, [doc for docs in map(read_docs, paths) for doc in docs])
        for name, paths in (("source", source), ("dev", dev))
    ]
    for name, labelled, files in (
        ("target", False, read_targets(targets, lang) if targets else []),
        ("test", True, [*map(read_docs, tests)]),
    ):
        for number, docs in enumerate(files, start=1):
            title = name if len(files) == 1 else f"{name} {number}"
            parts.append(FileCounts(title, labelled, docs))
    return parts, nlp
