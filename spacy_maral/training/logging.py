"""Logging of a run: one line per epoch, and any spaCy logger that the configuration names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.util import registry
from thinc.api import ConfigValidationError
from tqdm.auto import tqdm

from ..errors import Errors, MaralError, first_line
from ..evaluation.tables import classes_without_labels
from .hooks import Hook, StepReport
from .pipelines import Pipeline
from .settings import TrainingSettings
from .tensorboard import numbers

PRF = ("precision", "recall", "f1")
# values that spaCy's loggers receive under keys of their own, or can count themselves
TOLD_ELSEWHERE = frozenset(
    ("epoch", "steps", "seconds", "losses", "score", *(f"dev_{name}" for name in PRF))
)

LEGEND = (
    "in each line: losses | F1 on the development data, and on target sentences that are "
    "held out | concentrations kappa of the classes, lowest and highest | mean cosine of class means, -1/(classes - 1) at best | of a "
    "student: reliable share of the pseudo-labels by class, and labels that changed"
)


class EpochLines(Hook):
    """Print one line for each epoch, and before the first what the values are.

    n_epochs (int): Number of epochs of the run.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.legend = LEGEND

    def on_row(self, row: dict[str, Any]) -> None:
        if self.legend:
            tqdm.write(self.legend)
            self.legend = ""
        tqdm.write(describe_row(row, self.n_epochs))


def describe_row(row: dict[str, Any], n_epochs: int) -> str:
    """Format an epoch's row of the log as one line of text."""
    parts = [f"epoch {row['epoch']}/{n_epochs}"]
    parts += [f"{name} {value:.4f}" for name, value in row["losses"].items()]
    parts.append(f"dev F1 {100 * row['dev_f1']:.2f}")
    if "target_gold_f1" in row:
        parts.append(f"target gold F1 {100 * row['target_gold_f1']:.2f}")
    parts.append("kappa {:.0f}-{:.0f}".format(*row["kappa"]))
    parts.append(f"centroid cosine {row['centroid_cosine']:+.3f}")
    if "reliable" in row:
        shares = (f"{k} {100 * v:.0f}%" for k, v in row["reliable"].items() if v is not None)
        parts.append("reliable " + " ".join(shares))
        parts.append(f"changed {row['changed']:,}")
    if missing := classes_without_labels(row):
        parts.append(f"no pseudo-label {' '.join(missing)}")
    if "noise_ratio" in row:
        kept, all_labels = row["noise_ratio_reliable"], row["noise_ratio"]
        parts.append(f"noise {all_labels:.3f} (reliable {kept:.3f})")
    parts.append(f"{row['spans_per_second']:,.0f} spans/s")
    return " | ".join(parts)


class SpacyLogger(Hook):
    """Pass each epoch's results to a registered spaCy logger, such as spacy.ConsoleLogger.v3.

    The logger receives the same keys as from spaCy's own loop. `other_scores` also has every other
    number of the epoch's row: concentrations, centroid cosine, reliable shares, and so on.

    config (dict): The logger's block of the configuration, with "@loggers".
    nlp (Language): The pipeline in training.
    n_epochs (int): Number of epochs of the run; the hook closes the logger after the last one.
    RAISES (MaralError): If the logger cannot be made.
    """

    def __init__(self, config: dict[str, Any], nlp: Language, n_epochs: int) -> None:
        setup = make_logger(config)
        with making(config):
            self.log_step, self.finalize = setup(nlp, sys.stdout, sys.stderr)
        self.n_epochs = n_epochs
        self.pipes = nlp.pipe_names
        self.steps = self.words = 0
        self.first_stream: object = None

    def on_step(self, report: StepReport) -> None:
        self.first_stream = self.first_stream or report.stream
        self.steps += report.stream is self.first_stream
        self.words += len(report.batch.shapes)

    def on_row(self, row: dict[str, Any]) -> None:
        # spaCy's loggers need a loss for every component; encoder and span model share one loss
        losses = {**dict.fromkeys(self.pipes, 0.0), "maral_ner": sum(row["losses"].values())}
        scores = {f"ents_{x}": row[f"dev_{y}"] for x, y in zip("prf", PRF, strict=True)}
        others = numbers({k: v for k, v in row.items() if k not in TOLD_ELSEWHERE})
        self.log_step(
            {
                "epoch": row["epoch"],
                "step": self.steps,
                "score": row["score"],
                "other_scores": {**scores, **others},
                "losses": {**losses, **row["losses"]},
                "checkpoints": [],
                "seconds": row["seconds"],
                "words": self.words,
            }
        )
        if row["epoch"] == self.n_epochs:
            self.finalize()

    def arrays(self) -> dict[str, NDArray]:
        return {"counts": np.array([self.steps, self.words], dtype=np.int64)}

    def restore(self, arrays: dict[str, NDArray]) -> None:
        if "counts" in arrays:
            self.steps, self.words = arrays["counts"].tolist()


def reporting(pipeline: Pipeline, settings: TrainingSettings) -> list[Hook]:
    """Make the hooks that log the progress of a run."""
    hooks: list[Hook] = [EpochLines(settings.epochs)]
    if settings.logger is not None:
        hooks.append(SpacyLogger(settings.logger, pipeline.nlp, settings.epochs))
    return hooks


def check_logger(settings: TrainingSettings) -> None:
    """Refuse a logger that cannot be made, before the work that a run begins with.

    RAISES (MaralError): If its package is missing, or its block is wrong.
    """
    if settings.logger is not None:
        make_logger(settings.logger)


def make_logger(config: dict[str, Any]) -> Callable:
    """Make a logger from its block in a configuration.

    RETURNS (Callable): What spaCy's registry makes of it: a function that gets the pipeline and opens
        the log.
    RAISES (MaralError): If its package is missing, or the block is wrong.
    """
    with making(config):
        setup = registry.resolve({"logger": config})["logger"]
        if not callable(setup):
            raise ValueError("@loggers names no function of the registry 'loggers'")
    return setup


@contextmanager
def making(config: dict[str, Any]) -> Iterator[None]:
    """Report to the user that a logger cannot be made.

    config (dict): The block of the logger.
    RAISES (MaralError): For each error of the block, since the function of a logger may raise anything.
    """
    name = config.get("@loggers", config)
    try:
        yield
    except MaralError:
        raise
    except Exception as error:
        if package := missing_package(error):
            raise MaralError(Errors.M620.format(name=name, package=package)) from error
        problem = first_line(error)
        if isinstance(error, ConfigValidationError):
            text = ConfigValidationError.from_error(error, title="", show_config=False).text
            problem = " ".join(text.split())
        raise MaralError(Errors.M621.format(name=name, problem=problem)) from error


def missing_package(error: BaseException | None) -> str | None:
    """The package without which an import has failed and so caused an error; None if it has another cause."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
            return error.name
        error = error.__cause__ or error.__context__
    return None
