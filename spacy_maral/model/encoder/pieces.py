"""Cut windows of documents into an encoder's word pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.types import Ragged

from .alignment import Windows, align_offsets, align_texts, cut_alignment
from .shared import WordpieceBatch

# tokenizers without a limit report a huge number
NO_LIMIT = 1 << 20


def tokenize(tokenizer: Any, windows: Windows) -> tuple[WordpieceBatch, Ragged]:
    """Cut windows into word pieces; drop those beyond the encoder's limit.

    Rows are cut before padding, so that one extremely long word does not lengthen all rows.

    tokenizer (PreTrainedTokenizerBase): The encoder's tokenizer.
    windows (Sequence): The windows of each document.
    RETURNS (tuple): The pieces of all windows, and the numbers of those of each word (see
        `align_offsets`).
    """
    texts = [window.text for spans in windows for window in spans]
    limit = min(tokenizer.model_max_length, NO_LIMIT)
    settings: dict[str, Any] = {"return_offsets_mapping": tokenizer.is_fast}
    if tokenizer.is_fast and limit < NO_LIMIT:
        # with one piece more, so that the last one, which marks the end, is of those that are cut
        settings |= {"truncation": True, "max_length": limit + 1}
    found = tokenizer(
        texts, padding="longest", return_tensors="np", return_attention_mask=True, **settings
    )
    ids = found["input_ids"]
    strings = [tokenizer.convert_ids_to_tokens(row) for row in ids]
    if tokenizer.is_fast:
        align = align_offsets(windows, found["offset_mapping"])
    else:
        align = align_texts(windows, strings, tokenizer.all_special_tokens)
    if ids.shape[1] > limit:
        align = cut_alignment(align, ids.shape[1], limit)
    mask = found["attention_mask"][:, :limit]
    pieces = WordpieceBatch(
        strings=[row[:limit] for row in strings],
        input_ids=ids[:, :limit],
        attention_mask=mask.astype(np.float32),
        lengths=mask.sum(1).tolist(),
        token_type_ids=found["token_type_ids"][:, :limit] if "token_type_ids" in found else None,
    )
    return pieces, align
