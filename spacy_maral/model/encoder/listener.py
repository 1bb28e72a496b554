"""The layer that takes what a transformer component before it has computed for documents.

It stands in for that of spacy-transformers where it is not installed (see `shared`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spacy.errors import Errors as SpacyErrors
from spacy.tokens import Doc
from thinc.api import Model

from .outputs import TransformerData


class TransformerListener(Model[list[Doc], list[TransformerData]]):
    """Gives the output of a transformer component for documents, and returns its gradient.

    upstream_name (str): Name of the component, "*" for any.
    """

    name = "transformer-listener"

    def __init__(self, upstream_name: str) -> None:
        super().__init__(self.name, _forward, dims={"nO": None})
        self.upstream_name = upstream_name
        self._received: tuple[int, list[TransformerData], Callable] | None = None

    @classmethod
    def get_batch_id(cls, docs: Sequence[Doc]) -> int:
        """RETURNS (int): A number by which the component and the listener tell batches apart."""
        return hash(tuple(doc.to_array("ORTH").tobytes() for doc in docs))

    def receive(self, batch_id: int, outputs: list[TransformerData], backprop: Callable) -> None:
        """Take the output for a batch in training.

        batch_id (int): The number of the batch.
        outputs (list[TransformerData]): Output for each document.
        backprop (Callable): Takes the gradient of the output of each document that has any.
        """
        self._received = batch_id, outputs, backprop

    def take(self, docs: Sequence[Doc]) -> tuple[list[TransformerData], Callable]:
        """Hand on what was received.

        docs (Sequence[Doc]): The documents of the batch.
        RETURNS (tuple): The output for each document, and what takes the gradient. Where nothing was
            received, as from a frozen component, this is the output on the documents, and nothing.
        RAISES (ValueError): If other documents were received, or the documents have no output.
        """
        if self._received is None:
            if any(doc._.trf_data is None for doc in docs):
                raise ValueError(SpacyErrors.E203.format(name="transformer"))
            return [doc._.trf_data for doc in docs], _no_gradient
        batch_id, outputs, backprop = self._received
        if batch_id != (found := self.get_batch_id(docs)):
            raise ValueError(SpacyErrors.E953.format(id1=found, id2=batch_id))

        def backprop_once(d_outputs: list[TransformerData]) -> list[Doc]:
            # what the callback holds takes much memory
            self._received = None
            return backprop(d_outputs)

        return outputs, backprop_once


def _forward(
    model: TransformerListener, docs: list[Doc], is_train: bool
) -> tuple[list[TransformerData], Callable]:
    if is_train:
        return model.take(docs)
    width = model.get_dim("nO")
    outputs = [
        TransformerData.zeros(len(doc), width, xp=model.ops.xp)
        if doc._.trf_data is None
        else doc._.trf_data
        for doc in docs
    ]
    return outputs, _no_gradient


def _no_gradient(d_outputs: Any) -> list[Doc]:
    return []
