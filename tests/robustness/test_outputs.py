"""Outputs on odd places: links, devices, pipes, full disks, folders that cannot be written."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from make_golden import GOLDEN
from typer.testing import CliRunner

from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.projection import project_labels
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.adaptation.student import adapt
from spacy_maral.adaptation.suggest import suggest
from spacy_maral.adaptation.train import train
from spacy_maral.adaptation.translation import translate_words
from spacy_maral.cli import app
from spacy_maral.data.convert import convert
from spacy_maral.data.export import export
from spacy_maral.data.files import prove_writable, write_file, write_json
from spacy_maral.data.raw import prepare_text
from spacy_maral.errors import MaralError
from spacy_maral.scale import (
    annotate_corpus,
    distil_layers,
    distil_tok2vec,
    optimise,
    trim_vocab,
)
from spacy_maral.training.suspects import find_suspects
from spacy_maral.training.teacher import train_teacher

MODEL = GOLDEN / "0.1" / "model"
LABELS = PseudoLabels(np.ones((3, 2)) / 2, ["LOC"], 2, "digest")
HAS_DEVICES = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs devices of Linux")


def test_a_link_is_written_through(tmp_path):
    target, link, dangling = tmp_path / "deep" / "a.json", tmp_path / "link", tmp_path / "dangling"
    write_file(target, "old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "new" / "b.json")
    for path in (link, dangling):
        prove_writable(path)
        write_json(path, {"a": 1})
        assert path.is_symlink() and '"a": 1' in path.read_text()
    assert '"a": 1' in target.read_text() and sorted(os.listdir(target.parent)) == ["a.json"]


def test_a_link_to_a_folder_is_written_through(tmp_path, quick_loading):
    old, link = tmp_path / "old", tmp_path / "link"
    old.mkdir()
    link.symlink_to(old)
    optimise(MODEL, link)
    assert link.is_symlink() and (old / "meta.json").is_file()


@HAS_DEVICES
def test_a_device_stays_one(tmp_path):
    for write in (lambda p: write_file(p, "x"), LABELS.save):
        prove_writable(Path("/dev/null"))
        write(Path("/dev/null"))
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
        with pytest.raises(MaralError, match=r"^\[M406\].*No space left"):
            write(Path("/dev/full"))
    assert not list(Path("/dev").glob(".*.tmp"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_written_to(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    prove_writable(pipe)
    write_file(pipe, "text")
    reader.join(timeout=10)
    assert found == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


def bad_places(folder: Path) -> list[Path]:
    """A file where a folder belongs, a name that is too long, a folder, a disk without files."""
    (folder / "file").write_text("x")
    (folder / "folder").mkdir()
    places = [folder / "file" / "below" / "out", folder / ("x" * 300), folder / "folder"]
    return places + ([Path("/proc/none/out")] if sys.platform == "linux" else [])


def test_bad_places_are_refused(tmp_path):
    for path in bad_places(tmp_path):
        with pytest.raises(MaralError, match=r"^\[M406\]"):
            prove_writable(path)
    for path in ("file", "file/below"):
        with pytest.raises(MaralError, match=r"^\[M406\]"):
            prove_writable(tmp_path / path, folder=True)


def test_a_full_disk_is_found_before_the_work(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MaralError, match=r"^\[M406\].*No space left"):
        prove_writable(tmp_path / "labels.npz")
    assert not list(tmp_path.iterdir())


TASKS = {
    "convert": lambda bad, world: convert("nowhere", bad / "a.spacy"),
    "prepare-text": lambda bad, world: prepare_text("nowhere", bad / "a.spacy", lang="de"),
    "pseudo-label": lambda bad, world: pseudo_label("nowhere", "nowhere", bad / "a.npz"),
    "train-teacher": lambda bad, world: train_teacher(
        world["config"], source="nowhere", dev="nowhere", output=bad
    ),
    "adapt": lambda bad, world: adapt(
        world["config"], labels="nowhere", source="nowhere", target="nowhere", dev="nowhere",
        output=bad,
    ),
    "annotate": lambda bad, world: annotate_corpus(MODEL, bad.parents[1] / "a.txt", bad),
    "trim-vocab": lambda bad, world: trim_vocab("nowhere", "nowhere", bad),
    "optimise": lambda bad, world: optimise("nowhere", bad),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_each_command_refuses_an_output_before_it_reads_its_input(tmp_path, world, task):
    for name in ("file", "a.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(MaralError, match=r"^\[M406\]"):
        TASKS[task](tmp_path / "file" / "below", world)
    assert (tmp_path / "file").read_text() == "x"


KEEPS = {
    "export": lambda gold, world: export(gold, gold),
    "prepare-text": lambda gold, world: prepare_text(gold, gold, lang="de"),
    "prepare-text in its folder": lambda gold, world: prepare_text(
        gold.parent, gold.parent / "new.spacy", lang="de"
    ),
    "suggest": lambda gold, world: suggest(MODEL, gold, gold),
    "suspects": lambda gold, world: find_suspects(gold, gold, model=MODEL),
    "pseudo-label": lambda gold, world: pseudo_label(MODEL, gold, gold),
    "pseudo-label by a file": lambda gold, world: pseudo_label(str(gold), world["target"], gold),
    "translate-words": lambda gold, world: translate_words(world["config"], gold, gold, gold),
    "project-labels": lambda gold, world: project_labels(MODEL, gold, gold, gold),
}  # fmt: skip


@pytest.mark.parametrize("task", KEEPS)
def test_no_function_replaces_what_it_reads(tmp_path, world, task):
    gold, link = tmp_path / "gold.spacy", tmp_path / "link.spacy"
    gold.write_bytes(world["source"].read_bytes())
    link.symlink_to(gold)
    for path in (gold, link):
        with pytest.raises(MaralError, match=r"^\[M544\]"):
            KEEPS[task](path, world)
    assert gold.read_bytes() == world["source"].read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["gold.spacy", "link.spacy"]


@pytest.mark.parametrize(
    "given",
    [
        ["evaluate", str(MODEL), "GOLD"],
        ["report", "FOLDER", "--gold", "GOLD"],
        ["report", "FOLDER", "--dev", "GOLD"],
        ["card", str(MODEL), "--target", "GOLD"],
        ["card", str(MODEL), "--metrics", "FOLDER"],
    ],
)
def test_no_command_line_replaces_what_it_reads(tmp_path, world, given):
    gold = tmp_path / "gold.spacy"
    gold.write_bytes(world["source"].read_bytes())
    names = {"GOLD": str(gold), "FOLDER": str(tmp_path)}
    done = CliRunner().invoke(app, [*(names.get(x, x) for x in given), "-o", str(gold)])
    assert done.exit_code == 1 and "[M544]" in done.output
    assert gold.read_bytes() == world["source"].read_bytes()


INSIDE = {
    "train": lambda texts, world: train(
        world["config"], source=world["source"], target=texts, dev=world["dev"], output=texts / "out"
    ),
    "train-teacher": lambda texts, world: train_teacher(
        world["config"], source=world["source"], target=texts, dev=world["dev"],
        output=texts / "out", overrides={"teacher.mlm_weight": 0.1},
    ),
    "adapt": lambda texts, world: adapt(
        world["config"], labels=world["labels"], source=world["source"], target=texts,
        dev=world["dev"], output=texts,
    ),
    "distil": lambda texts, world: distil_tok2vec(MODEL, texts, texts / "out"),
    "distil to layers": lambda texts, world: distil_layers(MODEL, texts, texts / "out", keep="1"),
}  # fmt: skip


@pytest.mark.parametrize("task", INSIDE)
def test_no_output_lies_in_a_folder_of_text_that_is_read(tmp_path, world, task):
    """Its log and shards would be read as text when the command is repeated."""
    (tmp_path / "a.txt").write_text("Anna lebt in Bonn\n", encoding="utf8")
    with pytest.raises(MaralError, match=r"^\[M544\]"):
        INSIDE[task](tmp_path, world)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_student_does_not_replace_its_teacher(world):
    for output in (world["teacher"], world["teacher"] / "student"):
        with pytest.raises(MaralError, match=r"^\[M544\]"):
            adapt(
                world["config"], teacher=world["teacher"], source=world["source"],
                target=world["target"], dev=world["dev"], output=output,
            )  # fmt: skip
        assert not (world["teacher"] / "student").exists()


COMMANDS = {"evaluate": ["nowhere", __file__], "init-config": ["-e", "nowhere/at/all"]}


@pytest.mark.parametrize("command", ["evaluate", "report", "card", "compare", "init-config"])
def test_each_command_line_refuses_an_output_before_it_reads_its_input(tmp_path, command):
    (tmp_path / "file").write_text("x")
    given = COMMANDS.get(command, [str(tmp_path)])
    if command == "init-config":
        done = CliRunner().invoke(app, [command, str(tmp_path / "file" / "below"), *given])
        assert done.exit_code == 1 and "[M406]" in done.output
        return
    done = CliRunner().invoke(app, [command, *given, "-o", str(tmp_path / "file" / "below")])
    assert done.exit_code == 1 and "[M406]" in done.output
