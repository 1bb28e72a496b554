"""Annotate corpora of any size, shard by shard, here or on a Ray cluster."""
