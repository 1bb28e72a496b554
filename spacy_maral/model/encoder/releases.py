"""What transformers 5 has at other places, and under other names, than transformers 4."""

from __future__ import annotations

try:
    from transformers.initialization import no_init_weights

    # argument for the number format of a new encoder
    DTYPE = "dtype"
except ImportError:
    from transformers.modeling_utils import no_init_weights

    DTYPE = "torch_dtype"

__all__ = ["DTYPE", "no_init_weights"]
