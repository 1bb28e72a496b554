"""What is left of an encoder's output on a document once the entities are found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spacy.tokens import Doc

from ...errors import Errors, MaralError
from .shared import TransformerData


class DroppedData(TransformerData):
    """Takes the place of the word pieces' vectors; who needs them is told how to keep them.

    Without it, a later component that listens to the transformer would get zeros in silence.
    """

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        # copies and pickles look for special methods
        if name.startswith("__"):
            raise AttributeError(name)
        raise MaralError(Errors.M534.format(name=name))

    def __repr__(self) -> str:
        return "DroppedData()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DroppedData)

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): No word pieces, for documents that are saved."""
        return TransformerData.empty().to_dict()


DROPPED = DroppedData()


def drop_output(docs: Iterable[Doc]) -> None:
    """Let go of the encoder's output on documents, which takes more memory than all the rest.

    docs (Iterable[Doc]): The documents.
    """
    for doc in docs:
        if doc.has_extension("trf_data") and doc._.trf_data is not None:
            doc._.trf_data = DROPPED
