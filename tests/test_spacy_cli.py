"""spaCy's own commands on configs/supervised.cfg with the tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from sentences import LABELS, TEXTS
from spacy.cli import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

CONFIG = Path(__file__).parent.parent / "configs" / "supervised.cfg"


@pytest.fixture
def data(tmp_path, examples_for):
    """A .spacy file of the labelled sentences."""
    nlp = spacy.blank("xx")
    docs = [eg.reference for eg in examples_for(nlp, TEXTS)]
    path = tmp_path / "data.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture
def overrides(data, encoder_dir):
    settings = {
        "paths.train": data,
        "paths.dev": data,
        "paths.encoder": encoder_dir,
        "components.transformer.model.get_spans.max_chars": 60,
        "components.maral_ner.model.hidden_width": 32,
        "components.maral_ner.model.dim": 16,
        "components.maral_ner.model.max_width": 4,
        "components.maral_ner.spans_key": "found",
        "training.max_steps": 60,
        "training.eval_frequency": 30,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        "training.optimizer.learn_rate.warmup_steps": 5,
        "training.optimizer.learn_rate.total_steps": 200,
    }
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_train_evaluate_load(data, overrides, tmp_path):
    output = tmp_path / "out"
    run("train", CONFIG, "-o", output, *overrides)
    scores = tmp_path / "scores.json"
    run("evaluate", output / "model-best", data, "-o", scores)
    found = json.loads(scores.read_text(encoding="utf8"))
    assert found["ents_f"] == pytest.approx(1.0)
    assert set(found["ents_per_type"]) == set(LABELS)
    nlp = spacy.load(output / "model-best")
    assert nlp.meta["performance"]["ents_f"] == pytest.approx(1.0)
    assert nlp.meta["labels"]["maral_ner"] == LABELS
    doc = nlp(TEXTS[0][0])
    assert [ent.label_ for ent in doc.ents] == ["PER", "LOC"]
    assert len(doc.spans["found"].attrs["scores"]) == 2


def test_init_labels(overrides, tmp_path):
    run("init", "labels", CONFIG, tmp_path / "labels", *overrides)
    labels = json.loads((tmp_path / "labels" / "maral_ner.json").read_text(encoding="utf8"))
    assert labels == LABELS


def test_debug_config(overrides):
    assert "Config is valid" in run("debug", "config", CONFIG, *overrides)


def test_debug_data(overrides, tmp_path, examples_for):
    docs = [eg.reference for eg in examples_for(spacy.blank("xx"), TEXTS * 15)]
    DocBin(docs=docs).to_disk(tmp_path / "enough.spacy")
    output = run("debug", "data", CONFIG, *overrides, "--paths.train", tmp_path / "enough.spacy")
    assert "Pipeline can be initialized with data" in output and "120 training docs" in output


def test_assemble(encoder_dir, overrides, tmp_path):
    """A trained pipeline sourced into a new one, without training."""
    run("train", CONFIG, "-o", tmp_path / "out", *overrides, "--training.max_steps", "5")
    source = (tmp_path / "out" / "model-last").as_posix()
    config = tmp_path / "assemble.cfg"
    config.write_text(
        '[nlp]\nlang = "xx"\npipeline = ["transformer", "maral_ner"]\n\n[components]\n\n'
        f'[components.transformer]\nsource = "{source}"\n\n'
        f'[components.maral_ner]\nsource = "{source}"\n',
        encoding="utf8",
    )
    run("assemble", config, tmp_path / "assembled")
    first, second = spacy.load(source), spacy.load(tmp_path / "assembled")
    for text, _ in TEXTS:
        doc, other = first(text), second(text)
        assert [(e.text, e.label_) for e in doc.ents] == [(e.text, e.label_) for e in other.ents]
        scores = [d.spans["found"].attrs["scores"].tolist() for d in (doc, other)]
        assert scores[0] == scores[1]


@pytest.fixture
def trained(data, overrides, tmp_path):
    """A pipeline that `spacy train` has trained on the sentences."""
    run("train", CONFIG, "-o", tmp_path / "out", *overrides)
    return tmp_path / "out" / "model-last"


def test_commands_on_a_trained_pipeline(data, trained, tmp_path):
    """Each of spaCy's commands that people use on an `ner`; one training for all of them."""
    # spacy evaluate: a table by type, from our scorer
    output = tmp_path / "scores.json"
    shown = run("evaluate", trained, data, "-o", output)
    rows = [line.split() for line in shown.splitlines()]
    found = json.loads(output.read_text(encoding="utf8"))
    for label in LABELS:
        scores = [f"{100 * found['ents_per_type'][label][x]:.2f}" for x in "prf"]
        assert [label, *scores] in rows
    # spacy benchmark speed
    shown = run("benchmark", "speed", trained, data, "--batches", 30, "--warmup", 1, "-b", 4)
    assert "words/s" in shown or "WPS" in shown.upper()
    # spacy find-threshold
    shown = run("find-threshold", trained, data, "maral_ner", "threshold", "ents_f", "-n", 5)
    scores = dict(line.split() for line in shown.splitlines() if line.strip()[:2] in ("0.", "1."))
    assert list(scores) == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    assert float(scores["0.0"]) == 1.0 > float(scores["1.0"])
    assert "Best threshold: 0" in shown


def test_find_threshold_on_a_key_that_is_none(data, trained):
    result = CliRunner().invoke(
        app, ["find-threshold", str(trained), str(data), "maral_ner", "thresh", "ents_f"]
    )
    assert result.exit_code != 0 and "thresh" in f"{result.output}{result.exception}"


def test_fill_config(tmp_path):
    """The supervised configuration is complete, and one without our settings is filled."""
    run("init", "fill-config", CONFIG, tmp_path / "full.cfg")
    short = spacy.util.load_config(CONFIG)
    for name in ("scores", "threshold", "overwrite", "scorer"):
        del short["components"]["maral_ner"][name]
    short.to_disk(tmp_path / "short.cfg")
    run("init", "fill-config", tmp_path / "short.cfg", tmp_path / "filled.cfg")
    paths = (CONFIG, tmp_path / "full.cfg", tmp_path / "filled.cfg")
    own, full, filled = map(spacy.util.load_config, paths)
    assert full == own
    assert filled["components"]["maral_ner"] == full["components"]["maral_ner"]


def test_analysis_of_the_pipeline(make_nlp):
    """What the component says that it sets, and a check of what the others need."""
    analysis = make_nlp().analyze_pipes()
    assert analysis["problems"]["maral_ner"] == []
    assert "span._.maral_score" in analysis["summary"]["maral_ner"]["assigns"]
