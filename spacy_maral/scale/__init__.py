"""Run a trained pipeline on any corpus, here or on a Ray cluster, or make it smaller and faster, or distil it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotate.corpus_run import annotate_corpus
    from .annotate.ray_engine import RayEngine
    from .annotate.shard import ShardSettings, ShardSummary, annotate_shard
    from .annotate.worker import LocalEngine
    from .distil.layers import distil_layers
    from .distil.tok2vec import distil_tok2vec
    from .shrink.optimising import optimise
    from .shrink.trimming import trim_vocab

_HOMES = {
    "LocalEngine": "annotate.worker",
    "RayEngine": "annotate.ray_engine",
    "ShardSettings": "annotate.shard",
    "ShardSummary": "annotate.shard",
    "annotate_corpus": "annotate.corpus_run",
    "annotate_shard": "annotate.shard",
    "distil_layers": "distil.layers",
    "distil_tok2vec": "distil.tok2vec",
    "optimise": "shrink.optimising",
    "trim_vocab": "shrink.trimming",
}

__all__ = [
    "LocalEngine",
    "RayEngine",
    "ShardSettings",
    "ShardSummary",
    "annotate_corpus",
    "annotate_shard",
    "distil_layers",
    "distil_tok2vec",
    "optimise",
    "trim_vocab",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
