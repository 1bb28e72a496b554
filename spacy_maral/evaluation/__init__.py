"""Scores and mistakes of predictions."""
