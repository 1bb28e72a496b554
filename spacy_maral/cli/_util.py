"""The Typer app of `python -m spacy maral`, and the helpers that its commands share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from configparser import InterpolationError
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from spacy.cli._util import Opt, parse_config_overrides
from spacy.cli._util import app as spacy_app
from spacy.util import import_file
from spacy.util import logger as spacy_logger
from thinc.api import ConfigValidationError
from typer.core import TyperGroup
from wasabi import Printer, msg

from ..errors import Errors, MaralError, did_you_mean
from ..model.memory import keep_freed_memory

HELP = """Cross-lingual named entity recognition: train a teacher on one language, let it
label raw text of others, and adapt a student to them.

Start with: python -m spacy maral init-config --help
"""

DOCS = "docs/cli.md"
WITH_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

# in the order of use; other commands follow
ORDER = (
    "init-config", "convert", "export", "prepare-text", "stats", "debug-data", "train",
    "translate-words", "train-teacher", "suggest", "project-labels", "pseudo-label", "adapt", "evaluate",
    "compare", "calibrate", "suspects", "annotate", "names", "report", "card", "push",
    "trim-vocab", "optimise", "distil",
)  # fmt: skip


class Steps(TyperGroup):
    """Lists the commands in the order of use."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [name for name in ORDER if name in names] + [x for x in names if x not in ORDER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command, and end its help with the place of its documentation."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _name_documentation(command, cmd_name)
        return command


def _name_documentation(command: Any, anchor: str) -> None:
    """End the help of a command, and of its own commands, with the place of its documentation."""
    subcommands = getattr(command, "commands", {})
    for name, subcommand in subcommands.items():
        _name_documentation(subcommand, f"{anchor}-{name}")
    place = f"Documentation: {DOCS}" if subcommands else f"Documentation: {DOCS}#{anchor}"
    own = (command.epilog or "").removesuffix(place).strip()
    command.epilog = f"{own}\n\n{place}".strip()


app = typer.Typer(name="maral", help=HELP, cls=Steps, no_args_is_help=True, rich_markup_mode=None)
spacy_app.add_typer(app, name="maral")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("spacy-maral"))
        raise typer.Exit


@app.callback()
def maral(
    show: bool = Opt(
        False, "--version", is_eager=True, callback=_show_version, help="Show the version and exit"
    ),
) -> None:
    """The options of `spacy maral` itself."""


@contextmanager
def reported(task: str) -> Iterator[None]:
    """Turn errors that the user can solve into a message on stderr and exit status 1.

    task (str): The task that fails, as in "convert the data".
    """
    try:
        yield
    except (MaralError, InterpolationError) as error:
        problem = str(error)
    except ConfigValidationError as error:
        problem = ConfigValidationError.from_error(error, title="", show_config=False).text.strip()
    except KeyboardInterrupt as error:
        # an interrupted run brings its own message and the exit status that a shell expects
        typer.echo(str(error) or "Interrupted.", err=True)
        sys.exit(getattr(error, "exit_code", 130))
    else:
        return
    # The message is not wrapped, so that paths can be copied from it.
    typer.echo(Printer(no_print=True).fail(f"Cannot {task}"), err=True)
    typer.echo(problem, err=True)
    sys.exit(1)


def prepare(code: Path | None = None, verbose: bool = False) -> None:
    """Apply the options --code and --verbose, and let the process keep the memory that it frees.

    code (Path): Python file to import for the functions that it registers.
    verbose (bool): Whether to show debugging messages.
    """
    keep_freed_memory()
    if verbose:
        spacy_logger.setLevel(logging.DEBUG)
    if code is None:
        return
    with reported("import the code"):
        try:
            import_file("python_code", code)
        # a user's file can raise anything, and may be missing
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise MaralError(Errors.M407.format(path=code, problem=problem)) from error


def read_overrides(ctx: typer.Context) -> dict[str, Any]:
    """Read overrides of the config file from the command line, as `spacy train` does.

    ctx (typer.Context): The command, with the arguments that are not options of its own, such as
        ["--teacher.epochs", "3"].
    RETURNS (dict): Values by "section.key".
    RAISES (typer.BadParameter): If an argument names no section, or has no value.
    """
    known = [name for option in ctx.command.params for name in option.opts]
    for arg, following in pairwise([*ctx.args, "--"]):
        name = arg.partition("=")[0]
        # Not every release of Typer reports the error that spaCy raises here.
        if name.startswith("--") and "." not in name:
            raise typer.BadParameter(f"There is no option {name}.{did_you_mean(name, known)}")
        # spaCy would read it as true
        if arg.startswith("--") and name == arg and following.startswith("--"):
            raise typer.BadParameter(f"{name} needs a value, as in {name} VALUE.")
    return parse_config_overrides(ctx.args)


def divide_words(ctx: typer.Context, words: list[str]) -> list[str]:
    """Divide the words of an argument that takes any number of them, which get the overrides as well.

    ctx (typer.Context): The command; the overrides are added to the arguments that are not its own.
    words (list[str]): The words.
    RETURNS (list[str]): Those that are no overrides.
    RAISES (typer.BadParameter): If none is left.
    """
    rest, found = list(words), []
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            found.append(word)
            continue
        ctx.args.append(word)
        if "=" not in word and rest:
            ctx.args.append(rest.pop(0))
    if not found:
        raise typer.BadParameter("There is no text among the arguments.")
    return found


def show_counts(title: str, counts: dict[str, int]) -> None:
    """Print counts by name, or nothing if there are none."""
    if counts:
        table = {name: f"{count:,}" for name, count in counts.items()}
        msg.table(table, title=title, aligns=("l", "r"))
