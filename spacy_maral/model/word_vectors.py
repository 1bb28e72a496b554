"""The layer that takes the vectors of words from spaCy's tok2vec, or from any layer like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors, MaralError

WordEnds = tuple[Floats2d, Floats2d]
# name of the layer over a tok2vec
WORD_VECTORS = "word_vectors"


def build_word_vectors(tok2vec: Model[list[Doc], list[Floats2d]]) -> Model[list[Doc], WordEnds]:
    """Give each word its vector from a tok2vec, such as spaCy's, as its first and its last vector.

    tok2vec (Model): Gives each document an array of one row for each word. spacy.Tok2VecListener.v1
        listens to a component `tok2vec` that stands before this one, such as a CNN over hashed
        features, static vectors or floret vectors. Other layers belong to this component alone, such
        as spacy.HashEmbedCNN.v2. spacy-transformers.TransformerListener.v1 pools word pieces.
    RETURNS (Model): Maps documents to two arrays of shape (n_words, width), which are the same one.
        The words of all documents follow one another.
    """
    return Model(WORD_VECTORS, _forward, init=_initialize, layers=[tok2vec], dims={"nO": None})


def output_width(model: Model) -> int:
    """Width of the vectors that a layer gives: that of the outermost layer in it that knows it."""
    return next(node.get_dim("nO") for node in model.walk() if node.has_dim("nO"))


def _initialize(model: Model, X: list[Doc] | None = None, Y: Any = None) -> None:
    tok2vec = model.layers[0]
    tok2vec.initialize(X=X)
    model.set_dim("nO", output_width(tok2vec), force=True)


def _forward(model: Model, docs: list[Doc], is_train: bool) -> tuple[WordEnds, Callable]:
    vectors, backprop_vectors = model.layers[0](docs, is_train)
    _check(vectors, [(len(doc), model.get_dim("nO")) for doc in docs])
    joined = model.ops.xp.concatenate(vectors)
    lengths = model.ops.asarray1i([len(doc) for doc in docs])

    def backprop(d_ends: WordEnds) -> list[Doc]:
        d_first, d_last = d_ends
        backprop_vectors(model.ops.unflatten(d_first + d_last, lengths))
        return docs

    return (joined, joined), backprop


def _check(vectors: Any, wanted: list[tuple[int, int]]) -> None:
    """Refuse what is not one array for each document, with a row for each word.

    RAISES (MaralError): If the layer gives something else, or vectors of another width.
    """
    if not isinstance(vectors, list) or len(vectors) != len(wanted):
        raise MaralError(Errors.M591.format(found=type(vectors).__name__, wanted=""))
    for array, shape in zip(vectors, wanted, strict=True):
        found = getattr(array, "shape", type(array).__name__)
        if found != shape:
            text = f" of the shape {shape}"
            raise MaralError(Errors.M591.format(found=f"one of {found}", wanted=text))
