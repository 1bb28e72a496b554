"""Distil a trained pipeline into a smaller one that learns from the text that it labels."""
