from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError
from thinc.api import Config

from spacy_maral.errors import MaralError
from spacy_maral.training.pipelines import check_component
from spacy_maral.training.settings import AdaptationSettings, TrainingSettings, read_section

CONFIG = """
[student]
epochs = 20
learn_rate = 2e-5
batch_docs = 8
accumulate = 4
loss = "max_margin"
logger = {"@loggers": "spacy.ConsoleLogger.v3"}

[adaptation]
neighbours = 200
alpha_start = 0.9
filter = false
"""


def test_a_section_is_read_over_the_defaults():
    config = Config().from_str(CONFIG)
    settings = read_section(config, "student", TrainingSettings)
    assert isinstance(settings, TrainingSettings)
    assert (settings.epochs, settings.learn_rate, settings.accumulate) == (20, 2e-5, 4)
    assert settings.weight_decay == TrainingSettings().weight_decay
    assert settings.logger == {"@loggers": "spacy.ConsoleLogger.v3"}
    adaptation = read_section(config, "adaptation", AdaptationSettings)
    assert (adaptation.alpha_start, adaptation.alpha_end, adaptation.filter) == (0.9, 0.8, False)


def test_the_defaults_are_those_of_the_paper_where_it_has_them():
    adaptation = AdaptationSettings()
    assert adaptation.warmup_epochs == 2
    assert adaptation.neighbours == 200
    assert (adaptation.alpha_start, adaptation.alpha_end) == (0.95, 0.80)
    assert adaptation.bank_outside_rate == 0.03
    assert adaptation.mask_rate == 0.25
    assert (adaptation.init, adaptation.target_labels) == ("encoder", "hard")
    assert adaptation.target_prior_scale == TrainingSettings().prior_scale == 1.0
    assert not adaptation.diagnose_with_gold


def test_a_missing_section_lists_its_keys():
    with pytest.raises(MaralError, match=r"\[teacher\]") as error:
        read_section(Config().from_str(CONFIG), "teacher", TrainingSettings)
    assert all(key in str(error.value) for key in TrainingSettings.model_fields)


@pytest.mark.parametrize(
    ("schema", "key", "value"),
    [
        (TrainingSettings, "epoch", 3),
        (TrainingSettings, "epochs", 0),
        (TrainingSettings, "epochs", "many"),
        (TrainingSettings, "loss", "hinge"),
        (TrainingSettings, "decision", "argmax"),
        (TrainingSettings, "outside_weight", -0.1),
        (TrainingSettings, "prior_scale", -0.1),
        (TrainingSettings, "batch_tokens", 0),
        (TrainingSettings, "batch_docs", -1),
        (TrainingSettings, "accumulate", 0),
        (TrainingSettings, "learn_rate", 0.0),
        (TrainingSettings, "head_learn_rate", -1e-3),
        (TrainingSettings, "weight_decay", -0.01),
        (TrainingSettings, "warmup", 1.0),
        (TrainingSettings, "grad_clip", 0.0),
        (TrainingSettings, "precision", "int8"),
        (TrainingSettings, "freeze_layers", -1),
        (TrainingSettings, "select", "target_dev"),
        (AdaptationSettings, "init", "random"),
        (AdaptationSettings, "warmup_epochs", 0),
        (AdaptationSettings, "statistics", "none"),
        (AdaptationSettings, "features", "cached"),
        (AdaptationSettings, "guidance", "neither"),
        (AdaptationSettings, "neighbours", 0),
        (AdaptationSettings, "bank_outside_rate", 1.5),
        (AdaptationSettings, "alpha_start", 1.01),
        (AdaptationSettings, "alpha_end", -0.01),
        (AdaptationSettings, "mlm_weight", -1.0),
        (AdaptationSettings, "mask_rate", 0.0),
        (AdaptationSettings, "mask_rate", 1.0),
    ],
)
def test_a_wrong_key_or_value_is_named(schema, key, value):
    with pytest.raises(MaralError) as error:
        read_section({"here": {key: value}}, "here", schema)
    assert f"[here] {key} = {value!r}" in str(error.value)
    assert all(known in str(error.value) for known in schema.model_fields)


def test_all_problems_are_told_at_once():
    with pytest.raises(MaralError) as error:
        read_section({"x": {"epochs": 0, "loss": "hinge", "lr": 1}}, "x", TrainingSettings)
    assert all(f"[x] {key} = " in str(error.value) for key in ("epochs", "loss", "lr"))


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        TrainingSettings().epochs = 3


@pytest.mark.parametrize("include_outside, weight", [(True, 0.3), (False, 0.0)])
def test_outside_spans_of_0_1_are_read_as_their_weight(
    caplog, monkeypatch, include_outside, weight
):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    settings = TrainingSettings(include_outside=include_outside, outside_weight=0.3)
    assert settings.outside_weight == weight and "include_outside" not in settings.model_dump()
    assert "W206" in caplog.text


@pytest.mark.parametrize("section", ["teacher", "student"])
def test_a_component_that_contradicts_its_training_is_refused(section):
    settings = TrainingSettings(prior_scale=0.5)
    for given in ({}, {"prior_scale": 0.5}, {"prior_scale": 1.0}):  # the last is the default
        check_component(Config({"components": {"maral_ner": given}}), section, settings)
    config = Config({"components": {"maral_ner": {"prior_scale": 0.0}}})
    with pytest.raises(
        MaralError, match=rf"M348.*prior_scale = 0\.0, but .*\[{section}\] prior_scale = 0\.5"
    ):
        check_component(config, section, settings)
