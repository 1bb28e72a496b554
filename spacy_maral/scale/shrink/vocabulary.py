"""Find the word pieces of a fast tokenizer that a text needs, and drop the others."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Errors, MaralError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
MODELS = ("Unigram", "WordPiece", "BPE")
# least share of the letters for a script to count: a smaller one is that of stray words
MIN_SHARE = 1e-3
COMMON = "COMMON"
# first words of the names of letters and marks that occur in any script
SHARED_NAMES = {"COMBINING", "MODIFIER", "VARIATION", "FEMININE", "MASCULINE"}
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"
# bytes that byte-level models write as the characters of Latin-1; the others follow from U+0100 on
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {chr(byte): byte for byte in VISIBLE} | {
    chr(0x100 + number): byte for number, byte in enumerate(sorted({*range(0x100)} - {*VISIBLE}))
}
"""Bytes by the visible characters that byte-level models write for them."""


@dataclass
class Vocabulary:
    """The pieces of a fast tokenizer, read from its description.

    description (dict): Content of its tokenizer.json.
    pieces (dict): Pieces by number, both the model's own and added ones.
    added (set[int]): Numbers of the added pieces, such as the special ones.
    texts (dict): Texts of the model's own pieces, by number.
    """

    description: dict[str, Any]
    pieces: dict[int, str]
    added: set[int]
    texts: dict[int, str]

    @classmethod
    def read(cls, tokenizer: Any) -> Vocabulary:
        """Read a tokenizer.

        tokenizer (PreTrainedTokenizerBase): The tokenizer.
        RAISES (MaralError): If it is a slow one, or its kind of model cannot be trimmed.
        """
        if not tokenizer.is_fast:
            problem = f"{type(tokenizer).__name__} is not a fast tokenizer"
            raise MaralError(Errors.M461.format(problem=problem))
        description = json.loads(tokenizer.backend_tokenizer.to_str())
        model = description["model"]
        if model["type"] not in MODELS:
            problem = f"its tokenizer is a {model['type']} model, known are {', '.join(MODELS)}"
            raise MaralError(Errors.M461.format(problem=problem))
        if model["type"] == "Unigram":
            pieces = {number: piece for number, (piece, _) in enumerate(model["vocab"])}
        else:
            pieces = {number: piece for piece, number in model["vocab"].items()}
        added = {token["id"]: token["content"] for token in description["added_tokens"]}
        byte_level = _is_byte_level(description)
        texts = {number: _text(piece, model, byte_level) for number, piece in pieces.items()}
        return cls(description, {**pieces, **added}, set(added), texts)

    def scripts(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Find the scripts of pieces.

        counts (NDArray[np.int64]): Occurrences of each piece, shape (n_pieces,).
        RETURNS (dict): Share of the letters by script, the most frequent first.
        """
        found: Counter[str] = Counter()
        for number in np.flatnonzero(counts):
            for character in self.texts.get(int(number), ""):
                found[script_of(character)] += int(counts[number])
        del found[COMMON]
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return {script: n / found.total() for script, n in ordered}

    def choose(
        self, counts: NDArray[np.int64], min_count: int, needed: Iterable[int]
    ) -> NDArray[np.int64]:
        """Choose the pieces to keep: frequent ones, single characters, and those that they need.

        A text whose pieces are all kept is split into the same pieces as before.

        counts (NDArray[np.int64]): Occurrences of each piece, shape (n_pieces,).
        min_count (int): Least occurrences of a piece.
        needed (Iterable[int]): Numbers of further pieces, such as those that the encoder names.
        RETURNS (NDArray[np.int64]): Their numbers, ascending.
        """
        scripts = {s for s, share in self.scripts(counts).items() if share >= MIN_SHARE} | {COMMON}
        kept = {int(number) for number in np.flatnonzero(counts >= min_count)}
        kept |= {n for n, t in self.texts.items() if len(t) == 1 and script_of(t) in scripts}
        kept |= self.added | set(needed) | self._model_needs()
        return np.array(sorted(self._closed(kept & self.pieces.keys())), dtype=np.int64)

    def _model_needs(self) -> set[int]:
        model = self.description["model"]
        needed = {number for number, piece in self.pieces.items() if BYTE.fullmatch(piece)}
        if model["type"] == "Unigram":
            scores = [score for _, score in model["vocab"]]
            # the score of unknown characters is relative to that of the least likely piece
            needed.add(int(np.argmin(scores)))
            if model.get("unk_id") is not None:
                needed.add(model["unk_id"])
        else:
            needed |= {n for n, piece in self.pieces.items() if piece == model.get("unk_token")}
        if _is_byte_level(self.description):
            needed |= {n for n, piece in self.pieces.items() if piece in BYTES}
        return needed

    def _closed(self, kept: set[int]) -> set[int]:
        """Add the pieces that a BPE model merges into others."""
        model = self.description["model"]
        if model["type"] != "BPE":
            return kept
        parts: dict[str, list[str]] = {}
        for left, right in map(_pair, model["merges"]):
            parts.setdefault(_merged(left, right, model), []).extend((left, right))
        numbers = {piece: number for number, piece in self.pieces.items()}
        waiting, closed = [self.pieces[number] for number in kept], set(kept)
        while waiting:
            for piece in parts.get(waiting.pop(), ()):
                if numbers[piece] not in closed:
                    closed.add(numbers[piece])
                    waiting.append(piece)
        return closed

    def trimmed(self, kept: NDArray[np.int64]) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """Drop pieces.

        kept (NDArray[np.int64]): Numbers of the pieces to keep, ascending, all added ones included.
        RETURNS (tuple): The description of the new tokenizer, and the old numbers of its pieces.
        """
        description = json.loads(json.dumps(self.description))
        model = description["model"]
        is_unigram = model["type"] == "Unigram"
        own = {p for p, _ in model["vocab"]} if is_unigram else set(model["vocab"])
        # added pieces that are not in the model follow its own pieces
        order = sorted(kept.tolist(), key=lambda number: (self.pieces[number] not in own, number))
        numbers = {self.pieces[old]: new for new, old in enumerate(order)}
        if is_unigram:
            scores = dict(model["vocab"])
            model["vocab"] = [[piece, scores[piece]] for piece in numbers if piece in own]
            if model.get("unk_id") is not None:
                model["unk_id"] = numbers[self.pieces[model["unk_id"]]]
        else:
            model["vocab"] = {piece: new for piece, new in numbers.items() if piece in own}
        if model["type"] == "BPE":
            pairs = [(pair, *_pair(pair)) for pair in model["merges"]]
            model["merges"] = [
                pair
                for pair, left, right in pairs
                if {left, right, _merged(left, right, model)} <= numbers.keys()
            ]
        for token in description["added_tokens"]:
            token["id"] = numbers[token["content"]]
        _renumber(description["post_processor"], numbers)
        description["padding"] = description["truncation"] = None
        return description, np.array(order, dtype=np.int64)


def tokenizer_parts(
    files: Mapping[str, bytes], tokenizer: Any, description: dict[str, Any]
) -> dict[str, bytes]:
    """Make the files of a trimmed tokenizer.

    files (Mapping): Contents of the old tokenizer's files by name.
    tokenizer (PreTrainedTokenizerBase): The old tokenizer.
    description (dict): Content of the new tokenizer.json.
    RETURNS (dict): Contents by name, without the files of slow tokenizers.
    """
    slow = {"added_tokens.json", *tokenizer.vocab_files_names.values()}
    parts = {name: content for name, content in files.items() if name not in slow}
    settings = json.loads(parts[SETTINGS_FILE])
    numbers = {token["content"]: token["id"] for token in description["added_tokens"]}
    old = settings.get("added_tokens_decoder", {}).values()
    settings["added_tokens_decoder"] = {str(numbers[t["content"]]): t for t in old}
    parts[SETTINGS_FILE] = json.dumps(settings, ensure_ascii=False).encode("utf8")
    parts[TOKENIZER_FILE] = json.dumps(description, ensure_ascii=False).encode("utf8")
    return parts


def script_of(character: str) -> str:
    """Find the script of a letter or mark, by the first word of its name in Unicode.

    character (str): One character.
    RETURNS (str): Such as "LATIN" or "CJK"; "COMMON" for digits, signs and marks of any script.
    """
    if unicodedata.category(character)[0] not in "LM":
        return COMMON
    script = re.split("[ -]", unicodedata.name(character, COMMON), maxsplit=1)[0]
    return COMMON if script in SHARED_NAMES else script


def _text(piece: str, model: Mapping[str, Any], byte_level: bool) -> str:
    """The text of a piece without marks of word starts and ends; none for parts of characters."""
    if byte_level:
        found = bytes(BYTES[c] for c in piece if c in BYTES)
        return found.decode("utf8", errors="ignore").strip()
    piece = piece.removeprefix(model.get("continuing_subword_prefix") or "")
    piece = piece.removesuffix(model.get("end_of_word_suffix") or "")
    return piece.removeprefix(SPACE) or piece


def _is_byte_level(description: Mapping[str, Any]) -> bool:
    """Whether pieces are made of bytes."""
    steps = json.dumps([description["pre_tokenizer"], description["normalizer"]])
    return '"type": "ByteLevel"' in steps


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _merged(left: str, right: str, model: Mapping[str, Any]) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _renumber(node: Any, numbers: Mapping[str, int]) -> None:
    """Replace the numbers of special pieces in a post-processor."""
    if isinstance(node, list):
        for part in node:
            _renumber(part, numbers)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("cls", "sep") and isinstance(value, list):
                value[1] = numbers[value[0]]
            elif key == "ids":
                node["ids"] = [numbers[piece] for piece in node["tokens"]]
            else:
                _renumber(value, numbers)
