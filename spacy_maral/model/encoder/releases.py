"""What transformers 5 has at other places, and under other names, than transformers 4."""

from __future__ import annotations

try:
    from transformers.initialization import no_init_weights

    # argument for the number format of a new encoder
    DTYPE = "dtype"
except ImportError:
    from transformers.modeling_utils import no_init_weights

    DTYPE = "torch_dtype"

try:
    # what transformers 5 raises for a value of the wrong type in a config.json
    from huggingface_hub.errors import StrictDataclassError as InvalidConfig
except ImportError:
    InvalidConfig = ValueError  # type: ignore[assignment,misc]

__all__ = ["DTYPE", "InvalidConfig", "no_init_weights"]
