"""MARAL for spaCy: cross-lingual named entity recognition with large-margin span representations."""
