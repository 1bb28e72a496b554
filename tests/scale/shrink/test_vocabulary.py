"""Trimmed tokenizers cut the text that they were trimmed for as before, in the same words."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from sentences import TEXTS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from spacy_maral.errors import MaralError
from spacy_maral.scale.shrink.vocabulary import BYTES, Vocabulary, script_of

SENTENCES = [text for text, _ in TEXTS] + [
    "The visitor visited New York yesterday , and nothing else .",
    "Zürich : 12,5 % mehr Besucher als im Vorjahr !",
    "Überall unverständliche Wörter , donaudampfschiffähnliche",
    "Москва слезам не верит .",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    return tokenizer, trainer


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False
    )


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    return tokenizer, trainer


def bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False
    )


KINDS = {"unigram": unigram, "wordpiece": wordpiece, "byte level": byte_level, "bpe": bpe}


def wrapped(tokenizer):
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, add_prefix_space=True, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
    )  # fmt: skip


@pytest.fixture(params=KINDS, scope="module")
def tokenizer(request):
    tokenizer, trainer = KINDS[request.param]()
    tokenizer.train_from_iterator(SENTENCES * 2, trainer)
    numbers = {piece: tokenizer.token_to_id(piece) for piece in SPECIAL}
    if request.param == "byte level":
        ends = [(p, numbers[p]) for p in ("</s>", "<s>")]
        tokenizer.post_processor = processors.RobertaProcessing(*ends)
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[(p, numbers[p]) for p in ("<s>", "</s>")]
        )
    tokenizer.add_tokens(["§added§"])
    tokenizer.add_special_tokens(["<mask>"])
    return wrapped(tokenizer)


def counted(tokenizer, texts):
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return np.bincount([n for row in rows for n in row], minlength=len(tokenizer))


def trimmed(tokenizer, texts, min_count=1):
    vocabulary = Vocabulary.read(tokenizer)
    kept = vocabulary.choose(counted(tokenizer, texts), min_count, [])
    description, rows = vocabulary.trimmed(kept)
    return wrapped(Tokenizer.from_str(json.dumps(description))), rows


def cut(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


@pytest.mark.parametrize("seed", range(6))
def test_text_is_cut_as_before(tokenizer, seed):
    random.seed(seed)
    texts = random.sample(SENTENCES, random.randint(1, len(SENTENCES)))
    small, rows = trimmed(tokenizer, texts)
    assert len(small) == len(rows) <= len(tokenizer)
    for text in [*texts, " ".join(texts), "§added§ <mask>"]:
        assert cut(small, text) == cut(tokenizer, text)
    # what a number stands for is what the row that it takes over stood for
    assert small.convert_ids_to_tokens(range(len(rows))) == tokenizer.convert_ids_to_tokens(
        rows.tolist()
    )


def test_most_pieces_go_and_no_letter_of_the_script_is_unknown(tokenizer):
    small, rows = trimmed(tokenizer, SENTENCES[:1])
    assert len(rows) < 0.75 * len(tokenizer)
    for text in SENTENCES[:6]:
        assert "<unk>" not in cut(tokenizer, text)
        if text.isascii():
            assert "<unk>" not in cut(small, text)
            joined = "".join(cut(small, text)[1:-1])
            assert len(joined) >= len(text.replace(" ", ""))


def test_rare_pieces_go(tokenizer):
    _, all_rows = trimmed(tokenizer, SENTENCES)
    _, rows = trimmed(tokenizer, SENTENCES, min_count=3)
    assert set(rows) < set(all_rows)


def test_unknown_characters_cost_as_much_as_before():
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("aж", -14.0), ("zzz", -5.0), ("q", -30.0)]
    full = Tokenizer(models.Unigram(pieces, unk_id=0))
    full.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=full, unk_token="<unk>")
    vocabulary = Vocabulary.read(tokenizer)
    kept = vocabulary.choose(counted(tokenizer, ["aж a"]), 1, [])
    description, _ = vocabulary.trimmed(kept)
    small = Tokenizer.from_str(json.dumps(description))
    assert small.token_to_id("zzz") is None and small.token_to_id("q") is not None
    # "aж" is dearer than "a" and an unknown character, were this counted from -14 and not from -30
    for text in ("aж", "aжж", "жa"):
        assert small.encode(text).tokens == full.encode(text).tokens


def test_stray_scripts_do_not_keep_all_their_characters():
    letters = [chr(c) for c in range(0x4E00, 0x4E40)]
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), *((c, -9.0) for c in letters)]
    full = Tokenizer(models.Unigram(pieces, unk_id=0))
    full.pre_tokenizer = pre_tokenizers.Metaspace()
    vocabulary = Vocabulary.read(PreTrainedTokenizerFast(tokenizer_object=full, unk_token="<unk>"))
    counts = np.zeros(len(pieces), dtype=np.int64)
    counts[[2, 3]] = 10_000, 1
    assert len(vocabulary.choose(counts, 1, [])) == 4
    counts[3] = 20
    assert len(vocabulary.choose(counts, 1, [])) == len(pieces)
    shares = vocabulary.scripts(counts)
    assert list(shares) == ["LATIN", "CJK"] and sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "character, script",
    [("a", "LATIN"), ("Ü", "LATIN"), ("ж", "CYRILLIC"), ("北", "CJK"), ("ভ", "BENGALI"),
     ("7", "COMMON"), ("%", "COMMON"), ("\u0301", "COMMON"), ("▁", "COMMON")],
)  # fmt: skip
def test_scripts(character, script):
    assert script_of(character) == script


def test_byte_alphabet_is_that_of_tokenizers():
    assert sorted(BYTES) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(BYTES.values()) == list(range(256))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("aß", "北", "\n\x00é"):
        [(piece, _)] = level.pre_tokenize_str(text)
        assert bytes(BYTES[c] for c in piece) == text.encode("utf8")


def test_refuses_other_models():
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    with pytest.raises(MaralError, match=r"M461.*WordLevel"):
        Vocabulary.read(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>"))


def test_refuses_slow_tokenizers():
    class Slow:
        is_fast = False

    with pytest.raises(MaralError, match=r"M461.*Slow"):
        Vocabulary.read(Slow())
