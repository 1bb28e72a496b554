"""Name memories built from raw text: by the command names, and while a corpus is annotated."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.report.card import CardFacts, write_card
from spacy_maral.model.confidence import Calibration
from spacy_maral.model.names import NameMemory, NameSettings, refine_scores, span_keys
from spacy_maral.model.predictions import Predictions, annotate
from spacy_maral.model.spans import softmax
from spacy_maral.model.visible import VisibleWords
from spacy_maral.scale import annotate_corpus
from spacy_maral.scale.names import add_names, batches, build_names, drop_names, look_up

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "0.1" / "model"
SENTENCES = [
    "Angela Merkel met Pedro in Paris and York .", "Merkel visited Madrid", "Paris met Merkel .",
    "a b c 12 X-y", "Pedro in Madrid", "York and Paris", "Obama visited York .", "Nothing happened",
    "Merkel met Obama in Paris", "Pedro and Merkel",
]  # fmt: skip


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "raw.txt"
    path.write_text("\n".join(SENTENCES) + "\n", encoding="utf8")
    return path


@pytest.fixture
def model(tmp_path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "model")
    return tmp_path / "model"


def in_memory(nlp, texts):
    """Keys and predictions of texts, read as one batch, and their documents."""
    pipe = nlp.get_pipe("maral_ner")
    with nlp.select_pipes(disable="maral_ner"):
        docs = list(nlp.pipe(texts))
    spans = pipe.score_spans(docs)
    return span_keys(VisibleWords.of(docs).texts, spans.candidates), spans, docs


def same_memory(found, wanted):
    assert found.keys.tolist() == wanted.keys.tolist()
    assert found.mentions.tolist() == wanted.mentions.tolist()
    np.testing.assert_allclose(found.sums, wanted.sums, atol=1e-3)


def said(nlp, texts=SENTENCES):
    return [[(e.text, e.label_, e._.maral_score) for e in doc.ents] for doc in nlp.pipe(texts)]


# the commands


def test_a_memory_is_built_looked_into_and_dropped(model, text, tmp_path):
    before = said(spacy.load(model))
    (model / "training").mkdir()
    (model / "training" / "summary.json").write_text("{}", encoding="utf8")
    result = run("names", "build", model, text, "-o", tmp_path / "with", "--type-weight", 0.9)
    assert result.exit_code == 0, result.output
    nlp = spacy.load(tmp_path / "with")
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.cfg["names"] == {"type_weight": 0.9, "mixed_weight": 0.0}
    keys, spans, docs = in_memory(spacy.load(model), SENTENCES)
    memory = NameMemory.of(keys, softmax(spans.scores))
    same_memory(pipe.names, memory)
    assert (tmp_path / "with" / "training" / "summary.json").is_file()
    # doc.ents are those of the refined scores
    scores = refine_scores(spans.scores, keys, memory, NameSettings(0.9), own=False)
    annotate(
        docs, Predictions(spans.candidates, scores), pipe.labels, {**pipe.cfg, "overwrite": True}
    )
    wanted = [[(e.text, e.label_) for e in doc.ents] for doc in docs]
    assert [[e[:2] for e in doc] for doc in said(nlp)] == wanted
    assert said(nlp) != before

    result = run("names", "show", tmp_path / "with", "Merkel", "Angela Merkel", "Zyzzy")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    place = memory.find(span_keys(["Merkel"], VisibleWords([["Merkel"]]).candidates(1)))[1][0]
    assert f"strings {len(memory):,}" in shown and "Zyzzy: not stored" in shown
    share = memory.sums[place, 1] / memory.mentions[place]
    assert (
        f"Merkel: 5 mentions: O {memory.sums[place, 0] / 5:.3f}, {pipe.labels[0]} {share:.3f}"
        in shown
    )
    assert "type_weight 0.9" in shown

    result = run("names", "drop", tmp_path / "with")
    assert result.exit_code == 0, result.output
    nlp = spacy.load(tmp_path / "with")
    assert (
        nlp.get_pipe("maral_ner").names is None and nlp.get_pipe("maral_ner").cfg["names"] is None
    )
    assert said(nlp) == before
    result = run("names", "show", tmp_path / "with")
    assert result.exit_code == 1 and "[M505]" in result.stderr


def test_another_memory_of_a_calibrated_pipeline_gives_a_warning(model, text, caplog):
    nlp = spacy.load(model)
    n_labels = len(nlp.get_pipe("maral_ner").labels)
    fit = Calibration(np.ones(n_labels), np.zeros(n_labels)).to_lists()
    nlp.get_pipe("maral_ner").cfg["calibration"] = fit
    nlp.to_disk(model)
    for change in (lambda: add_names(model, [text], model), lambda: drop_names(model)):
        caplog.clear()
        change()
        assert caplog.text.count("[W506]") == 1
        assert spacy.load(model).get_pipe("maral_ner").cfg["calibration"] == fit
    caplog.clear()
    drop_names(model)
    assert "[W506]" not in caplog.text, "there was no memory"


def test_a_memory_can_be_built_in_place_from_any_raw_text(model, text, tmp_path):
    rows = [json.dumps({"text": sentence}) for sentence in SENTENCES]
    (tmp_path / "raw.jsonl").write_text("\n".join(rows), encoding="utf8")
    first = add_names(model, [text], model)
    known = look_up(model, ["Merkel", ""])[1]
    # the memory at hand is not used to build another one
    second = add_names(model, [tmp_path / "raw.jsonl"], model, mixed_weight=0.5)
    assert first[:3] == second[:3] and first.strings > 5
    assert second.settings == {"type_weight": 0.75, "mixed_weight": 0.5}
    again = look_up(model, ["Merkel", ""])[1]
    assert [k.mentions for k in again] == [k.mentions for k in known] == [5, 0]
    assert again[0].shares == pytest.approx(known[0].shares, abs=1e-4)
    assert drop_names(model).strings == first.strings


def test_a_memory_has_the_words_of_the_pipeline(model, tmp_path):
    """Even if the rules of its tokenizer are not those of its language."""
    nlp = spacy.load(model)
    nlp.tokenizer.infix_finditer = None
    nlp.tokenizer.suffix_search = None
    nlp.to_disk(model)
    (tmp_path / "a.txt").write_text("Angela visited Paris/Madrid today\n", encoding="utf8")
    add_names(model, [tmp_path / "a.txt"], tmp_path / "with")
    found = look_up(tmp_path / "with", ["Paris/Madrid", "Paris"])[1]
    assert [known.mentions for known in found] == [1, 0]
    add_names(model, [tmp_path / "a.txt"], tmp_path / "other", lang="de")
    pipe = spacy.load(tmp_path / "other").get_pipe("maral_ner")
    keys = span_keys(["Madrid"], VisibleWords([["Madrid"]]).candidates(1))
    assert len(pipe.names.find(keys)[1])


def test_the_card_says_how_many_strings_there_are(model, text):
    facts = add_names(model, [text], model)
    notes = write_card(model, CardFacts())["notes"]
    assert f"hashes of {facts.strings:,} strings" in notes
    drop_names(model)
    assert "Name memory" not in write_card(model, CardFacts())["notes"]
    (model / "maral_ner" / "names").write_bytes(b"\xff" * 40)
    with pytest.raises(MaralError, match=r"^\[M411\]"):
        write_card(model, CardFacts())


def test_a_folder_with_something_else_is_refused(model, text, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("kept", encoding="utf8")
    with pytest.raises(MaralError, match=r"^\[M406\].*something else"):
        add_names(model, [text], other)
    assert [p.name for p in other.iterdir()] == ["letter.txt"]
    nlp = spacy.blank("xx")
    nlp.to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match=r"^\[M314\]"):
        drop_names(tmp_path / "blank")


def test_batches_lose_no_document(model, monkeypatch):
    nlp = spacy.load(model)
    monkeypatch.setattr("spacy_maral.scale.names.WINDOW_WORDS", 12)
    found = [doc.text for batch in batches(nlp, map(nlp.make_doc, SENTENCES)) for doc in batch]
    assert sorted(found) == sorted(SENTENCES)


def test_documents_that_the_model_fails_on_are_left_out_if_asked(model, monkeypatch):
    nlp = spacy.load(model)
    pipe = nlp.get_pipe("maral_ner")
    score = pipe.score_spans

    def fail(docs):
        if any("Obama" in doc.text for doc in docs):
            raise RuntimeError("no")
        return score(docs)

    pipe.score_spans = fail
    left = [s for s in SENTENCES if "Obama" not in s]
    found = build_names(nlp, lambda: map(nlp.make_doc, SENTENCES), skip_failing=True)
    keys, spans, _ = in_memory(spacy.load(model), left)
    wanted = NameMemory.of(keys, softmax(spans.scores))
    assert found.keys.tolist() == wanted.keys.tolist()
    with pytest.raises(RuntimeError):
        build_names(nlp, lambda: map(nlp.make_doc, SENTENCES))


# a corpus in two passes


@pytest.fixture
def corpus(tmp_path):
    """Two shards; RETURNS: function that writes the sentences in an order and gives the folder."""

    def write(name, order):
        folder = tmp_path / name
        folder.mkdir()
        for shard, numbers in {"a": order[:6], "b": order[6:]}.items():
            rows = [json.dumps({"id": str(i), "text": SENTENCES[i]}) for i in numbers]
            (folder / f"{shard}.jsonl").write_text("\n".join([*rows, "{broken"]), encoding="utf8")
        return folder

    return write


def rows(folder):
    found = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf8").splitlines():
            row = json.loads(line)
            ents = [(e["start"], e["end"], e["label"]) for e in row["entities"]]
            found[row["id"]] = ents, [e["score"] for e in row["entities"]]
    return found


def test_two_passes_do_not_depend_on_the_order_of_the_corpus(model, corpus, tmp_path):
    outputs = []
    for name, order in (("one", list(range(10))), ("two", [7, 3, 9, 1, 0, 8, 2, 6, 4, 5])):
        annotate_corpus(model, corpus(name, order), tmp_path / f"{name}-out", names="two-pass")
        outputs.append(rows(tmp_path / f"{name}-out"))
    assert outputs[0].keys() == outputs[1].keys() and len(outputs[0]) == 10
    for number, (ents, scores) in outputs[0].items():
        other, others = outputs[1][number]
        assert ents == other
        assert scores == pytest.approx(others, abs=1e-4)
    # by the formula, without each mention itself
    nlp = spacy.load(model)
    pipe = nlp.get_pipe("maral_ner")
    keys, spans, docs = in_memory(nlp, SENTENCES)
    memory = NameMemory.of(keys, softmax(spans.scores))
    scores = refine_scores(spans.scores, keys, memory, NameSettings(), own=True)
    annotate(docs, Predictions(spans.candidates, scores), pipe.labels, pipe.cfg)
    for number, doc in enumerate(docs):
        ents, found = outputs[0][str(number)]
        assert ents == [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        assert found == pytest.approx([e._.maral_score for e in doc.ents], abs=1e-4)


def test_two_passes_go_on_with_the_memory_that_they_have(model, corpus, tmp_path, monkeypatch):
    folder, out = corpus("in", list(range(10))), tmp_path / "out"
    annotate_corpus(model, folder, out, names="two-pass")
    wanted = rows(out)
    (out / "a.jsonl").unlink()
    monkeypatch.setattr("spacy_maral.scale.annotate.corpus_names.build_names", None)
    annotate_corpus(model, folder, out, names="two-pass")
    assert rows(out) == wanted
    with pytest.raises(MaralError, match=r"(?s)^\[M474\].*names"):
        annotate_corpus(model, folder, out)
    with pytest.raises(MaralError, match=r"^\[M481\] names must be one of two-pass, off"):
        annotate_corpus(model, folder, tmp_path / "new", names="all")


@Language.component("maral_test_sleeper")
def sleeper(doc):
    time.sleep(30 if "Obama" in doc.text else 0)
    return doc


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_a_text_that_takes_too_long_is_left_out_of_the_memory(model, corpus, tmp_path, timer):
    nlp = spacy.load(model)
    nlp.add_pipe("maral_test_sleeper", first=True)
    nlp.to_disk(tmp_path / "slow")
    started = time.perf_counter()
    summary = annotate_corpus(
        tmp_path / "slow", corpus("in", range(10)), tmp_path / "out", names="two-pass",
        text_seconds=0.3,
    )  # fmt: skip
    assert time.perf_counter() - started < 20
    assert summary.rejected == 2 + sum("Obama" in sentence for sentence in SENTENCES)


def test_names_can_be_off_for_a_corpus(model, text, corpus, tmp_path):
    folder = corpus("in", list(range(10)))
    annotate_corpus(model, folder, tmp_path / "plain")
    add_names(model, [text], model, type_weight=1.0)
    annotate_corpus(model, folder, tmp_path / "with")
    result = run("annotate", model, folder, "-o", tmp_path / "off", "--names", "off")
    assert result.exit_code == 0, result.output
    plain, with_names, off = (rows(tmp_path / name) for name in ("plain", "with", "off"))
    assert plain == off != with_names


def test_a_pipeline_without_the_component_has_no_names(corpus, tmp_path):
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match=r"^\[M314\]"):
        annotate_corpus(
            tmp_path / "blank", corpus("in", list(range(10))), tmp_path / "out", names="two-pass"
        )
