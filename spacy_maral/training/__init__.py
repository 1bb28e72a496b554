"""Training: a teacher on the source language, and its adaptation to a target language."""

from .runs import adapt, pseudo_label, train_teacher

__all__ = ["adapt", "pseudo_label", "train_teacher"]
