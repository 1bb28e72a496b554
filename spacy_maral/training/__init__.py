"""Training: a teacher on the source language, and its adaptation to a target language."""

from .labelling import pseudo_label
from .teacher import adapt, train_teacher

__all__ = ["adapt", "pseudo_label", "train_teacher"]
