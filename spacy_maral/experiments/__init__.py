"""Experiments: pairs, variants and seeds, run and shown as tables."""
