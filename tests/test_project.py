"""The project file: sound by weasel's schema, complete in deps and outputs, free of shell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import srsly
import with_targets
from docs_blocks import parse
from prepare_corpus import main, parse_arguments
from weasel.schemas import ProjectConfigSchema, validate
from weasel.util.commands import split_command
from weasel.util.config import load_project_config

from spacy_maral.data.datasets import DATASETS, list_parts

ROOT = Path(__file__).parent.parent
STEPS = [
    "encoder", "corpus", "convert", "train-teacher", "pseudo-label", "adapt", "evaluate", "package",
]  # fmt: skip
SETTINGS = {
    "demo": {},
    "wikiann": {
        "vars.dataset": "wikiann",
        "vars.target": "de",
        "vars.data_dir": "../data/wikiann",
        "vars.config": "configs/maral_small.cfg",
    },
    "multiconer2": {
        "vars.dataset": "multiconer2",
        "vars.target": "bn",
        "vars.data_dir": "../data/multiconer2",
    },
}


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch):
    monkeypatch.delenv("MARAL_OVERRIDES", raising=False)


def load(name: str) -> dict:
    return load_project_config(ROOT, overrides=SETTINGS[name])


def commands(project: dict) -> dict[str, dict]:
    return {command["name"]: command for command in project["commands"]}


def test_schema():
    assert validate(ProjectConfigSchema, srsly.read_yaml(ROOT / "project.yml")) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_workflow_runs_all_steps_in_order(name):
    project = load(name)
    assert project["workflows"]["all"] == STEPS
    assert set(STEPS) <= set(commands(project))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_dependency_is_made_before_or_is_a_file_of_the_project(name):
    made: list[Path] = []
    for step in load(name)["workflows"]["all"]:
        command = commands(load(name))[step]
        for dep in command["deps"]:
            path = Path(dep)
            assert any(path.is_relative_to(out) for out in made) or (ROOT / path).exists(), dep
        assert command["outputs"], step
        made += map(Path, command["outputs"])


@pytest.mark.parametrize("name", SETTINGS)
def test_commands_are_python_without_a_shell(name):
    for command in load(name)["commands"]:
        for line in command["script"]:
            assert not set(line) & set("|<>*?;&`$'\"\\\n"), line
            words = split_command(line)
            assert words[0] == "python"
            if words[1] != "-m":
                assert (ROOT / words[1]).is_file(), words[1]


def test_every_script_is_a_dependency_of_its_step():
    project = commands(load("demo"))
    for step in STEPS:
        script = split_command(project[step]["script"][0])[1]
        if script.startswith("tools/"):
            assert script in project[step]["deps"], step


def test_runs_on_different_data_do_not_share_folders():
    outputs = [
        {out for command in load(name)["commands"] for out in command.get("outputs", [])}
        for name in SETTINGS
    ]
    encoder = set(commands(load("demo"))["encoder"]["outputs"])
    assert set.intersection(*outputs) == encoder


@pytest.mark.parametrize("step", ["corpus", "convert"])
def test_a_data_folder_may_have_a_blank_in_its_name(step):
    project = load_project_config(ROOT, overrides={"vars.data_dir": "my data/of 2026"})
    words = split_command(commands(project)[step]["script"][0])
    assert parse_arguments(words[2:]).data_dir == Path("my data/of 2026")


def sizes() -> dict[str, dict]:
    """Variables of the project for each size of the demonstration, as the Makefile gives them."""
    text = (ROOT / "Makefile").read_text(encoding="utf8").replace("\\\n", " ")
    found = {}
    for name, options in re.findall(r"^DEMO_(\w+) :=(.*)$", text, re.M):
        words = [word.removeprefix("--") for word in options.split()]
        found[name] = dict(zip(words[::2], words[1::2], strict=True))
    return found


def test_sizes_of_the_demonstration_do_not_share_folders():
    """`make demo DEMO=small; make demo` would otherwise resume a run of other data."""
    shared = []
    assert set(sizes()) == {"default", "small", "tiny"}
    for settings in sizes().values():
        project = load_project_config(ROOT, overrides=settings)
        outputs = {
            out
            for command in project["commands"]
            for out in command.get("outputs", [])
            if not out.startswith(("encoders", "packages/xx_", "corpus/small-raw"))
        }
        assert len(outputs) == 7 - settings.get("vars.data_dir", "").count("small-raw")
        shared.append(outputs)
    assert not set.intersection(*shared) and len(set.union(*shared)) == sum(map(len, shared))


def test_settings_reach_both_trainings(monkeypatch):
    monkeypatch.setenv("MARAL_OVERRIDES", "--teacher.epochs 1 --student.epochs 2")
    project = commands(load_project_config(ROOT, overrides={"vars.seed": 7}))
    for step in ("train-teacher", "adapt"):
        words = split_command(project[step]["script"][0])
        assert words[words.index("--system.seed") + 1] == "7"
        assert words[-4:] == ["--teacher.epochs", "1", "--student.epochs", "2"]


def maral_commands(project: dict) -> dict[str, tuple[str, dict]]:
    """What the steps give `spacy maral`: the command and its options, by step."""
    found = {}
    for step, command in commands(project).items():
        words = split_command(command["script"][0])
        if words[1] == "tools/with_targets.py":
            words = ["-m", "spacy", "maral", *with_targets.expand(words[3:], words[2].split("+"))]
        elif words[1] == "-m":
            words = words[1:]
        else:
            continue
        parsed = parse(words[2:])
        assert not set(parsed.overrides) - {"paths.cache", "paths.encoder", "system.seed"}
        found[step] = (parsed.name, parsed.values)
    return found


def test_every_target_is_a_file_of_its_own():
    found = maral_commands(load("demo"))
    for step in ("pseudo-label", "adapt", "package"):
        command, options = found[step]
        assert command == f"maral {step if step != 'package' else 'card'}"
        names = [path.as_posix() for path in options["target"]]
        assert names == [f"corpus/demo-en-de+es+hi/target-{x}.spacy" for x in ("de", "es", "hi")]
    assert [path.name for path in found["train-teacher"][1]["source"]] == ["train.spacy"]
    (only,) = maral_commands(load("wikiann"))["adapt"][1]["target"]
    assert only.as_posix() == "corpus/wikiann-en-de/target-de.spacy"


def test_words_with_lang_are_repeated():
    words = ["adapt", "a.cfg", "--target", "c/{lang}.spacy", "--dev", "d", "-l", "{lang}", "{lang}"]
    assert with_targets.expand(words, ["de", "hi"]) == [
        "adapt", "a.cfg", "--target", "c/de.spacy", "--target", "c/hi.spacy", "--dev", "d",
        "-l", "de", "-l", "hi", "de", "hi",
    ]  # fmt: skip
    assert with_targets.expand(["{lang}"], ["de"]) == ["de"]


def test_targets_that_would_leave_the_folder_are_refused(capsys):
    with pytest.raises(SystemExit) as end:
        with_targets.main(["de+../x", "adapt", "{lang}.spacy"])
    assert end.value.code == 1 and "M216" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="takes a file of each target"):
        with_targets.main(["de"])


def test_a_command_of_targets_ends_with_its_own_status(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        with_targets.main(["de+es", "pseudo-label", "x", f"{tmp_path}/{{lang}}", "-o", "y.npz"])
    assert end.value.code == 2 and "does not exist" in capsys.readouterr().err


def test_assets_are_extra_and_say_where_they_come_from():
    for asset in load("demo")["assets"]:
        assert asset["extra"] is True
        assert asset["url"].startswith("https://")
        assert asset["description"]


def test_target_training_text_is_the_only_part_without_labels():
    parts = list_parts(DATASETS["multiconer2"], Path("data"), "en", ["bn", "fa"])
    assert [str(part.path.as_posix()) for part in parts] == [
        "data/en/en-train.conll",
        "data/en/en-dev.conll",
        "data/bn/bn-train.conll",
        "data/bn/bn-test.conll",
        "data/fa/fa-train.conll",
        "data/fa/fa-test.conll",
    ]
    unlabelled = [part.output for part in parts if part.unlabelled]
    assert unlabelled == ["target-bn", "target-fa"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_layouts_tell_all_parts_apart(dataset):
    paths = [part.path for part in list_parts(DATASETS[dataset], Path("x"), "en", ["de"])]
    assert len(set(paths)) == 4


def test_missing_files_are_named(tmp_path, capsys):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "train").write_text("", encoding="utf8")
    arguments = ["--dataset", "wikiann", "--data-dir", str(tmp_path), "--source", "en"]
    assert main(["files", *arguments, "--target", "de"]) == 1
    output = "".join(capsys.readouterr().out.split())
    assert "".join(str(tmp_path / "de" / "test").split()) in output
    assert "".join(str(tmp_path / "en" / "train").split()) not in output


def test_demo_becomes_spacy_files_without_target_labels(tmp_path):
    import spacy
    from spacy.tokens import DocBin

    arguments = ["--dataset", "demo", "--data-dir", str(tmp_path / "raw"), "--source", "en"]
    arguments += ["--target", "de+hi", "--size", "small"]
    assert main(["files", *arguments]) == 0
    assert main(["convert", *arguments, "--out", str(tmp_path / "out")]) == 0
    vocab = spacy.blank("xx").vocab
    docs = {
        path.stem: list(DocBin().from_disk(path).get_docs(vocab))
        for path in (tmp_path / "out").iterdir()
    }
    assert {name: len(part) for name, part in docs.items()} == {
        "train": 200, "dev": 60, "target-de": 150, "target-hi": 150, "test-de": 60, "test-hi": 60,
    }  # fmt: skip
    raw = [*docs["target-de"], *docs["target-hi"]]
    assert not any(doc.has_annotation("ENT_IOB") for doc in raw)
    for name in ("train", "dev", "test-de", "test-hi"):
        assert all(doc.has_annotation("ENT_IOB") for doc in docs[name])
        assert sum(len(doc.ents) for doc in docs[name]) > 50
