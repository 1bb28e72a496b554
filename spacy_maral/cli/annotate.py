"""The command annotate."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._engine import ADDRESS, CPUS, ENGINE, GPUS, RETRIES, WORKERS, Engine
from ._options import CODE, GPU_ID, MODEL, SCORE_ATTR, VERBOSE
from ._util import app, prepare, reported, show_counts


class Format(str, Enum):
    jsonl = "jsonl"
    jsonl_gz = "jsonl.gz"
    parquet = "parquet"


INPUTS = Arg(
    ...,
    help="Files, folders, glob patterns or addresses of .txt, .jsonl (each optionally .gz) or .parquet files",
)
OUTPUT = Opt(..., "--output", "-o", help="Output folder or address")
BATCH_WORDS = Opt(1024, "--batch-words", "-b", min=1, help="Words per batch; raise it for a GPU")
GIVE_UP = Opt(
    100, "--give-up", min=1, help="Number of documents in a row that fail before the shard fails"
)


@app.command("annotate")
def annotate_cli(
    model: str = MODEL,
    inputs: list[str] = INPUTS,
    output: str = OUTPUT,
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    workers: int | None = WORKERS,
    cpus: float = CPUS,
    gpus: float = GPUS,
    retries: int = RETRIES,
    format: Format = Opt(Format.jsonl, "--format", "-f", help="Output format"),
    text_field: str = Opt("text", "--text-field", help="Key or column with the text"),
    id_field: str = Opt("id", "--id-field", help="Key or column with the document's id"),
    score_attr: str | None = SCORE_ATTR,
    batch_words: int = BATCH_WORDS,
    give_up: int = GIVE_UP,
    as_json: bool = Opt(False, "--json", "-j", help="Print the summary as JSON only"),
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Find the entities in a corpus of any size. Each input file becomes one
    output file, with each document's id, text, entities and model version.
    Documents that cannot be annotated go to _rejected, with the reason. To
    continue a stopped run, repeat the command: it skips finished files. With
    '--engine ray' many workers share the files.
    """
    prepare(code, verbose)
    from ..scale import RayEngine, annotate_corpus

    with reported("annotate the corpus"):
        chosen = None
        if engine is Engine.ray:
            chosen = RayEngine(address, workers, cpus, gpus, retries, verbose)
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
