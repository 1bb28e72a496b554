"""The command annotate."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._engine import ADDRESS, CPUS, ENGINE, GPUS, RETRIES, WORKERS, EngineName, ray_engine
from ._util import CODE, GPU_ID, VERBOSE, app, prepare, reported, show_counts


class Format(str, Enum):
    jsonl = "jsonl"
    jsonl_gz = "jsonl.gz"
    parquet = "parquet"


INPUTS = Arg(
    ...,
    help="Files, folders or patterns of .txt, .jsonl (both also .gz) and .parquet, or addresses",
)
OUTPUT = Opt(..., "--output", "-o", help="Folder or address for the output")
BATCH_WORDS = Opt(
    1024, "--batch-words", "-b", min=1, help="Words of a batch; GPUs are faster with more"
)
GIVE_UP = Opt(
    100, "--give-up", min=1, help="Documents in a row that may fail before the shard does"
)


@app.command("annotate")
def annotate_cli(
    model: str = Arg(..., help="Model name or path"),
    inputs: list[str] = INPUTS,
    output: str = OUTPUT,
    engine: EngineName = ENGINE,
    address: str | None = ADDRESS,
    workers: int | None = WORKERS,
    cpus: float = CPUS,
    gpus: float = GPUS,
    retries: int = RETRIES,
    format: Format = Opt(Format.jsonl, "--format", "-f", help="Format of the output"),
    text_field: str = Opt("text", "--text-field", help="Key or column of the text"),
    id_field: str = Opt("id", "--id-field", help="Key or column of the document's id"),
    score_attr: str | None = Opt(None, "--score-attr", help="Attribute ent._.NAME with scores"),
    batch_words: int = BATCH_WORDS,
    give_up: int = GIVE_UP,
    as_json: bool = Opt(False, "--json", "-j", help="Print the summary as JSON only"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Find the entities of a corpus of any size. Each file becomes one of the
    output, with id, text, entities and the model's version of each document;
    what cannot be annotated is set aside in _rejected, with the reason. Files
    that are done are passed over: the same command goes on with a run that was
    stopped. With '--engine ray' many workers share the files.
    """
    prepare(code, verbose)
    from ..scale import annotate_corpus

    with reported("annotate the corpus"):
        chosen = ray_engine(
            engine, address=address, workers=workers, cpus=cpus, gpus=gpus, retries=retries,
            verbose=verbose,
        )  # fmt: skip
        summary = annotate_corpus(
            model, inputs, output, engine=chosen, format=format.value, text_field=text_field,
            id_field=id_field, score_attr=score_attr, batch_words=batch_words, give_up=give_up,
            gpu_id=gpu_id, code=code,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(summary.to_dict(), ensure_ascii=False))
        return
    show_counts("Entities", summary.entities)
    show_counts("Corpus", {
        "shards": summary.shards, "done before": summary.shards_skipped,
        "documents": summary.documents, "words": summary.words, "set aside": summary.rejected,
    })  # fmt: skip
    if summary.shards_skipped < summary.shards:
        speed = f"{summary.documents_per_second:,.0f} documents/s, {summary.words_per_second:,.0f}"
        msg.text(f"{summary.seconds:,.1f} s: {speed} words/s")
    msg.good("Annotated", output)
