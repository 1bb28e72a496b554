"""A pipeline on spaCy's tok2vec: a teacher of others by its entities, but not trained here."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.training import Example
from spacy.util import load_config
from typer.testing import CliRunner
from worlds import adapt_in, make_docs

from spacy_maral import pseudo_label, suggest, train_teacher
from spacy_maral.adaptation.pseudo_labels import load_for
from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError

REFUSED = r"M592.*'maral_ner' has none \(the pipeline is: tok2vec, maral_ner\).*configs/tok2vec.cfg"
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2", "width": 32, "depth": 1, "embed_size": 200,
    "window_size": 1, "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None,
}  # fmt: skip
WORDS = {
    "@architectures": "spacy-maral.WordVectors.v1",
    "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A pipeline on a tok2vec that knows the names of the source."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    model = {"hidden_width": 24, "dim": 8, "max_width": 3, "tok2vec": WORDS}
    nlp.add_pipe("maral_ner", config={"model": model})
    docs = make_docs("source", 80, 0)
    examples = [Example(spacy.tokens.Doc(nlp.vocab, [t.text for t in d]), d) for d in docs]
    nlp.initialize(lambda: examples)
    sgd = nlp.create_optimizer()
    sgd.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=sgd)
    assert nlp.evaluate(examples)["ents_f"] > 0.95
    path = tmp_path_factory.mktemp("small")
    nlp.to_disk(path)
    return path


@pytest.fixture
def config(world, tmp_path):
    """The configuration of the world with a tok2vec in place of the transformer."""
    changed = load_config(world["config"])
    changed["nlp"]["pipeline"] = ["tok2vec", "maral_ner"]
    del changed["components"]["transformer"]
    changed["components"]["tok2vec"] = {"factory": "tok2vec", "model": TOK2VEC}
    changed["components"]["maral_ner"]["model"]["tok2vec"] = WORDS
    changed.to_disk(tmp_path / "tok2vec.cfg")
    return tmp_path / "tok2vec.cfg"


def test_training_is_refused(world, config, tmp_path):
    with pytest.raises(MaralError, match=f"the configuration: .*{REFUSED[4:]}"):
        train_teacher(config, source=world["source"], dev=world["dev"], output=tmp_path / "out")
    with pytest.raises(MaralError, match=REFUSED):
        adapt_in({**world, "config": config}, tmp_path / "out")


def test_debug_data_is_refused(world, config):
    words = ["debug-data", config, "--source", world["source"], "--dev", world["dev"]]
    result = CliRunner().invoke(app, [*map(str, words), "--target", str(world["target"])])
    assert result.exit_code == 1 and "M592" in result.output


def test_as_the_teacher_of_a_student(world, small, tmp_path):
    """Its entities become labels with their own confidences."""
    with pytest.raises(MaralError, match=REFUSED):
        adapt_in(world, tmp_path / "out", teacher=small)
    path = pseudo_label(
        small, world["source"], tmp_path / "labels.npz", labels=["LOC", "PER"], max_width=3
    )
    found = load_for(path, list(read_docs(world["source"])), None).probabilities
    entities = found[found[:, 1:].max(1) > 0.5, 1:].max(1)
    assert len(entities) > 50 and len(np.unique(entities)) > 1


def test_suggestions_are_refused(world, small, tmp_path):
    with pytest.raises(MaralError, match=REFUSED):
        suggest(small, world["target"], tmp_path / "some.jsonl")
    with pytest.raises(MaralError, match=REFUSED):
        chosen = {"labels": ["LOC", "PER"], "only_doubtful": small}
        pseudo_label(world["teacher"], world["target"], tmp_path / "labels.npz", **chosen)
