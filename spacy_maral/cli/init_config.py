"""The command init-config."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer
from spacy.cli._util import COMMAND, Arg, Opt
from wasabi import Printer

from ..errors import Errors, MaralError
from ._options import SEGMENTER, Segmenter
from ._util import app, reported


class Size(str, Enum):
    small = "small"
    paper = "paper"


@app.command("init-config")
def init_config_cli(
    output_file: Path = Arg(
        ..., help="File to save the config to, or - for stdout", allow_dash=True, dir_okay=False
    ),
    source: str = Opt("xx", "--source", "-s", help="Language code of the labelled text"),
    targets: list[str] = Opt(
        ["xx"], "--target", "-T", help="Language code of the text to adapt to; can be repeated"
    ),
    encoder: str | None = Opt(
        None, "--encoder", "-e", help="Folder or Hugging Face hub name of a multilingual encoder"
    ),
    size: Size = Opt(
        Size.small, "--size", "-S", help="A small encoder for any machine, or the paper's settings"
    ),
    gpu: bool = Opt(False, "--gpu/--cpu", "-G/-C", help="Train on the GPU or on the CPU"),
    max_width: int | None = Opt(
        None, "--max-width", "-w", min=1, help="Longest entity in words; by default 8, or 4 (paper)"
    ),
    sentences: int | None = Opt(
        None,
        "--sentences",
        min=1,
        help="About how many sentences there are, to choose batch size and epochs for",
    ),
    segmenter: Segmenter | None = SEGMENTER,
    fill: bool = Opt(
        True, "--fill/--no-fill", help="Also write the settings that have default values"
    ),
    force: bool = Opt(False, "--force", "-F", help="Overwrite the output file"),
) -> None:
    """
    Generate a config file for train-teacher and adapt. From a language pair, a
    device and an encoder, this command writes a commented config with settings
    to start from. If the encoder is a local folder, the command reads its width,
    its number of layers and whether it has a masked-language-model head; width
    and layers of one on the hub are guessed from "base" or "large" in its name.
    Wider encoders get a lower learning rate. If there is one
    target, the pipeline gets its tokenizer. With --sentences, batch size and
    epochs fit the amount of text: of the labelled or of the raw text, whichever
    has more. The default encoder depends on
    the size. With - as the file, only the config is printed.
    """
    from ..data.files import prove_writable, write_file
    from ..training.new_config import Choices, batch_and_epochs, choose_language, make_config

    is_stdout = str(output_file) == "-"
    name = "config.cfg" if is_stdout else output_file.name
    choices = Choices(
        source,
        targets,
        encoder,
        size.value,
        gpu,
        max_width,
        segmenter and segmenter.value,
        sentences,
    )
    with reported("write the config"):
        if not is_stdout and output_file.exists() and not force:
            raise MaralError(Errors.M409.format(path=output_file))
        if not is_stdout:
            prove_writable(output_file)
        config = make_config(choices, name=name, fill=fill)
        if is_stdout:
            typer.echo(config, nl=False)
            return
        write_file(output_file, config)
    msg = Printer()
    lang, problem = choose_language(targets)
    if problem is not None:
        lacking = f"No tokenizer for '{targets[0]}': " if len(targets) == 1 else ""
        msg.warn(f"{lacking}the config uses the tokenizer for '{lang}'", problem)
    msg.good("Saved config", output_file)
    if sentences is not None:
        tokens, epochs = batch_and_epochs(sentences)
        msg.text(f"For {sentences:,} sentences: batch_tokens = {tokens}, epochs = {epochs}")
    msg.text("You can now look at your data and train a teacher:")
    data = "--source ./train.spacy --dev ./dev.spacy"
    typer.echo(f"{COMMAND} maral debug-data {output_file} {data} --target ./target.spacy")
    typer.echo(f"{COMMAND} maral train-teacher {output_file} {data} --output ./teacher")
    msg.text("Or train teacher and student at once:")
    typer.echo(f"{COMMAND} maral train {output_file} {data} --target ./target.spacy --output ./out")
