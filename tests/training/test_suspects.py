"""Gold labels that are probably wrong."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import spacy
import study_suspects
from spacy.tokens import Doc, Span
from typer.testing import CliRunner
from worlds import make_docs, write

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.training import suspects
from spacy_maral.training.suspects import deal_folds, find_suspects

N_DOCS, N_WRONG = 200, 10


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory):
    """Labelled sentences, in 5 % of which one label is wrong, missing or too much."""
    docs, wrong = make_docs("source", N_DOCS, 31), []
    rng = np.random.default_rng(4)
    for number in rng.permutation(N_DOCS):
        doc = docs[number]
        if len(wrong) == N_WRONG or not doc.ents:
            continue
        ents = list(doc.ents)
        kind = len(wrong) % 3
        if kind == 0:
            other = {"LOC": "PER", "PER": "LOC"}[ents[0].label_]
            ents[0] = Span(doc, ents[0].start, ents[0].end, label=other)
        elif kind == 1:
            ents = ents[1:]
        else:
            ents[0] = Span(doc, ents[0].start - 1, ents[0].start, label=ents[0].label_)
        doc.set_ents(ents, default="outside")
        wrong.append(int(number))
    return write(tmp_path_factory.mktemp("suspects") / "gold.spacy", docs), set(wrong)


def found_first(rows, wrong):
    """Share of the corrupted sentences in the first tenth of the list."""
    return len({row["doc"] for row in rows[: N_DOCS // 10]} & wrong) / len(wrong)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def test_most_corrupted_sentences_are_in_the_first_tenth_by_folds(world, corrupted, tmp_path):
    path, wrong = corrupted
    output = tmp_path / "suspects.jsonl"
    arguments = [
        "suspects", str(path), "-o", str(output), "--config", str(world["config"]), "--folds", "2",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = read(output)
    words = rows[0]["suspects"][0]["text"]
    first = next(
        line
        for line in result.output.splitlines()
        if line.startswith(f"{rows[0]['suspicion']:.2f}")
    )
    assert words in first.partition(rows[0]["text"][:20])[0]
    assert f"Saved {len(rows)} sentences with entities" in result.output
    assert found_first(rows, wrong) >= 0.6
    assert [row["suspicion"] for row in rows] == sorted(
        (row["suspicion"] for row in rows), reverse=True
    )
    assert len({row["doc"] for row in rows}) == len(rows) <= N_DOCS


def test_a_model_that_has_not_seen_the_data_serves_too(world, corrupted, tmp_path):
    path, wrong = corrupted
    find_suspects(path, tmp_path / "s.jsonl", model=world["teacher"])
    rows = read(tmp_path / "s.jsonl")
    assert found_first(rows, wrong) >= 0.6
    first = rows[0]
    suspect = first["suspects"][0]
    assert suspect["suspicion"] == first["suspicion"] and suspect["gold"] != suspect["predicted"]
    assert first["text"][suspect["start"] : suspect["end"]] == suspect["text"] != ""
    assert all(first["text"][s:e] for s, e, _ in first["entities"])


def test_numbers_are_those_of_the_file(world, tmp_path):
    """Documents without annotation, which are not judged, count."""
    docs = make_docs("source", 20, 31)
    blank = [Doc(doc.vocab, words=[token.text for token in doc]) for doc in docs[:5]]
    found = {}
    for name, given in (("all", docs), ("mixed", [*blank, *docs])):
        path = write(tmp_path / f"{name}.spacy", given)
        ranked = find_suspects(path, tmp_path / f"{name}.jsonl", model=world["teacher"])
        rows = read(tmp_path / f"{name}.jsonl")
        assert [row["doc"] for row in rows] == [sentence.doc for sentence in ranked]
        assert all(given[row["doc"]].text == row["text"] for row in rows)
        found[name] = rows
    assert [{**row, "doc": row["doc"] + 5} for row in found["all"]] == found["mixed"]


def test_a_label_may_be_in_one_fold_only_and_a_fold_without_entities(world, tmp_path):
    docs = make_docs("source", 12, 31)
    docs[0].set_ents([Span(docs[0], 0, 1, "RARE")], default="outside")
    parts = deal_folds(docs, 6)
    for number in next(part for part in parts if 0 not in part).tolist():
        docs[number].set_ents([], default="outside")
    path = write(tmp_path / "gold.spacy", docs)
    short = {"teacher.epochs": 1}
    found = find_suspects(
        path, tmp_path / "s.jsonl", config=world["config"], folds=6, overrides=short
    )
    assert len(found) == len(read(tmp_path / "s.jsonl")) > 0


def numbered(*numbers):
    vocab = spacy.blank("xx").vocab
    return [Doc(vocab, words=["Rom", str(number)]) for number in numbers]


@pytest.mark.parametrize("n_entities", [0, 1, 2])
def test_entities_of_one_fold_only_are_refused_before_any_training(
    world, tmp_path, monkeypatch, n_entities
):
    docs = make_docs("source", 12, 31)
    fold = deal_folds(docs, 6)[4][:n_entities].tolist()
    assert len(fold) == n_entities
    for number, doc in enumerate(docs):
        doc.set_ents([Span(doc, 0, 1, "PER")] if number in fold else [], default="outside")
    path = write(tmp_path / "gold.spacy", docs)
    monkeypatch.setattr(suspects, "train_teacher", lambda *_, **__: pytest.fail("it is too late"))
    found = rf"M579.*gold\.spacy: {n_entities} of 12 documents .* of 6 folds"
    with pytest.raises(MaralError, match=found if n_entities else r"M312.*gold\.spacy"):
        find_suspects(path, tmp_path / "s.jsonl", config=world["config"], folds=6)


def test_folds_hold_every_document_once():
    parts = deal_folds(numbered(*range(23)), 5)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23))
    assert {len(part) for part in parts} == {4, 5}


def test_copies_of_a_sentence_are_in_one_fold():
    numbers = np.array([*range(12), 3, 3, *range(5)])
    parts = deal_folds(numbered(*numbers), 4)
    assert sorted(np.concatenate(parts).tolist()) == list(range(19))
    assert sorted(np.concatenate([np.unique(numbers[part]) for part in parts])) == list(range(12))
    assert {len(np.unique(numbers[part])) for part in parts} == {3}


def test_the_judge_of_a_copy_has_not_learnt_its_label(world, tmp_path):
    docs = make_docs("source", 60, 31)
    for _ in range(8):
        copy = Doc(docs[0].vocab, words=["Obama", "met", "the", "visited"])
        copy.set_ents([Span(copy, 0, 1, "LOC")], default="outside")
        docs.append(copy)
    path = write(tmp_path / "gold.spacy", docs)
    found = find_suspects(path, tmp_path / "s.jsonl", config=world["config"], folds=2)
    assert min(s.suspicion for s in found if s.doc >= 60) > 0.5


def test_what_is_not_enough(world, corrupted, tmp_path):
    path, _ = corrupted
    with pytest.raises(MaralError, match=r"M566.*--model.*--config"):
        find_suspects(path, tmp_path / "s.jsonl")
    with pytest.raises(MaralError, match="M566"):
        find_suspects(path, tmp_path / "s.jsonl", model="a", config="b")
    words = ["suspects", path, "--model", world["teacher"], "-o", tmp_path / "s.jsonl"]
    words += ["--teacher.epochs", 9, "--folds", 3]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1 and "--config" in result.output
    assert "[M578] --folds, --teacher.epochs would have no effect" in result.output
    few = write(tmp_path / "few.spacy", 3 * make_docs("source", 1, 31))
    with pytest.raises(MaralError, match=r"M567.* 1 different text.*2 folds"):
        find_suspects(few, tmp_path / "s.jsonl", config=world["config"], folds=2)
    with pytest.raises(MaralError, match=r"M567.* 0 folds"):
        find_suspects(path, tmp_path / "s.jsonl", config=world["config"], folds=0)
    assert not (tmp_path / "s.jsonl").exists()


def test_the_study_changes_what_it_looks_for(world, monkeypatch, capsys):
    docs = make_docs("source", 40, 7)
    before = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]
    changed = study_suspects.corrupt(docs, 0.25, np.random.default_rng(0))
    after = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]
    differ = {i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert differ == changed and len(changed) == 10
    paths = [str(world["teacher"]), str(world["dev"])]
    monkeypatch.setattr(
        sys, "argv", ["study_suspects.py", *paths, "--share", "0.1", "--seeds", "5"]
    )
    study_suspects.main()
    assert re.search(r"seed 5: [0-3] of 3 changed sentences \(\d+%\)", capsys.readouterr().out)
