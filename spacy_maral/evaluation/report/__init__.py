"""Scores and runs for people: an HTML page and a model card."""
