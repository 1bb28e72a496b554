"""A trained-looking pipeline of a tiny encoder, on the disk, and text for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from sentences import LABELS, TEXTS
from spacy.tokens import DocBin
from spacy.training import Example

WINDOW = {
    "@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24, "stride": 16, "max_chars": 60,
}  # fmt: skip


@pytest.fixture(scope="session")
def model(encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pipeline of transformer and maral_ner, initialised and not trained."""
    spacy.util.fix_random_seed(1)
    nlp = spacy.blank("xx")
    encoder = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": str(encoder_dir),
        "get_spans": WINDOW, "tokenizer_config": {"use_fast": True},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": encoder})
    settings = {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.0}
    nlp.add_pipe("maral_ner", config={"model": settings})
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": LABELS}}
    nlp.initialize(lambda: [Example(doc, doc) for doc in gold(nlp)])
    path = tmp_path_factory.mktemp("pipelines") / "model"
    nlp.to_disk(path)
    return path


@pytest.fixture(scope="session")
def test_set(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences of the other tests as labelled documents."""
    path = tmp_path_factory.mktemp("gold") / "test.spacy"
    DocBin(docs=gold(spacy.blank("xx"))).to_disk(path)
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw text in Latin letters."""
    path = tmp_path_factory.mktemp("raw") / "text.txt"
    path.write_text("\n".join(latin()) + "\n", encoding="utf8")
    return path


def latin() -> list[str]:
    """The sentences in Latin letters."""
    return [text for text, _ in TEXTS if not any(character > "\u0900" for character in text)]


def gold(nlp: spacy.language.Language) -> list[spacy.tokens.Doc]:
    docs = []
    for text, entities in TEXTS:
        doc = nlp.make_doc(text)
        doc.set_ents([doc.char_span(*entity) for entity in entities], default="outside")
        docs.append(doc)
    return docs
