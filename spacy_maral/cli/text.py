"""The command prepare-text."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._util import app, reported, show_counts


@app.command("prepare-text")
def prepare_text_cli(
    inputs: list[Path] = Arg(
        ..., help="Files or directories of text (.txt, .jsonl, .spacy, also .gz)", exists=True
    ),
    output_path: Path = Arg(..., help="File to write (.spacy)", dir_okay=False),
    lang: str = Opt(..., "--lang", "-l", help="Language code, for tokenizer and sentence ends"),
    split: bool = Opt(
        True, "--split/--no-split", "-s/-S", help="Split texts into sentences, by rules"
    ),
    min_words: int = Opt(3, "--min-words", min=1, help="Shortest sentence, in words"),
    max_words: int = Opt(200, "--max-words", min=1, help="Longest sentence, in words"),
    limit: int | None = Opt(None, "--limit", "-n", min=1, help="Most sentences"),
    seed: int | None = Opt(
        None, "--seed", help="Draw the sentences at random; without, the first are taken"
    ),
    as_json: bool = Opt(False, "--json", "-j", help="Print JSON only"),
) -> None:
    """
    Make spaCy's binary format of unlabelled text: raw text to adapt to. A .txt
    file has a sentence or a document a line, a .jsonl file objects with the
    key "text". The words are those of spaCy's tokenizer of the language.
    Sentences that are too short or too long, or that repeat an earlier one,
    are left out and counted below.
    """
    from ..data.raw import prepare_text

    with reported("prepare the text"):
        report = prepare_text(
            inputs, output_path, lang=lang, split=split, min_words=min_words,
            max_words=max_words, limit=limit, seed=seed,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    msg.good(f"{report.sentences:,} sentences, {report.tokens:,} tokens", output_path)
    msg.info(f"Texts read: {report.texts:,}")
    show_counts("Sentences left out", report.left_out)
