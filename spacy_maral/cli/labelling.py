"""The commands pseudo-label and annotate, which can distribute their work over a Ray cluster."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ..errors import refuse_unused
from ._options import CODE, FILE, GPU_ID, LANG, MODEL, TARGET_TEXT, VERBOSE
from ._util import app, prepare, reported, show_counts

if TYPE_CHECKING:
    from ..adaptation.label_target import LabelReport
    from ..scale import RayEngine


class Engine(str, Enum):
    local = "local"
    ray = "ray"


class Names(str, Enum):
    two_pass = "two-pass"
    off = "off"


class Combine(str, Enum):
    dawid_skene = "dawid-skene"
    mean = "mean"


class Format(str, Enum):
    jsonl = "jsonl"
    jsonl_gz = "jsonl.gz"
    parquet = "parquet"


ENGINE = Opt(Engine.local, "--engine", help="Where the work runs: in this process or on Ray")
ADDRESS = Opt(
    None, "--address",
    help="Ray cluster, such as 'auto' or ray://host:10001; by default a local one is started",
)  # fmt: skip
WORKERS = Opt(None, "--workers", min=1, help="Number of Ray workers; by default as many as fit")
CPUS = Opt(
    None, "--cpus-per-worker", min=0.0,
    help="CPU cores per Ray worker, by default 1; fractions are allowed",
)  # fmt: skip
GPUS = Opt(
    None, "--gpus-per-worker", min=0.0,
    help="GPUs per Ray worker, by default none; fractions are allowed",
)  # fmt: skip
RETRIES = Opt(3, "--retries", min=0, help="How often work is retried if its worker dies")
RAY_RETRIES = Opt(
    None, "--retries", min=0, help="How often work is retried if its Ray worker dies; by default 3"
)
SCORE_ATTR = Opt(None, "--score-attr", help="Name of the attribute ent._.NAME that holds the score")

OF_RAY = {"cpus": "--cpus-per-worker", "gpus": "--gpus-per-worker"}

# of pseudo-label
LABELS = Opt(
    None, "--labels", "-L",
    help="Entity labels of the new model, separated by commas; not for a teacher with maral_ner",
)  # fmt: skip
SOURCE = Opt(
    None, "--source", "-s", **FILE,
    help="Labelled source data (.spacy) that supplies the labels, instead of --labels",
)  # fmt: skip
CONFIG = Opt(None, "--config", **FILE, help="Config file that supplies the longest span")
LABEL_MAP = Opt(
    None, "--label-map", "-m",
    help="JSON or TOML file that maps the annotator's labels to new ones; other labels are kept",
)  # fmt: skip
ONLY_DOUBTFUL = Opt(
    None, "--only-doubtful",
    help="Pipeline with maral_ner that labels the text; the teacher is asked only for the sentences that it doubts most",
)  # fmt: skip


def _choose_engine(engine: Engine, verbose: bool, **options: Any) -> RayEngine | None:
    """Make the engine that the options describe; None for local.

    options (Any): Settings of `RayEngine`, None for an option that is not given.
    RAISES (MaralError): If any is given for the local engine.
    """
    from ..scale import RayEngine

    given = {name: value for name, value in options.items() if value is not None}
    if engine is Engine.ray:
        return RayEngine(**given, verbose=verbose)
    refuse_unused(
        [OF_RAY.get(name, f"--{name}") for name in given],
        "the work runs in this process", "let workers do it with --engine ray",
    )  # fmt: skip
    return None


@app.command("pseudo-label")
def pseudo_label_cli(
    model: str = Arg(
        ..., help="Teacher: a pipeline, a file of entities (.spacy, .jsonl), or a name memory"
    ),
    target: list[Path] = Arg(..., exists=True, help=TARGET_TEXT),
    output: Path = Opt(..., "--output", "-o", dir_okay=False, help="Output file for labels (.npz)"),
    also: list[str] = Opt(
        [], "--also", "-a", help="Another annotator of the same text; can be repeated"
    ),
    partial: list[str] = Opt(
        [],
        "--partial",
        "-p",
        help="Which of the annotators names some entities only, such as a gazetteer: the words that "
        "it does not name are missing, not outside; can be repeated",
    ),
    combine: Combine = Opt(
        Combine.dawid_skene,
        "--combine",
        help="How several annotators are combined: weighed by how right they are, or averaged",
    ),
    lang: list[str] = LANG,
    labels: str | None = LABELS,
    source: list[Path] = SOURCE,
    config: Path | None = CONFIG,
    max_width: int | None = Opt(None, "--max-width", "-w", min=1, help="Longest span, in words"),
    label_map: str | None = LABEL_MAP,
    confidence: float = Opt(0.9, "--confidence", help="Confidence of entities without a score"),
    score_attr: str | None = SCORE_ATTR,
    spans_key: str | None = Opt(None, "--spans-key", help="Read doc.spans[KEY], not doc.ents"),
    only_doubtful: str | None = ONLY_DOUBTFUL,
    max_share: float | None = Opt(
        None,
        "--max-share",
        help="Largest share of the sentences to ask for with --only-doubtful; by default 0.2",
    ),
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    workers: int | None = WORKERS,
    cpus: float | None = CPUS,
    gpus: float | None = GPUS,
    retries: int | None = RAY_RETRIES,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Let a teacher label text of the target language. The output file holds the
    class probabilities of every candidate span, for the adapt command. The
    teacher is the output of train-teacher, or any other annotator: a pipeline
    that sets doc.ents, or a file with entities for the text. Several annotators
    are weighed by how right they are, which their agreement shows; the estimated
    precision and recall of each are printed. With '--engine ray' workers share
    the text; the labels are the same. An expensive teacher, such as a large
    language model, can be asked for a few sentences only: with '--only-doubtful
    PIPELINE', that pipeline labels the rest. To continue a stopped run, repeat
    the command: no sentence is asked for twice.
    """
    prepare(code, verbose)
    from ..adaptation.label_target import pseudo_label

    with reported("label the text"):
        chosen = _choose_engine(
            engine, verbose, address=address, workers=workers, cpus=cpus, gpus=gpus, retries=retries
        )
        path = pseudo_label(
            [model, *also], target, output, lang=lang or None, source=source or None,
            labels=labels.split(",") if labels else None, config=config, max_width=max_width,
            label_map=label_map, confidence=confidence, score_attr=score_attr,
            spans_key=spans_key, partial=partial, combine=combine.value, only_doubtful=only_doubtful,
            max_share=max_share, gpu_id=gpu_id, engine=chosen, code=code, report=_show_labels,
        )  # fmt: skip
    msg.good("Saved pseudo-labels", path)


def _show_labels(report: LabelReport) -> None:
    """Print how right each of several annotators is, and the counts of entities and text."""
    rows = [
        ("" if i else one.name, label, f"{right.found:,.0f}", *map(_percent, right[1:]))
        for one in report.annotators
        for i, (label, right) in enumerate(one.classes.items())
    ]
    if rows:
        msg.table(
            rows, title="Annotators, by what all of them say together",
            header=("", "", "found", "precision", "recall"), aligns=("l", "l", "r", "r", "r"),
            divider=True,
        )  # fmt: skip
    show_counts("Entities", report.entities)
    show_counts("Target", {"sentences": report.sentences, "words": report.words})


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f}"


@app.command("annotate")
def annotate_cli(
    model: str = MODEL,
    inputs: list[str] = Arg(
        ..., help="Files, folders, patterns or addresses: .txt, .jsonl (both also .gz), .parquet"
    ),
    output: str = Opt(..., "--output", "-o", help="Output folder or address"),
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    workers: int | None = WORKERS,
    cpus: float | None = CPUS,
    gpus: float | None = GPUS,
    retries: int = RETRIES,
    format: Format = Opt(Format.jsonl, "--format", "-f", help="Output format"),
    text_field: str = Opt("text", "--text-field", help="Key or column with the text"),
    id_field: str = Opt("id", "--id-field", help="Key or column with the document's id"),
    score_attr: str | None = SCORE_ATTR,
    batch_words: int = Opt(
        1024, "--batch-words", min=1, help="Words per batch; raise it for a GPU"
    ),
    give_up: int = Opt(
        100, "--give-up", min=1, help="Documents in a row that may fail before the shard fails"
    ),
    names: Names | None = Opt(
        None,
        "--names",
        help="Name memory: of this corpus, read twice, or off; by default as the pipeline says",
    ),
    text_seconds: float = Opt(
        600.0,
        "--text-seconds",
        min=0.0,
        help="Seconds after which a text is set aside; 0 for never",
    ),
    doubt: float | None = Opt(
        None,
        "--doubt",
        help="Also write the words that may be read otherwise with this probability",
    ),
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
    from ..scale import LocalEngine, annotate_corpus

    with reported("annotate the corpus"):
        # both engines retry
        own = {"retries": retries} if engine is Engine.ray else {}
        chosen = _choose_engine(
            engine, verbose, address=address, workers=workers, cpus=cpus, gpus=gpus, **own
        )
        summary = annotate_corpus(
            model, inputs, output, engine=chosen or LocalEngine(retries), format=format.value, text_field=text_field,
            id_field=id_field, score_attr=score_attr, batch_words=batch_words, give_up=give_up,
            names=names.value if names else None,
            text_seconds=text_seconds, doubt=doubt, gpu_id=gpu_id, code=code,
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
