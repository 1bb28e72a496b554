"""Corpora of any size: shard by shard, here or on a Ray cluster, each document exactly once."""

from .corpus import annotate_corpus
from .engines import LocalEngine
from .ray_engine import RayEngine
from .shard import ShardSettings, ShardSummary, annotate_shard

__all__ = [
    "LocalEngine",
    "RayEngine",
    "ShardSettings",
    "ShardSummary",
    "annotate_corpus",
    "annotate_shard",
]
