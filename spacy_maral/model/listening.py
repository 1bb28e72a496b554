"""The component before it that feeds a span model: is it there, and has it read the documents?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from spacy.ty import ListenedToComponent
from thinc.api import Model

from ..errors import Errors, MaralError
from .word_vectors import WORD_VECTORS

TRANSFORMER, TOK2VEC = "transformer", "tok2vec"


def listeners(model: Model) -> list[Model]:
    """Layers of a model that take what a component before it has computed for the documents.

    Those of all packages know the component's name, and nothing else has such an attribute.
    """
    return [node for node in model.walk() if hasattr(node, "upstream_name")]


def kind_of(listener: Model) -> str:
    """What a listener listens to: TOK2VEC, or else TRANSFORMER."""
    return TOK2VEC if isinstance(listener, Tok2VecListener) else TRANSFORMER


def listens_to_transformer(model: Model) -> bool:
    """Whether a model takes word vectors from the output of a transformer component."""
    return any(kind_of(listener) == TRANSFORMER for listener in listeners(model))


def check_source(model: Model, name: str, nlp: Language) -> None:
    """Refuse to initialise a component that listens to another one which does not stand before it.

    model (Model): The component's model.
    name (str): Name of the component.
    nlp (Language): The pipeline.
    RAISES (MaralError): If a listener has no component before it; the message shows what to write.
    """
    before = takewhile(lambda named: named[0] != name, nlp.pipeline)
    sources: list[Any] = [pipe for _, pipe in before if isinstance(pipe, ListenedToComponent)]
    for listener in listeners(model):
        if any(listener in source.listeners for source in sources):
            continue
        kind, tok2vecs = kind_of(listener), [s for s in sources if isinstance(s, Tok2Vec)]
        if kind == TRANSFORMER and not tok2vecs:
            raise MaralError(Errors.M202)
        width = tok2vecs[0].model.get_dim("nO") if tok2vecs else listener.get_dim("nO")
        pipes = ", ".join(nlp.pipe_names)
        raise MaralError(Errors.M590.format(name=name, kind=kind, pipes=pipes, width=width))


def check_encoded(model: Model, name: str, docs: Sequence[Doc]) -> None:
    """Refuse documents without word vectors: a listener would take zeros for their words.

    model (Model): The component's model.
    name (str): Name of the component, for the message.
    docs (Sequence[Doc]): The documents.
    RAISES (MaralError): If the model listens to a component that has not read a document.
    """
    for kind in {kind_of(listener) for listener in listeners(model)}:
        for doc in docs:
            if len(doc) and not _has_read(kind, doc):
                # the layer of words in the settings is the listener, or is over it
                place = "model.tok2vec" + ".tok2vec" * (model.layers[0].name == WORD_VECTORS)
                found = {"source": kind, "place": place, "text": doc.text[:40]}
                raise MaralError(Errors.M228.format(name=name, **found))


def _has_read(kind: str, doc: Doc) -> bool:
    if kind == TOK2VEC:
        return bool(doc.tensor.size)
    return doc.has_extension("trf_data") and doc._.trf_data is not None
