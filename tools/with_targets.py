"""Run a `spacy maral` command that takes a file of each target language.

    python tools/with_targets.py de+es adapt maral.cfg … --target corpus/target-{lang}.spacy

gives adapt the options --target corpus/target-de.spacy --target corpus/target-es.spacy. Project files
cannot repeat an option themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from typer.main import get_command
from wasabi import msg

from spacy_maral.cli import app
from spacy_maral.data.datasets import check_languages
from spacy_maral.errors import MaralError

LANG = "{lang}"


def expand(words: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Repeat the words with "{lang}", and the options before them, for each target.

    words (Sequence[str]): A command line; values of options are words of their own.
    targets (Sequence[str]): Target languages.
    RETURNS (list[str]): The command line.
    RAISES (MaralError): If the name of a language could not be part of a file's name.
    """
    check_languages(targets)
    expanded: list[str] = []
    for word in words:
        if LANG not in word:
            expanded.append(word)
            continue
        option = [expanded.pop()] if expanded and expanded[-1].startswith("-") else []
        for target in targets:
            expanded += [*option, word.replace(LANG, target)]
    return expanded


def main(arguments: list[str] | None = None) -> None:
    """Run the command; it ends the process.

    arguments (list[str]): Targets joined by "+", then the command; None for those of the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) < 2:
        raise SystemExit("\n".join((__doc__ or "").splitlines()[:3]))
    try:
        command = expand(words[1:], words[0].split("+"))
    except MaralError as error:
        msg.fail("Cannot use the targets", str(error))
        raise SystemExit(1) from None
    get_command(app)(command, prog_name="python -m spacy maral")


if __name__ == "__main__":
    main()
