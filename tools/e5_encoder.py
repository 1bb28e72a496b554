"""Turn the E5S1 container into a Hugging Face model and tokenizer.

The network is a BERT encoder (positions counted from 0, one token type, exact GELU, layer norm
after each block) without a pooler. It becomes an `XLMRobertaModel`, which counts positions from
padding_idx + 1 = 2, so the position table gets two zero rows in front.
"""

from __future__ import annotations

import tokenizers
import torch
from charsmap import composition_keys, pack_charsmap
from e5_container import Container, check
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import XLMRobertaConfig, XLMRobertaModel

POSITION_SHIFT = 2
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# Names in the container, in the model, and whether rows and columns are hidden or ffn wide.
MATRICES = (
    ("q", "attention.self.query", "hidden", "hidden"),
    ("k", "attention.self.key", "hidden", "hidden"),
    ("v", "attention.self.value", "hidden", "hidden"),
    ("ao", "attention.output.dense", "hidden", "hidden"),
    ("fi", "intermediate.dense", "ffn", "hidden"),
    ("fo", "output.dense", "hidden", "ffn"),
)
NORMS = (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"))


def build_model(container: Container) -> XLMRobertaModel:
    """Build the model with the container's weights.

    container (Container): What `e5_container.parse_container` read.
    RETURNS (XLMRobertaModel): The encoder in float32, without a pooler, in evaluation mode.
    RAISES (MaralError): If a tensor is missing, left over or of the wrong size.
    """
    c = container
    check(c.pad + 1 == POSITION_SHIFT, f"its padding id is {c.pad}, not {POSITION_SHIFT - 1}")
    config = XLMRobertaConfig(
        vocab_size=c.vocab, hidden_size=c.hidden, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, intermediate_size=c.ffn, hidden_act="gelu",
        max_position_embeddings=c.positions + POSITION_SHIFT, type_vocab_size=c.types,
        layer_norm_eps=float(f"{c.eps:.6g}"), bos_token_id=c.bos, eos_token_id=c.eos,
        pad_token_id=c.pad,
    )  # fmt: skip
    model = XLMRobertaModel(config, add_pooling_layer=False)
    model.load_state_dict(_state(container), strict=True)
    return model.eval()


def _state(container: Container) -> dict[str, torch.Tensor]:
    """Rename and reshape the container's tensors into a state dict."""
    c, left = container, dict(container.tensors)

    def take(name: str, *shape: int) -> torch.Tensor:
        check(name in left, f"it has no tensor '{name}'")
        tensor = torch.from_numpy(left.pop(name))
        check(
            tensor.numel() == torch.Size(shape).numel(),
            f"tensor '{name}' has {tensor.numel()} weights, not {shape}",
        )
        return tensor.reshape(shape)

    positions = take("emb.pos", c.positions, c.hidden)
    state = {
        "embeddings.word_embeddings.weight": take("emb.word", c.vocab, c.hidden),
        "embeddings.position_embeddings.weight": torch.cat(
            [torch.zeros(POSITION_SHIFT, c.hidden), positions]
        ),
        "embeddings.token_type_embeddings.weight": take("emb.type", c.types, c.hidden),
        "embeddings.LayerNorm.weight": take("emb.ln.w", c.hidden),
        "embeddings.LayerNorm.bias": take("emb.ln.b", c.hidden),
    }
    for i in range(c.layers):
        prefix = f"encoder.layer.{i}"
        for ours, theirs, rows, columns in MATRICES:
            n_rows, n_columns = getattr(c, rows), getattr(c, columns)
            state[f"{prefix}.{theirs}.weight"] = take(f"l{i}.{ours}.w", n_rows, n_columns)
            state[f"{prefix}.{theirs}.bias"] = take(f"l{i}.{ours}.b", n_rows)
        for ours, theirs in NORMS:
            state[f"{prefix}.{theirs}.weight"] = take(f"l{i}.{ours}.w", c.hidden)
            state[f"{prefix}.{theirs}.bias"] = take(f"l{i}.{ours}.b", c.hidden)
    check(not left, f"its tensors {sorted(left)} have no place in the model")
    return state


def build_tokenizer(container: Container) -> Tokenizer:
    """Rebuild XLM-R's tokenizer from the vocabulary and the normalisation table.

    container (Container): What `e5_container.parse_container` read.
    RETURNS (Tokenizer): A unigram tokenizer with <s> … </s> around a text.
    RAISES (MaralError): If the special pieces do not have the ids that the model expects.
    """
    c = container
    tokenizer = Tokenizer(models.Unigram(c.pieces, unk_id=c.unk, byte_fallback=False))
    charsmap = pack_charsmap({**composition_keys(c.normalization), **c.normalization})
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    finish_tokenizer(tokenizer, bos=c.bos, eos=c.eos)
    expected = {"<s>": c.bos, "</s>": c.eos, "<pad>": c.pad, "<unk>": c.unk}
    found = {piece: tokenizer.token_to_id(piece) for piece in expected}
    check(found == expected, f"its special pieces are {found}, not {expected}")
    check(
        tokenizer.get_vocab_size() <= c.vocab,
        f"it has {tokenizer.get_vocab_size()} pieces for {c.vocab} rows of the word table",
    )
    return tokenizer


def finish_tokenizer(tokenizer: Tokenizer, *, bos: int, eos: int) -> None:
    """Add what every XLM-R-like tokenizer has: word marks, <s> … </s> and the special pieces.

    tokenizer (Tokenizer): Tokenizer with its model and normaliser, changed in place.
    bos (int): Id of <s>.
    eos (int): Id of </s>.
    """
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:0 </s>:0",
        special_tokens=[("<s>", bos), ("</s>", eos)],
    )
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in SPECIALS])
    tokenizer.no_truncation()
    tokenizer.no_padding()
