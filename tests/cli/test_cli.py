from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.util import registry
from typer.main import get_command
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.cli._util import DOCS, ORDER
from spacy_maral.cli.data import ExportFormat, Format
from spacy_maral.data.formats.registry import FORMATS
from spacy_maral.errors import MaralError
from spacy_maral.experiments.signals import StudySignals
from spacy_maral.scale import RayEngine

COMMANDS = [
    "convert",
    "stats",
    "translate-words",
    "train-teacher",
    "suggest",
    "project-labels",
    "pseudo-label",
    "adapt",
    "evaluate",
    "compare",
    "benchmark",
    "init-config",
    "debug-data",
    "card",
    "annotate",
]
WITH_CODE = [
    "debug-data", "translate-words", "train-teacher", "suggest", "project-labels", "pseudo-label",
    "adapt", "evaluate", "annotate",
]  # fmt: skip
SENTENCES = """\
en:Ada\tB-PER
en:Lovelace\tI-PER
en:met\tO
en:Acme\tB-ORG

en:Nobody\tO
en:there\tO
"""


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def words(text: str) -> str:
    """Text without line breaks, which depend on the width of the terminal."""
    return " ".join(text.split())


@pytest.fixture
def raw(tmp_path) -> Path:
    path = tmp_path / "train"
    path.write_text(SENTENCES, encoding="utf8")
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Files and folders that exist, for commands that do not look into them here."""
    paths = {name: tmp_path / f"{name}.spacy" for name in ("source", "target", "dev")}
    paths |= {"config": tmp_path / "config.cfg", "labels": tmp_path / "labels.npz"}
    for path in paths.values():
        path.write_text("", encoding="utf8")
    paths["teacher"] = tmp_path / "teacher"
    paths["teacher"].mkdir()
    paths["output"] = tmp_path / "out"
    return paths


@pytest.fixture
def called(monkeypatch) -> dict:
    """What the functions of the training package are called with, in place of training."""
    calls: dict = {}

    def fake(name: str):
        def call(*args, **kwargs):
            calls[name] = (args, kwargs)
            return args[2] if name == "pseudo_label" else kwargs["output"]

        return call

    homes = {
        "train_teacher": "training.teacher",
        "pseudo_label": "adaptation.label_target",
        "adapt": "adaptation.student",
    }
    for name, home in homes.items():
        monkeypatch.setattr(f"spacy_maral.{home}.{name}", fake(name))
    monkeypatch.delenv("SPACY_CONFIG_OVERRIDES", raising=False)
    return calls


# mounting and help


def test_spacy_has_the_commands():
    result = subprocess.run(
        [sys.executable, "-m", "spacy", "maral", "--help"],
        capture_output=True, text=True, encoding="utf8", timeout=200, check=True,
    )  # fmt: skip
    lines = [line.split() for line in result.stdout.splitlines()]
    assert "Usage: python -m spacy maral" in words(result.stdout)
    assert all(any(line[:1] == [command] for line in lines) for command in COMMANDS)


def test_commands_are_listed_in_the_order_of_their_use():
    lines = [line.split() for line in run("--help").stdout.splitlines() if line.startswith("  ")]
    listed = [line[0] for line in lines if line and line[0] in ORDER]
    assert listed == list(ORDER)


def leaves(group, *before: str):
    """All commands, those of groups too, with the words that call them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *before, name)
        else:
            yield (*before, name), command


def options() -> list[tuple[tuple[str, ...], str, list[str]]]:
    """Command, long name and short names of each option."""
    found = []
    for name, command in leaves(get_command(app)):
        for option in command.params:
            names = [*option.opts, *option.secondary_opts]
            if names[0].startswith("--"):
                found.append((name, names[0], [x for x in names if not x.startswith("--")]))
    return found


def test_a_letter_has_one_meaning_in_all_commands():
    by_letter, by_name = defaultdict(set), defaultdict(set)
    for _, name, letters in options():
        by_name[name].add(tuple(letters))
        for letter in letters:
            by_letter[letter].add(name)
    assert {k: v for k, v in by_letter.items() if len(v) > 1} == {}
    assert {k: v for k, v in by_name.items() if len(v) > 1 and k != "--split"} == {}
    assert by_letter["-t"] == {"--teacher"} and by_letter["-E"] == {"--test"}


def test_every_help_names_its_part_of_the_documentation():
    known = (Path(__file__).parents[2] / DOCS).read_text(encoding="utf8")
    for name, _ in leaves(get_command(app)):
        shown = words(run(*name, "--help").stdout)
        assert shown.count(f"Documentation: {DOCS}#{'-'.join(name)}") == 1, name
        assert f"\n## {' '.join(name)}\n" in known


def test_version():
    result = run("--version")
    assert result.exit_code == 0 and result.output.strip() == version("spacy-maral")


def test_help_does_not_wait_for_training():
    code = """
import sys
import spacy_maral.cli
heavy = ("spacy_maral.training", "spacy_maral.evaluation.evaluate", "spacy_maral.data", "faiss", "sklearn")
sys.exit(", ".join(name for name in heavy if name in sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.stderr.strip() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_formats_are_those_of_the_readers():
    assert [format.value for format in Format] == ["auto", *FORMATS]
    assert [format.value for format in ExportFormat] == list(FORMATS)


# convert and stats


def test_convert_writes_documents_and_says_what(raw, tmp_path):
    output = tmp_path / "train.spacy"
    result = run("convert", raw, output, "--format", "wikiann", "--lang", "en")
    assert result.exit_code == 0, result.output
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert [[ent.label_ for ent in doc.ents] for doc in docs] == [["PER", "ORG"], []]
    assert "2 sentences, 6 tokens" in result.stdout
    assert "PER 1" in words(result.stdout)


def test_convert_leaves_labels_out(raw, tmp_path):
    output = tmp_path / "raw.spacy"
    result = run("convert", raw, output, "--unlabelled")
    assert result.exit_code == 0, result.output
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert not any(doc.has_annotation("ENT_IOB") for doc in docs)
    assert "Entities" not in result.stdout


def test_convert_repairs_tags_shows_the_first_and_refuses_them_on_request(raw, tmp_path):
    raw.write_text(SENTENCES.replace("B-ORG", "I-ORG"), encoding="utf8")
    result = run("convert", raw, tmp_path / "train.spacy")
    assert result.exit_code == 0, result.output
    assert "which begins where its label does 1" in words(result.stdout)
    assert f"{raw}:4: I-ORG after O" in words(result.stdout)
    result = run("convert", raw, tmp_path / "strict.spacy", "--tags", "strict")
    assert result.exit_code == 1 and "[M113]" in result.stderr
    assert not (tmp_path / "strict.spacy").exists()


def test_export_writes_what_convert_reads(raw, tmp_path):
    assert run("convert", raw, tmp_path / "a.spacy").exit_code == 0
    output = tmp_path / "tasks.json"
    result = run("export", tmp_path / "a.spacy", output, "--format", "label-studio")
    assert result.exit_code == 0, result.output
    assert "2 documents" in words(result.stdout)
    assert run("convert", output, tmp_path / "b.spacy").exit_code == 0
    assert (tmp_path / "a.spacy").read_bytes() == (tmp_path / "b.spacy").read_bytes()
    assert run("convert", raw, tmp_path / "raw.spacy", "--unlabelled").exit_code == 0
    result = run("export", tmp_path / "raw.spacy", tmp_path / "x.jsonl")
    assert result.exit_code == 1 and "[M168]" in result.stderr


def test_convert_maps_labels(raw, tmp_path):
    (tmp_path / "map.json").write_text('{"PER": "HUMAN", "ORG": null}', encoding="utf8")
    output = tmp_path / "train.spacy"
    result = run("convert", raw, output, "--label-map", tmp_path / "map.json")
    assert result.exit_code == 0, result.output
    docs = DocBin().from_disk(output).get_docs(spacy.blank("en").vocab)
    assert [ent.label_ for doc in docs for ent in doc.ents] == ["HUMAN"]
    assert "Left out by the label map" in result.stdout


def test_convert_warns_of_another_language(raw, tmp_path):
    result = run("convert", raw, tmp_path / "train.spacy", "--lang", "de")
    assert result.exit_code == 0, result.output
    assert "asked for is 'de', but the file says 'en'" in words(result.stdout)


def test_bad_lines_are_named_without_a_traceback(raw, tmp_path):
    raw.write_text(SENTENCES.replace("B-ORG", "ORG"), encoding="utf8")
    result = run("convert", raw, tmp_path / "train.spacy", "--format", "wikiann")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert f"{raw}:4" in result.stderr
    assert "'ORG'" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "train.spacy").exists()


def test_a_format_that_does_not_exist_is_refused(raw, tmp_path):
    result = run("convert", raw, tmp_path / "train.spacy", "--format", "conll2003")
    assert result.exit_code == 2
    assert "wikiann" in result.output


def test_stats_prints_json_and_nothing_else(raw):
    result = run("stats", raw, "--lang", "en", "--max-width", 2, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["spans"] == {"O": 8, "ORG": 1, "PER": 1}
    assert next(iter(found["spans"])) == "O"
    assert (found["sentences"], found["tokens"], found["max_width"]) == (2, 6, 2)


def test_stats_of_converted_documents_are_the_same(raw, tmp_path):
    assert run("convert", raw, tmp_path / "train.spacy").exit_code == 0
    outputs = [run("stats", path, "--json").stdout for path in (raw, tmp_path / "train.spacy")]
    assert json.loads(outputs[0])["spans"] == json.loads(outputs[1])["spans"]


def test_stats_prints_tables(raw):
    result = run("stats", raw, "--max-width", 1)
    assert result.exit_code == 0, result.output
    assert "Entities of more than 1 words" in result.stdout
    assert "O 4" in words(result.stdout)
    assert "ORG 1 0 0.0 PER 1 1 100.0 all 2 1 50.0" in words(result.stdout)
    assert "99 % up to 2" in words(result.stdout)


def test_stats_of_several_files_make_one_table(raw, tmp_path):
    other = tmp_path / "dev"
    other.write_text("en:Rome\tB-LOC\nen:fell\tO\nen:.\tO\n", encoding="utf8")
    result = run("stats", raw, other, "--max-width", 1)
    assert result.exit_code == 0, result.output
    text = words(result.stdout)
    assert "sentences 2 1" in text and "words 6 3" in text and "O 4 2" in text
    assert "LOC - 1" in text and "ORG 1 -" in text and "PER 1 -" in text
    assert "entities that are longer 1 0" in text
    assert "train dev" in text and text.count("Spans of up to 1 words") == 1
    found = json.loads(run("stats", raw, other, "--json").stdout)
    assert list(found) == [str(raw), str(other)]
    assert found[str(other)] == json.loads(run("stats", other, "--json").stdout)


@pytest.mark.parametrize("width", [0, -3, "x"])
def test_stats_refuses_impossible_widths(raw, width):
    assert run("stats", raw, "--max-width", width).exit_code == 2


# training


def test_train_teacher_passes_everything_on(files, called):
    result = run(
        "train-teacher", files["config"], "--source", files["source"], "--dev", files["dev"],
        "-o", files["output"], "--resume", "--gpu-id", 1,
        "--teacher.epochs", 3, "--paths.encoder=some/folder", "--teacher.freeze-embeddings=true",
        "--target-gold", files["target"], "--target-gold", files["dev"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert called["train_teacher"] == (
        (files["config"],),
        {
            "source": [files["source"]],
            "dev": [files["dev"]],
            "output": files["output"],
            "target": None,
            "lang": None,
            "target_gold": [files["target"], files["dev"]],
            "resume": True,
            "gpu_id": 1,
            "overrides": {
                "teacher.epochs": 3,
                "paths.encoder": "some/folder",
                "teacher.freeze_embeddings": True,
            },
        },
    )


def test_pseudo_label_passes_everything_on(files, called):
    result = run("pseudo-label", files["teacher"], files["target"], "-o", files["output"])
    assert result.exit_code == 0, result.output
    args, options = called["pseudo_label"]
    assert args == ([str(files["teacher"])], [files["target"]], files["output"])
    assert {name for name, value in options.items() if value is not None} == {
        "confidence", "gpu_id", "partial", "combine", "report",
    }  # fmt: skip


def test_options_of_ray_need_ray(files, called):
    arguments = ("pseudo-label", files["teacher"], files["target"], "-o", files["output"])
    ray = (
        "--address", "auto", "--workers", 2, "--cpus-per-worker", 2, "--gpus-per-worker", 1,
        "--retries", 0,
    )  # fmt: skip
    result = run(*arguments, *ray)
    assert result.exit_code == 1 and not called
    names = ", ".join(str(word) for word in ray[::2])
    assert f"[M578] {names} would have no effect" in result.stderr
    assert run(*arguments, *ray, "--engine", "ray").exit_code == 0
    engine = called["pseudo_label"][1]["engine"]
    found = (engine.address, engine.workers, engine.cpus, engine.gpus, engine.retries)
    assert found == ("auto", 2, 2.0, 1.0, 0)
    assert run(*arguments, "--engine", "ray", "--verbose").exit_code == 0
    assert called["pseudo_label"][1]["engine"] == RayEngine(verbose=True)


def test_pseudo_label_takes_several_annotators_and_targets(files, called):
    silver = files["labels"].with_name("silver.jsonl")
    result = run(
        "pseudo-label", "en_some_model", files["source"], files["target"], "-o", files["output"],
        "--also", silver, "--lang", "de", "--lang", "fr", "--labels", "PER,LOC",
        "--confidence", 0.8, "--max-width", 6, "--score-attr", "score",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    args, options = called["pseudo_label"]
    targets = [files["source"], files["target"]]
    assert args == (["en_some_model", str(silver)], targets, files["output"])
    assert options["labels"] == ["PER", "LOC"] and options["lang"] == ["de", "fr"]
    assert options["confidence"] == 0.8 and options["max_width"] == 6
    assert options["score_attr"] == "score" and options["spans_key"] is None


@pytest.mark.parametrize("with_labels", [True, False])
def test_adapt_passes_everything_on(files, called, with_labels):
    labels = ["--labels", files["labels"], "--target-gold", files["source"]] if with_labels else []
    result = run(
        "adapt", files["config"], "--teacher", files["teacher"], "--source", files["source"],
        "--target", files["target"], "--dev", files["dev"], "-o", files["output"], *labels,
        "--adaptation.filter", "false",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    args, options = called["adapt"]
    assert args == (files["config"],)
    assert options == {
        **{name: files[name] for name in ("teacher", "output")},
        **{name: [files[name]] for name in ("source", "target", "dev")},
        "labels": [files["labels"]] if with_labels else None,
        "target_gold": [files["source"]] if with_labels else None,
        "diagnosis": None,
        "lang": None,
        "overrides": {"adaptation.filter": False},
        "resume": False,
        "gpu_id": -1,
        "study": None,
    }


def test_a_diagnosis_logs_the_signals_of_the_study(files, called):
    result = run(
        "adapt", files["config"], "--teacher", files["teacher"], "--source", files["source"],
        "--target", files["target"], "--dev", files["dev"], "-o", files["output"],
        "--diagnosis", files["dev"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert called["adapt"][1]["study"] is StudySignals


def teacher_arguments(files) -> list:
    return [
        "train-teacher", files["config"], "--source", files["source"], "--dev", files["dev"],
        "-o", files["output"],
    ]  # fmt: skip


def test_settings_from_the_environment(files, called, monkeypatch):
    monkeypatch.setenv("SPACY_CONFIG_OVERRIDES", "--teacher.epochs 2")
    assert run(*teacher_arguments(files)).exit_code == 0
    assert called["train_teacher"][1]["overrides"] == {"teacher.epochs": 2}


@pytest.mark.parametrize("option", ["--epochs", "--epochs=2.5", "--max_epochs"])
def test_options_that_name_no_section_are_refused(files, called, option):
    result = run(*teacher_arguments(files), option)
    assert result.exit_code == 2
    assert f"no option {option.partition('=')[0]}" in words(result.output)
    assert not called


@pytest.mark.parametrize(
    "more", [["--teacher.learn_rate"], ["--teacher.learn_rate", "--teacher.epochs", "2"]]
)
def test_a_setting_without_a_value_is_refused(files, called, more):
    result = run(*teacher_arguments(files), *more)
    assert result.exit_code == 2 and not called
    assert "--teacher.learn_rate needs a value" in words(result.output)


@pytest.mark.parametrize(
    "arguments, meant",
    [(["--sorce", "x"], "--source"), (["--resumed"], "--resume"), (["--gpuid=0"], "--gpu-id")],
)
def test_the_option_that_was_meant_is_named(files, called, arguments, meant):
    result = run(*teacher_arguments(files), *arguments)
    assert result.exit_code == 2 and f"Did you mean '{meant}'?" in words(result.output)


@pytest.mark.parametrize("name", ["config", "source", "dev"])
def test_missing_files_are_refused_before_anything_starts(files, called, name):
    files[name].unlink()
    result = run(*teacher_arguments(files))
    assert result.exit_code == 2
    assert not called


def test_an_output_that_is_a_file_is_refused(files, called):
    files["output"].write_text("", encoding="utf8")
    assert run(*teacher_arguments(files)).exit_code == 2
    assert not called


def test_errors_of_training_are_shown_whole(files, monkeypatch):
    message = "The loss is not finite in step 3. " + "/long-folder" * 20

    def fail(*args, **kwargs):
        raise MaralError(message)

    monkeypatch.setattr("spacy_maral.training.teacher.train_teacher", fail)
    result = run(*teacher_arguments(files))
    assert result.exit_code == 1
    assert "Cannot train the teacher" in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_faults_of_the_program_are_not_hidden(files, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr("spacy_maral.training.teacher.train_teacher", fail)
    assert isinstance(run(*teacher_arguments(files)).exception, RuntimeError)


def test_a_broken_config_is_reported(files):
    files["config"].write_text("[teacher\nepochs = 1", encoding="utf8")
    result = run(*teacher_arguments(files))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)


def test_code_is_imported_before_training(files, called, tmp_path, monkeypatch):
    code = tmp_path / "functions.py"
    code.write_text(
        "from spacy.util import registry\n\n@registry.misc('from_code.v1')\ndef f():\n    ...\n"
    )
    result = run(*teacher_arguments(files), "--code", code, "--teacher.epochs", 2)
    assert result.exit_code == 0, result.output
    assert "from_code.v1" in registry.misc
    assert called["train_teacher"][1]["overrides"] == {"teacher.epochs": 2}


@pytest.mark.parametrize("text", ["import nowhere_at_all", "1 +", None])
def test_code_that_cannot_be_imported(files, called, tmp_path, text):
    code = tmp_path / "functions.py"
    if text is not None:
        code.write_text(text, encoding="utf8")
    result = run(*teacher_arguments(files), "-c", code)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "Cannot import the code" in result.stderr and str(code) in result.stderr
    assert "[M407]" in result.stderr
    assert not called


@pytest.mark.parametrize("command", WITH_CODE)
def test_options_are_called_as_spacys(command):
    shown = words(run(command, "--help").stdout)
    assert "-c, --code" in shown and "--verbose" in shown
    assert ("-g, --gpu-id" in shown) == (command != "debug-data")


def test_verbose_shows_more(files, called):
    logger, before = logging.getLogger("spacy"), logging.getLogger("spacy").level
    try:
        assert run(*teacher_arguments(files), "-V").exit_code == 0
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


def test_config_errors_go_to_stderr(files, monkeypatch):
    files["config"].write_text("[nlp]\nlang = ${paths.nowhere}\n", encoding="utf8")
    for name in ("source", "dev"):
        DocBin(docs=[spacy.blank("xx")("a b")]).to_disk(files[name])
    result = run(*teacher_arguments(files))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "Cannot train the teacher" in result.stderr and "nowhere" in result.stderr
    assert result.stdout == ""


# evaluate and compare


@pytest.fixture
def ruled(tmp_path) -> Path:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PER", "pattern": "Ada Lovelace"}])
    nlp.to_disk(tmp_path / "ruled")
    return tmp_path / "ruled"


def test_evaluate_prints_tables_and_writes_fractions(raw, ruled, tmp_path):
    assert run("convert", raw, tmp_path / "test.spacy").exit_code == 0
    metrics = tmp_path / "metrics" / "teacher-en.json"
    result = run("evaluate", ruled, tmp_path / "test.spacy", "-o", metrics, "--max-width", 1)
    assert result.exit_code == 0, result.output
    assert "all 100.00 50.00 66.67 2" in words(result.stdout)
    assert "PER 100.00 100.00 100.00 1" in words(result.stdout)
    found = json.loads(metrics.read_text(encoding="utf8"))
    assert found["micro"]["f1"] == pytest.approx(2 / 3)
    assert found["paper_protocol"]["support"] == 1
    assert (found["model"], found["data"]) == (str(ruled), str(tmp_path / "test.spacy"))
    assert (found["documents"], found["words"]) == (2, 6)


def test_evaluate_refuses_unlabelled_documents(raw, ruled, tmp_path):
    assert run("convert", raw, tmp_path / "raw.spacy", "--unlabelled").exit_code == 0
    result = run("evaluate", ruled, tmp_path / "raw.spacy", "-o", tmp_path / "metrics.json")
    assert result.exit_code == 1
    assert "[M402] No document of" in result.stderr
    assert not (tmp_path / "metrics.json").exists()


def test_evaluate_refuses_a_model_that_is_not_there(raw, tmp_path):
    assert run("convert", raw, tmp_path / "test.spacy").exit_code == 0
    result = run("evaluate", tmp_path / "nosuch", tmp_path / "test.spacy")
    assert result.exit_code == 1
    assert "nosuch" in result.stderr


def test_evaluate_refuses_a_file_of_something_else(raw, ruled):
    result = run("evaluate", ruled, raw)
    assert result.exit_code == 1
    assert str(raw) in result.stderr


def test_compare_prints_and_writes_a_table(tmp_path):
    for role, f1 in (("teacher", 0.5), ("student", 0.75)):
        metrics = {"micro": {"f1": f1}, "paper_protocol": {"f1": f1}}
        path = tmp_path / f"{role}-de-test.json"
        path.write_text(json.dumps(metrics), encoding="utf8")
    result = run("compare", tmp_path, "-o", tmp_path / "table.md")
    assert result.exit_code == 0, result.output
    assert "de-test 50.00 75.00 +25.00" in words(result.stdout)
    last = (tmp_path / "table.md").read_text(encoding="utf8").splitlines()[-1]
    assert last == "| de-test | 50.00 | 75.00 | +25.00 | 50.00 | 75.00 | +25.00 |"


def test_compare_refuses_an_empty_folder(tmp_path):
    result = run("compare", tmp_path)
    assert result.exit_code == 1
    assert "no metrics" in result.stderr
