"""The commands card and push."""

from __future__ import annotations

from pathlib import Path

import typer
from spacy.cli._util import COMMAND, Arg, Opt
from wasabi import msg

from ._options import FILE, FOLDER
from ._util import app, reported


@app.command("card")
def card_cli(
    model: Path = Arg(..., help="Directory of the trained pipeline", **FOLDER),
    metrics: list[Path] = Opt(
        [], "--metrics", exists=True, help="Metrics from evaluate, or a directory of them"
    ),
    sources: Path | None = Opt(
        None, "--sources", **FILE, help="JSON or YAML file that lists the training sources"
    ),
    source: list[Path] = Opt(
        [], "--source", "-s", **FILE, help="Training data whose size the card states (.spacy)"
    ),
    target: list[Path] = Opt(
        [], "--target", "-T", **FILE, help="Target text whose size the card states (.spacy)"
    ),
    dev: list[Path] = Opt(
        [], "--dev", "-d", **FILE, help="Development data whose size the card states (.spacy)"
    ),
    output: Path | None = Opt(
        None, "--output", "-o", dir_okay=False, help="JSON file; by default the model's meta.json"
    ),
    name: str = Opt("", "--name", help="Name of the package, without the language code"),
    version: str = Opt("", "--version", "-v", help="Version of the package"),
    license: str = Opt("", "--license", help="License of the model, such as CC-BY-SA-4.0"),
    author: str = Opt("", "--author", help="Author of the model"),
    email: str = Opt("", "--email", help="The author's email address"),
    url: str = Opt("", "--url", help="Web page of the model"),
    description: str = Opt("", "--description", help="Description in one sentence"),
    encoder: str | None = Opt(
        None, "--encoder", "-e", help="Name of the encoder; by default the one in the config"
    ),
) -> None:
    """
    Write the model card of a trained pipeline to its meta.json: sources,
    license, sizes of the data, scores by language and type, and training
    settings. 'spacy package' turns it into the package's README.md, and
    'spacy maral push' into the model card on the hub. The file
    --sources lists objects with name, url, author and license. Repeat
    --metrics for several test sets: the name of a file without 'student-'
    (of a teacher, 'teacher-') becomes the name of its test set, after the name of its folder if two files
    have the same.
    """
    from ..data.files import prove_writable
    from ..data.layout import META
    from ..evaluation.report.card import CardFacts, read_sources, write_card

    meta = {
        "name": name, "version": version, "license": license, "author": author, "email": email,
        "url": url, "description": description,
    }  # fmt: skip
    given = {"source": source, "dev": dev, "target": target}
    data = {part: paths for part, paths in given.items() if paths}
    with reported("write the model card"):
        read = [*source, *dev, *target, *metrics, *([sources] if sources else [])]
        prove_writable(output or model / META, inputs=read)
        listed = read_sources(sources) if sources else []
        facts = CardFacts(meta=meta, sources=listed, metrics=metrics, data=data, encoder=encoder)
        written = write_card(model, facts, output=output)
    for missing in ("license", "author"):
        if not written.get(missing):
            msg.warn(f"The card names no {missing}. Give it with --{missing}")
    if not sources:
        msg.warn("The card names no training sources. Give them with --sources")
    if not metrics:
        msg.warn("The card has no test scores. Give them with --metrics")
    msg.good("Saved model card", output or model / META)
    msg.text("You can now package the pipeline:")
    meta_option = f" --meta {output}" if output else ""
    typer.echo(f"{COMMAND} package {model} ./packages --build wheel{meta_option}")


@app.command("push")
def push_cli(
    model: Path = Arg(..., help="Directory of the trained pipeline", **FOLDER),
    repository: str = Arg(..., help="Repository on the Hugging Face hub, OWNER/NAME"),
    private: bool = Opt(False, "--private", help="Make a new repository private"),
    message: str = Opt("", "--message", help="Message of the commit; by default the version"),
) -> None:
    """
    Publish a pipeline on the Hugging Face hub, with its model card, in one
    commit. The files of its training, which quote text, are not uploaded. Log in
    with 'hf auth login' first, or set HF_TOKEN. Others load the pipeline with
    spacy.load(snapshot_download("OWNER/NAME")).
    """
    from ..evaluation.report.hub import push

    with reported("publish the pipeline"):
        address = push(model, repository, private=private, message=message)
    msg.good("Published", address)
