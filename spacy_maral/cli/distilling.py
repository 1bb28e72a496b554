"""The command distil."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import typer
from spacy.cli._util import Arg, Opt

from ..errors import Errors, MaralError, Warnings
from ._options import CODE, FILE, GPU_ID, LANG, MODEL, VERBOSE
from ._util import WITH_OVERRIDES, app, divide_words, prepare, read_overrides, reported
from .shrinking import OUTPUT, TEST, show_smaller

OVERRIDES = """To override settings of the training, pass them as command line options:
--training.max_steps 5000 with '--to tok2vec', as in spaCy's config, and
--student.epochs 8 with '--to layers'."""


class Kind(str, Enum):
    tok2vec = "tok2vec"
    layers = "layers"


class Component(str, Enum):
    ner = "ner"
    spancat = "spancat"


@app.command("distil", context_settings=WITH_OVERRIDES, epilog=OVERRIDES)
def distil_cli(
    ctx: typer.Context,
    model: str = MODEL,
    texts: list[str] = Arg(
        ..., help="Raw text, as for 'annotate' (tok2vec) or for 'adapt' (layers)"
    ),
    output: Path = OUTPUT,
    to: Kind = Opt(
        ..., "--to", help="spaCy's own components, or the same encoder with fewer layers"
    ),
    gold: list[Path] = Opt(
        [], "--gold", **FILE, help="Labelled data to train on, too (.spacy); can be repeated"
    ),
    dev: list[Path] = Opt(
        [],
        "--dev",
        "-d",
        **FILE,
        help="Labelled data that choose the epoch (.spacy); by default a part of the text",
    ),
    test: Path | None = TEST,
    component: Component | None = Opt(
        None, "--component", help="Component that finds the entities (tok2vec; default: ner)"
    ),
    vectors: str | None = Opt(
        None,
        "--vectors",
        help="Word vectors: fitted to the teacher's encoder ('auto'), 'none', or those of a pipeline (tok2vec; default: auto)",
    ),
    doubt: float | None = Opt(
        None,
        "--doubt",
        help="Probability from which other readings make words count as missing (tok2vec; default: 0.3)",
    ),
    text_field: str | None = Opt(
        None, "--text-field", help="Key or column with the text (tok2vec; default: text)"
    ),
    keep: str | None = Opt(
        None,
        "--keep",
        help="Layers to keep: how many, or which, as in 0,3,6,9,11 (layers; default: 6)",
    ),
    lang: list[str] = LANG,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Make a small and fast pipeline that learns from text which a trained
    pipeline, its teacher, labels. With '--to tok2vec' it consists of spaCy's
    own tok2vec and ner, and needs neither PyTorch nor this package; words of
    which the teacher is in doubt count as missing. With '--to layers' it has
    the teacher's encoder with fewer layers, and learns the teacher's
    probabilities. Both are compared on the test data, or else on the
    development data, and the comparison is saved in the new pipeline's
    distil.json and model card. To continue a stopped run, repeat the command.
    """  # fmt: skip
    texts = divide_words(ctx, texts)
    overrides = read_overrides(ctx)
    prepare(code, verbose)
    shared: dict[str, Any] = {
        "gold": gold or None, "dev": dev or None, "test": test, "overrides": overrides,
        "gpu_id": gpu_id,
    }  # fmt: skip
    own: dict[Kind, dict[str, Any]] = {
        Kind.tok2vec: {
            "component": component and component.value, "vectors": vectors, "doubt": doubt,
            "text_field": text_field,
        },
        Kind.layers: {"keep": keep, "lang": lang or None},
    }  # fmt: skip
    with reported("distil the pipeline"):
        _refuse_foreign(to, own)
        chosen = {name: value for name, value in own[to].items() if value is not None}
        from ..scale import distil_layers, distil_tok2vec

        distil = distil_tok2vec if to is Kind.tok2vec else distil_layers
        result = distil(model, texts, output, **shared, **chosen)
    show_smaller(result, output, worse=Warnings.W570)


def _refuse_foreign(to: Kind, own: dict[Kind, dict[str, Any]]) -> None:
    """RAISES (MaralError): If an option is given that the kind does not have; names all of them."""
    given = [
        f"--{name.replace('_', '-')}"
        for kind, options in own.items()
        for name, value in options.items()
        if kind is not to and value is not None
    ]
    if given:
        raise MaralError(Errors.M573.format(options=", ".join(given), to=to.value))
