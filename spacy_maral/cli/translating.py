"""The command translate-words."""

from __future__ import annotations

from pathlib import Path

import typer
from spacy.cli._util import Opt
from wasabi import msg

from ._options import CODE, CONFIG, FILE, GPU_ID, LANG, LAYER, SOURCE, TARGET_TEXT, VERBOSE
from ._util import WITH_OVERRIDES, app, prepare, read_overrides, reported

LEXICON = Opt(
    None, "--lexicon", **FILE,
    help="Translations of your own, also of names: a word, a tab and its translation in each line",
)  # fmt: skip


@app.command("translate-words", context_settings=WITH_OVERRIDES)
def translate_words_cli(
    ctx: typer.Context,
    config_path: Path = CONFIG,
    source: list[Path] = SOURCE,
    target: list[Path] = Opt(
        ..., "--target", "-T", exists=True, help=f"{TARGET_TEXT}; can be repeated"
    ),
    output: Path = Opt(..., "--output", "-o", dir_okay=False, help="File to write (.spacy)"),
    lang: list[str] = LANG,
    lexicon: Path | None = LEXICON,
    save_lexicon: Path | None = Opt(
        None, "--save-lexicon", dir_okay=False, help="File to write all translations of words to"
    ),
    limit: int = Opt(
        20_000,
        "--limit",
        "-n",
        min=1,
        help="Most sentences of each side that translations are found in",
    ),
    layer: int | None = LAYER,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Translate labelled sentences word by word. Words of entities are replaced only by
    words of another script. The encoder of the config finds the words of the target text that are nearest to
    those of the sentences. The file can be a further source of train-teacher and adapt.
    """
    prepare(code, verbose)
    from ..adaptation.translation import translate_words

    with reported("translate the words"):
        report = translate_words(
            config_path, source, target, output, lang=lang or None, lexicon=lexicon,
            save_lexicon=save_lexicon, limit=limit, layer=layer, overrides=read_overrides(ctx),
            gpu_id=gpu_id,
        )  # fmt: skip
    msg.good(
        f"{report.sentences:,} sentences, {report.entities:,} entities; {report.replaced:,} of "
        f"{report.words:,} words replaced, with a lexicon of {report.pairs:,}",
        output,
    )
