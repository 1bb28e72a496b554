"""Corpora of any size: shard by shard, here or on a Ray cluster, each document exactly once."""
