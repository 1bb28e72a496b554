"""Make the golden model of this version: `python -m pytest tests/robustness/make_golden.py`.

Its name keeps it out of the other tests. It refuses to replace a model that is there: a golden model
is of the version that made it, and stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from sentences import LABELS, TEXTS
from thinc.api import Adam

import spacy_maral

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
MORE = ["Angela met Pedro Sánchez in New York .", "Paris", "nothing", "", "王明 met রবি in 東京"]
WINDOW = {
    "@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24, "stride": 16, "max_chars": 60,
}  # fmt: skip
STEPS, DIGITS = 30, 6


def found_in(nlp, text: str) -> dict:
    """What a pipeline says of a text: its words, and each entity with its confidence."""
    doc = nlp(text)
    ents = [[e.start, e.end, e.label_, round(e._.maral_score, DIGITS)] for e in doc.ents]
    return {"text": text, "words": len(doc), "ents": ents}


def make_pipeline(encoder_dir: Path, train_examples):
    """A tiny pipeline of this package's encoder and component, untrained."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    encoder = {
        "@architectures": "spacy-maral.TransformerModel.v1",
        "name": str(encoder_dir),
        "get_spans": WINDOW,
        "tokenizer_config": {"use_fast": True},
    }
    nlp.add_pipe("transformer", config={"model": encoder})
    settings = {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.0}
    nlp.add_pipe("maral_ner", config={"model": settings})
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": LABELS}}
    nlp.initialize(lambda: train_examples(nlp))
    return nlp


def test_make_golden(encoder_dir, train_examples):
    version = ".".join(spacy_maral.__version__.split(".")[:2])
    folder = GOLDEN / version
    if folder.exists():
        pytest.skip(f"{folder} is there")
    nlp = make_pipeline(encoder_dir, train_examples)
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
