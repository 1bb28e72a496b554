"""The model card: meta.json, the package made of it, and loading without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import spacy
from build_package import build_package
from build_package import main as package_tool
from installed import IS_INSTALLED
from spacy.cli.package import generate_readme, package
from spacy.schemas import ModelMetaSchema, validate
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from thinc.api import Config
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.data.datasets import DATASETS
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.report.card import (
    CardFacts,
    performance,
    read_metrics,
    read_sources,
    write_card,
)

SUMMARY = {
    "selected_epoch": 3, "select": "last", "seed": 7, "precision": "float32",
    "machine": "Some-Machine-1", "versions": {"spacy": "3.8.7", "torch": "2.9"},
}  # fmt: skip


def metrics(f1: float, **types: float) -> dict:
    def score(value):
        return {"precision": value + 0.1, "recall": value - 0.1, "f1": value, "support": 40}

    return {"micro": score(f1), "per_type": {k: score(v) for k, v in types.items()}}


@pytest.fixture
def student(make_nlp, tmp_path):
    nlp = make_nlp()
    nlp.meta["performance"] = {"source_dev_ents_f": 0.9}
    nlp.config["student"] = {"loss": {"@losses": "spacy-maral.MaxMargin.v1"}}
    nlp.config["adaptation"] = {"init": "encoder"}
    path = tmp_path / "student"
    nlp.to_disk(path)
    (path / "training").mkdir()
    (path / "training" / "summary.json").write_text(json.dumps(SUMMARY), encoding="utf8")
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "metrics"
    path.mkdir()
    for name, values in {
        "student-de-test": metrics(0.5, PER=0.6, LOC=0.4),
        "student-hi-test": metrics(0.7, PER=0.8),
        "student-en-dev": metrics(0.1, PER=0.1),
        "teacher-de-test": metrics(0.2, PER=0.2),
    }.items():
        (path / f"{name}.json").write_text(json.dumps(values), encoding="utf8")
    return path


def docs_file(path):
    doc = Doc(Vocab(), words=["Ada", "sang"])
    doc.set_ents([Span(doc, 0, 1, "PER")])
    DocBin(docs=[doc] * 1500).to_disk(path)
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# scores


def test_scores_are_means_over_test_sets(folder):
    found = performance(read_metrics([folder]))
    assert list(found["test_sets"]) == ["de-test", "en-dev", "hi-test"]
    assert found["ents_f"] == pytest.approx(0.6), "neither the dev set nor the teacher counts"
    assert found["ents_p"] == pytest.approx(0.7) and found["ents_r"] == pytest.approx(0.5)
    assert found["ents_per_type"]["PER"]["f"] == pytest.approx(0.7)
    assert found["ents_per_type"]["LOC"]["f"] == pytest.approx(0.4)
    assert found["test_sets"]["hi-test"]["ents_f"] == pytest.approx(0.7)


def test_a_card_has_the_scores_of_its_own_role(folder):
    assert list(read_metrics([folder], "teacher-")) == ["de-test"]
    assert performance(read_metrics([folder], "teacher-"))["ents_f"] == pytest.approx(0.2)
    (folder / "teacher-de-test.json").unlink()
    with pytest.raises(MaralError, match="M404"):
        read_metrics([folder], "teacher-")
    (folder / "own.json").write_text(json.dumps(metrics(0.3)), encoding="utf8")
    assert list(read_metrics([folder], "teacher-")) == ["own"]


def test_a_distilled_pipeline_is_a_student(student, folder):
    place = student / "training" / "summary.json"
    summary = json.loads(place.read_text(encoding="utf8"))
    for sections, wanted in ((["student"], 0.6), (["teacher"], 0.2)):
        summary["settings"] = {section: {} for section in sections}
        place.write_text(json.dumps(summary), encoding="utf8")
        found = write_card(student, CardFacts(metrics=[folder]), output=folder.parent / "card.json")
        assert found["performance"]["ents_f"] == pytest.approx(wanted)


def test_metrics_of_another_pipeline_give_a_warning(student, folder, tmp_path, caplog):
    file = folder / "student-hi-test.json"
    for model, warned in ((student, False), (tmp_path / "gone", False), (folder, True)):
        file.write_text(json.dumps({**metrics(0.5), "model": str(model)}), encoding="utf8")
        caplog.clear()
        write_card(student, CardFacts(metrics=[file]), output=tmp_path / "card.json")
        assert ("[W413]" in caplog.text) == warned


def test_a_card_that_is_written_again_has_no_old_scores(student, folder):
    bare = write_card(student, CardFacts())
    tested = write_card(student, CardFacts(metrics=[folder]))
    assert "tested on de-test, hi-test" in tested["description"]
    assert tested["performance"]["ents_f"] == pytest.approx(0.6)
    again = write_card(student, CardFacts())
    assert again == bare and again["performance"] == {"source_dev_ents_f": 0.9}
    own = write_card(student, CardFacts(meta={"description": "Ours."}))
    assert own["description"] == write_card(student, CardFacts())["description"] == "Ours."


def test_a_development_set_alone_counts(folder):
    found = performance(read_metrics([folder / "student-en-dev.json"]))
    assert found["ents_f"] == pytest.approx(0.1)
    assert performance({}) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"micro": {}}', '{"micro": {}, "per_type": {}}'])
def test_files_that_are_no_metrics(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf8")
    with pytest.raises(MaralError, match=r"M405.*a\.json does not hold metrics"):
        read_metrics([tmp_path])


def test_a_folder_without_metrics(tmp_path):
    with pytest.raises(MaralError, match=r"M404.*no metrics in"):
        read_metrics([tmp_path])


def test_files_of_one_name_in_two_folders_are_two_test_sets(tmp_path):
    files = []
    for name, f1 in (("en", 0.5), ("de", 0.7)):
        files.append(tmp_path / name / "student-test.json")
        files[-1].parent.mkdir()
        files[-1].write_text(json.dumps(metrics(f1)), encoding="utf8")
    found = read_metrics([*files, files[0]])
    assert {name: one["micro"]["f1"] for name, one in found.items()} == {
        "en/test": 0.5, "de/test": 0.7,
    }  # fmt: skip
    assert list(read_metrics([files[0], files[0].parent])) == ["test"]
    other = tmp_path / "en" / "test.json"
    other.write_text(json.dumps(metrics(0.1)), encoding="utf8")
    with pytest.raises(MaralError, match=r"M412.*student-test\.json and .*/test\.json .*'en/test'"):
        read_metrics([*files, other])


# meta.json


def test_meta_is_complete_and_valid(student, folder, tmp_path):
    data = {"source": [docs_file(tmp_path / "a.spacy")], "target": [tmp_path / "a.spacy"] * 2}
    given = {"license": "CC-BY-4.0", "author": "Ada", "name": "maral_x", "version": "1.2.3"}
    sources = [{"name": "Corpus", "url": "https://example.org", "license": "CC0"}]
    meta = write_card(
        student, CardFacts(given, sources, [folder], data, encoder="intfloat/multilingual-e5-small")
    )
    assert meta == json.loads((student / "meta.json").read_text(encoding="utf8"))
    assert validate(ModelMetaSchema, meta) == []
    assert {key: meta[key] for key in given} == given
    assert meta["sources"] == [*sources, {"name": "intfloat/multilingual-e5-small (encoder)"}]
    assert meta["labels"]["maral_ner"] == ["LOC", "ORG", "PER"]
    assert meta["performance"]["source_dev_ents_f"] == 0.9
    assert meta["description"].endswith("tested on de-test, hi-test.")
    readme = generate_readme(meta)
    for line in (
        "| **Version** | `1.2.3` |",
        "| **Sources** | [Corpus](https://example.org)<br>intfloat/multilingual-e5-small (encoder) |",
        "| **License** | `CC-BY-4.0` |",
        "| `ENTS_F` | 60.00 |",
        "| source | 1,500 | 3,000 | 1,500 |",
        "| target | 3,000 | 6,000 | not used |",
        "| de-test | PER | 70.00 | 50.00 | 60.00 | 40 |",
        "| de-test | all | 60.00 | 40.00 | 50.00 | 40 |",
        "| Saved epoch | 3: the last |",
        "| Versions | spacy 3.8.7, torch 2.9 |",
        "| Longest entity | 4 words |",
        "- Entities of more than 4 words and nested entities are not found.",
        'nlp = spacy.load("xx_maral_x")',
    ):
        assert line in readme, line
    assert "Some-Machine" not in readme and not readme.startswith("---")
    # again: nothing is there twice
    assert write_card(student, CardFacts(given, sources, [folder], data, "e")) != meta
    again = json.loads((student / "meta.json").read_text(encoding="utf8"))
    assert again["notes"].count("### Data") == 1 and len(again["sources"]) == 2


def test_a_pipeline_keeps_its_card(student):
    write_card(student, CardFacts(meta={"license": "CC0-1.0"}))
    nlp = spacy.load(student)
    nlp.to_disk(student)
    meta = json.loads((student / "meta.json").read_text(encoding="utf8"))
    assert meta["license"] == "CC0-1.0" and "### Limits" in meta["notes"]


def test_a_card_without_anything_given(student):
    (student / "training" / "summary.json").unlink()
    meta = write_card(student, CardFacts())
    assert "It was not tested." in meta["notes"] and "### Data" not in meta["notes"]
    assert meta["sources"] == [{"name": "encoder0 (encoder)"}], "no path of this machine"
    assert validate(ModelMetaSchema, meta) == []


@pytest.mark.parametrize("sections", [["teacher"], ["student"], ["student", "adaptation"]])
@pytest.mark.parametrize("loss", ["MaxMargin", "CrossEntropy"])
def test_a_card_names_the_method_of_its_own_run(student, sections, loss):
    """The configuration of a teacher has the sections of its students, too."""
    block = {"@losses": f"spacy-maral.{loss}.v1"}
    config = Config().from_disk(student / "config.cfg")
    config["components"]["maral_ner"]["loss"] = config["student"]["loss"] = block
    config.to_disk(student / "config.cfg")
    summary = {**SUMMARY, "settings": {name: {"loss": block} for name in sections}}
    (student / "training" / "summary.json").write_text(json.dumps(summary), encoding="utf8")
    meta = write_card(student, CardFacts())
    how, method = {
        "teacher": ("supervised training", "supervised training"),
        "student": ("distillation", "distillation"),
        "adaptation": ("cross-lingual adaptation", "progressive adaptation"),
    }[sections[-1]]
    if loss == "MaxMargin":
        method = f"large-margin classes and {method}"
    if sections[-1] == "adaptation" and loss == "MaxMargin":
        method = f"MARAL: {method}"
    assert f"| Method | {method} |" in meta["notes"]
    assert meta["description"] == f"Named entities (LOC, ORG, PER) by {how} with spacy-maral."


def test_what_is_no_pipeline(tmp_path, student):
    with pytest.raises(MaralError, match="not a trained pipeline"):
        write_card(tmp_path, CardFacts())
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match="no component maral_ner"):
        write_card(tmp_path / "blank", CardFacts())


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '[{"name": "A", "url": "u"}]'), ("a.yml", "- name: A\n  url: u\n")],
)
def test_sources_from_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf8")
    assert read_sources(tmp_path / name) == [{"name": "A", "url": "u"}]


@pytest.mark.parametrize("text", ["{", "{}", '[{"url": "u"}]', '[{"name": 3}]', '["A"]'])
def test_sources_that_are_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf8")
    with pytest.raises(MaralError, match="not a list of sources"):
        read_sources(tmp_path / "a.json")


def test_the_projects_sources_can_be_read():
    folder = Path(__file__).parents[2] / "assets" / "sources"
    for dataset in {"demo", *DATASETS}:
        assert read_sources(folder / f"{dataset}.json")


# the command


def test_card_command(student, folder, tmp_path):
    before = (student / "meta.json").read_bytes()
    output = tmp_path / "packages" / "meta.json"
    result = run(
        "card", student, "--metrics", folder, "--license", "MIT", "-s",
        docs_file(tmp_path / "a.spacy"), "-o", output,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (student / "meta.json").read_bytes() == before
    assert json.loads(output.read_text(encoding="utf8"))["license"] == "MIT"
    assert "names no author" in result.stdout and "names no license" not in result.stdout
    assert f"--meta {output}" in result.stdout


def test_card_command_refuses(student, tmp_path):
    (tmp_path / "sources.json").write_text("3", encoding="utf8")
    result = run("card", student, "--sources", tmp_path / "sources.json")
    assert result.exit_code == 1 and "[M410]" in result.stderr and result.stdout == ""
    assert run("card", tmp_path / "nowhere").exit_code == 2


# packages

OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
    raise OSError("no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.path.insert(0, sys.argv[1])
import spacy
nlp = __import__(sys.argv[2]).load()
print(nlp.meta["license"], nlp("Angela Merkel visited Paris").has_annotation("ENT_IOB"))
"""


def test_a_package_loads_without_network_and_encoder(student, folder, tmp_path):
    config = (student / "config.cfg").read_text(encoding="utf8")
    lines = [
        'name = "nobody/no-such-encoder"' if line.startswith("name = ") else line
        for line in config.splitlines()
    ]
    assert "nobody/no-such-encoder" in "\n".join(lines)
    (student / "config.cfg").write_text("\n".join(lines) + "\n", encoding="utf8")
    write_card(student, CardFacts(meta={"license": "CC0-1.0", "name": "x"}, metrics=[folder]))
    package(student, tmp_path, name="card_test", version="0.0.1", create_sdist=False)
    built = tmp_path / "xx_card_test-0.0.1"
    inner = built / "xx_card_test" / "xx_card_test-0.0.1"
    for readme in (built / "README.md", inner / "README.md"):
        assert "### Scores by test set" in readme.read_text(encoding="utf8")
    meta = json.loads((built / "meta.json").read_text(encoding="utf8"))
    names = {requirement.split(">")[0] for requirement in meta["requirements"]}
    assert {"spacy-maral", *(["spacy-transformers"] if IS_INSTALLED else [])} <= names
    # as the package's setup.py does
    for place in (inner, inner.parent):
        (place / "meta.json").write_text(json.dumps(meta), encoding="utf8")
    result = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(built), "xx_card_test"],
        capture_output=True, text=True, encoding="utf8", timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-2:] == ["CC0-1.0", "True"]


def test_neither_an_old_readme_nor_the_runs_folder_is_packaged(student, tmp_path, monkeypatch):
    """spaCy keeps a README.md that is in the package's folder already, and copies all folders."""
    calls = []

    def without_wheel(*args, create_wheel, **kwargs):
        calls.append(kwargs["meta_path"])
        package(*args, create_wheel=False, **kwargs)
        (tmp_path / "xx_old-0.0.1" / "dist").mkdir(exist_ok=True)
        (tmp_path / "xx_old-0.0.1" / "dist" / "a.whl").touch()

    monkeypatch.setattr("build_package.package", without_wheel)
    meta = tmp_path / "meta.json"
    (student / "training" / "diagnostics").mkdir(parents=True, exist_ok=True)
    (student / "training" / "diagnostics" / ".epoch-0001.json").write_text("{}", encoding="utf8")
    for license in ("MIT", "CC0-1.0"):
        write_card(student, CardFacts(meta={"license": license}), output=meta)
        build_package(student, tmp_path, name="old", version="0.0.1", meta=meta)
        readme = (tmp_path / "xx_old-0.0.1" / "README.md").read_text(encoding="utf8")
        assert f"| **License** | `{license}` |" in readme
    assert calls == [meta, meta]
    inner = tmp_path / "xx_old-0.0.1" / "xx_old" / "xx_old-0.0.1"
    assert (inner / "maral_ner").is_dir() and not (inner / "training").exists()
    assert (student / "training").is_dir()


@pytest.mark.parametrize("status", [0, 1])
def test_the_wheel_of_the_package_is_built_beside_it(tmp_path, monkeypatch, capsys, status):
    built = tmp_path / "xx_a-0.1.0" / "dist" / "xx_a-0.1.0-py3-none-any.whl"
    built.parent.mkdir(parents=True)
    built.touch()

    def run(words, check):
        assert words[:4] == [sys.executable, "-m", "pip", "wheel"] and "--no-deps" in words
        assert (Path(words[-1]) / "pyproject.toml").is_file()
        (Path(words[-2]) / "spacy_maral-0.1.0-py3-none-any.whl").touch()
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr("build_package.build_package", lambda *args, **kwargs: built)
    monkeypatch.setattr("build_package.subprocess.run", run)
    arguments = ["student", str(tmp_path), "--name", "a", "--version", "0.1.0", "--with-maral"]
    assert package_tool(arguments) == status
    shown = "".join(capsys.readouterr().out.split())
    assert (
        status or f"pipinstall{built.parent / 'spacy_maral'}-0.1.0-py3-none-any.whl{built}" in shown
    )


def test_the_hub_finds_what_it_needs(student, folder):
    """The keys of meta.json that spacy-huggingface-hub reads."""
    meta = write_card(student, CardFacts(meta={"license": "MIT"}, metrics=[folder]))
    assert isinstance(meta["components"], list) and meta["lang"] == "xx"
    assert meta["license"].replace(" ", "-").lower() == "mit"
    assert all(isinstance(meta["performance"][f"ents_{x}"], float) for x in "prf")
