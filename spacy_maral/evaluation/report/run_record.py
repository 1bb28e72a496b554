"""Read the records of a training run: log, summary, diagnostics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.config import read_config
from ...data.files import reading
from ...data.layout import DIAGNOSTICS, DIAGNOSTICS_VERSION, LOG, META, RUN_FOLDER, SUMMARY
from ...errors import Errors, MaralError
from ..metrics import OUTSIDE_NAME
from .colours import class_colours

ROW_KEYS = (
    "epoch", "losses", "dev_precision", "dev_recall", "dev_f1", "centroid_cosine", "seconds",
)  # fmt: skip
EPOCH_KEYS = (
    "epoch", "classes", "edges", "counts", "mixtures", "filtered", "reliable", "gold",
    "centroid_cosine", "source", "target", "doubtful",
)  # fmt: skip


@dataclass
class RunRecord:
    """The records of a training run.

    rows: The log, one row for each epoch. summary: Facts, empty while the run is not finished.
    epochs: Diagnostics of an adaptation, one dict for each epoch; empty for a teacher.
    """

    folder: Path
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    epochs: list[dict[str, Any]]

    @property
    def is_adaptation(self) -> bool:
        return "target" in self.rows[-1]["losses"]

    @property
    def selected(self) -> dict[str, Any]:
        """The log row of the selected epoch; the last row while the run is not finished."""
        wanted = self.summary.get("selected_epoch", self.rows[-1]["epoch"])
        return next((row for row in self.rows if row["epoch"] == wanted), self.rows[-1])

    @property
    def dev_f1(self) -> float:
        """F1 on source dev with the saved pipeline's offset; of older and unfinished runs, the log's."""
        return float({**self.selected, **self.summary.get("scores", {})}["dev_f1"])

    @property
    def epoch(self) -> dict[str, Any] | None:
        """Diagnostics of the selected epoch, or of the last epoch that has any."""
        wanted = [e for e in self.epochs if e["epoch"] == self.selected["epoch"]] or self.epochs
        return wanted[-1] if wanted else None

    @property
    def classes(self) -> list[str]:
        """Names of the classes, outside first."""
        if self.epochs:
            return list(self.epochs[-1]["classes"])
        return [OUTSIDE_NAME, *self.summary.get("labels", [])]

    @property
    def colours(self) -> dict[str, int]:
        """Colours of the classes, by name."""
        return class_colours(self.classes)

    def facts(self) -> dict[str, str]:
        """Encoder, languages and day of the run, as far as they are known."""
        found = {}
        if (self.folder / META).is_file():
            config = read_config(self.folder / "config.cfg")
            found["Encoder"] = encoder_name(config)
            languages = config.get("languages", {})
            for side in ("source", "target"):
                if languages.get(side, "xx") != "xx":
                    found[f"{side.capitalize()} language"] = languages[side]
        targets = self.selected.get("targets", {})
        if targets:
            found["Targets"] = ", ".join(targets)
        if "date" in self.summary:
            found["Date"] = self.summary["date"]
        return found


def encoder_name(config: Mapping[str, Any]) -> str:
    """Return the encoder's hub name, or the last part of its folder, without paths of the machine."""
    name = str(config["components"].get("transformer", {}).get("model", {}).get("name", "unknown"))
    is_hub_name = name.count("/") <= 1 and not Path(name).is_absolute() and name[:1] != "."
    return name if is_hub_name and not name.startswith("encoders/") else Path(name).name


def read_run(folder: Path) -> RunRecord:
    """Read the records of a training run.

    folder (Path): The output folder of train-teacher or adapt.
    RETURNS (RunRecord): The records.
    RAISES (MaralError): If there is no run in the folder, or a file cannot be read.
    """
    place = Path(folder) / RUN_FOLDER
    log = place / LOG
    if not log.is_file():
        raise MaralError(Errors.M440.format(folder=folder))
    with reading(log, Errors.M441):
        lines = log.read_text(encoding="utf8").splitlines()
        rows = [_parse(line, ROW_KEYS) for line in lines if line.strip()]
        if not rows:
            raise ValueError("it holds no epoch")
    path, summary = place / SUMMARY, {}
    if path.is_file():
        with reading(path, Errors.M441):
            summary = _parse(path.read_text(encoding="utf8"))
    epochs = []
    for path in sorted((place / DIAGNOSTICS).glob("*epoch-*.json")):
        with reading(path, Errors.M441):
            epoch = _parse(path.read_text(encoding="utf8"))
        found = epoch.get("format_version")
        if found is None or found > DIAGNOSTICS_VERSION:
            raise MaralError(Errors.M442.format(path=path, found=found, known=DIAGNOSTICS_VERSION))
        with reading(path, Errors.M441):
            _require(epoch, EPOCH_KEYS)
        epochs.append(epoch)
    return RunRecord(Path(folder), rows, summary, epochs)


def read_sample(record: RunRecord) -> dict[str, NDArray] | None:
    """Read the sample of span features of the shown epoch.

    record (RunRecord): The run.
    RETURNS (dict): Columns of the sample by name; None if there is no sample.
    RAISES (MaralError): If the file cannot be read.
    """
    if record.epoch is None:
        return None
    # development versions gave the files names without a dot
    name = f"*epoch-{record.epoch['epoch']:04d}.npz"
    path = next((record.folder / RUN_FOLDER / DIAGNOSTICS).glob(name), None)
    if path is None:
        return None
    columns = ("z", "side", "classes", "reliable", "doc", "text")
    with reading(path, Errors.M441), np.load(path, allow_pickle=False) as file:
        return {column: file[column] for column in columns}


def _parse(text: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has some keys.

    RAISES (ValueError): If it is none, or keys are missing.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    _require(found, keys)
    return found


def _require(found: dict[str, Any], keys: Sequence[str]) -> None:
    if missing := ", ".join(key for key in keys if key not in found):
        raise ValueError(f"there is no {missing} in it")
