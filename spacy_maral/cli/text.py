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
        ..., help="Files or directories of text (.txt, .jsonl, .spacy, optionally .gz)", exists=True
    ),
    output_path: Path = Arg(..., help="File to write (.spacy)", dir_okay=False),
    lang: str = Opt(
        ...,
        "--lang",
        "-l",
        help="Language code, which selects the tokenizer and the sentence splitter",
    ),
    split: bool = Opt(
        True, "--split/--no-split", "-s/-S", help="Split texts into sentences by rules"
    ),
    min_words: int = Opt(3, "--min-words", min=1, help="Shortest sentence, in words"),
    max_words: int = Opt(200, "--max-words", min=1, help="Longest sentence, in words"),
    limit: int | None = Opt(None, "--limit", "-n", min=1, help="Maximum number of sentences"),
    seed: int | None = Opt(
        None,
        "--seed",
        help="Seed for drawing sentences at random; without it, the first ones are taken",
    ),
    as_json: bool = Opt(False, "--json", "-j", help="Print JSON only"),
) -> None:
    """
    Convert unlabelled text to spaCy's binary format, as raw text for adaptation.
    A .txt file has one sentence or document per line; a .jsonl file has objects
    with the key "text". spaCy's tokenizer for the language splits the text into
    words. Sentences that are too short or too long, or that repeat an earlier
    one, are left out and counted.
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
