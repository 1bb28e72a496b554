"""A tiny tokenizer in the manner of XLM-R, for the random encoders of the tests."""

from __future__ import annotations

from sentences import TEXTS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def build_tokenizer(more: str = "") -> Tokenizer:
    """A Unigram vocabulary with Metaspace, as XLM-R has: all characters, and common pieces."""
    chars = sorted(
        {c for text, _ in TEXTS for c in text if c != " "}
        | {*more} - {" "}
        | set("abcdefghijklmnopqrstuvwxyz0123456789-.,")
    )
    words = sorted({word for text, _ in TEXTS for word in text.split()})
    pieces = [(piece, 0.0) for piece in SPECIAL]
    pieces += [("▁", -3.0)]
    pieces += [(char, -9.0) for char in chars]
    pieces += [(f"▁{char}", -9.5) for char in chars]
    # halves of words, so that most words have two pieces
    halves = sorted(
        {half for w in words if len(w) > 3 for half in ("▁" + w[: len(w) // 2], w[len(w) // 2 :])}
    )
    pieces += [(half, -6.0) for half in halves if len(half) > 1]
    pieces = list(dict(pieces).items())
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", SPECIAL.index("<s>")), ("</s>", SPECIAL.index("</s>"))],
    )
    return tokenizer
