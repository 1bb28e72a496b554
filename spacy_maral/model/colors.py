"""Colours in displaCy for entity labels of common data sets that it has no colours for."""

from __future__ import annotations

ENTITY_COLORS = {
    "PER": "#aa9cfc",
    "MISC": "#d9d2c5",
    "CORP": "#7ac6ec",
    "GRP": "#9fd8b4",
    "PROD": "#bfeeb7",
    "CW": "#f0d0ff",
    "MED": "#f7a8b8",
}
"""Labels of WikiAnn, CoNLL, Universal NER and MultiCoNER; displaCy itself has LOC and ORG."""


def entity_colors() -> dict[str, str]:
    """Give displaCy the colours (registered as spacy-maral.entity_colors.v1).

    RETURNS (dict): Colours by label, as "#rrggbb".
    """
    return dict(ENTITY_COLORS)
