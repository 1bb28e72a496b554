"""maral_ner over spaCy's tok2vec: a pipeline without a transformer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spacy
from installed import OURS, needs_spacy_transformers, without
from sentences import TEXTS
from spacy.cli import app
from spacy.tokens import Doc, DocBin
from spacy.util import load_config, load_model_from_config
from test_pipeline import CNN, POOLED
from thinc.api import Config, Model
from typer.testing import CliRunner

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import build_span_model
from spacy_maral.model.word_vectors import build_word_vectors

ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "tok2vec.cfg"
# also a name of several words, and one that is part of another
TEXTS = [*TEXTS, ("New York Times hired him .", [(0, 14, "ORG")])]
SMALL = {
    "components.tok2vec.model.encode.width": 32,
    "components.tok2vec.model.encode.depth": 2,
    "components.tok2vec.model.embed.rows": [100, 50, 50, 50],
    "components.maral_ner.model.hidden_width": 32,
    "components.maral_ner.model.dim": 16,
    "components.maral_ner.model.max_width": 4,
    "components.maral_ner.model.dropout": 0.0,
}


def over(tok2vec):
    """Settings of a component that takes the vectors of a layer."""
    model = {"@architectures": "spacy-maral.SpanModel.v1", "hidden_width": 32, "dim": 16}
    words = {"@architectures": "spacy-maral.WordVectors.v1", "tok2vec": tok2vec}
    return {"model": {**model, "max_width": 4, "dropout": 0.0, "tok2vec": words}}


def train(nlp, examples, steps=40):
    """As spaCy's loop: gradients of all components, then the optimiser's steps."""
    sgd = nlp.create_optimizer()
    sgd.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(sgd)


def gold(examples):
    return [[(e.start, e.end, e.label_) for e in eg.reference.ents] for eg in examples]


def found(nlp, how="pipe"):
    texts = [text for text, _ in TEXTS]
    docs = nlp.pipe(texts, batch_size=3) if how == "pipe" else map(nlp, texts)
    return [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]


def scores(nlp):
    docs = nlp.pipe(text for text, _ in TEXTS)
    return [float(ent._.maral_score) for doc in docs for ent in doc.ents]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tmp_path_factory.mktemp("saved")


@pytest.fixture
def trained(saved, examples_for):
    """A pipeline of configs/tok2vec.cfg that knows the sentences, loaded from the disk."""
    if not (saved / "meta.json").exists():
        nlp = load_model_from_config(load_config(CONFIG, overrides=SMALL), auto_fill=True)
        examples = examples_for(nlp, TEXTS)
        nlp.initialize(lambda: examples)
        train(nlp, examples)
        assert found(nlp) == gold(examples)
        nlp.to_disk(saved)
        (saved / "scores").write_text(json.dumps(scores(nlp)), encoding="utf8")
    return spacy.load(saved)


def test_learns_and_is_the_same_when_it_is_loaded(trained, saved, examples_for):
    examples = examples_for(trained, TEXTS)
    assert found(trained) == found(trained, "one by one") == gold(examples)
    assert scores(trained) == json.loads((saved / "scores").read_text(encoding="utf8"))
    copied = load_model_from_config(trained.config).from_bytes(trained.to_bytes())
    assert scores(copied) == scores(trained)


def test_the_gradient_reaches_the_tok2vec(trained, examples_for):
    tok2vec = trained.get_pipe("tok2vec").model
    table = next(node for node in tok2vec.walk() if node.name == "hashembed")
    before = table.get_param("E").copy()
    train(trained, examples_for(trained, TEXTS), steps=1)
    assert not np.array_equal(table.get_param("E"), before)


def test_the_gradient_is_that_of_both_ends():
    vectors = np.arange(12, dtype="f").reshape(6, 2)
    taken = []

    def forward(model, docs, is_train):
        return [vectors[:2], vectors[2:]], taken.append

    model = build_word_vectors(Model("given", forward, dims={"nO": 2}))
    docs = [Doc(spacy.blank("xx").vocab, words=["w"] * n) for n in (2, 4)]
    model.initialize(X=docs)
    (first, last), backprop = model(docs, True)
    assert np.array_equal(first, vectors) and np.array_equal(last, vectors)
    assert backprop((first, 10 * last)) == docs
    assert np.array_equal(np.concatenate(taken[0]), 11 * vectors)
    assert [len(part) for part in taken[0]] == [2, 4]


def test_frozen_tok2vec(trained, examples_for):
    """One that is not updated but annotates gives its vectors through the documents."""
    examples, losses = examples_for(trained, TEXTS), {}
    chosen = {"annotates": ["tok2vec"], "exclude": ["tok2vec"]}
    trained.update(examples, sgd=trained.create_optimizer(), losses=losses, **chosen)
    assert losses["maral_ner"] > 0


def test_texts_without_words(trained):
    docs = list(trained.pipe(["", "  ", "Pedro Sánchez lives in Madrid .", "\n"]))
    assert [len(doc.ents) for doc in docs] == [0, 0, 2, 0]


def test_doc_tensor_stays_for_other_components(trained):
    assert trained(TEXTS[0][0]).tensor.shape == (7, 32)


@pytest.mark.parametrize("how", ["disabled", "excluded", "sourced alone", "last"])
def test_without_its_tok2vec_is_an_error_and_no_guess(trained, saved, how):
    nlp = trained
    if how == "disabled":
        nlp.disable_pipe("tok2vec")
    elif how == "excluded":
        nlp = spacy.load(saved, exclude=["tok2vec"])
    elif how == "sourced alone":
        nlp = spacy.blank("xx")
        nlp.add_pipe("maral_ner", source=trained)
    else:
        nlp._components.reverse()
    with pytest.raises(MaralError, match=r"M228.*no tok2vec has read.*'model.tok2vec.tok2vec'"):
        nlp(TEXTS[0][0])
    assert nlp("").ents == ()


def test_replace_listeners(trained, tmp_path, examples_for):
    expected = scores(trained)
    trained.replace_listeners("tok2vec", "maral_ner", ["model.tok2vec.tok2vec"])
    trained.disable_pipe("tok2vec")
    assert scores(trained) == expected
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded.pipe_names == ["maral_ner"] and scores(loaded) == expected
    train(loaded, examples_for(loaded, TEXTS), steps=1)


@pytest.mark.parametrize(
    "tok2vec",
    [
        pytest.param(CNN, id="own"),
        pytest.param(POOLED, id="pooled transformer", marks=needs_spacy_transformers),
    ],
)
def test_layers_of_other_kinds(make_nlp, examples_for, tok2vec):
    """A CNN of the component's own, and word pieces of a transformer that are pooled."""
    nlp = make_nlp(labels=None, **over(tok2vec))
    if tok2vec is CNN:
        nlp.remove_pipe("transformer")
    examples = examples_for(nlp, TEXTS)
    nlp.initialize(lambda: examples)
    train(nlp, examples)
    assert found(nlp) == gold(examples)
    if tok2vec is POOLED:
        with pytest.raises(MaralError, match="M223"):
            path = "model.tok2vec.tok2vec"
            ours = {"@architectures": OURS}
            model = nlp.get_pipe("transformer").model
            from spacy_maral.model.encoder.transformer import replace_listener_cfg

            model.attrs["replace_listener_cfg"] = replace_listener_cfg
            nlp.get_pipe_config("transformer")["model"].update(ours)
            nlp.replace_listeners("transformer", "maral_ner", [path])


def test_dropout_of_a_tok2vec_of_its_own():
    nlp = spacy.blank("xx")
    nlp.add_pipe("maral_ner", config=over({**CNN, "window_size": 1}))
    docs = [nlp.make_doc(text) for text, _ in TEXTS]
    examples = [spacy.training.Example(doc, nlp.make_doc(doc.text)) for doc in docs]
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": ["PER"]}}
    nlp.initialize(lambda: examples)
    nlp.update(examples, drop=0.3)
    nodes = nlp.get_pipe("maral_ner").model.walk()
    assert {n.attrs["dropout_rate"] for n in nodes if "dropout_rate" in n.attrs} == {0.3}


@pytest.mark.parametrize("mode", ["static", "floret"])
def test_vectors_of_a_file(tmp_path, examples_for, mode):
    """Words with vectors alone: the features of the hash tables are the same for all of them."""
    names = {"PER": ["ana", "bea", "cleo"], "LOC": ["rome", "oslo", "bonn"]}
    plain = ["sees", "left", "near"]
    generator = np.random.default_rng(0)
    words = [*names["PER"], *names["LOC"], *plain]
    centre = {"PER": 0, "LOC": 1}
    table = generator.normal(0, 0.1, (len(words), 16))
    for label, known in names.items():
        for word in known:
            table[words.index(word), centre[label]] += 3
    path = tmp_path / "vectors.txt"
    if mode == "floret":
        # header: buckets, width, minn, maxn, hashes, seed, begin and end of a word
        lines = ["512 16 3 4 2 2166136261 < >"]
        lines += [
            f"{i} " + " ".join(f"{x:.4f}" for x in generator.normal(size=16)) for i in range(512)
        ]
    else:
        lines = [f"{len(words)} 16"]
        lines += [
            f"{w} " + " ".join(f"{x:.4f}" for x in row) for w, row in zip(words, table, strict=True)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    arguments = [
        "init",
        "vectors",
        "xx",
        path,
        tmp_path / "vectors",
        "--mode",
        "floret" if mode == "floret" else "default",
    ]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    overrides = {
        **SMALL,
        "components.tok2vec.model.embed.include_static_vectors": True,
        # a feature that all words share
        "components.tok2vec.model.embed.attrs": ["SPACY"],
        "components.tok2vec.model.embed.rows": [10],
        "paths.vectors": str(tmp_path / "vectors"),
    }
    nlp = load_model_from_config(load_config(CONFIG, overrides=overrides), auto_fill=True)
    texts = [
        (f"{a} {verb} {b}", [(0, len(a), "PER"), (len(a) + len(verb) + 2, len(a) + len(verb) + 2 + len(b), "LOC")])
        for a in names["PER"] for b in names["LOC"] for verb in plain
        if mode == "floret" or (a != "cleo" and b != "bonn")
    ]  # fmt: skip
    examples = examples_for(nlp, texts)
    nlp.initialize(lambda: examples)
    assert nlp.vocab.vectors.mode == ("floret" if mode == "floret" else "default")
    train(nlp, examples, steps=60)
    docs = [nlp(text) for text, _ in texts]
    assert [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs] == gold(examples)
    nlp.to_disk(tmp_path / "pipeline")
    doc = spacy.load(tmp_path / "pipeline")("cleo left bonn")
    # with static vectors, names that the training has not seen
    assert [(e.text, e.label_) for e in doc.ents] == [("cleo", "PER"), ("bonn", "LOC")]


# Errors


@pytest.mark.parametrize("pipeline", [["maral_ner", "tok2vec"], ["maral_ner"]])
def test_a_tok2vec_that_is_not_before_it(examples_for, pipeline):
    width = {"components.maral_ner.model.tok2vec.tok2vec.width": 32}
    config = load_config(CONFIG, overrides={**SMALL, **width})
    config["nlp"]["pipeline"] = pipeline
    nlp = load_model_from_config(config, auto_fill=True)
    with pytest.raises(MaralError, match=r"M590.*listens to a tok2vec, but none comes before it"):
        nlp.initialize(lambda: examples_for(nlp, TEXTS))


def test_the_lines_of_the_message_listen_to_the_tok2vec(examples_for):
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": {**CNN, "width": 24}})
    nlp.add_pipe("maral_ner")
    with pytest.raises(
        MaralError, match=r"(?s)M590.*listens to a transformer.*width = 24"
    ) as error:
        nlp.initialize(lambda: examples_for(nlp, TEXTS))
    lines = str(error.value)[str(error.value).index("\n") :]
    above = "[components]\n[components.maral_ner]\n[components.maral_ner.model]"
    block = Config().from_str(above + lines)["components"]["maral_ner"]
    block["model"]["@architectures"] = "spacy-maral.SpanModel.v1"
    nlp.remove_pipe("maral_ner")
    nlp.add_pipe("maral_ner", config=block)
    nlp.initialize(lambda: examples_for(nlp, TEXTS))
    assert nlp.get_pipe("tok2vec").listening_components == ["maral_ner"]


@pytest.mark.parametrize(
    ("gives", "named"),
    [
        (lambda docs: tuple(docs), "tuple"),
        (lambda docs: [], "list"),
        (lambda docs: [np.zeros((len(doc), 3), dtype="f") for doc in docs], r"\(1, 3\)"),
        (lambda docs: [np.zeros((5, 2), dtype="f") for doc in docs], r"\(5, 2\)"),
        (lambda docs: [None for doc in docs], "NoneType"),
    ],
)
def test_layers_that_do_not_give_vectors_of_words(gives, named):
    layer = Model("odd", lambda model, docs, is_train: (gives(docs), lambda d: d), dims={"nO": 2})
    model = build_span_model(build_word_vectors(layer))
    model.set_dim("nO", 2)
    with pytest.raises(MaralError, match=f"M591.*{named}"):
        model.initialize(X=[Doc(spacy.blank("xx").vocab, words=["a"])])


def test_a_listener_of_another_width(examples_for):
    overrides = {**SMALL, "components.maral_ner.model.tok2vec.tok2vec.width": 16}
    nlp = load_model_from_config(load_config(CONFIG, overrides=overrides), auto_fill=True)
    examples = examples_for(nlp, TEXTS)
    nlp.initialize(lambda: examples)
    with pytest.raises(MaralError, match=r"M591.*\(7, 16\).*\(7, 32\)"):
        nlp.update(examples)


# Commands


@pytest.fixture
def files(tmp_path, examples_for):
    docs = [eg.reference for eg in examples_for(spacy.blank("xx"), TEXTS)]
    DocBin(docs=docs).to_disk(tmp_path / "data.spacy")
    overrides = {
        **SMALL,
        "paths.train": tmp_path / "data.spacy",
        "paths.dev": tmp_path / "data.spacy",
        "training.max_steps": 40,
        "training.eval_frequency": 20,
        "training.optimizer.learn_rate": 0.01,
    }
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    return tmp_path, words


WITHOUT = without("transformers", "spacy_transformers") + "import spacy\n"
COMMAND = "from spacy.cli import setup_cli\nsetup_cli()\n"


def test_train_and_load_a_package_where_transformers_is_missing(files):
    folder, overrides = files

    def command(*words, code=WITHOUT + COMMAND):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True,
            encoding="utf8", cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("train", CONFIG, "-o", folder / "out", *overrides)
    model = folder / "out" / "model-best"
    meta = json.loads((model / "meta.json").read_text(encoding="utf8"))
    assert meta["performance"]["ents_f"] == 1.0
    # spaCy's command loads the functions of all names, and so does not belong to the environment
    arguments = ["package", str(model), str(folder), "--build", "none", "--name", "small"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    model = next(folder.rglob("xx_small-*/xx_small/*/config.cfg")).parent
    load = WITHOUT + (
        f"doc = spacy.load({str(model)!r})({TEXTS[0][0]!r})\n"
        "print([(ent.text, ent.label_) for ent in doc.ents])\n"
    )
    assert command(code=load).splitlines()[-1] == str([("Angela Merkel", "PER"), ("Paris", "LOC")])
