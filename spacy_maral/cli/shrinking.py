"""The commands trim-vocab and optimise."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.cli._util import Opt
from wasabi import msg

from ..errors import Warnings
from ._options import CODE, FILE, MODEL, VERBOSE
from ._util import app, prepare, reported

if TYPE_CHECKING:
    from ..scale.shrink.pipelines import Smaller

MOST_LOST = 0.3
OUTPUT = Opt(..., "--output", "-o", help="Directory for the new pipeline", file_okay=False)
TEST = Opt(
    None, "--test", "-E", **FILE, help="Labelled data on which to compare both pipelines (.spacy)"
)


class Dtype(str, Enum):
    float32 = "float32"
    float16 = "float16"


@app.command("trim-vocab")
def trim_vocab_cli(
    model: str = MODEL,
    corpus: list[Path] = Opt(
        ..., "--corpus", exists=True, help="Raw text or a directory of it; can be repeated"
    ),
    output: Path = OUTPUT,
    test: Path | None = TEST,
    dtype: Dtype | None = Opt(
        None, "--dtype", help="Type of the saved weights; by default it does not change"
    ),
    min_count: int = Opt(1, "--min-count", min=1, help="Minimum count of a word piece"),
    lang: str | None = Opt(None, "--lang", "-l", help="Language code, by default the pipeline's"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
) -> None:
    """
    Make a pipeline smaller by removing the word pieces that its language does
    not need. The corpus (.txt, .jsonl or .spacy, optionally .gz) is text like
    that which the pipeline will read. The command keeps its word pieces, all
    single characters of its scripts, and the special pieces. The new pipeline
    loads, predicts and trains like any other, and splits text as before if all
    its pieces are kept. With '--dtype float16' it takes half the space, and
    still computes in float32. The command compares the sizes, and the scores
    on the test data, of both pipelines, and saves the comparison in the new
    pipeline's trim-vocab.json and model card.
    """
    prepare(code, verbose)
    from ..scale.shrink.trimming import trim_vocab

    with reported("trim the vocabulary"):
        result = trim_vocab(
            model, corpus, output, test=test, min_count=min_count, lang=lang,
            weights=dtype.value if dtype else None,
        )  # fmt: skip
    shares = [f"{name} {100 * share:.1f} %" for name, share in result.facts["scripts"].items()]
    msg.text(f"Scripts of the text: {', '.join(shares[:8])}")
    show_smaller(result, output)


@app.command("optimise")
def optimise_cli(
    model: str = MODEL,
    output: Path = OUTPUT,
    test: Path | None = TEST,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
) -> None:
    """
    Make a pipeline faster on CPUs that compute in bfloat16 (AVX512-BF16, AMX):
    its encoder is stored in bfloat16 and computes in it. The new pipeline loads
    and predicts like any other, but cannot be trained; on other CPUs it
    computes as before. Both pipelines label the test data in alternating
    blocks, and the differences are saved in the new pipeline's optimise.json
    and model card.
    """
    prepare(code, verbose)
    from ..model.encoder.weights import has_bfloat16
    from ..scale.shrink.optimising import optimise

    if not has_bfloat16():
        msg.warn(Warnings.W452)
    with reported("optimise the pipeline"):
        result = optimise(model, output, test=test)
    show_smaller(result, output)


def show_smaller(result: Smaller, output: Path, *, worse: str = Warnings.W450) -> None:
    """Print the comparison of both pipelines, and warn if the new one is worse or was not tested.

    worse (str): The warning if it is worse.
    """
    from ..evaluation.report.smaller import rows_of

    rows = rows_of(result.facts)
    msg.table(rows, header=("", "before", "after"), aligns=("l", "r", "r"), divider=True)
    if result.parity is None:
        msg.warn(Warnings.W451)
    elif result.parity.f1_change < -MOST_LOST:
        msg.warn(worse.format(change=f"{result.parity.f1_change:+.2f}", most=MOST_LOST))
    msg.good("Saved pipeline", output)
