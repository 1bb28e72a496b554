"""Make the golden model of this version: `python -m pytest tests/robustness/make_golden.py`.

Its name keeps it out of the other tests. It refuses to replace a model that is there: a golden model
is of the version that made it, and stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from sentences import TEXTS
from thinc.api import Adam

import spacy_maral

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
MORE = ["Angela met Pedro Sánchez in New York .", "Paris", "nothing", "", "王明 met রবি in 東京"]
STEPS, DIGITS = 30, 6


def found_in(nlp, text: str) -> dict:
    """What a pipeline says of a text: its words, and each entity with its confidence."""
    doc = nlp(text)
    ents = [[e.start, e.end, e.label_, round(e._.maral_score, DIGITS)] for e in doc.ents]
    return {"text": text, "words": len(doc), "ents": ents}


def test_make_golden(make_nlp, train_examples):
    version = ".".join(spacy_maral.__version__.split(".")[:2])
    folder = GOLDEN / version
    if folder.exists():
        pytest.skip(f"{folder} is there")
    nlp = make_nlp()
    examples, sgd = train_examples(nlp), Adam(learn_rate=3e-3)
    for _ in range(STEPS):
        nlp.update(examples, sgd=sgd)
    nlp.config["components"]["transformer"]["model"]["name"] = "tiny"
    nlp.meta["name"] = "golden"
    folder.mkdir(parents=True)
    nlp.to_disk(folder / "model")
    # of the model as it is read again, with all of its text at once and with one at a time alike
    nlp = spacy.load(folder / "model")
    found = [found_in(nlp, text) for text in [*(text for text, _ in TEXTS), *MORE]]
    assert sum(len(row["ents"]) for row in found) > len(found) / 2
    (folder / "predictions.json").write_text(
        json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf8"
    )
