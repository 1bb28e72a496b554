"""Label maps from the entity types of a dataset to the classes of a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import Errors, MaralError
from .text import check_file, unique_keys

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
"""The six coarse types of MultiCoNER v2 by its 33 fine types, in all spellings of its files."""


def load_label_map(label_map: str | Path | LabelMap | None) -> LabelMap | None:
    """Load a label map.

    label_map (str | Path | LabelMap | None): "coarse" (MultiCoNER v2's fine types to PER, LOC, GRP,
        CW, PROD, MED), a JSON or TOML file of pairs "label": "new label", a mapping, or None. A new
        label of null or "" leaves the entities of that label out: their words become outside.
    RETURNS (LabelMap | None): New label of each label, None for labels to leave out; or no map.
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
    """A label map without blanks at the ends of labels."""
    if not isinstance(pairs, Mapping) or not pairs:
        raise MaralError(Errors.M117.format(path=path, found="it holds no pairs of labels"))
    found: dict[str, str | None] = {}
    for old, new in pairs.items():
        label = new.strip() if isinstance(new, str) else new
        if not (label is None or isinstance(label, str)):
            problem = f"the new label of {old!r} is {new!r}, not a text"
        elif label == OUTSIDE_TAG or (label and label.split() != [label]):
            problem = f"the new label of {old!r} is {new!r}, which cannot name a class"
        elif found.setdefault(old.strip(), label or None) != (label or None):
            problem = f"it has two new labels for {old.strip()!r}"
        else:
            continue
        raise MaralError(Errors.M117.format(path=path, found=problem))
    return found


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".toml":
            return json.loads(text, object_pairs_hook=unique_keys)
        return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise MaralError(Errors.M117.format(path=path, found=error)) from error
