"""The factory `transformer`: that of spacy-transformers where it is installed, and else our own.

Every pipeline loads this file, whatever it consists of: it must not import transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import catalogue
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Config, Model

from .installed import has_spacy_transformers
from .windows import configure_documents, configure_sentences, configure_strides

NOTHING = "spacy-transformers.null_annotation_setter.v1"
# what the configurations of saved pipelines name
WINDOWS = {
    "spacy-transformers.strided_spans.v1": configure_strides,
    "spacy-transformers.sent_spans.v1": configure_sentences,
    "spacy-transformers.doc_spans.v1": configure_documents,
}
DEFAULT_CONFIG = Config().from_str(
    f"""
    [transformer]
    max_batch_items = 4096

    [transformer.set_extra_annotations]
    @annotation_setters = "{NOTHING}"

    [transformer.model]
    @architectures = "spacy-maral.TransformerModel.v1"
    name = "xlm-roberta-base"

    [transformer.model.get_spans]
    @span_getters = "spacy-maral.bounded_windows.v1"
    """
)["transformer"]


def _make_transformer(
    nlp: Language,
    name: str,
    model: Model,
    set_extra_annotations: Callable,
    max_batch_items: int,
) -> TrainablePipe:
    """Make the component that holds an encoder, to which maral_ner listens.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): The encoder, such as spacy-maral.TransformerModel.v1.
    set_extra_annotations (Callable): Called with the documents and their output.
    max_batch_items (int): Most words of a batch in prediction, padding included.
    """
    from .component import Transformer

    return Transformer(
        nlp.vocab, model, set_extra_annotations, name=name, max_batch_items=max_batch_items
    )


def _add_nothing() -> Callable[[list[Doc], Any], None]:
    return lambda docs, output: None


def _registry(kind: str) -> catalogue.Registry:
    """A registry of spaCy, which is made if no package has made it yet."""
    if not hasattr(registry, kind):
        setattr(registry, kind, catalogue.create("spacy", kind, entry_points=True))
    return getattr(registry, kind)


def _register() -> Callable:
    """Register the factory, and the other names of spacy-transformers that saved pipelines have."""
    for name, configure in WINDOWS.items():
        _registry("span_getters").register(name, func=configure)
    _registry("annotation_setters").register(NOTHING, func=_add_nothing)
    decorate = Language.factory(
        "transformer", assigns=["doc._.trf_data"], default_config=DEFAULT_CONFIG
    )
    return decorate(_make_transformer)


if has_spacy_transformers():
    from spacy_transformers.pipeline_component import make_transformer
else:
    make_transformer = _register()
