"""How good predictions are, and which mistakes they have."""
