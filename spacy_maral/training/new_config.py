"""Configurations for a language pair, a device and an encoder, from one template."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from spacy.util import dot_to_object, load_config_from_str
from thinc.api import Config

from ..data.config import make_pipeline
from ..data.languages import (
    MULTIPLE_LANGUAGES,
    blank_pipeline,
    language_code,
    own_tokenizer,
    tokenizer_config,
    tokenizer_language,
)
from ..errors import Errors, MaralError
from ..model.encoder.files import check_encoder
from .settings import TrainingSettings
from .steps import SMALLEST_BATCH

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TEMPLATE = "maral.cfg.jinja"
WIDTHS = {"small": 8, "paper": 4}
ENCODERS = {"small": "intfloat/multilingual-e5-small", "paper": "xlm-roberta-large"}
# width and layers of an encoder that is a name on the hub, by a word of the name
SHAPES = {"base": (768, 12), "large": (1024, 24)}
OTHER_SHAPE = (384, 12)
LEARN_RATE, ITS_WIDTH = 1e-4, 384
BATCH_TOKENS, EPOCHS, MOST_EPOCHS = 384, 4, 20
# a sentence of news, with its padding
SENTENCE_PIECES = 27
UPDATES = TrainingSettings.model_fields["min_updates"].default
SECTION = re.compile(r"^\[(.+)\]$", re.MULTILINE)
DEFAULTS_NOTE = "# further settings, with their defaults"
# Settings that are blocks: written as null, they would forbid the block of this name.
BLOCKS = {"logger"}


@dataclass(frozen=True)
class Choices:
    """Languages, encoder, size and device of a new configuration.

    source (str): Code of the source language, "xx" for any.
    targets (Sequence[str]): Codes of the target languages.
    encoder (str): Folder or hub name of the encoder; by default that of the size.
    size (str): "small" for a small encoder, "paper" for the paper's settings.
    gpu (bool): Whether the training uses a GPU.
    max_width (int): Longest entity in words; by default that of the size.
    segmenter (str): How Chinese words are found (see `blank_pipeline`), if Chinese is the target.
    sentences (int): About how many sentences there are, which batch size and epochs are chosen for.
    """

    source: str = MULTIPLE_LANGUAGES
    targets: Sequence[str] = (MULTIPLE_LANGUAGES,)
    encoder: str | None = None
    size: str = "small"
    gpu: bool = False
    max_width: int | None = None
    segmenter: str | None = None
    sentences: int | None = None


def make_config(choices: Choices, *, name: str = "config.cfg", fill: bool = True) -> str:
    """Write a configuration for train-teacher and adapt.

    choices (Choices): Languages, encoder, size and device.
    name (str): Name of the configuration file, for the comment with the command that makes it.
    fill (bool): Whether to write settings with default values too.
    RETURNS (str): The configuration, with comments.
    RAISES (MaralError): If the size is unknown, a setting is out of its range, the encoder's folder
        cannot be used, or sentences are given although the size is that of the paper.
    """
    if choices.size not in WIDTHS:
        raise MaralError(Errors.M408.format(size=choices.size, known=", ".join(WIDTHS)))
    if choices.sentences and choices.size == "paper":
        raise MaralError(Errors.M560.format(sentences=choices.sentences))
    batch_tokens, epochs = batch_and_epochs(choices.sentences)
    encoder = choices.encoder or ENCODERS[choices.size]
    facts = check_encoder(encoder)
    width, n_layers = encoder_shape(facts, encoder)
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    lang = choose_language(choices.targets)[0]
    template = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf8")
    text = environment.from_string(template).render(
        source=language_code(choices.source),
        targets=[*map(language_code, choices.targets)],
        encoder=encoder,
        size=choices.size,
        gpu=choices.gpu,
        batch_tokens=batch_tokens,
        epochs=epochs,
        sentences=choices.sentences,
        max_width=choices.max_width or WIDTHS[choices.size],
        lang=lang,
        tokenizer=tokenizer_config(lang, choices.segmenter),
        freeze_layers=n_layers // 2,
        learn_rate=choose_learn_rate(width),
        is_wide=width > ITS_WIDTH,
        lm_head=_has_lm_head(facts),
        command=describe_command(choices, name, fill=fill),
    )
    text = text.strip() + "\n"
    _check(text)
    return fill_config(text) if fill else text


def encoder_shape(facts: PretrainedConfig | None, name: str) -> tuple[int, int]:
    """Width and number of layers of an encoder: by its configuration, or else by its name.

    facts (PretrainedConfig | None): Its configuration, if it is a folder.
    name (str): Its name on the hub, such as xlm-roberta-large.
    RETURNS (tuple): Numbers per word piece, and layers.
    """
    if facts is None:
        words = re.split(r"[-_/]", name.lower())
        return next((SHAPES[word] for word in words if word in SHAPES), OTHER_SHAPE)
    width, n_layers = OTHER_SHAPE
    return getattr(facts, "hidden_size", width), getattr(facts, "num_hidden_layers", n_layers)


def choose_learn_rate(width: int) -> str:
    """Choose the encoder's peak learning rate: wider encoders are usually fine-tuned at lower ones.

    width (int): The encoder's width.
    RETURNS (str): LEARN_RATE for up to ITS_WIDTH numbers per word piece, above it in inverse
        proportion to the width, with one digit.
    """
    rate = LEARN_RATE * min(1.0, ITS_WIDTH / width)
    return f"{rate:.0e}".replace("e-0", "e-")


def batch_and_epochs(sentences: int | None) -> tuple[int, int]:
    """Choose batch size and epochs so that a training has `min_updates` updates, also with little text.

    sentences (int | None): About how many sentences there are; None for the defaults.
    RETURNS (tuple): Word pieces in a batch, and epochs: the defaults with much text, smaller batches
        with less, and more epochs once a batch has only two sentences or so.
    """
    if sentences is None:
        return BATCH_TOKENS, EPOCHS
    pieces = SENTENCE_PIECES * sentences
    fitting = EPOCHS * pieces // UPDATES // 16 * 16
    batch = max(SMALLEST_BATCH, min(BATCH_TOKENS, fitting))
    epochs = -(-UPDATES * batch // pieces) if batch == SMALLEST_BATCH else EPOCHS
    return batch, max(EPOCHS, min(MOST_EPOCHS, epochs))


def choose_language(targets: Sequence[str]) -> tuple[str, str | None]:
    """Choose the language of a pipeline, which determines its tokenizer for raw text.

    targets (Sequence[str]): Codes of the target languages.
    RETURNS (tuple): The target's tokenizer if there is only one target and this installation of
        spaCy has one for it, otherwise "xx"; and the reason why that cannot find its words, or None.
    RAISES (MaralError): If a target is not a language code.
    """
    if len(targets) != 1 or language_code(targets[0]) == MULTIPLE_LANGUAGES:
        own = ", ".join(target for target in targets if own_tokenizer(target))
        problem = f"it does not find the words of {own}: make a config for each such language alone"
        return MULTIPLE_LANGUAGES, problem if own else None
    lang = tokenizer_language(targets[0])
    if lang == MULTIPLE_LANGUAGES:
        return MULTIPLE_LANGUAGES, "spaCy does not have this language"
    try:
        blank_pipeline(lang)
    except MaralError as error:
        return MULTIPLE_LANGUAGES, str(error)
    return lang, None


def describe_command(choices: Choices, name: str, *, fill: bool) -> str:
    """Write the command line that makes a configuration.

    choices (Choices): Languages, encoder, size and device.
    name (str): Name of the configuration file.
    fill (bool): See `make_config`.
    RETURNS (str): The command.
    """
    words = ["init-config", name, "--size", choices.size]
    if choices.source != MULTIPLE_LANGUAGES:
        words += ["--source", choices.source]
    if list(choices.targets) != [MULTIPLE_LANGUAGES]:
        words += [word for target in choices.targets for word in ("--target", target)]
    if choices.encoder:
        words += ["--encoder", choices.encoder]
    if choices.segmenter:
        words += ["--segmenter", choices.segmenter]
    if choices.sentences:
        words += ["--sentences", str(choices.sentences)]
    if choices.max_width:
        words += ["--max-width", str(choices.max_width)]
    words += ["--gpu" if choices.gpu else "--cpu", *([] if fill else ["--no-fill"])]
    return f"python -m spacy maral {shlex.join(words)}"


def fill_config(text: str) -> str:
    """Add the settings that a configuration leaves to their defaults.

    text (str): The configuration.
    RETURNS (str): The configuration with all settings of [nlp], [components], [teacher], [student]
        and [adaptation], except for blocks that are not there; its own lines and comments stay.
    """
    own, full = load_config_from_str(text), _all_settings(text)
    blocks = re.split(r"\n\n(?=(?:#.*\n)*\[)", text.strip())
    names = [found[1] if (found := SECTION.search(block)) else "" for block in blocks]
    result: list[str] = []
    for name, following, block in zip(names, [*names[1:], ""], blocks, strict=True):
        result.append(block)
        if not name:
            continue
        _, given = next(_sections(dot_to_object(own, name), name))
        _, settings = next(_sections(dot_to_object(full, name), name))
        if missing := {key: settings[key] for key in settings if key not in given}:
            result[-1] += "\n".join(["", DEFAULTS_NOTE, *_lines(missing)])
        # sections missing from the text follow the last section of their parent
        top = ".".join(name.split(".")[:2])
        if not following.startswith(f"{top}."):
            for path, section in _sections(dot_to_object(full, top), top):
                if path not in names:
                    result.append("\n".join([f"[{path}]", *_lines(section)]))
    return "\n\n".join(result) + "\n"


def _all_settings(text: str) -> Config:
    """Collect all settings by section, default values included."""
    from .settings import SCHEMAS

    config = load_config_from_str(text)
    nlp = make_pipeline(config)
    full = Config()
    for name in ("paths", "system", "nlp", "components"):
        full[name] = dict(nlp.config[name])
    for name, schema in SCHEMAS.items():
        fields = schema.model_fields.items()
        defaults = {key: field.default for key, field in fields if key not in BLOCKS}
        full[name] = {**defaults, **config[name]}
    for name in {*config} - {"nlp", "components", *SCHEMAS}:
        full[name] = dict(config[name])
    return full


def _check(text: str) -> None:
    """Check that the training sections of a configuration are valid.

    RAISES (MaralError): If a section is invalid.
    """
    from .settings import SCHEMAS, read_languages, read_section

    config = load_config_from_str(text, interpolate=True)
    for name in SCHEMAS:
        read_section(config, name)
    read_languages(config)


def _has_lm_head(facts: PretrainedConfig | None) -> bool:
    """Whether an encoder was saved with a masked-language-model head; True if nothing is known."""
    names = [] if facts is None else facts.architectures or []
    return facts is None or any(name.endswith("ForMaskedLM") for name in names)


def _sections(settings: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _sections(value, f"{name}.{key}")


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [line for line in Config({"s": dict(settings)}).to_str().splitlines()[1:] if line]
