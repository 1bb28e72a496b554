"""Scores and runs for people: a page of figures, a model card."""
