"""The command pseudo-label."""

from __future__ import annotations

from pathlib import Path

from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._engine import ADDRESS, CPUS, ENGINE, GPUS, RETRIES, WORKERS, Engine
from ._options import CODE, FILE, GPU_ID, LANG, SCORE_ATTR, VERBOSE
from ._util import app, prepare, reported

TARGETS = Arg(
    ..., exists=True,
    help="Text of the target language: .spacy, or raw text with --lang (.txt, .jsonl, directory)",
)  # fmt: skip
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


@app.command("pseudo-label")
def pseudo_label_cli(
    model: str = Arg(..., help="Teacher: a pipeline, or a file of entities (.spacy, .jsonl)"),
    target: list[Path] = TARGETS,
    output: Path = Opt(..., "--output", "-o", dir_okay=False, help="Output file for labels (.npz)"),
    also: list[str] = Opt(
        [], "--also", "-a", help="Another annotator of the text; can be repeated"
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
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    workers: int | None = WORKERS,
    cpus: float = CPUS,
    gpus: float = GPUS,
    retries: int = RETRIES,
    code: Path | None = CODE,
    verbose: bool = VERBOSE,
    gpu_id: int = GPU_ID,
) -> None:
    """
    Let a teacher label text of the target language. The output file holds the
    class probabilities of every candidate span, for the adapt command. The
    teacher is the output of train-teacher, or any other annotator: a pipeline
    that sets doc.ents, or a file with entities for the text. With several
    annotators, spans on which all agree start as reliable. With '--engine ray'
    workers share the text; the labels are the same.
    """
    prepare(code, verbose)
    from ..adaptation import pseudo_label
    from ..scale import RayEngine

    with reported("label the text"):
        chosen = None
        if engine is Engine.ray:
            chosen = RayEngine(address, workers, cpus, gpus, retries, verbose)
        path = pseudo_label(
            [model, *also], target, output, lang=lang or None, source=source or None,
            labels=labels.split(",") if labels else None, config=config, max_width=max_width,
            label_map=label_map, confidence=confidence, score_attr=score_attr,
            spans_key=spans_key, gpu_id=gpu_id, engine=chosen, code=code,
        )  # fmt: skip
    msg.good("Saved pseudo-labels", path)
