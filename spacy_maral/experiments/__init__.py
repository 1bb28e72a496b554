"""Experiments: runs over pairs, variants and seeds, and tables of their results."""
