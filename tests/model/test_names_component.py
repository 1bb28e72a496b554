"""The name memory in the component: what it changes in doc.ents, and how it is saved."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import spacy
from sentences import LABELS, TEXTS

from spacy_maral.errors import MaralError
from spacy_maral.model import name_files
from spacy_maral.model.maral_ner import set_names
from spacy_maral.model.names import NameMemory, span_keys
from spacy_maral.model.predictions import Predictions
from spacy_maral.model.spans import Candidates
from spacy_maral.model.visible import VisibleWords

NAME = "maral_ner"
ON = {"type_weight": 0.75}
BYTES: dict[str, bytes] = {}


@pytest.fixture
def trained(make_nlp, train_examples):
    """A pipeline that knows the sentences of conftest; trained once, fresh for every test."""
    if not BYTES:
        nlp = make_nlp()
        examples, sgd = train_examples(nlp), nlp.resume_training()
        sgd.learn_rate = 0.005
        for _ in range(40):
            nlp.update(examples, sgd=False)
            for _, pipe in nlp.pipeline:
                pipe.finish_update(sgd)
        BYTES["nlp"] = nlp.to_bytes()
    return make_nlp(labels=None).from_bytes(BYTES["nlp"])


def key_of(string):
    words = string.split(" ")
    return span_keys(words, Candidates([len(words)], len(words)))[len(words) - 1]


def memory_of(**sums):
    """A memory of strings, with their sums by label; spaces are underscores."""
    rows = {}
    for string, found in sums.items():
        row = [found.get(label, 0.0) for label in ("O", *LABELS)]
        rows[key_of(string.replace("_", " "))] = row
    keys = np.array(sorted(rows), dtype=np.uint64)
    table = np.array([rows[key] for key in keys])
    return NameMemory(keys, table, table.sum(1).round().astype(np.uint64))


def ents(nlp, texts):
    return [
        [(e.text, e.label_, round(e._.maral_score, 4)) for e in doc.ents] for doc in nlp.pipe(texts)
    ]


def test_other_mentions_decide_the_label(trained):
    texts = [text for text, _ in TEXTS]
    before = ents(trained, texts)
    text, label, score = next(e for doc in before for e in doc if " " not in e[0])
    other = next(x for x in LABELS if x != label)
    set_names(trained, NAME, memory_of(**{text: {other: 200.0}}), ON)
    after = ents(trained, texts)
    for old, new in zip(before, after, strict=True):
        for a, b in zip(old, new, strict=True):
            if a[0] == text:
                assert b[:2] == (text, other) and b[2] < score
            else:
                assert a == b
    # off, without a memory, and with weights of 0 it is as before
    for memory, settings in (
        (trained.get_pipe(NAME).names, None),
        (None, ON),
        (trained.get_pipe(NAME).names, {"type_weight": 0.0}),
    ):
        set_names(trained, NAME, memory, settings)
        assert ents(trained, texts) == before


def test_scores_without_a_string_of_the_memory_are_the_same_bits(trained):
    docs = [trained.make_doc(text) for text, _ in TEXTS]
    pipe = trained.get_pipe(NAME)
    with trained.select_pipes(disable=NAME):
        docs = list(trained.pipe(docs))
    wanted = pipe.score_spans(docs).scores
    set_names(trained, NAME, memory_of(Merkel={"ORG": 9.0}, a_b={"PER": 3.0}), ON)
    found = pipe.predict(docs).scores
    keys = span_keys(VisibleWords.of(docs).texts, pipe.predict(docs).candidates)
    hit = keys == key_of("Merkel")
    assert hit.any() and not hit.all()
    assert (found[~hit] == wanted[~hit]).all()
    assert not np.allclose(found[hit], wanted[hit])


def scored(pipe, table):
    """Let a component score spans {(doc, start): scores}; all others are outside."""

    def score_spans(docs):
        candidates = Candidates([len(doc) for doc in docs], 1, None)
        scores = np.full((len(candidates), len(LABELS) + 1), -9, dtype=np.float32)
        scores[:, 0] = 0
        for (doc, start), row in table.items():
            scores[candidates.find([doc], [start], [start])[0]] = row
        return Predictions(candidates, scores)

    pipe.score_spans = score_spans


@pytest.mark.parametrize("mixed", [0.0, 0.5])
def test_a_document_agrees_with_itself(make_nlp, mixed):
    nlp = make_nlp()
    pipe = nlp.get_pipe(NAME)
    sure, wrong, missed = [-3.0, -9, 3, -9], [-3.0, 1.1, 1, -9], [0.5, -3, 0.1, -9]
    scored(pipe, {(0, 0): sure, (0, 2): wrong, (0, 4): missed, (1, 0): wrong})
    docs = [nlp.make_doc("Acme a Acme b Acme"), nlp.make_doc("Acme a")]
    loc, org = LABELS[:2]

    def found(**settings):
        pipe.cfg["names"] = settings or None
        pipe.set_annotations(docs, pipe.predict(docs))
        return [[(e.start, e.label_) for e in doc.ents] for doc in docs]

    assert found() == [[(0, org), (2, loc)], [(0, loc)]]
    agreed = [(0, org), (2, org)] + ([(4, org)] if mixed else [])
    assert found(consistency="doc", mixed_weight=mixed) == [agreed, [(0, loc)]]
    # a document alone and in a batch is the same
    alone = pipe.predict(docs).scores
    scored(pipe, {(0, 0): sure, (0, 2): wrong, (0, 4): missed})
    assert (pipe.predict(docs[:1]).scores == alone[:5]).all()


def test_leave_one_out_takes_a_mention_out_of_the_memory(make_nlp):
    nlp = make_nlp()
    pipe = nlp.get_pipe(NAME)
    scored(pipe, {(0, 0): [-3.0, 1.1, 1, -9]})
    docs = [nlp.make_doc("Acme a b")]
    spans = pipe.score_spans(docs)
    keys = span_keys(VisibleWords.of(docs).texts, spans.candidates)
    p = np.exp(spans.scores) / np.exp(spans.scores).sum(1, keepdims=True)
    pipe.names = NameMemory.of(keys, p)
    pipe.cfg["names"] = {"leave_one_out": True}
    assert (pipe.predict(docs).scores == spans.scores).all()


# settings and files


def test_the_memory_is_saved_with_the_pipeline(trained, tmp_path):
    texts = [text for text, _ in TEXTS]
    plain = ents(trained, texts)
    text, label, _ = next(e for doc in plain for e in doc if " " not in e[0])
    other = next(x for x in LABELS if x != label)
    memory = memory_of(**{text: {other: 200.0}})
    set_names(trained, NAME, memory, ON)
    wanted = ents(trained, texts)
    assert wanted != plain
    trained.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    from_bytes = spacy.load(tmp_path / "model").from_bytes(trained.to_bytes())
    for nlp in (loaded, from_bytes):
        pipe = nlp.get_pipe(NAME)
        assert ents(nlp, texts) == wanted
        assert (pipe.names.keys == memory.keys).all()
        assert pipe.cfg["names"] == ON and pipe.names.sums.dtype == np.float32
    assert loaded.config["components"][NAME]["names"] == ON
    # off by the configuration, and by Python
    off = spacy.load(tmp_path / "model", config={"components": {NAME: {"names": None}}})
    assert ents(off, texts) == plain
    loaded.get_pipe(NAME).cfg["names"] = None
    assert ents(loaded, texts) == plain
    # a pipeline without a memory leaves no old one behind
    set_names(trained, NAME, None, None)
    trained.to_disk(tmp_path / "model")
    assert not (tmp_path / "model" / NAME / "names").exists()
    assert ents(spacy.load(tmp_path / "model"), texts) == plain
    pipe = loaded.get_pipe(NAME).from_bytes(trained.get_pipe(NAME).to_bytes())
    assert pipe.names is None


def test_parts_may_be_excluded(trained, tmp_path):
    pipe = trained.get_pipe(NAME)
    pipe.names = memory_of(Paris={"LOC": 2.0})
    pipe.to_disk(tmp_path / "without", exclude=["names"])
    assert not (tmp_path / "without" / "names").exists()
    kept = pipe.names
    data = pipe.to_bytes(exclude=["names"])
    assert pipe.from_bytes(data, exclude=["names"]).names is kept
    assert pipe.from_disk(tmp_path / "without", exclude=["names"]).names is kept
    assert pipe.from_bytes(data).names is None


def memory_of_labels(labels):
    sums = np.ones((1, len(labels) + 1))
    return NameMemory(np.array([7], dtype=np.uint64), sums, np.array([4], dtype=np.uint64))


def test_a_damaged_or_newer_or_foreign_memory_is_refused(trained, tmp_path, monkeypatch):
    trained.get_pipe(NAME).names = memory_of(Paris={"LOC": 2.0})
    trained.to_disk(tmp_path / "model")
    file = tmp_path / "model" / NAME / "names"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(MaralError, match=r"^\[M502\]"):
        spacy.load(tmp_path / "model")
    monkeypatch.setattr(name_files, "FORMAT_VERSION", 99)
    trained.to_disk(tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"^\[M501\].*99"):
        spacy.load(tmp_path / "model")
    shutil.copyfile(file, tmp_path / "kept")
    file.write_bytes(name_files.names_to_bytes(memory_of_labels(["X"]), ["X"]))
    with pytest.raises(MaralError, match=r"^\[M503\]"):
        spacy.load(tmp_path / "model")


def test_a_block_of_a_configuration_sets_it(make_nlp):
    nlp = make_nlp(names={"mixed_weight": 0.5})
    assert nlp.config["components"][NAME]["names"] == {"mixed_weight": 0.5}
    text = nlp.config.to_str()
    assert f"[components.{NAME}.names]\nmixed_weight = 0.5" in text
    assert make_nlp(names=None).config["components"][NAME]["names"] is None


@pytest.mark.parametrize(
    ("given", "code"),
    [({"weight": 0.5}, "M504"), ({"type_weight": 2}, "M500"), ({"consistency": "all"}, "M500")],
)
def test_wrong_settings_are_refused(make_nlp, given, code):
    with pytest.raises(MaralError, match=rf"^\[{code}\]"):
        make_nlp(names=given)


def test_a_wrong_saved_setting_is_refused(trained, tmp_path):
    trained.to_disk(tmp_path)
    place = tmp_path / NAME / "cfg"
    cfg = json.loads(place.read_text(encoding="utf8"))
    cfg.pop("sha256")
    place.write_text(json.dumps({**cfg, "names": "on"}), encoding="utf8")
    with pytest.raises(MaralError, match=r"^\[M504\].*'on'"):
        spacy.load(tmp_path)


def test_new_labels_forget_the_memory(make_nlp, train_examples):
    nlp = make_nlp()
    nlp.get_pipe(NAME).names = memory_of(Paris={"LOC": 2.0})
    nlp.initialize(lambda: train_examples(nlp))
    assert nlp.get_pipe(NAME).names is None


def test_a_pipeline_that_was_saved_without_the_setting_loads(trained, tmp_path):
    """The checksum of its settings is over those that it has."""
    wanted = ents(trained, [text for text, _ in TEXTS])
    cfg = trained.get_pipe(NAME).cfg
    del cfg["names"], cfg["configured"]["names"]
    cfg["threshold"] = 0.1
    trained.to_disk(tmp_path)
    assert "names" not in json.loads((tmp_path / NAME / "cfg").read_text(encoding="utf8"))
    nlp = spacy.load(tmp_path)
    found = nlp.get_pipe(NAME).cfg
    assert found["names"] is None and found["threshold"] == 0.1
    assert ents(nlp, [text for text, _ in TEXTS]) == wanted
    again = nlp.get_pipe(NAME).from_bytes(trained.get_pipe(NAME).to_bytes())
    assert again.cfg["names"] is None
