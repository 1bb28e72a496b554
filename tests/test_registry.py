"""Every registered name is declared once, as an entry point, and can be loaded through spaCy."""

from __future__ import annotations

from importlib.metadata import EntryPoint, distribution

import pytest
import spacy
from spacy.language import Language
from spacy.util import registry

# a pipeline makes the registry of span getters
spacy.blank("xx")
ENTRY_POINTS = list(distribution("spacy-maral").entry_points)
PREFIXES = ("spacy_", "thinc_")


def name_of(entry_point: EntryPoint) -> str:
    return f"{entry_point.group}:{entry_point.name}"


def test_something_is_declared_in_every_group():
    groups = {entry_point.group for entry_point in ENTRY_POINTS}
    assert groups >= {
        "spacy_factories",
        "spacy_architectures",
        "spacy_span_getters",
        "spacy_scorers",
        "spacy_cli",
    }


def test_names_are_declared_once():
    names = [name_of(entry_point) for entry_point in ENTRY_POINTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=name_of)
def test_entry_point_is_in_spacys_registry(entry_point: EntryPoint):
    assert entry_point.group.startswith(PREFIXES)
    loaded = entry_point.load()
    found = getattr(registry, entry_point.group.partition("_")[2]).get(entry_point.name)
    assert found is loaded


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=name_of)
def test_public_names_carry_the_project_and_a_version(entry_point: EntryPoint):
    if entry_point.group in ("spacy_factories", "spacy_cli"):
        assert entry_point.name.startswith("maral") or entry_point.name == "transformer"
    else:
        project, _, version = entry_point.name.split(".")[0], *entry_point.name.rsplit(".", 1)
        assert project == "spacy-maral"
        assert version.startswith("v") and version[1:].isdigit()


def test_factories_are_factories():
    for entry_point in ENTRY_POINTS:
        if entry_point.group == "spacy_factories":
            entry_point.load()
            assert Language.has_factory(entry_point.name)


def test_a_new_pipeline_knows_the_factory_without_an_import():
    assert spacy.blank("xx").has_factory("maral_ner")
