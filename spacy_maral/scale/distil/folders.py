"""The output folder of a distillation, and within it the folder of what it is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...data.docs import read_docs
from ...data.files import Paths, as_paths, check_no_input, prove_writable
from ...data.layout import RUN_FOLDER
from ...errors import Errors, MaralError
from ...training.inputs import annotated_docs
from ...training.target_gold import text_keys
from ..shrink.pipelines import GoldFile, check_output
from .silver import Labelled

WORK = "distil"


def work_folder(output: Path, inputs: Iterable[str | Path]) -> Path:
    """Make sure that an output can be written, and make the folder for what it is made from.

    output (Path): The output: free, a pipeline made smaller before, or that of a stopped run.
    inputs (Iterable): The pipeline and the text that are read.
    RETURNS (Path): The folder, which marks a run that is not finished; what a stopped run has left is in it.
    RAISES (MaralError): If the output cannot be written, holds anything else, or is an input or in one.
    """
    work = output / RUN_FOLDER / WORK
    check_no_input(output, inputs)
    if not work.is_dir():
        check_output(output)
    prove_writable(work, folder=True)
    return work


def read_labelled(
    labels: tuple[str, ...], *, gold: Paths | None, dev: Paths | None, test: Paths | None
) -> Labelled:
    """Read the labelled data of a distillation.

    labels (tuple[str, ...]): The teacher's labels.
    gold, dev, test (Paths | None): Files (.spacy) to train on, to choose the epoch by, and to compare
        the pipelines on, which is the first of dev without a test. The texts of dev and test are not
        trained on.
    RETURNS (Labelled): The documents.
    RAISES (MaralError): If a file cannot be read or has no annotation, or gold data have other labels.
    """
    files = {"gold": _read(gold), "dev": _read(dev), "test": _read(test)}
    sides = {name: [doc for file in read for doc in file.docs] for name, read in files.items()}
    unknown = sorted({ent.label_ for doc in sides["gold"] for ent in doc.ents} - {*labels})
    if unknown:
        path = ", ".join(map(str, as_paths(gold or ())))
        found = {"labels": ", ".join(unknown), "known": ", ".join(labels)}
        raise MaralError(Errors.M572.format(path=path, **found))
    measured = text_keys([*sides["dev"], *sides["test"]])
    trained = [doc for doc in sides["gold"] if not text_keys([doc]) & measured]
    compared = next(iter([*files["test"], *files["dev"]]), None)
    return Labelled(trained, sides["dev"] if dev else None, compared, measured)


def _read(paths: Paths | None) -> list[GoldFile]:
    files = as_paths(paths or ())
    return [GoldFile(path.name, annotated_docs(read_docs(path), path)) for path in files]


def describe_gold(labelled: Labelled) -> Mapping[str, int]:
    """Count the gold documents that are trained on, for the report."""
    entities = sum(len(doc.ents) for doc in labelled.gold)
    return {"documents": len(labelled.gold), "entities": entities}
