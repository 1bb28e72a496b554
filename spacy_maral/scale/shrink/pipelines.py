"""Save pipelines whose encoder was made smaller, and compare them with their originals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import dot_to_object, walk_dict
from thinc.api import Model

from ...data.files import prove_writable, remove_abandoned, replacing, write_json, writing_output
from ...data.layout import META, RUN_FOLDER, SUMMARY
from ...errors import Errors, MaralError
from ...evaluation.evaluate import load_pipeline, read_gold
from ...evaluation.report.smaller import KEY, with_section
from ...model.encoder.shim import EncoderShim
from ...model.encoder.transformer import BoundedTransformer
from ...model.machine import describe_machine, package_versions
from .footprint import folder_bytes, measure_loading
from .parity import Parity, compare_pipelines, pair

ARCHITECTURE = "spacy-maral.TransformerModel.v1"


class GoldFile(NamedTuple):
    """Labelled documents, and the name of their file."""

    name: str
    docs: list[Doc]


@dataclass
class Smaller:
    """A smaller pipeline compared with its original: sizes, loading, and scores on a test set.

    facts (dict): The report in the pipeline's folder, ready for JSON.
    parity (Parity | None): The comparison on the test set, if one was given.
    """

    facts: dict[str, Any]
    parity: Parity | None


def find_encoder(nlp: Language) -> tuple[EncoderShim, Callable]:
    """Find the encoder of a pipeline.

    nlp (Language): The pipeline.
    RETURNS (tuple): The shim that holds encoder and tokenizer, and the getter of windows.
    RAISES (MaralError): If the pipeline has no transformer of this package.
    """
    found = []
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            if isinstance(node, BoundedTransformer) and node.attrs["has_transformer"]:
                return node.shim, node.attrs["get_spans"]
            if "has_transformer" in node.attrs:
                found.append(type(node).__name__)
    raise MaralError(Errors.M464.format(found=", ".join(found or nlp.pipe_names) or "none"))


def check_output(output: Path) -> None:
    """Make sure that a folder can be written and is free, or holds a smaller pipeline to replace.

    RAISES (MaralError): If it cannot be written, or holds anything else.
    """
    prove_writable(output.parent, folder=True)
    remove_abandoned(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        mine = KEY in json.loads((output / META).read_text(encoding="utf8"))
    except (OSError, ValueError):
        mine = False
    if not mine:
        problem = "there is something else already"
        raise MaralError(Errors.M406.format(path=output, problem=problem))


def save_small(
    nlp: Language,
    model: str | Path,
    output: Path,
    task: str,
    facts: Mapping[str, Any],
    *,
    weights: str,
    test: str | Path | None,
) -> Smaller:
    """Write a smaller pipeline, load it again, and compare it with its original.

    nlp (Language): The smaller pipeline.
    model (str | Path): The original.
    output (Path): Folder to write.
    task (str): Name of the change, and of the report in the folder.
    facts (Mapping): Further content of the report.
    weights (str): Format of the encoder's weights on the disk, see `build_transformer`.
    test (str | Path): Labelled documents (.spacy) to compare the pipelines on.
    RETURNS (Smaller): The comparison.
    RAISES (MaralError): If a file cannot be read or written.
    """
    gold = None if test is None else GoldFile(Path(test).name, read_gold(test))
    _set_weights(nlp, weights)
    old = load_pipeline(model)
    with writing_output(output), replacing(output) as folder:
        nlp.to_disk(folder)
        _keep_summary(old, folder)
        return report_small(old, folder, task, {**facts, "weights": weights}, gold)


def report_small(
    old: Language,
    folder: Path,
    task: str,
    facts: Mapping[str, Any],
    test: GoldFile | None,
    *,
    spans_key: str | None = None,
) -> Smaller:
    """Compare a smaller pipeline with its original, and write report and model card to its folder.

    old (Language): The original, loaded from a folder.
    folder (Path): Folder of the smaller pipeline.
    task (str): Name of the change, and of the report in the folder.
    facts (Mapping): Further content of the report.
    test (GoldFile | None): What to compare the pipelines on, if anything.
    spans_key (str | None): Key of doc.spans under which the smaller pipeline writes its entities; None
        for doc.ents.
    RETURNS (Smaller): The comparison.
    RAISES (MaralError): If a file cannot be read or written.
    """
    parity = None
    report = {**facts, **_sizes(Path(str(old.path)), folder)}
    if test is not None:
        parity = compare_pipelines(old, load_pipeline(folder), test.docs, spans_key=spans_key)
        report["test"] = {"data": test.name, **parity.to_dict()}
    report |= {
        "machine": describe_machine(-1),
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }
    meta = json.loads((folder / META).read_text(encoding="utf8"))
    meta[KEY] = {**meta.get(KEY, {}), task: report}
    meta["notes"] = with_section(meta.get("notes") or "", meta)
    write_json(folder / META, meta)
    write_json(folder / f"{task}.json", report)
    return Smaller(report, parity)


def _set_weights(nlp: Language, weights: str) -> None:
    """Set the format in which a pipeline's encoder is saved, see `build_transformer`."""
    find_encoder(nlp)[0].weights = weights
    for name in nlp.component_names:
        config = nlp.get_pipe_config(name)
        for path, value in [*walk_dict(config)]:
            if path[-1] == "@architectures" and value == ARCHITECTURE:
                dot_to_object(config, ".".join(path[:-1]))["weights"] = weights


def _sizes(old: Path, new: Path) -> dict[str, Any]:
    before, after = measure_loading([old, new])
    return {
        "bytes": pair(folder_bytes(old), folder_bytes(new)),
        "loading": {key: pair(before[key], after[key]) for key in before},
    }


def _keep_summary(old: Language, folder: Path) -> None:
    """Copy the summary of the training, for the model card."""
    source = Path(str(old.path)) / RUN_FOLDER / SUMMARY
    if source.is_file():
        (folder / RUN_FOLDER).mkdir()
        shutil.copyfile(source, folder / RUN_FOLDER / SUMMARY)
