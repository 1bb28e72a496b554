"""The strings of the target text: their keys, and the name memory that a student is saved with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..model.maral_ner import set_names
from ..model.names import NameMemory, span_keys
from ..model.visible import VisibleWords
from ..training.network import collect
from ..training.pipelines import COMPONENT, Pipeline
from ..training.settings import AdaptationSettings
from .chunks import LABEL_TOKENS, split


def target_keys(docs: Sequence[Doc], max_width: int) -> NDArray[np.uint64]:
    """Keys of the strings of all candidate spans of documents, shape (n_spans,)."""
    visible = VisibleWords.of(docs)
    return span_keys(visible.texts, visible.candidates(max_width))


def remember_target(student: Pipeline, docs: Sequence[Doc], settings: AdaptationSettings) -> None:
    """Give a trained student a memory of the target text, by its own probabilities.

    student (Pipeline): The student.
    docs (Sequence[Doc]): The target's documents.
    settings (AdaptationSettings): The weights, for a component whose setting `names` is off.
    """
    # the text is read once more, so that nothing of it is worth a place on the disk
    reader = replace(student, cache=None)
    model, n_classes = student.network.span_model, len(student.labels) + 1
    chunks = [chunk for chunk in split(docs) if any(map(len, chunk))]

    def probabilities(chunk: Sequence[Doc]) -> NDArray[np.floating]:
        return collect(
            student.network, reader.encode(chunk, labelled=False, name="target"), n_classes,
            lambda output: model.class_scores(output).softmax(-1),
            batch_tokens=LABEL_TOKENS, name="Name memory", dtype=torch.float32,
        )  # fmt: skip

    memory = NameMemory.streamed(
        ((target_keys(chunk, model.max_width), probabilities(chunk)) for chunk in chunks),
        (target_keys(chunk, model.max_width) for chunk in chunks),
        n_classes,
    )
    given = student.nlp.get_pipe_config(COMPONENT).get("names")
    weights = {
        "type_weight": settings.names_type_weight,
        "mixed_weight": settings.names_mixed_weight,
    }
    set_names(student.nlp, COMPONENT, memory.compact(), weights if given is None else given)
