"""The logger for TensorBoard.

spaCy loads the loggers of all packages for every pipeline: this file imports neither torch nor
transformers by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import walk_dict

from ..errors import Errors, MaralError


def numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Select the numbers of a row in a form that loggers can plot.

    row (Mapping): An epoch's row of the log, or a part of it.
    RETURNS (dict): Numbers, and dicts of numbers; a list of two values becomes a dict with "min"
        and "max". Unknown values (None) and other types are left out.
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and len(value) == 2:
            value = dict(zip(("min", "max"), value, strict=True))
        if isinstance(value, Mapping):
            value = numbers(value)
            if value:
                found[name] = value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    return found


def tensorboard_logger(log_dir: Path) -> Callable:
    """Log losses and scores for TensorBoard (registered as spacy-maral.TensorBoardLogger.v1).

    The logger works with `spacy train` as well.

    log_dir (Path): Folder for the event files.
    RETURNS (Callable): Function that takes a pipeline and returns two functions: one logs a step,
        one closes the log.
    RAISES (MaralError): If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MaralError(Errors.M460.format(problem=error)) from None

    def setup(nlp: Language, stdout: Any = None, stderr: Any = None) -> tuple[Callable, Callable]:
        writer = SummaryWriter(str(log_dir))  # type: ignore[no-untyped-call]

        def log_step(info: dict[str, Any] | None) -> None:
            if info is None:
                return
            losses = {f"loss/{name}": value for name, value in info["losses"].items()}
            others = walk_dict(numbers(info["other_scores"]))
            others_by_name = {"/".join(path): value for path, value in others}
            values = {"score": info["score"], **losses, **others_by_name}
            for name, value in values.items():
                if value is not None:
                    writer.add_scalar(name, float(value), info["step"])  # type: ignore[no-untyped-call]
            writer.flush()  # type: ignore[no-untyped-call]

        return log_step, writer.close

    return setup
