"""Which word pieces of a fast tokenizer a text needs, and the tokenizer without the others."""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Errors, MaralError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
MODELS = ("Unigram", "WordPiece", "BPE")
# a script whose letters are fewer than this share of all is that of stray words
MIN_SHARE = 1e-3
COMMON = "COMMON"
# first words of the names of letters and marks that go with any script
SHARED_NAMES = {"COMBINING", "MODIFIER", "VARIATION", "FEMININE", "MASCULINE"}
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"


@dataclass
class Vocabulary:
    """The pieces of a fast tokenizer, read from its description.

    description (dict): What its tokenizer.json holds.
    pieces (dict): Pieces by their numbers, those that were added to the model's own included.
    added (set[int]): Numbers of the added ones, such as the special pieces.
    texts (dict): What the model's own pieces stand for, by their numbers.
    """

    description: dict[str, Any]
    pieces: dict[int, str]
    added: set[int]
    texts: dict[int, str]

    @classmethod
    def read(cls, tokenizer: Any) -> Vocabulary:
        """Read a tokenizer.

        tokenizer (PreTrainedTokenizerBase): The tokenizer.
        RAISES (MaralError): If it is a slow one, or of a model that pieces cannot be left out of.
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
        """Find the scripts that pieces were seen in.

        counts (NDArray[np.int64]): How often each piece was seen, shape (n_pieces,).
        RETURNS (dict): Share of the letters seen, by script, the most frequent first.
        """
        found: dict[str, int] = {}
        for number in np.flatnonzero(counts):
            for character in self.texts.get(int(number), ""):
                script = script_of(character)
                if script != COMMON:
                    found[script] = found.get(script, 0) + int(counts[number])
        total = sum(found.values())
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return {script: n / total for script, n in ordered}

    def choose(
        self, counts: NDArray[np.int64], min_count: int, needed: Iterable[int]
    ) -> NDArray[np.int64]:
        """Choose the pieces to keep: those seen, single characters, and what these need.

        A text all whose pieces are kept is cut into the same pieces as before.

        counts (NDArray[np.int64]): How often each piece was seen, shape (n_pieces,).
        min_count (int): How often a piece must have been seen.
        needed (Iterable[int]): Numbers of further pieces, such as those the encoder names.
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
            # an unknown character costs a fixed amount more than the most unlikely piece
            needed.add(int(np.argmin(scores)))
            if model.get("unk_id") is not None:
                needed.add(model["unk_id"])
        else:
            needed |= {n for n, piece in self.pieces.items() if piece == model.get("unk_token")}
        if _is_byte_level(self.description):
            needed |= {n for n, piece in self.pieces.items() if piece in byte_alphabet()}
        return needed

    def _closed(self, kept: set[int]) -> set[int]:
        """With the pieces that pieces of a BPE model are merged from."""
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
        """Leave pieces out.

        kept (NDArray[np.int64]): Numbers of those that stay, ascending, with all added ones.
        RETURNS (tuple): The description of the new tokenizer, and the old number of each of its
            pieces.
        """
        description = json.loads(json.dumps(self.description))
        model = description["model"]
        is_unigram = model["type"] == "Unigram"
        own = {p for p, _ in model["vocab"]} if is_unigram else set(model["vocab"])
        # added pieces that the model does not know itself are numbered after its own
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
    """Files of a tokenizer of another description.

    files (Mapping): Contents of the old tokenizer's files by name.
    tokenizer (PreTrainedTokenizerBase): The old tokenizer.
    description (dict): The new one's tokenizer.json.
    RETURNS (dict): Contents by name; files that slow tokenizers read are left out.
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
    """The script of a letter or mark, by the first word of its name in Unicode.

    character (str): One character.
    RETURNS (str): Such as "LATIN" or "CJK"; "COMMON" for digits, signs and what goes with any.
    """
    if unicodedata.category(character)[0] not in "LM":
        return COMMON
    script = re.split("[ -]", unicodedata.name(character, COMMON), maxsplit=1)[0]
    return COMMON if script in SHARED_NAMES else script


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The visible characters that byte-level models write bytes as.

    RETURNS (dict): Bytes by character: Latin-1's visible ones stand for themselves, the others for
        characters from U+0100 on.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(b): b for b in visible} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _text(piece: str, model: Mapping[str, Any], byte_level: bool) -> str:
    """What a piece stands for, without marks of word starts and ends; nothing for part of a
    character.
    """
    if byte_level:
        alphabet = byte_alphabet()
        found = bytes(alphabet[c] for c in piece if c in alphabet)
        return found.decode("utf8", errors="ignore").strip()
    piece = piece.removeprefix(model.get("continuing_subword_prefix") or "")
    piece = piece.removesuffix(model.get("end_of_word_suffix") or "")
    return piece.removeprefix(SPACE) or piece


def _is_byte_level(description: Mapping[str, Any]) -> bool:
    """Whether bytes are what pieces are made of."""

    def holds(node: Any) -> bool:
        if isinstance(node, list):
            return any(map(holds, node))
        if not isinstance(node, dict):
            return False
        return node.get("type") == "ByteLevel" or any(map(holds, node.values()))

    return holds([description["pre_tokenizer"], description["normalizer"]])


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _merged(left: str, right: str, model: Mapping[str, Any]) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _renumber(node: Any, numbers: Mapping[str, int]) -> None:
    """Put new numbers where a post-processor names special pieces by them."""
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
