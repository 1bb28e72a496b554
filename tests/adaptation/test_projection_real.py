"""Projection onto 200 hand-made translations (slow). Needs MARAL_ENCODER.

parallel.txt has an English sentence in each line, and its translations into German, Dutch, Spanish and
Danish. `--log-cli-level INFO` shows the scores.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from spacy_maral import project_labels
from spacy_maral.data.docs import read_docs

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.slow
PARALLEL = Path(__file__).with_name("parallel.txt")
LANGUAGES = ("en", "de", "nl", "es", "da")
WORD = re.compile(r"\[(?P<text>[^\]]*)\|(?P<label>[A-Z]+)\]|(?P<word>\S+)")


def read(marked: str, vocab) -> Doc:
    """A sentence of words, with its entities in brackets."""
    words: list[str] = []
    spans = []
    for found in WORD.finditer(marked):
        own = (found["text"] or found["word"]).split()
        if found["label"]:
            spans.append((len(words), len(words) + len(own), found["label"]))
        words += own
    doc = Doc(vocab, words=words)
    doc.set_ents([Span(doc, i, j, label=label) for i, j, label in spans], default="outside")
    return doc


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    if "MARAL_ENCODER" not in os.environ:
        pytest.skip("MARAL_ENCODER is not set")
    nlp = spacy.blank("xx")
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1",
        "name": os.environ["MARAL_ENCODER"],
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"},
    }
    nlp.add_pipe("transformer", config={"model": model})
    nlp.initialize()
    path = tmp_path_factory.mktemp("pipeline") / "encoder"
    nlp.to_disk(path)
    return path


@pytest.mark.parametrize("lang", LANGUAGES[1:])
def test_projected_entities_are_those_of_the_translation(pipeline, tmp_path, lang):
    vocab = spacy.blank("xx").vocab
    lines = PARALLEL.read_text(encoding="utf8").splitlines()
    rows = [[read(part, vocab) for part in line.split("|||")] for line in lines]
    sides = {name: [row[LANGUAGES.index(name)] for row in rows] for name in ("en", lang)}
    paths = {name: tmp_path / f"{name}.spacy" for name in sides}
    for name, docs in sides.items():
        DocBin(docs=docs).to_disk(paths[name])
    report = project_labels(pipeline, paths["en"], paths[lang], tmp_path / "out.spacy", lang=lang)
    spans = lambda docs: {(d.text, e.start, e.end, e.label_) for d in docs for e in d.ents}  # noqa: E731
    gold, found = spans(sides[lang]), spans(read_docs(tmp_path / "out.spacy"))
    f1 = 2 * len(gold & found) / (len(gold) + len(found))
    precision = len(gold & found) / len(found)
    logger.info("%s: F1 %.1f, precision %.1f, %s", lang, 100 * f1, 100 * precision, report)
    assert f1 >= 0.9 and precision >= 0.9
