"""Configurations from the template: complete, commented, and the same as those in configs/."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import types
from pathlib import Path

import pytest
from spacy.util import load_config_from_str, load_model_from_config
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.cli.init_config import Size
from spacy_maral.errors import MaralError
from spacy_maral.training.new_config import (
    ENCODERS,
    WIDTHS,
    Choices,
    batch_and_epochs,
    choose_language,
    fill_config,
    make_config,
)
from spacy_maral.training.settings import SCHEMAS, read_languages, read_section

CONFIGS = Path(__file__).parents[2] / "configs"
MADE_BY = "# Made by: python -m spacy maral "


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def load(text: str):
    return load_config_from_str(text, interpolate=True)


# one source of truth


@pytest.mark.parametrize("name", ["maral_small.cfg", "maral_paper.cfg"])
def test_configs_are_what_their_first_lines_say(name):
    text = (CONFIGS / name).read_text(encoding="utf8")
    (line,) = (line for line in text.splitlines() if line.startswith(MADE_BY))
    command, file, *options = shlex.split(line.removeprefix(MADE_BY))
    assert (command, file) == ("init-config", name)
    found = run(command, "-", *options).stdout
    assert found.replace("config.cfg", name, 1) == text, f"run: {line.removeprefix('# Made by: ')}"


def test_the_demonstration_differs_in_the_students_epochs_only():
    small, demo = (load((CONFIGS / f"{x}.cfg").read_text("utf8")) for x in ("maral_small", "demo"))
    assert demo["student"].pop("epochs") < small["student"].pop("epochs")
    for section in ("teacher", "student"):
        assert (demo[section].pop("min_updates"), small[section].pop("min_updates")) == (0, 1000)
    assert demo == small


def test_sizes_of_the_command_are_those_of_the_template():
    assert [size.value for size in Size] == list(WIDTHS) == list(ENCODERS)


# contents


@pytest.mark.parametrize(
    ("sentences", "batch_tokens", "epochs"),
    [(1, 64, 20), (100, 64, 20), (400, 64, 6), (1000, 96, 4), (10_000, 384, 4), (10**7, 384, 4)],
)
def test_batches_and_epochs_are_chosen_for_the_sentences(sentences, batch_tokens, epochs):
    assert batch_and_epochs(sentences) == (batch_tokens, epochs)
    result = run("init-config", "-", "--sentences", str(sentences), "--cpu", "--no-fill")
    config = load(result.stdout)
    for section in ("teacher", "student"):
        assert config[section]["batch_tokens"] == batch_tokens
        assert config[section]["epochs"] == epochs
    assert (
        f"--sentences {sentences} --cpu" in result.stdout and f"{sentences:,} sent" in result.stdout
    )
    if 100 <= sentences <= 10_000:
        assert 500 < epochs * 27 * sentences / batch_tokens < 3000


def test_sentences_do_not_change_the_papers_setting(tmp_path):
    with pytest.raises(MaralError, match=r"M560.*500 sentences"):
        make_config(Choices(size="paper", sentences=500))
    result = run("init-config", tmp_path / "a.cfg", "--sentences", "400")
    assert "For 400 sentences: batch_tokens = 64, epochs = 6" in result.stdout


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("fill", [True, False])
def test_trainings_take_every_config(size, gpu, fill):
    text = make_config(Choices("en", ["de"], size=size, gpu=gpu), fill=fill)
    config = load(text)
    assert config["system"]["gpu_allocator"] == ("pytorch" if gpu else None)
    assert config["components"]["transformer"]["model"]["name"] == ENCODERS[size]
    assert config["components"]["maral_ner"]["model"]["max_width"] == WIDTHS[size]
    assert config["nlp"]["lang"] == "de"
    for name, schema in SCHEMAS.items():
        read_section(config, name)
        if fill:
            assert set(config[name]) == set(schema.model_fields) - {"logger"}
    assert text.startswith("# ") and "Labelled text: en. Raw text: de." in text
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert "\n\n\n" not in text


@pytest.mark.parametrize("section", ["teacher", "student"])
@pytest.mark.parametrize("fill", [True, False])
def test_a_logger_is_one_more_block(section, fill):
    block = f'\n[{section}.logger]\n@loggers = "spacy.ConsoleLogger.v3"\n'
    config = load(make_config(Choices("en", ["de"]), fill=fill) + block)
    settings = read_section(config, section)
    assert settings.logger == {"@loggers": "spacy.ConsoleLogger.v3"}


@pytest.mark.parametrize("size", WIDTHS)
def test_filling_changes_no_value(size, encoder_dir):
    choices = Choices(encoder=str(encoder_dir), size=size)
    short, full = (make_config(choices, fill=fill) for fill in (False, True))
    assert set(short.splitlines()[5:]) <= set(full.splitlines()), "lines and comments stay"
    assert fill_config(full) == full
    short_values, full_values = load(short), load(full)

    def check(some, all_of_them):
        for key, value in some.items():
            if isinstance(value, dict):
                check(value, all_of_them[key])
            else:
                assert all_of_them[key] == value

    check(short_values, full_values)
    pipe = full_values["components"]["maral_ner"]
    assert pipe["threshold"] == 0.0 and pipe["scorer"]["@scorers"]


@pytest.fixture
def encoder_copy(encoder_dir, tmp_path):
    return shutil.copytree(encoder_dir, tmp_path / "encoder")


def change_facts(folder: Path, **facts) -> None:
    path = folder / "config.json"
    known = json.loads(path.read_text(encoding="utf8"))
    path.write_text(json.dumps({**known, **facts}), encoding="utf8")


def test_an_encoder_that_is_here_is_looked_at(encoder_copy):
    name = str(encoder_copy)
    change_facts(encoder_copy, num_hidden_layers=10, architectures=["XLMRobertaModel"])
    small = load(make_config(Choices(encoder=name), fill=False))
    assert (small["teacher"]["freeze_layers"], small["student"]["freeze_layers"]) == (5, 0)
    assert small["paths"]["encoder"] == name
    paper = Choices(encoder=name, size="paper")
    for architecture, weights in (
        ("XLMRobertaModel", (0.0, 0.0)),
        ("XLMRobertaForMaskedLM", (0.001, 0.01)),
    ):
        change_facts(encoder_copy, architectures=[architecture])
        config = load(make_config(paper, fill=False))
        assert tuple(config[name]["mlm_weight"] for name in ("teacher", "adaptation")) == weights


@pytest.mark.parametrize(
    ("width", "rate"), [(64, 1e-4), (384, 1e-4), (512, 8e-5), (768, 5e-5), (1024, 4e-5)]
)
def test_wider_encoders_get_a_lower_learning_rate(encoder_copy, width, rate):
    change_facts(encoder_copy, hidden_size=width)
    config = load(make_config(Choices(encoder=str(encoder_copy)), fill=False))
    assert {config[name]["learn_rate"] for name in ("teacher", "student")} == {rate}
    assert {config[name]["head_learn_rate"] for name in ("teacher", "student")} == {1e-3}


@pytest.mark.parametrize(
    ("name", "rate", "frozen"),
    [
        ("xlm-roberta-base", 5e-5, 6),
        ("FacebookAI/xlm-roberta-large", 4e-5, 12),
        ("intfloat/multilingual-e5-small", 1e-4, 6),
        ("bert-base-multilingual-cased", 5e-5, 6),
        ("someone/database-encoder", 1e-4, 6),
    ],
)
def test_an_encoder_on_the_hub_is_known_by_its_name(name, rate, frozen):
    teacher = load(make_config(Choices(encoder=name), fill=False))["teacher"]
    assert (teacher["learn_rate"], teacher["freeze_layers"]) == (rate, frozen)


@pytest.mark.parametrize("name", ["./none", "/none/here", "a/b/c", "encoders\\e5", "~/e5"])
def test_an_encoder_path_without_a_folder(tmp_path, name):
    with pytest.raises(MaralError, match=r"M346.*there is no such folder"):
        make_config(Choices(encoder=name))
    refused = run("init-config", tmp_path / "a.cfg", "--encoder", name)
    assert refused.exit_code == 1 and not (tmp_path / "a.cfg").exists()


def test_a_folder_that_holds_no_encoder(encoder_copy, tmp_path):
    def problem() -> str:
        with pytest.raises(MaralError, match="M346") as error:
            make_config(Choices(encoder=str(encoder_copy)))
        return str(error.value).replace(str(encoder_copy), "FOLDER")

    assert load(make_config(Choices(encoder=str(encoder_copy)), fill=False))
    (encoder_copy / "model.safetensors").rename(tmp_path / "elsewhere")
    assert "it has no weights" in problem()
    # a T5 has this number, and transformers 5 looks at its type
    change_facts(encoder_copy, model_type="t5", is_encoder_decoder=True, classifier_dropout=0.0)
    assert "t5 is not only an encoder" in problem()
    for facts in ({"model_type": "no-such-family"}, {"model_type": None}):
        change_facts(encoder_copy, **facts)
        # transformers lists all families that it knows
        assert len(problem()) < 700
    # transformers 5 has an exception of its own for it
    change_facts(encoder_copy, model_type="xlm-roberta", hidden_size="wide")
    assert "M346" in problem()
    (encoder_copy / "config.json").unlink()
    assert "config.json" in problem()
    shutil.rmtree(encoder_copy)
    encoder_copy.mkdir()
    problem()


@pytest.mark.parametrize(
    ("targets", "lang", "wanted"),
    [
        (["de"], "de", None), (["de", "nl"], "xx", None), (["xx"], "xx", None),
        (["qq"], "xx", "spaCy does not have"), (["zh"], "zh", None),
        (["de", "zh", "ja"], "xx", "it does not find the words of zh, ja: make"),
    ],
)  # fmt: skip
def test_language_of_the_tokenizer(targets, lang, wanted):
    found, problem = choose_language(targets)
    assert found == lang
    assert problem is None if wanted is None else problem.startswith(wanted)


def test_wrong_choices():
    with pytest.raises(MaralError, match=r"M408.*no configuration size 'huge'"):
        make_config(Choices(size="huge"))


def test_a_language_that_spacy_lacks_keeps_its_code():
    config = load(make_config(Choices("eng", ["swa"]), fill=False))
    assert config["nlp"]["lang"] == "xx"
    assert config["languages"] == {"source": "en", "target": "sw"}
    assert load(make_config(Choices("en", ["iw"])))["nlp"]["lang"] == "he"
    assert load(make_config(Choices("en", ["de", "fr"])))["languages"]["target"] == "xx"
    assert "languages" not in load(make_config(Choices()))
    for bad in (Choices("en", ["german"]), Choices("english", ["de"])):
        with pytest.raises(MaralError, match="M124"):
            make_config(bad)


def test_the_section_of_languages_is_checked():
    assert read_languages({}).target == "xx"
    assert read_languages({"languages": {"source": "deu"}}).source == "de"
    for wrong, code in ({"target": "german"}, "M124"), ({"goal": "de"}, "M302"):
        with pytest.raises(MaralError, match=code):
            read_languages({"languages": wrong})


@pytest.mark.parametrize("segmenter", ["char", "jieba", "pkuseg"])
@pytest.mark.parametrize("fill", [True, False])
def test_segmenters_of_chinese(monkeypatch, segmenter, fill):
    """The packages themselves are not needed to write or to read a configuration."""
    for name in ("jieba", "spacy_pkuseg"):
        module = types.ModuleType(name)
        module.lcut = module.cut = module.pkuseg = lambda *args, **kwargs: []
        monkeypatch.setitem(sys.modules, name, module)
    config = load(make_config(Choices("en", ["zho"], segmenter=segmenter), fill=fill))
    assert config["nlp"]["lang"] == "zh"
    assert config["nlp"]["tokenizer"]["segmenter"] == segmenter
    settings = config.get("initialize", {}).get("tokenizer", {})
    assert settings == ({"pkuseg_model": "mixed"} if segmenter == "pkuseg" else {})
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.tokenizer.segmenter == segmenter
    with pytest.raises(MaralError, match="M127"):
        make_config(Choices("zh", ["de"], segmenter=segmenter))


# the command


def test_init_config_writes_once(tmp_path):
    path = tmp_path / "new" / "maral.cfg"
    options = ["--source", "en", "--target", "de", "--encoder", "some/encoder", "-w", 5, "--gpu"]
    result = run("init-config", path, *options)
    assert result.exit_code == 0, result.output
    assert "maral train-teacher" in result.stdout and "maral debug-data" in result.stdout
    first = path.read_text(encoding="utf8")
    assert load(first)["components"]["maral_ner"]["model"]["max_width"] == 5
    refused = run("init-config", path, "--size", "paper")
    assert (
        refused.exit_code == 1
        and "[M409]" in refused.stderr
        and "--force" in refused.stderr
        and refused.stdout == ""
    )
    assert path.read_text(encoding="utf8") == first
    assert run("init-config", path, "--size", "paper", "--force").exit_code == 0
    assert load(path.read_text(encoding="utf8"))["teacher"]["epochs"] == 20


def test_init_config_to_stdout_prints_the_config_only(tmp_path):
    result = run("init-config", "-", "--target", "de")
    assert result.exit_code == 0 and result.stderr == ""
    assert load(result.stdout)["nlp"]["lang"] == "de"
    assert not Path("-").exists()


def test_init_config_says_when_there_is_no_tokenizer(tmp_path):
    result = run("init-config", tmp_path / "a.cfg", "--target", "qq")
    assert "No tokenizer for 'qq'" in result.stdout and result.exit_code == 0


@pytest.mark.parametrize("option", [["--size", "huge"], ["--max-width", "0"], ["--gpu-id", "0"]])
def test_init_config_refuses_what_it_does_not_know(tmp_path, option):
    assert run("init-config", tmp_path / "a.cfg", *option).exit_code == 2
    assert not (tmp_path / "a.cfg").exists()
