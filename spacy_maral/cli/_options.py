"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Any

from spacy.cli._util import Arg, Opt

FILE: dict[str, Any] = {"exists": True, "dir_okay": False}
FOLDER: dict[str, Any] = {"exists": True, "file_okay": False}

MODEL = Arg(..., help="Model name or path")
GPU_ID = Opt(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU")
CODE = Opt(
    None, "--code", "-c", help="Python file with additional code (registered functions) to import"
)
VERBOSE = Opt(
    False, "--verbose", "-V", "-VV", help="Display more information for debugging purposes"
)

CONFIG = Arg(..., help="Path to config file", **FILE)
SOURCE = Opt(
    ..., "--source", "-s", **FILE,
    help="Labelled training data of the source language (.spacy); can be repeated",
)  # fmt: skip
DEV = Opt(
    ..., "--dev", "-d", **FILE,
    help="Labelled development data of the source language (.spacy); can be repeated",
)  # fmt: skip


class Segmenter(str, Enum):
    """Ways to find Chinese words, as in `languages.SEGMENTERS`."""

    char = "char"
    jieba = "jieba"
    pkuseg = "pkuseg"


SEGMENTER = Opt(
    None, "--segmenter",
    help="How to find words in Chinese text: single characters (the default), or with the package "
    "jieba or spacy-pkuseg",
)  # fmt: skip
LANG = Opt(None, "--lang", "-l", help="Language code of raw text; once, or once per target")
LAYER = Opt(
    None, "--layer", min=1, help="Layer of the encoder that aligns; by default the middle one"
)
TARGET_TEXT = "Target text: .spacy, or raw text with --lang (.txt, .jsonl, directory)"
