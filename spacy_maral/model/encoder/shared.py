"""What the encoder shares with components of other packages: the classes of spacy-transformers.

Where it is not installed, classes of this package take their places, with the same names. All that
computes, from the word pieces to the saved weights, is this package's in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .installed import has_spacy_transformers

if TYPE_CHECKING or not has_spacy_transformers():
    from .listener import TransformerListener
    from .outputs import FullTransformerBatch, TransformerData, WordpieceBatch, register_messages

    register_messages()
else:
    from spacy_transformers.data_classes import (
        FullTransformerBatch,
        TransformerData,
        WordpieceBatch,
    )
    from spacy_transformers.layers import TransformerListener

__all__ = ["FullTransformerBatch", "TransformerData", "TransformerListener", "WordpieceBatch"]
