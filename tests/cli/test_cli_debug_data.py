"""The command debug-data: what it finds, its marks and its exit status."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.training.new_config import Choices, make_config

VOCAB = Vocab()
NAMES = ["ada", "bob", "eve", "kim", "lee", "max", "pia", "roy", "tom", "zoe"]


def labelled(words: str, *ents: tuple[int, int, str]) -> Doc:
    doc = Doc(VOCAB, words=words.split())
    doc.set_ents([Span(doc, *ent) for ent in ents], default="outside")
    return doc


def sentences(n: int, what: str) -> list[Doc]:
    return [
        labelled(f"{NAMES[i % 10]} {what} number {i} in rome", (0, 1, "PER"), (5, 6, "LOC"))
        for i in range(n)
    ]


def write(path: Path, docs: list[Doc]) -> Path:
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory, encoder_dir) -> Path:
    """A configuration and data without faults."""
    folder = tmp_path_factory.mktemp("written")
    text = make_config(Choices("en", ["de"], encoder=str(encoder_dir), max_width=3))
    (folder / "config.cfg").write_text(text, encoding="utf8")
    target = [Doc(VOCAB, words=["ada", "wohnt", "in", "rom", str(i)]) for i in range(20)]
    write(folder / "source.spacy", sentences(2000, "saw"))
    write(folder / "dev.spacy", sentences(60, "met"))
    write(folder / "target.spacy", target)
    write(folder / "test.spacy", sentences(60, "likes"))
    return folder


@pytest.fixture
def files(tmp_path, written):
    """A copy of them that a test may change."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    names = ("source", "dev", "target", "test")
    return {"config": tmp_path / "config.cfg"} | {
        f"--{name}": tmp_path / f"{name}.spacy" for name in names
    }


def run(files, *more: object):
    arguments = [files["config"], *(x for k, v in files.items() if k[0] == "-" for x in (k, v))]
    result = CliRunner().invoke(app, ["debug-data", *map(str, [*arguments, *more])])
    return result.exit_code, " ".join(result.output.split()), result


def test_the_source_is_cut_by_its_own_tokenizer(files, encoder_dir):
    """The pipeline's tokenizer is that of the target, which would cut English into characters."""
    text = make_config(Choices("en", ["zh"], encoder=str(encoder_dir), max_width=3))
    files["config"].write_text(text, encoding="utf8")
    _, output, _ = run(files)
    assert "source: by the tokenizer of 'en'" in output
    assert "source: all entities begin and end where words do" in output
    assert "test: by the tokenizer of 'zh'" in output
    cut = run(files, "--languages.source", "zh")[1]
    assert "source: all entities begin and end where words do" not in cut


def test_sound_data_passes(files):
    code, shown, result = run(files)
    assert code == 0, result.output
    assert "✘" not in shown and "⚠" not in shown, shown[shown.find("⚠") :]
    for good in (
        "Enough documents", "has all labels of the source", "Good amount of examples",
        "source: 100.0 % of the entities can be found", "test: all entities begin and end",
        "target: every word has a word piece", "No sentence is in two files", "checks passed",
    ):  # fmt: skip
        assert good in shown
    assert "PER 50.0 % 2,000 60 60" in shown
    # 15 spans of up to 3 words in 6 words
    assert "13.33 % of the source's candidate spans are entities" in shown
    assert "target 20 100 24 not used" in shown


def test_errors_end_with_1(files):
    write(files["--dev"], [*sentences(10, "met"), labelled("a b", (0, 1, "NEW"))])
    write(files["--test"], [Doc(VOCAB, words=["no", "labels"])])
    code, shown, _ = run(files)
    assert code == 1
    assert "✘ dev: labels that the source lacks: NEW" in shown
    assert "✘ test: no document has entity annotation" in shown
    assert "✘ 2 errors" in shown


@pytest.mark.parametrize(
    "setting, meant",
    [
        ("teacher.lern_rate", "learn_rate"), ("student.epcohs", "epochs"),
        ("adaptation.neighbors", "neighbours"), ("paths.encodr", "paths.encoder"),
    ],
)  # fmt: skip
def test_a_misspelt_setting_is_an_error(files, setting, meant):
    code, _, result = run(files, f"--{setting}", "3")
    assert code == 1 and f"Did you mean '{meant}'?" in result.stderr


def test_a_source_without_entities(files):
    write(files["--source"], [labelled("a b")] * 3)
    code, shown, _ = run(files)
    assert code == 1 and "✘ source: there is no entity" in shown


@pytest.mark.parametrize("words", [[], [" ", "\u200b"]])
def test_a_source_without_words(files, words):
    write(files["--source"], [Doc(VOCAB, words=words)])
    code, shown, result = run(files)
    assert code == 1 and result.exception.__class__ is SystemExit, result.output
    assert "✘ source" in shown and "errors" in shown


def test_everything_to_be_warned_of(files):
    docs = [
        *sentences(70, "saw"),
        labelled("kim of the long and winding road", (0, 7, "ORG")),
        labelled("one more"), labelled("one more"), Doc(VOCAB), Doc(VOCAB, words=["not", "done"]),
    ]  # fmt: skip
    write(files["--source"], docs)
    write(files["--dev"], sentences(30, "saw"))
    cut = Doc(VOCAB, words=["Berlin", "er"], spaces=[False, False])
    cut.set_ents([Span(cut, 0, 1, "MISC")], default="outside")
    write(files["--test"], [cut, *sentences(5, "likes")])
    write(files["--target"], [*sentences(5, "likes"), Doc(VOCAB, words=["ΩΨ"] * 9)])
    code, shown, _ = run(files, "--verbose")
    assert code == 0
    for warning in (
        "⚠ source: 1 of 75 documents have no words",
        "⚠ source: 1 of 75 documents have no entity annotation",
        "⚠ source: 1 sentences are repetitions",
        "⚠ Low number of documents to train a teacher (75)",
        "ℹ target: has entities, which are not looked at",
        "⚠ dev: lacks labels that the source has: ORG",
        "⚠ test: labels that the source lacks: MISC",
        "⚠ Low number of examples (less than 50): ORG",
        "cannot be found in raw text: 1 begin or end within a word",
        "For example: Berlin",
        "⚠ dev: 30 sentences (100.0 %) are in source, too",
        "⚠ test: 5 sentences (83.3 %) are in target, too",
        "of the word pieces are unknown to the encoder",
    ):
        assert warning in shown, warning
    assert "⚠" not in run(files, "--ignore-warnings")[1].partition("Summary")[0]


def test_settings_on_the_command_line(files):
    write(files["--source"], [labelled("a b c d e f", (0, 5, "PER"), (5, 6, "LOC"))] * 60)
    width = "--components.maral_ner.model.max_width"
    warning = "50.0 % of the entities are longer than max_width = {} words"
    assert warning.format(3) in run(files)[1] and "5 would cover 99 %" in run(files)[1]
    assert "longer than max_width" not in run(files, width, 5)[1]


def test_several_files_and_raw_text(files, tmp_path):
    raw = tmp_path / "raw.txt"
    raw.write_text("Roy singt gern in Rom\nPia liest laut und oft\n", encoding="utf8")
    code, shown, _ = run(files, "--source", files["--source"], "--target", raw, "--lang", "de")
    assert code == 0
    assert (
        "source 4,000 24,000" in shown and "target 1 20 100" in shown and "target 2 2 10" in shown
    )
    code, _, result = run(files, "--target", raw)
    assert code == 1 and str(raw) in result.stderr


def test_an_encoder_that_is_not_here_is_not_fetched(files):
    code, shown, _ = run(files, "--paths.encoder", "nobody/nothing")
    assert code == 0
    assert "The encoder 'nobody/nothing' is not here" in shown


def test_what_cannot_be_read(files, tmp_path):
    files["--test"].write_text("no DocBin", encoding="utf8")
    code, _, result = run(files)
    assert code == 1 and str(files["--test"]) in result.stderr and result.stdout == ""
    files["config"].write_text("[nlp", encoding="utf8")
    code, _, result = run(files)
    assert code == 1 and "Cannot check the data" in result.stderr
    assert run({**files, "--dev": tmp_path / "nowhere.spacy"})[0] == 2


@pytest.mark.parametrize(
    "setting, value",
    [
        ("components.maral_ner.factory", "maral_nerx"), ("nlp.lang", "qqq"),
        ("components.maral_ner.model.@architectures", "spacy-maral.Nothing.v1"),
    ],
)  # fmt: skip
def test_a_pipeline_that_cannot_be_made(files, setting, value):
    code, _, result = run(files, f"--{setting}", value)
    assert code == 1 and "[M219]" in result.stderr and value in result.stderr


def test_its_output_can_be_read_by_programs(files):
    code, shown, result = run(files, "-NF")
    assert code == 0 and result.stderr == ""
    assert "\x1b" not in result.stdout and "errors" not in shown
