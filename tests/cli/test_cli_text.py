from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_maral.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "a.txt").write_text("Erster Satz hier. Noch ein Satz.\nKurz.\n", encoding="utf8")
    row = json.dumps({"text": "Ein dritter Satz hier."})
    (tmp_path / "b.jsonl").write_text(row + "\n", encoding="utf8")
    return [tmp_path / "a.txt", tmp_path / "b.jsonl"]


def test_text_is_prepared_and_what_is_left_out_is_shown(texts, tmp_path):
    output = tmp_path / "de.spacy"
    result = run("prepare-text", *texts, output, "--lang", "de")
    assert result.exit_code == 0, result.output
    docs = DocBin().from_disk(output).get_docs(spacy.blank("de").vocab)
    assert [doc.text for doc in docs] == [
        "Erster Satz hier.", "Noch ein Satz.", "Ein dritter Satz hier.",
    ]  # fmt: skip
    shown = " ".join(result.stdout.split())
    assert "3 sentences, 13 tokens" in shown and "Texts read: 3" in shown
    assert "fewer than 3 words 1" in shown


def test_options_of_prepare_text(texts, tmp_path):
    output = tmp_path / "de.spacy"
    result = run(
        "prepare-text", *texts, output, "--lang", "de", "--no-split", "--min-words", 2, "--limit", 2,
        "--seed", 1, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sentences"] == 2 and found["left_out"] == {"not drawn": 1}
    result = run("prepare-text", *texts, tmp_path / "all.spacy", "--lang", "de", "--seed", 1)
    assert result.exit_code == 1 and not (tmp_path / "all.spacy").exists()
    assert "[M578] --seed would have no effect" in result.stderr and "--limit" in result.stderr


def test_broken_text_is_named(texts, tmp_path):
    texts[1].write_text('{"text": 3}\n', encoding="utf8")
    result = run("prepare-text", *texts, tmp_path / "de.spacy", "--lang", "de")
    assert result.exit_code == 1
    assert f"{texts[1]}:1" in result.stderr and "[M142]" in result.stderr
    assert not (tmp_path / "de.spacy").exists()
