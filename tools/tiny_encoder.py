"""Make a tiny encoder of XLM-R's kind with random weights, for smoke runs only: it knows nothing."""

from __future__ import annotations

import torch
from e5_encoder import SPECIALS, finish_tokenizer
from make_demo_corpus import make_corpus
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import XLMRobertaConfig, XLMRobertaModel

VOCABULARY = 2500
SENTENCES = 400
POSITIONS = 256


def build_tokenizer(seed: int) -> Tokenizer:
    """Train a small tokenizer on text of the demonstration corpus.

    seed (int): Seed of the text.
    RETURNS (Tokenizer): A byte-pair tokenizer with XLM-R's special pieces.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False
    )
    sizes = {
        "source_train": SENTENCES,
        "source_dev": 0,
        "target_train": SENTENCES,
        "target_test": 0,
    }
    corpus = make_corpus(sizes=sizes, seed=seed)
    texts = [" ".join(sentence.words) for part in corpus.values() for sentence in part]
    tokenizer.train_from_iterator(texts, trainer)
    ids = {piece: tokenizer.token_to_id(piece) for piece in SPECIALS}
    finish_tokenizer(tokenizer, bos=ids["<s>"], eos=ids["</s>"])
    return tokenizer


def build_model(tokenizer: Tokenizer, seed: int) -> XLMRobertaModel:
    """Make an untrained encoder, 2 layers of width 64.

    tokenizer (Tokenizer): Its tokenizer.
    seed (int): Seed of the weights.
    RETURNS (XLMRobertaModel): The model in evaluation mode.
    """
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=64, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=128, max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1, bos_token_id=tokenizer.token_to_id("<s>"),
        eos_token_id=tokenizer.token_to_id("</s>"), pad_token_id=tokenizer.token_to_id("<pad>"),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return XLMRobertaModel(config, add_pooling_layer=False).eval()
