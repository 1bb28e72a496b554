"""Trained pipelines made smaller and faster: fewer word pieces, smaller numbers."""
