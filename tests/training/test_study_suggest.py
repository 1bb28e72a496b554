"""The tool that compares suggested sentences with random ones."""

from __future__ import annotations

import json
import sys

import pytest
import study_suggest
from worlds import make_docs, write

from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.evaluate import evaluate_pipeline, load_pipeline


@pytest.fixture
def arguments(world, tmp_path, monkeypatch):
    """Call the tool with a pool of German sentences; RETURNS (Path): The output folder."""
    pool = write(tmp_path / "pool.spacy", make_docs("target", 60, 11))
    data = {"source": world["source"], "dev": world["dev"], "pool": pool, "test": world["dev"]}
    given = [world["config"], world["teacher"], tmp_path / "study"]
    given += [part for name, path in data.items() for part in (f"--{name}", path)]
    given += ["-n", 4, "--seeds", 0, 1, "--teacher.epochs", 1]
    monkeypatch.setattr(sys, "argv", ["study_suggest.py", *map(str, given)])
    return tmp_path / "study"


def test_both_choices_are_trained_on_and_measured(world, arguments, capsys, monkeypatch):
    study_suggest.main()
    printed = capsys.readouterr().out
    table = printed[printed.index("| limit ") :]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[:2] for row in rows if row] == [
        ["0 sentences", "none"],
        *(["4 sentences", choice] for choice in ("random", "suggested", "alone")),
    ]
    of_teacher = evaluate_pipeline(load_pipeline(world["teacher"]), world["dev"]).report.f1
    assert rows[0] == ["0 sentences", "none", "0", "0", "0", f"{100 * of_teacher:.1f} ± 0.0"]
    chosen = {}
    for name in ("random-4-sentences-0", "random-4-sentences-1", "suggested-4-sentences-0"):
        found = json.loads((arguments / f"{name}.json").read_text(encoding="utf8"))
        model = load_pipeline(arguments / name)
        assert found["f1"] == evaluate_pipeline(model, world["dev"]).report.f1
        docs = list(read_docs(arguments / f"{name}.spacy"))
        assert found["words"] == sum(map(len, docs)) and found["sentences"] == len(docs) == 4
        assert found["entities"] == sum(len(doc.ents) for doc in docs) > 0
        chosen[name] = {doc.text for doc in docs}
    assert len({frozenset(texts) for texts in chosen.values()}) == 3
    # the model of the suggested sentences alone saw them only, and as often as the teacher the source
    assert {d.text for d in read_docs(arguments / "alone-4-sentences-0.spacy")} == chosen[
        "suggested-4-sentences-0"
    ]
    path = arguments / "alone-4-sentences-0/training/summary.json"
    summary = json.loads(path.read_text(encoding="utf8"))
    assert summary["data"]["source"]["documents"] == 4 and "target_gold" not in summary["data"]
    assert summary["selected_epoch"] == 80 // 4

    # what is there is not trained again
    monkeypatch.setattr(study_suggest, "train_teacher", None)
    study_suggest.main()
    assert capsys.readouterr().out == table
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--choices", "alone"])
    study_suggest.main()
    assert capsys.readouterr().out.strip().splitlines()[2:] == [
        line for line in table.splitlines() if "| alone |" in line or "| none |" in line
    ]
    listed = json.loads((arguments / "results.json").read_text(encoding="utf8"))
    assert [(row["pair"], row["choice"], row["n"], row["seed"]) for row in listed] == [
        ("dev", "none", 0, 0), ("dev", "alone", 4, 0), ("dev", "alone", 4, 1),
    ]  # fmt: skip


def test_words_may_be_limited_instead(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv, "-n", "40", "--words", "--choices", "random"])
    study_suggest.main()
    assert "| 40 words | random |" in capsys.readouterr().out
    found = json.loads((arguments / "random-40-words-0.json").read_text(encoding="utf8"))
    docs = list(read_docs(arguments / "random-40-words-0.spacy"))
    assert found["words"] == sum(map(len, docs)) <= 40 and found["sentences"] == len(docs) > 1
