"""Label maps: from fine entity types to the classes of a model."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Errors, MaralError
from .text import check_file

LabelMap = Mapping[str, "str | None"]
OUTSIDE_TAG = "O"

_COARSE = {
    "PER": "Scientist Artist Athlete Politician Cleric SportsManager OtherPER",
    "LOC": "Facility OtherLOC HumanSettlement Station",
    "GRP": "MusicalGRP PublicCorp PublicCORP PrivateCorp PrivateCORP AerospaceManufacturer SportsGRP "
    "CarManufacturer TechCorp TechCORP ORG",
    "CW": "VisualWork MusicalWork WrittenWork ArtWork Software",
    "PROD": "Clothing Vehicle Food Drink OtherPROD",
    "MED": "Medication/Vaccine Medication-Vaccine MedicalProcedure AnatomicalStructure Symptom Disease",
}
COARSE: LabelMap = {fine: coarse for coarse, types in _COARSE.items() for fine in types.split()}
"""MultiCoNER v2: its 33 fine types, in the spellings that occur, to the six coarse ones."""


def load_label_map(label_map: str | Path | LabelMap | None) -> LabelMap | None:
    """Load a label map.

    label_map (str | Path | LabelMap | None): "coarse" (MultiCoNER v2's fine types to PER, LOC, GRP,
        CW, PROD, MED), a JSON or TOML file of pairs "label": "new label", a mapping, or None. A new
        label of null or "" leaves the entities of that label out: their words become outside.
    RETURNS (LabelMap | None): New label of each label, None for those to leave out; or no map.
    RAISES (MaralError): If the file is missing or is not such a map.
    """
    if label_map is None:
        return None
    if label_map == "coarse":
        return COARSE
    if isinstance(label_map, Mapping):
        return _checked(label_map, "given")
    path = check_file(label_map)
    return _checked(_parse(path), path)


def _checked(pairs: Any, path: str | Path) -> LabelMap:
    if not isinstance(pairs, Mapping) or not pairs:
        raise MaralError(Errors.M117.format(path=path, found="it holds no pairs of labels"))
    for old, new in pairs.items():
        if not (new is None or isinstance(new, str)):
            found = f"the new label of {old!r} is {new!r}, not a text"
        elif new == OUTSIDE_TAG or (new and new.split() != [new]):
            found = f"the new label of {old!r} is {new!r}, which cannot name a class"
        else:
            continue
        raise MaralError(Errors.M117.format(path=path, found=found))
    return {old: new or None for old, new in pairs.items()}


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".toml":
            return json.loads(text, object_pairs_hook=_unique)
        return _parse_toml(text)
    except MaralError:
        raise
    except (OSError, ValueError, ImportError, RecursionError) as error:
        raise MaralError(Errors.M117.format(path=path, found=error)) from error


def _parse_toml(text: str) -> Any:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        parser = importlib.import_module(name)
    except ImportError as error:
        raise ImportError("TOML needs Python 3.11 or the package tomli; use JSON") from error
    return parser.loads(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the label {twice!r} stands there twice")
    return table
