from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError
from thinc.api import Config

from spacy_maral.data.config import read_config
from spacy_maral.errors import MaralError
from spacy_maral.model.encoder.files import load_pretrained
from spacy_maral.training.pipelines import check_component
from spacy_maral.training.settings import (
    CROSS_ENTROPY,
    MAX_MARGIN,
    SCHEMAS,
    AdaptationSettings,
    StudentSettings,
    read_section,
)

CONFIGS = Path(__file__).parents[2] / "configs"
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
    settings = read_section(config, "student")
    assert isinstance(settings, StudentSettings)
    assert (settings.epochs, settings.learn_rate, settings.accumulate) == (20, 2e-5, 4)
    assert settings.weight_decay == StudentSettings().weight_decay
    assert settings.logger == {"@loggers": "spacy.ConsoleLogger.v3"}
    adaptation = read_section(config, "adaptation")
    assert (adaptation.alpha_start, adaptation.alpha_end, adaptation.filter) == (0.9, 0.8, False)


@pytest.mark.parametrize("value", ["true", "false", '"3"'])
@pytest.mark.parametrize("key", ["epochs", "learn_rate"])
def test_only_a_number_is_a_number(key, value):
    config = Config().from_str(f"[teacher]\n{key} = {value}")
    with pytest.raises(MaralError, match=rf"M302[^$]*\[teacher\] {key} = "):
        read_section(config, "teacher")


@pytest.mark.parametrize("section", SCHEMAS)
def test_the_defaults_are_those_of_the_shipped_configuration(section):
    shipped = read_section(read_config(CONFIGS / "maral_small.cfg"), section)
    assert shipped.model_dump() == SCHEMAS[section]().model_dump()


@pytest.mark.parametrize("section", SCHEMAS)
def test_the_papers_configuration_relies_on_no_default_that_departs_from_the_paper(section):
    """What the paper says, wherever the configuration says it."""
    paper = read_section(read_config(CONFIGS / "maral_paper.cfg"), section)
    wanted = {
        "teacher": {"epochs": 20, "learn_rate": 2e-5, "head_learn_rate": 2e-5, "freeze_layers": 0,
                    "freeze_embeddings": False, "loss": CROSS_ENTROPY, "decision": "linear"},
        "student": {"epochs": 20, "learn_rate": 2e-5, "head_learn_rate": 2e-5, "freeze_layers": 0,
                    "freeze_embeddings": False, "loss": MAX_MARGIN, "decision": "likelihood",
                    "prior_scale": 1.0},
        "adaptation": {"warmup_epochs": 2, "neighbours": 200, "alpha_start": 0.95,
                       "alpha_end": 0.80, "bank_outside_rate": 0.03, "mask_rate": 0.25,
                       "init": "encoder", "target_labels": "hard", "target_prior_scale": 1.0,
                       "filter": True, "filter_limit": "none", "filter_outside": 1.0, "guidance": "both",
                       "guidance_weights": "equal", "guidance_mean": "class", "statistics": "all"},
    }[section]  # fmt: skip
    assert {name: getattr(paper, name) for name in wanted} == wanted


def test_the_papers_dropout_is_that_of_the_encoder_too(encoder_dir):
    settings = read_config(CONFIGS / "maral_paper.cfg")["components"]
    config = settings["transformer"]["model"]["transformer_config"]
    found = load_pretrained(str(encoder_dir), {}, config).encoder.config
    assert found.hidden_dropout_prob == found.attention_probs_dropout_prob == 0.2
    assert settings["maral_ner"]["model"]["dropout"] == 0.2


def test_nothing_reads_gold_of_the_target_by_default():
    assert not AdaptationSettings().diagnose_with_gold


def test_a_missing_section_lists_its_keys():
    with pytest.raises(MaralError, match=r"M301.*\[teacher\]") as error:
        read_section(Config().from_str(CONFIG), "teacher")
    assert all(key in str(error.value) for key in StudentSettings.model_fields)


@pytest.mark.parametrize(
    ("schema", "key", "value"),
    [
        (StudentSettings, "epoch", 3),
        (StudentSettings, "epochs", 0),
        (StudentSettings, "epochs", "many"),
        (StudentSettings, "loss", "hinge"),
        (StudentSettings, "decision", "argmax"),
        (StudentSettings, "outside_weight", -0.1),
        (StudentSettings, "prior_scale", -0.1),
        (StudentSettings, "batch_tokens", 0),
        (StudentSettings, "batch_docs", -1),
        (StudentSettings, "accumulate", 0),
        (StudentSettings, "learn_rate", 0.0),
        (StudentSettings, "head_learn_rate", -1e-3),
        (StudentSettings, "weight_decay", -0.01),
        (StudentSettings, "warmup", 1.0),
        (StudentSettings, "grad_clip", 0.0),
        (StudentSettings, "precision", "int8"),
        (StudentSettings, "freeze_layers", -1),
        (StudentSettings, "select", "target_dev"),
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
    section = "student" if schema is StudentSettings else "adaptation"
    with pytest.raises(MaralError) as error:
        read_section({section: {key: value}}, section)
    assert f"[{section}] {key} = {value!r}" in str(error.value)
    assert all(known in str(error.value) for known in schema.model_fields)


def test_all_problems_are_told_at_once():
    with pytest.raises(MaralError) as error:
        read_section({"teacher": {"epochs": 0, "loss": "hinge", "lr": 1}}, "teacher")
    assert all(f"[teacher] {key} = " in str(error.value) for key in ("epochs", "loss", "lr"))


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        StudentSettings().epochs = 3


@pytest.mark.parametrize("include_outside, weight", [(True, 0.3), (False, 0.0)])
def test_outside_spans_of_0_1_are_read_as_their_weight(
    caplog, monkeypatch, include_outside, weight
):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    settings = StudentSettings(include_outside=include_outside, outside_weight=0.3)
    assert settings.outside_weight == weight and "include_outside" not in settings.model_dump()
    assert "W206" in caplog.text


@pytest.mark.parametrize("section", ["teacher", "student"])
def test_a_component_that_contradicts_its_training_is_refused(section):
    settings = StudentSettings(prior_scale=0.5)
    # the last two are the default, and that of release 0.1
    for given in ({}, {"prior_scale": 0.5}, {"prior_scale": 0.0}, {"prior_scale": 1.0}):
        check_component(Config({"components": {"maral_ner": given}}), section, settings)
    config = Config({"components": {"maral_ner": {"prior_scale": 0.25}}})
    with pytest.raises(
        MaralError, match=rf"M348.*prior_scale = 0\.25, but .*\[{section}\] prior_scale = 0\.5"
    ):
        check_component(config, section, settings)
