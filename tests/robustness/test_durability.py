"""What a power cut, a lost file or a second process may find of a pipeline that is written or replaced."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import spacy
from make_golden import GOLDEN

from spacy_maral.data import files
from spacy_maral.data.files import exchange, swap_folders, write_text
from spacy_maral.errors import MaralError
from spacy_maral.evaluation import evaluate
from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.scale.names import drop_names
from spacy_maral.training import saving, summary
from spacy_maral.training.teacher import train_teacher

MODEL = GOLDEN / "0.1" / "model"
EXCHANGES = [pytest.param(True, id="exchange"), pytest.param(False, id="renames")]


def train_in(world, output: Path, **settings) -> Path:
    return train_teacher(
        world["config"], source=world["source"], dev=world["dev"], output=output, **settings
    )


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory) -> Path:
    return train_in(world, tmp_path_factory.mktemp("finished") / "model")


def test_all_is_on_the_disk_before_the_checkpoints_go(world, tmp_path, monkeypatch):
    """The order of fsync, rename and deletion, as a power cut would find it."""
    events, output = [], tmp_path / "model"

    def noting(name, function):
        def note(path, *args):
            events.append((name, Path(path)))
            return function(path, *args)

        return note

    monkeypatch.setattr(files, "_sync", noting("file", files._sync))
    monkeypatch.setattr(files, "sync_folder", noting("folder", files.sync_folder))
    monkeypatch.setattr(saving, "sync_folder", noting("folder", saving.sync_folder))
    monkeypatch.setattr(saving, "replace", noting("move", saving.replace))
    monkeypatch.setattr(summary, "remove_folder", noting("delete", summary.remove_folder))
    train_in(world, output)
    names = [name for name, _ in events]
    first_move, first_deletion = names.index("move"), names.index("delete")
    copy = output / "training" / "pipeline.tmp"
    synced = {path for name, path in events[:first_move] if name in ("file", "folder")}
    written = {copy / path.relative_to(output) for path in output.rglob("*")}
    assert {path for path in written if "training" not in path.relative_to(copy).parts} <= synced
    after = [(name, path) for name, path in events[first_move:first_deletion] if name != "move"]
    assert after[0] == ("folder", output)
    # the summary says that all is done
    assert after[1][0] == "file" and after[1][1].name.startswith(".summary.json")
    assert after[2:] == [("folder", output / "training")]


@pytest.mark.skipif(os.name == "nt", reason="folders are not written there")
def test_every_file_and_then_its_folder_is_written_to_the_disk(tmp_path, monkeypatch):
    outer = tmp_path / "outer"
    for name in ("inner/a", "inner/b", "c"):
        write_text(outer / name, name)
    written = []
    monkeypatch.setattr(os, "fsync", lambda number: written.append(os.fstat(number).st_ino))
    files.sync_all(outer)
    names = ("c", "inner/a", "inner/b", "inner", "")
    assert written == [(outer / name).stat().st_ino for name in names]
    written.clear()
    # a file before it has its name, and then the folder
    with files.replacing(outer / "d", durable=True) as path:
        path.write_text("d", encoding="utf8")
    assert written == [(outer / name).stat().st_ino for name in ("d", "")]


LOSSES = {
    "lost": "[W530]", "changed": "[W530]", "no meta.json": "[W530]", "summary": "[W531]"
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_a_finished_run_whose_files_are_not_whole_is_run_again(
    finished, world, tmp_path, caplog, loss
):
    output = shutil.copytree(finished, tmp_path / "model")
    if loss == "lost":
        (output / "maral_ner" / "model").unlink()
    elif loss == "changed":
        with (output / "transformer" / "model").open("r+b") as file:
            file.write(b"\x00")
    elif loss == "no meta.json":
        (output / "meta.json").unlink()
    else:
        path = output / "training" / "summary.json"
        path.write_text(path.read_text(encoding="utf8")[:100], encoding="utf8")
    train_in(world, output, resume=True)
    assert caplog.text.count(LOSSES[loss]) == 1
    caplog.clear()
    train_in(world, output, resume=True)
    assert "[W304]" in caplog.text and "[W53" not in caplog.text
    assert (output / "maral_ner" / "model").read_bytes() == (
        finished / "maral_ner" / "model"
    ).read_bytes()


def test_a_finished_run_may_be_edited_and_described(finished, world, tmp_path, caplog):
    output = shutil.copytree(finished, tmp_path / "model")
    for name in ("config.cfg", "meta.json"):
        (output / name).write_text((output / name).read_text() + "\n", encoding="utf8")
    (output / "README.md").write_text("A card", encoding="utf8")
    train_in(world, output, resume=True)
    assert "[W304]" in caplog.text and "[W530]" not in caplog.text


def test_a_command_that_changes_a_finished_pipeline_notes_so(finished, world, tmp_path, caplog):
    output = shutil.copytree(finished, tmp_path / "model")
    drop_names(output)
    train_in(world, output, resume=True)
    assert "[W304]" in caplog.text and "[W530]" not in caplog.text


@pytest.mark.parametrize("can", EXCHANGES)
def test_a_replaced_pipeline_is_never_of_two(tmp_path, monkeypatch, can):
    """Two pipelines that differ in each part take turns while a thread loads them."""
    if not can:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
        monkeypatch.setattr(saving, "exchange", lambda one, other: False)
    nlp, output = spacy.load(MODEL), tmp_path / "model"
    nlp.to_disk(output)
    stop, found, failed = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                loaded = load_pipeline(output)
            except MaralError as error:
                failed.append(error)
                continue
            found.append((loaded.meta["version"], loaded.get_pipe("maral_ner").cfg["threshold"]))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 14):
        nlp.meta["version"] = f"0.0.{number % 2}"
        nlp.get_pipe("maral_ner").cfg["threshold"] = (number % 2) / 4
        saving.write_pipeline(nlp, tmp_path / "new", output)
        # about half of the loads are disturbed
        time.sleep(0.2)
    stop.set()
    reader.join()
    assert len(found) > 1 and {v[1] for v in found} <= {0.0, 0.25}
    pairs = {pair for pair in found if pair[0] in ("0.0.0", "0.0.1")}
    assert pairs <= {("0.0.0", 0.0), ("0.0.1", 0.25)}
    if can and exchange(output, shutil.copytree(output, tmp_path / "copy")):
        assert not failed
    assert all("[M530]" in str(error) or "[M403]" in str(error) for error in failed)


def test_a_pipeline_that_never_stays_is_refused(tmp_path, monkeypatch):
    output, times = shutil.copytree(MODEL, tmp_path / "model"), []

    def load(name):
        times.append(name)
        os.utime(output / "meta.json", ns=(len(times), len(times)))

    monkeypatch.setattr(evaluate, "_load", load)
    monkeypatch.setattr(evaluate, "PAUSE", 0.0)
    with pytest.raises(MaralError, match=r"^\[M530\]"):
        load_pipeline(output)
    assert len(times) == evaluate.TRIES


@pytest.mark.parametrize("can", EXCHANGES)
def test_folders_swap(tmp_path, monkeypatch, can):
    if not can:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    for name in ("a", "b"):
        write_text(tmp_path / name / "file", name)
    swap_folders(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "file").read_text() == "b"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not exchange names")
def test_other_files_of_the_folder_stay(tmp_path):
    nlp, output = spacy.load(MODEL), tmp_path / "model"
    nlp.to_disk(output)
    for name in ("README.md", "training/log.jsonl"):
        write_text(output / name, name)
    # a component that the new pipeline lacks goes with the old one
    meta = json.loads((output / "meta.json").read_text(encoding="utf8"))
    write_text(output / "meta.json", json.dumps({**meta, "components": ["tagger"]}))
    write_text(output / "tagger" / "model", "old")
    saving.write_pipeline(nlp, output / "training" / "pipeline.tmp", output)
    assert (output / "README.md").is_file() and (output / "training" / "log.jsonl").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (output / "tagger").exists() or not exchange(output, output)
