"""Label maps: the coarse types of MultiCoNER, files, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from spacy_maral.data.formats.registry import read_labelled
from spacy_maral.data.labels import load_label_map
from spacy_maral.data.sentences import ReadSettings
from spacy_maral.errors import MaralError


def test_coarse_covers_the_33_types_of_multiconer() -> None:
    coarse = load_label_map("coarse")
    assert coarse is not None
    assert set(coarse.values()) == {"PER", "LOC", "GRP", "CW", "PROD", "MED"}
    spellings = {"TechCORP", "TechCorp", "PublicCORP", "PrivateCORP", "Medication-Vaccine"}
    assert len(set(coarse) - spellings) == 33
    assert coarse["Medication/Vaccine"] == "MED"
    assert coarse["ORG"] == "GRP"


def test_no_map() -> None:
    assert load_label_map(None) is None


def test_json_file_maps_and_leaves_out(tmp_path: Path) -> None:
    table = tmp_path / "map.json"
    table.write_text(json.dumps({"Artist": "PER", "Food": None, "Drink": ""}), encoding="utf-8")
    data = tmp_path / "data.txt"
    data.write_text("a B-Artist\nb I-Artist\nc B-Food\nd B-Drink\ne B-Artist\n", encoding="utf-8")
    settings = ReadSettings(label_map=load_label_map(table))
    (sentence,) = read_labelled(data, "conll", settings)
    assert sentence.entities == [(0, 1, "PER"), (4, 4, "PER")]
    assert settings.report.dropped == {"Food": 1, "Drink": 1}


def test_blanks_at_the_ends_of_labels_are_none() -> None:
    assert load_label_map({" PER ": "P ", "LOC\t": " "}) == {"PER": "P", "LOC": None}
    with pytest.raises(MaralError, match=r"M117.*two new labels for 'PER'"):
        load_label_map({" PER ": "P", "PER": "Q"})


def test_entities_that_become_neighbours_of_one_label_stay_apart(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("a B-Artist\nb B-Cleric\n", encoding="utf-8")
    settings = ReadSettings(label_map=load_label_map("coarse"))
    (sentence,) = read_labelled(data, "conll", settings)
    assert sentence.entities == [(0, 0, "PER"), (1, 1, "PER")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the standard library reads no TOML")
def test_toml_file(tmp_path: Path) -> None:
    table = tmp_path / "map.toml"
    table.write_text('Artist = "PER"\n"Medication/Vaccine" = ""\n', encoding="utf-8")
    assert load_label_map(table) == {"Artist": "PER", "Medication/Vaccine": None}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.json", "{", "Expecting"),
        ("map.json", "[]", "no pairs"),
        ("map.json", "{}", "no pairs"),
        ("map.json", '{"a": "X", "a": "Y"}', "'a' occurs twice"),
        ("map.json", '{"a": 1}', "'a' is 1"),
        ("map.json", '{"a": ["X"]}', "'a' is"),
        ("map.json", '{"a": "O"}', "'O', which cannot name a class"),
        ("map.json", '{"a": "X Y"}', "'X Y', which cannot name a class"),
        ("map.toml", "a = ", "Invalid value"),
    ],
)
def test_bad_map_file(tmp_path: Path, name: str, text: str, message: str) -> None:
    if name.endswith("toml") and sys.version_info < (3, 11):
        pytest.skip("the standard library reads no TOML")
    table = tmp_path / name
    table.write_text(text, encoding="utf-8")
    with pytest.raises(MaralError, match=rf"M117.*{name} cannot be used: .*{message}"):
        load_label_map(table)


def test_missing_map_file(tmp_path: Path) -> None:
    with pytest.raises(MaralError, match="nowhere does not exist"):
        load_label_map(tmp_path / "nowhere")


def test_unknown_label_names_its_line(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("a O\n\nb O\nc B-Planet\nd I-Planet\n", encoding="utf-8")
    with pytest.raises(
        MaralError, match=r"M115.*data\.txt:4: .*'Planet', only for Scientist, .*null"
    ):
        list(read_labelled(data, "conll", ReadSettings(label_map=load_label_map("coarse"))))
