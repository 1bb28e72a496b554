"""Files as they are found: each in tests/data/wild has one quirk, and beside it what must come of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_maral.data.convert import convert
from spacy_maral.errors import MaralError

WILD = Path(__file__).parent / "wild"
ENDING = ".expected.json"
NAMES = sorted(path.name for path in WILD.iterdir() if not path.name.endswith(ENDING))
CASES = [
    (name, case)
    for name in NAMES
    for case in json.loads((WILD / f"{name}{ENDING}").read_text(encoding="utf8"))
]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_wild_files(tmp_path, name, case):
    output = tmp_path / "out.spacy"
    if "refused" in case:
        with pytest.raises(MaralError) as error:
            convert(WILD / name, output, **case["options"])
        assert re.search(case["refused"], str(error.value)), str(error.value)
        assert not output.exists()
        return
    report = convert(WILD / name, output, **case["options"])
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("xx").vocab))
    found = [
        {
            "text": doc.text,
            "words": [token.text for token in doc],
            "ents": [[ent.text, ent.label_] for ent in doc.ents]
            if doc.has_annotation("ENT_IOB")
            else None,
        }
        for doc in docs
    ]
    assert found == case["docs"]
    assert report.repairs == case["repairs"]
    assert report.repairs.keys() == report.examples.keys()
    for examples in report.examples.values():
        assert all(str(WILD) in example for example in examples)


def test_every_file_says_what_must_come_of_it():
    expected = {path.name.removesuffix(ENDING) for path in WILD.glob(f"*{ENDING}")}
    assert expected == set(NAMES) and len(NAMES) > 30
