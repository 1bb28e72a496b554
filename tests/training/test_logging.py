"""What loggers get: spaCy's own, those of spacy-loggers against stand-ins of the services, and ours."""

from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import spacy
from spacy.util import registry
from worlds import adapt_in, rows_of

from spacy_maral.adaptation.train import train
from spacy_maral.errors import MaralError
from spacy_maral.training.logging import SpacyLogger, describe_row
from spacy_maral.training.teacher import train_teacher
from spacy_maral.training.tensorboard import numbers

ROW = {
    "epoch": 1, "steps": 3, "losses": {"source": 0.5, "target": 0.25}, "score": 0.4,
    "dev_precision": 0.5, "dev_recall": 1 / 3, "dev_f1": 0.4, "kappa": [3.0, 9.0],
    "centroid_cosine": -0.25, "spans_per_second": 10.0, "seconds": 2.0, "alpha": None,
    "changed": 4, "reliable": {"O": 0.9, "PER": None}, "pseudo_labels": {"O": 7, "PER": 0},
    "note": "text", "flag": True,
}  # fmt: skip


@pytest.fixture
def nlp():
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.config["student"] = {"epochs": 2}
    return nlp


@pytest.fixture
def seen():
    """A registered logger that keeps what it is told."""

    class Calls(list):
        config: dict = {}  # noqa: RUF012

    calls = Calls()

    @registry.loggers("keeping.v1")
    def keeping(name: str):
        def setup(nlp, stdout, stderr):
            Calls.config = nlp.config.interpolate()
            return calls.append, lambda: calls.append("closed")

        return setup

    return calls


def step(stream, n_words=5):
    return SimpleNamespace(stream=stream, batch=SimpleNamespace(shapes=np.zeros(n_words)))


# what a row becomes


def test_numbers_are_those_of_the_row():
    assert numbers(ROW) == {
        "epoch": 1, "steps": 3, "losses": {"source": 0.5, "target": 0.25}, "score": 0.4,
        "dev_precision": 0.5, "dev_recall": 1 / 3, "dev_f1": 0.4,
        "kappa": {"min": 3.0, "max": 9.0}, "centroid_cosine": -0.25, "spans_per_second": 10.0,
        "seconds": 2.0, "changed": 4, "reliable": {"O": 0.9}, "pseudo_labels": {"O": 7, "PER": 0},
    }  # fmt: skip


def test_a_logger_gets_what_spacys_loop_would_tell_it_and_the_rest(seen, nlp):
    logger = SpacyLogger({"@loggers": "keeping.v1", "name": "a"}, nlp, 1)
    source, target = object(), object()
    for _ in range(3):
        logger.on_step(step(source))
        logger.on_step(step(target, 2))
    logger.on_row(ROW)
    info, closed = seen
    assert closed == "closed"
    assert set(info) == {
        "epoch", "step", "score", "other_scores", "losses", "checkpoints", "seconds", "words",
    }  # fmt: skip
    assert (info["epoch"], info["step"], info["words"], info["seconds"]) == (1, 3, 21, 2.0)
    assert info["losses"] == {"sentencizer": 0.0, "maral_ner": 0.75, "source": 0.5, "target": 0.25}
    assert info["other_scores"] == {
        "ents_p": 0.5, "ents_r": 1 / 3, "ents_f": 0.4, "kappa": {"min": 3.0, "max": 9.0},
        "centroid_cosine": -0.25, "spans_per_second": 10.0, "changed": 4, "reliable": {"O": 0.9},
        "pseudo_labels": {"O": 7, "PER": 0},
    }  # fmt: skip


def test_steps_go_on_where_a_resumed_run_does(seen, nlp):
    config = {"@loggers": "keeping.v1", "name": "a"}
    first, second = SpacyLogger(config, nlp, 2), SpacyLogger(config, nlp, 2)
    first.on_step(step(object()))
    second.restore(first.arrays())
    second.on_step(step(object()))
    second.on_row({**ROW, "epoch": 2})
    assert (seen[0]["step"], seen[0]["words"]) == (2, 10)
    SpacyLogger(config, nlp, 2).restore({})


# whole runs


def test_an_adaptation_tells_every_epoch(world, seen, tmp_path):
    output = adapt_in(
        world,
        tmp_path / "out",
        labels=world["labels"],
        overrides={"student.logger": {"@loggers": "keeping.v1", "name": "b"}},
    )
    assert seen.config["student"]["logger"]["name"] == "b", "the run's own settings are told too"
    rows = rows_of(output)
    assert len(seen) == len(rows) + 1 and seen[-1] == "closed"
    steps = np.cumsum([row["steps"] for row in rows]).tolist()
    assert [info["step"] for info in seen[:-1]] == steps
    for row, info in zip(rows, seen[:-1], strict=True):
        others = info["other_scores"]
        assert info["score"] == row["score"] and others["ents_f"] == row["dev_f1"]
        assert others["centroid_cosine"] == row["centroid_cosine"]
        assert others["kappa"] == dict(zip(("min", "max"), row["kappa"], strict=True))
        assert others["reliable"] == {k: v for k, v in row["reliable"].items() if v is not None}
        assert info["words"] > 0


def test_lines_only_where_nothing_can_be_redrawn(world, tmp_path, capsys):
    """Neither stream is a terminal here, as in a CI log: a line an epoch and what it says, no bars."""
    adapt_in(world, tmp_path / "out", labels=world["labels"], overrides={"student.epochs": 2})
    found = capsys.readouterr()
    lines = [line for line in found.out.splitlines() if line]
    assert [line.split(" | ")[0] for line in lines] == [
        "in each line: losses", "epoch 1/2", "epoch 2/2", "Saved epoch 2: the last",
    ]  # fmt: skip
    assert "\r" not in found.out + found.err and "it/s" not in found.err


def test_the_line_of_an_epoch():
    row = {**ROW, "noise_ratio": 0.2, "noise_ratio_reliable": 0.1}
    assert describe_row(row, 5) == (
        "epoch 1/5 | source 0.5000 | target 0.2500 | dev F1 40.00 | kappa 3-9 | "
        "centroid cosine -0.250 | reliable O 90% | changed 4 | no pseudo-label PER | "
        "noise 0.200 (reliable 0.100) | "
        "10 spans/s"
    )


# spacy-loggers, with stand-ins for the services


def run_logger(nlp, config):
    logger = SpacyLogger(config, nlp, 2)
    for epoch in (1, 2):
        logger.on_step(step("source"))
        logger.on_row({**ROW, "epoch": epoch})


@pytest.fixture
def told(monkeypatch):
    """Stand-ins for mlflow, wandb and clearml, and what they are told."""
    told: dict = {"metrics": {}, "config": {}, "ended": 0}

    def end(*args, **kwargs):
        told["ended"] += 1

    def metrics(values, *args, **kwargs):
        told["metrics"].update(values)

    def scalar(title, series, iteration, value):
        assert isinstance(value, int | float) and isinstance(iteration, int)
        told["metrics"][title if title == series else f"{title}.{series}"] = value

    mlflow = types.ModuleType("mlflow")
    mlflow.start_run = lambda **kwargs: None
    mlflow.log_params = told["config"].update
    mlflow.log_metric = lambda name, value: metrics({name: value})
    mlflow.log_metrics, mlflow.log_artifact, mlflow.end_run = metrics, None, end
    wandb = types.ModuleType("wandb")
    wandb.init = lambda project, config, **kwargs: told["config"].update(config)
    wandb.log, wandb.join, wandb.run, wandb.finish = metrics, end, SimpleNamespace(name=""), end
    wandb.Artifact = None
    clearml = types.ModuleType("clearml")
    task = SimpleNamespace(
        connect=lambda values, name: told["config"].update({name: values}),
        get_logger=lambda: SimpleNamespace(report_scalar=scalar),
        flush=lambda **kwargs: None,
        close=end,
    )
    clearml.Task = SimpleNamespace(init=lambda **kwargs: task)
    clearml.Dataset = clearml.OutputModel = None
    for module in (mlflow, wandb, clearml):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return told


@pytest.mark.parametrize(
    ("config", "kappa", "epochs"),
    [
        ({"@loggers": "spacy.MLflowLogger.v2"}, "kappa.min", "student.epochs"),
        ({"@loggers": "spacy.WandbLogger.v5", "project_name": "x"}, "kappa", "student"),
        (
            {"@loggers": "spacy.ClearMLLogger.v2", "project_name": "x", "task_name": "y"},
            "kappa.min",
            "student",
        ),
    ],
    ids=["mlflow", "wandb", "clearml"],
)
def test_services_get_numbers_and_settings(nlp, told, config, kappa, epochs):
    pytest.importorskip("spacy_loggers")
    run_logger(nlp, config)
    metrics = {name.lower(): value for name, value in told["metrics"].items()}
    assert metrics["score"] == 0.4
    assert metrics["loss_maral_ner"] == 0.75 and metrics["loss_target"] == 0.25
    assert metrics["ents_f"] == 0.4 and metrics["centroid_cosine"] == -0.25
    assert metrics[kappa] in (3.0, {"min": 3.0, "max": 9.0})
    assert told["config"][epochs] in (2, {"epochs": 2}), "the run's own settings too"
    assert told["ended"] == 1


def test_loggers_in_a_chain(nlp, told, capsys, tmp_path):
    pytest.importorskip("spacy_loggers")
    console = {"@loggers": "spacy.ConsoleLogger.v3", "output_file": str(tmp_path / "log.jsonl")}
    lookup = {"@loggers": "spacy.LookupLogger.v1", "patterns": ["reliable"]}
    chain = {"@loggers": "spacy.ChainLogger.v1", "logger1": console, "logger2": lookup}
    run_logger(nlp, chain)
    assert "other_scores.reliable.O -> 0.9" in capsys.readouterr().out
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


# loggers that cannot be made


WANDB = {"@loggers": "spacy.WandbLogger.v5", "project_name": "x"}


@pytest.fixture
def without_wandb(monkeypatch):
    pytest.importorskip("spacy_loggers")
    monkeypatch.setitem(sys.modules, "wandb", None)


@pytest.mark.usefixtures("without_wandb")
def test_a_missing_package_is_named_with_the_remedy(nlp):
    chain = {"@loggers": "spacy.ChainLogger.v1", "logger1": WANDB}
    for block in (WANDB, chain):
        name = block["@loggers"]
        with pytest.raises(MaralError, match=f"M620.*{name}.*wandb.*pip install wandb"):
            SpacyLogger(block, nlp, 1)


@registry.loggers("failing.v1")
def failing(where: str):
    def setup(nlp, stdout, stderr):
        if where == "package":
            import no_such_package  # noqa: F401
        if where == "module":
            import json.no_such_module  # noqa: F401
        raise RuntimeError("no project of this name\nmore lines")

    if where == "make":
        raise KeyError("project")
    return setup


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"@loggers": "failing.v1", "where": "package"}, "M620.*failing.v1.*no_such_package"),
        ({"@loggers": "failing.v1", "where": "module"}, "M621.*json.no_such_module"),
        ({"@loggers": "failing.v1", "where": "setup"}, "M621.*no project of this name. Correct"),
        ({"@loggers": "failing.v1", "where": "make"}, "M621.*'project'"),
        ({"@loggers": "failing.v1"}, "M621.*where.*missing required argument"),
        ({"@loggers": "failing.v1", "where": "", "y": 1}, "M621.* y .*unexpected"),
        ({"@loggers": "nowhere.v1"}, "M621.*nowhere.v1.*E893"),
        ({"project_name": "x"}, "M621.*project_name.*names no function"),
        ({"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "x"}, "M621.*'x'.*progress bar"),
    ],
)
def test_any_logger_that_cannot_be_made_is_refused(nlp, block, problem):
    with pytest.raises(MaralError, match=problem):
        SpacyLogger(block, nlp, 1)


@pytest.mark.usefixtures("without_wandb")
def test_trainings_end_before_their_work(world, tmp_path, monkeypatch):
    for place in ("adaptation.student.predict", "training.pipelines.encode"):
        monkeypatch.setattr(f"spacy_maral.{place}", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(MaralError, match="M620"):
        adapt_in(world, tmp_path / "student", overrides={"student.logger": WANDB})
    files = {name: world[name] for name in ("source", "dev")}
    given = {"output": tmp_path / "teacher", "overrides": {"teacher.logger": WANDB}, **files}
    with pytest.raises(MaralError, match="M620"):
        train_teacher(world["config"], **given)
    # the student's, too, before the teacher is trained
    given = {"overrides": {"student.logger": WANDB}, "target": world["target"], **files}
    with pytest.raises(MaralError, match="M620"):
        train(world["config"], output=tmp_path / "both", **given)
    assert not (tmp_path / "both").exists()


@pytest.mark.usefixtures("without_wandb")
def test_a_finished_run_needs_no_logger(world):
    given = {name: world[name] for name in ("source", "dev")}
    overrides = {"teacher.logger": WANDB}
    teacher = world["teacher"]
    again = train_teacher(
        world["config"], output=teacher, overrides=overrides, resume=True, **given
    )
    assert again == teacher


# TensorBoard


def test_tensorboard_gets_every_number(nlp, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard here"
    )
    run_logger(
        nlp, {"@loggers": "spacy-maral.TensorBoardLogger.v1", "log_dir": str(tmp_path / "runs")}
    )
    events = accumulator.EventAccumulator(str(tmp_path / "runs")).Reload()
    assert {"score", "loss/maral_ner", "ents_f", "kappa/max", "reliable/O"} <= set(
        events.Tags()["scalars"]
    )
    assert [(e.step, e.value) for e in events.Scalars("kappa/max")] == [(1, 9.0), (2, 9.0)]


def test_tensorboard_is_asked_for_where_it_is_missing(nlp, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = {"@loggers": "spacy-maral.TensorBoardLogger.v1", "log_dir": str(tmp_path)}
    with pytest.raises(MaralError, match=r"M460.*pip install tensorboard"):
        SpacyLogger(config, nlp, 1)
