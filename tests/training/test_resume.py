from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
from types import SimpleNamespace

import pytest
import spacy
from thinc.api import Config
from toys import assert_equal, without_timings
from typer.testing import CliRunner
from worlds import (
    adapt_in,
    make_docs,
    rows_of,
    tensors_of,
    write,
)

from spacy_maral.adaptation import student
from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.training import folders, loop, masked_lm, saving, summary
from spacy_maral.training.checkpoint import list_checkpoints
from spacy_maral.training.interrupts import sole_run
from spacy_maral.training.logging import LEGEND
from spacy_maral.training.pipelines import Pipeline
from spacy_maral.training.settings import AdaptationSettings
from spacy_maral.training.teacher import train_teacher

SHORT = {"student.epochs": 2, "student.select": "source_dev"}
# config.cfg, meta.json, tokenizer, vocab, transformer, maral_ner
N_PARTS = 6


@pytest.fixture(scope="module")
def ended(world, tmp_path_factory):
    """A finished run of two epochs, and another one with a different seed."""
    folder = tmp_path_factory.mktemp("ended")
    whole = adapt_in(world, folder / "whole", overrides=SHORT)
    older = adapt_in(world, folder / "older", overrides={**SHORT, "system.seed": 8})
    return whole, older


@pytest.mark.parametrize("extra", [{}, {"adaptation.mlm_weight": 0.1, "student.freeze_layers": 1}])
def test_an_interrupted_run_is_resumed(world, tmp_path, monkeypatch, extra):
    whole = adapt_in(world, tmp_path / "whole", overrides=extra)
    output = tmp_path / "broken"

    class Stop(student.Adaptation):
        def on_row(self, row):
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(student, "Adaptation", Stop)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=extra)
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"M316.*unfinished run") as error:
        adapt_in(world, output, overrides=extra)
    assert str(output / "training") in str(error.value)
    relabelled = make_docs("source", 80, 0)
    relabelled[0].set_ents([], default="outside")
    changed = write(tmp_path / "relabelled.spacy", relabelled)
    for arguments in ({"source": changed}, {"overrides": {**extra, "student.learn_rate": 2e-3}}):
        with pytest.raises(MaralError, match="cannot be resumed"):
            adapt_in(world, output, resume=True, **{"overrides": extra, **arguments})
    adapt_in(world, output, overrides=extra, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))


MOMENTS = {
    "before the pipeline is written": (spacy.Language, "to_disk", 1),
    "before the first part is moved": (saving, "replace", 1),
    "between two parts": (saving, "replace", 2),
    "before meta.json": (saving, "replace", N_PARTS),
    "before the exchange": (saving, "exchange", 1),
    "after the exchange": (saving, "_keep_the_rest", 1),
    "before the old pipeline goes": (saving, "remove", 2),
    "before the summary": (summary, "write_text", 1),
    "before the first checkpoint goes": (summary, "remove_folder", 1),
    "between two checkpoints": (summary, "remove_folder", 2),
}


def exchanges(folder):
    """Whether the file system exchanges names."""
    for name in ("one", "two"):
        (folder / name).touch()
    done = saving.exchange(folder / "one", folder / "two")
    for name in ("one", "two"):
        (folder / name).unlink()
    return done


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_interrupted_while_it_ends_is_resumed(ended, world, tmp_path, monkeypatch, moment):
    whole, older = ended
    owner, name, n_calls = MOMENTS[moment]
    output, calls = tmp_path / "broken", []
    # the pipeline of an earlier run is there
    shutil.copytree(older, output)
    original = getattr(owner, name)

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == n_calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    if name == "replace":
        monkeypatch.setattr(saving, "exchange", lambda one, other: False)
    elif owner is saving and not exchanges(tmp_path):
        pytest.skip("this file system exchanges no names")
    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=SHORT)
    monkeypatch.undo()
    assert len(calls) == n_calls
    # parts of two pipelines are never taken for one
    if name == "replace":
        with pytest.raises(OSError, match=r"meta\.json"):
            spacy.load(output)
    elif owner is spacy.Language or name == "exchange":
        assert_equal(tensors_of(output), tensors_of(older))
    else:
        assert_equal(tensors_of(output), tensors_of(whole))
    adapt_in(world, output, overrides=SHORT, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))
    assert without_timings(rows_of(output)) == without_timings(rows_of(whole))
    for part in ("", "training"):
        names = [{p.name for p in (side / part).iterdir()} for side in (output, whole)]
        assert names[0] == names[1]
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []


# what is refused, and what is done already


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is encoded, predicted or trained."""

    def refuse(*args, **kwargs):
        raise AssertionError("work was done")

    for owner, name in [(Pipeline, "encode"), (loop.Run, "train")]:
        monkeypatch.setattr(owner, name, refuse)


def test_a_finished_run_is_not_run_again(ended, world, no_work, caplog):
    whole, _ = ended
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert adapt_in(world, whole, overrides=SHORT, resume=True) == whole
    (message,) = [r.getMessage() for r in caplog.records if "W304" in r.getMessage()]
    assert str(whole / "training") in message
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert before == after
    # what changes nothing in the result may change
    free = {**SHORT, "student.checkpoint_minutes": 10}
    assert adapt_in(world, whole, overrides=free, resume=True) == whole


CHANGES = {
    "[student] epochs: 2 is now 5": {"student.epochs": 5},
    '[adaptation] guidance: "both" is now "local"': {"adaptation.guidance": "local"},
    "[system] seed: 3 is now 4": {"system.seed": 4},
    "[components] maral_ner.model.dim: 8 is now 9": {"components.maral_ner.model.dim": 9},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_run_with_other_settings_is_not_resumed(ended, world, no_work, change):
    with pytest.raises(MaralError, match="M323") as error:
        adapt_in(world, ended[0], overrides={**SHORT, **CHANGES[change]}, resume=True)
    assert str(error.value).split("\n")[1:2] == [f"  {change}"]


def test_a_teacher_and_data_that_changed_are_named(ended, world, tmp_path, no_work):
    docs = make_docs("source", 79, 0)
    relabelled = make_docs("source", 30, 1)
    relabelled[3].set_ents([], default="outside")
    shutil.copytree(world["teacher"], tmp_path / "teacher")
    (tmp_path / "teacher" / "meta.json").write_text("{}", encoding="utf8")
    changed = {
        "source": write(tmp_path / "source.spacy", docs),
        "dev": write(tmp_path / "dev.spacy", relabelled),
        "teacher": tmp_path / "teacher",
    }
    with pytest.raises(MaralError, match="M323") as error:
        adapt_in(world, ended[0], overrides=SHORT, resume=True, **changed)
    lines = [line for line in str(error.value).split("\n") if " is now " in line]
    assert [line.split(":")[0].strip() for line in lines] == ["dev data", "source data", "teacher"]
    assert '"80 documents, SHA-256 ' in lines[1] and ' is now "79 documents, SHA-256 ' in lines[1]


def test_gold_of_the_target_counts_only_where_it_is_looked_at():
    docs = {"target": make_docs("target", 5, 0)}
    bare = {"target": make_docs("target", 5, 0, labelled=False)}
    for allowed in (False, True):
        section = {"adaptation": AdaptationSettings(diagnose_with_gold=allowed)}
        found = [folders.fingerprint(Config(), section, side) for side in (docs, bare)]
        assert (found[0] == found[1]) is not allowed


def test_an_unfinished_run_with_other_settings_is_refused_before_any_work(
    world, tmp_path, monkeypatch
):
    class Stop(student.Adaptation):
        def on_row(self, row):
            raise KeyboardInterrupt

    monkeypatch.setattr(student, "Adaptation", Stop)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, tmp_path, overrides=SHORT)
    monkeypatch.undo()
    monkeypatch.setattr(Pipeline, "encode", None)
    with pytest.raises(MaralError, match="M311") as error:
        adapt_in(world, tmp_path, overrides={**SHORT, "student.epochs": 3}, resume=True)
    assert str(error.value).split("\n")[1] == "  [student] epochs: 2 is now 3"
    # a state that is damaged is not compared
    state = list_checkpoints(tmp_path / "training")[-1] / "state.json"
    state.write_text(state.read_text().replace('epochs": 2', 'epochs": 3'))
    monkeypatch.undo()
    with pytest.raises(MaralError, match="M307"):
        adapt_in(world, tmp_path, overrides=SHORT, resume=True)


def test_widths_and_heads_are_looked_at_before_any_work(world, tmp_path, no_work, monkeypatch):
    narrow = {"components.maral_ner.model.max_width": 2}
    with pytest.raises(MaralError, match=r"M317.*up to 3 words.*max_width = 2"):
        adapt_in(world, tmp_path / "a", overrides=narrow)
    headless = SimpleNamespace(architectures=["XLMRobertaModel"])
    monkeypatch.setattr(masked_lm, "read_encoder_config", lambda name, **settings: headless)
    with pytest.raises(MaralError, match="M318"):
        adapt_in(world, tmp_path / "b", overrides={"adaptation.mlm_weight": 0.1})
    headless.architectures, headless.vocab_size = ["XLMRobertaForMaskedLM"], 7
    with pytest.raises(MaralError, match=r"M462.*scores 7"):
        adapt_in(world, tmp_path / "c", overrides={"adaptation.mlm_weight": 0.1})


def test_two_runs_do_not_share_a_folder(world, tmp_path, no_work):
    with sole_run(tmp_path / "training"), pytest.raises(MaralError, match="M324"):
        adapt_in(world, tmp_path)
    with sole_run(tmp_path / "training"), pytest.raises(MaralError, match="M324"):
        train_teacher(world["config"], source=world["source"], dev=world["dev"], output=tmp_path)


def test_a_run_that_starts_anew_is_not_taken_for_the_old_one(ended, world, tmp_path, monkeypatch):
    whole, older = ended
    output = tmp_path / "again"
    shutil.copytree(older, output)
    monkeypatch.setattr(Pipeline, "encode", interrupt_at_once)
    with pytest.raises(KeyboardInterrupt):
        adapt_in(world, output, overrides=SHORT)
    monkeypatch.undo()
    adapt_in(world, output, overrides=SHORT, resume=True)
    assert_equal(tensors_of(output), tensors_of(whole))


def interrupt_at_once(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_teacher_is_finished_once(world, no_work):
    before = (world["teacher"] / "training" / "summary.json").read_bytes()
    arguments = {"source": world["source"], "dev": world["dev"], "output": world["teacher"]}
    train_teacher(world["config"], resume=True, **arguments)
    # the other sections are none of its business
    train_teacher(world["config"], resume=True, overrides={"student.epochs": 99}, **arguments)
    with pytest.raises(MaralError, match=r"M323.*\n  \[teacher\] epochs: 4 is now 99\n"):
        train_teacher(world["config"], resume=True, overrides={"teacher.epochs": 99}, **arguments)
    assert (world["teacher"] / "training" / "summary.json").read_bytes() == before


def test_a_finished_run_with_other_settings_says_what_to_delete(
    world, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    output = tmp_path / "teacher"
    shutil.copytree(world["teacher"], output)
    arguments = {"source": world["source"], "dev": world["dev"], "output": output, "resume": True}
    changed = {"overrides": {"teacher.epochs": 1}}
    with pytest.raises(MaralError, match="M323") as error:
        train_teacher(world["config"], **changed, **arguments)
    shutil.rmtree(re.search(r"delete (\S+) to train again", str(error.value))[1])
    train_teacher(world["config"], **changed, **arguments)
    assert json.loads((output / "training" / "summary.json").read_text())["selected_epoch"] == 1
    assert "W307" not in caplog.text


def test_a_pipeline_is_not_replaced_in_silence(world, tmp_path, caplog, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    output = tmp_path / "teacher"
    arguments = {"source": world["source"], "dev": world["dev"], "output": output}
    short = {"overrides": {"teacher.epochs": 1}}
    train_teacher(world["config"], **short, **arguments)
    assert "W307" not in caplog.text and "W308" in caplog.text
    assert capsys.readouterr().out.count(LEGEND) == 1
    caplog.clear()
    monkeypatch.setattr(loop, "FEW_UPDATES", 1)
    train_teacher(world["config"], **short, **arguments)
    assert "W308" not in caplog.text
    assert "W307" in caplog.text and f"{output} already has a pipeline" in caplog.text
    assert "Saved epoch 1: the best on the source's development data" in capsys.readouterr().out


def test_a_full_disk_at_the_end_is_named(ended, world, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spacy.Language, "to_disk", fail)
    with pytest.raises(
        MaralError, match=r"M322.*No space left.*the last checkpoint is .*epoch-0002"
    ):
        adapt_in(world, tmp_path, overrides=SHORT)
    monkeypatch.undo()
    adapt_in(world, tmp_path, overrides=SHORT, resume=True)
    assert_equal(tensors_of(tmp_path), tensors_of(ended[0]))


# the command


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_and_goes_on(ended, world, tmp_path, monkeypatch, signum):
    class Stop(student.Adaptation):
        calls = 0

        def on_step(self, report):
            super().on_step(report)
            Stop.calls += 1
            if Stop.calls == 3:
                os.kill(os.getpid(), signum)

    command = ["adapt", str(world["config"]), "-o", str(tmp_path)]
    for name in ("teacher", "source", "target", "dev"):
        command += [f"--{name}", str(world[name])]
    for name, value in SHORT.items():
        command += [f"--{name}", str(value)]
    monkeypatch.setattr(student, "Adaptation", Stop)
    stopped = CliRunner().invoke(app, command)
    monkeypatch.undo()
    assert stopped.exit_code == 128 + signum
    newest = list_checkpoints(tmp_path / "training")[-1]
    assert "step" in newest.name
    assert f"Its state is saved in {newest}. Continue with the same command and --resume." in (
        stopped.stderr
    )
    assert "Traceback" not in stopped.output
    assert CliRunner().invoke(app, [*command, "--resume"]).exit_code == 0
    assert_equal(tensors_of(tmp_path), tensors_of(ended[0]))


def test_the_command_is_interrupted_before_it_trains(world, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "encode", interrupt_at_once)
    command = ["train-teacher", str(world["config"]), "-o", str(tmp_path)]
    command += ["--source", str(world["source"]), "--dev", str(world["dev"])]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "Interrupted.")
