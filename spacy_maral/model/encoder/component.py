"""The pipeline component that holds an encoder, where spacy-transformers, which has one, is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from .batches import group_rows
from .listener import TransformerListener
from .outputs import FullTransformerBatch, TransformerData

OUTPUT = "trf_data"


class Transformer(TrainablePipe):
    """Reads documents with an encoder, and gives the output to the components that listen.

    vocab (Vocab): The pipeline's vocabulary.
    model (Model): Maps documents to a `FullTransformerBatch`.
    set_extra_annotations (Callable): Called with the documents and their output.
    name (str): Name of the component.
    max_batch_items (int): Most words of a batch in prediction, padding to the longest document
        included.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], FullTransformerBatch],
        set_extra_annotations: Callable[[list[Doc], FullTransformerBatch], None],
        *,
        name: str = "transformer",
        max_batch_items: int = 4096,
    ) -> None:
        super().__init__(vocab, model, name, max_batch_items=max_batch_items)
        self.set_extra_annotations = set_extra_annotations
        self.listener_map: dict[str, list[TransformerListener]] = {}
        if not Doc.has_extension(OUTPUT):
            Doc.set_extension(OUTPUT, default=None)

    @property
    def listeners(self) -> list[TransformerListener]:
        """RETURNS (list): The layers of other components that listen to this one."""
        return [layer for layers in self.listener_map.values() for layer in layers]

    @property
    def listening_components(self) -> list[str]:
        """RETURNS (list[str]): Names of the components that listen."""
        return list(self.listener_map)

    def add_listener(self, listener: TransformerListener, component_name: str) -> None:
        """Let a layer listen.

        listener (TransformerListener): The layer.
        component_name (str): Name of its component.
        """
        layers = self.listener_map.setdefault(component_name, [])
        if listener not in layers:
            layers.append(listener)
        if self.model.has_dim("nO") and listener.has_dim("nO") is None:
            listener.set_dim("nO", self.model.get_dim("nO"))

    def remove_listener(self, listener: TransformerListener, component_name: str) -> bool:
        """Let a layer no longer listen.

        listener (TransformerListener): The layer.
        component_name (str): Name of its component.
        RETURNS (bool): Whether it had listened.
        """
        layers = self.listener_map.get(component_name, [])
        if listener not in layers:
            return False
        layers.remove(listener)
        if not layers:
            del self.listener_map[component_name]
        return True

    def find_listeners(self, component: Any) -> None:
        """Let the layers of a component listen that name this one, or any.

        component (Pipe): The component.
        """
        model = getattr(component, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            if isinstance(node, TransformerListener) and node.upstream_name in ("*", self.name):
                self.add_listener(node, component.name)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Read a stream of documents, those of similar length together.

        stream (Iterable[Doc]): The documents.
        batch_size (int): Number of documents among which batches are chosen.
        YIELDS (Doc): The documents in their order.
        """
        handle = self.get_error_handler()
        for docs in minibatch(stream, batch_size):
            docs = list(docs)
            try:
                for chosen in self._batches(docs):
                    self.set_annotations(chosen, self.predict(chosen))
            except Exception as error:
                handle(self.name, self, docs, error)
            else:
                yield from docs

    def _batches(self, docs: list[Doc]) -> Iterator[list[Doc]]:
        """Documents of similar length, the longest ones first."""
        lengths = np.array([len(doc) for doc in docs])
        order = np.argsort(lengths, kind="stable")
        for batch in reversed(group_rows(order, lengths, most=self.cfg["max_batch_items"])):
            yield [docs[i] for i in np.sort(batch)]

    def predict(self, docs: Iterable[Doc]) -> FullTransformerBatch:
        """Read documents without changing them.

        docs (Iterable[Doc]): The documents.
        RETURNS (FullTransformerBatch): The encoder's output.
        """
        docs = list(docs)
        if not any(map(len, docs)):
            return FullTransformerBatch.empty(len(docs))
        return self.model.predict(docs)

    def set_annotations(self, docs: Iterable[Doc], predictions: FullTransformerBatch) -> None:
        """Write output to `doc._.trf_data`.

        docs (Iterable[Doc]): The documents.
        predictions (FullTransformerBatch): What `predict` returned for them.
        """
        docs = list(docs)
        for doc, data in zip(docs, predictions.doc_data, strict=True):
            doc._.trf_data = data
        self.set_extra_annotations(docs, predictions)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Read a batch in training, and give the output to the layers that listen.

        The encoder has no goal of its own: it learns from the gradients that they return, once the
        last of them has done so.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout rate of thinc's layers. The encoder has rates of its own.
        sgd (Optimizer): The optimizer.
        losses (dict): Sums of the squared gradients by component; that of the batch is added.
        RETURNS (dict): The updated losses.
        """
        losses = {} if losses is None else losses
        validate_examples(examples := list(examples), "Transformer.update")
        docs = [eg.predicted for eg in examples]
        if not any(map(len, docs)):
            return losses
        set_dropout_rate(self.model, drop)
        output, backprop_encoder = self.model.begin_update(docs)
        losses.setdefault(self.name, 0.0)
        sums: list[list[Any]] = []

        def add(d_outputs: list[TransformerData]) -> list[Doc]:
            gradients = [list(d_output.tensors) for d_output in d_outputs]
            losses[self.name] += sum(float((d**2).sum()) for own in gradients for d in own)
            if not sums:
                sums.extend(gradients)
                return []
            for own, new in zip(sums, gradients, strict=True):
                own[:] = [d_sum + d for d_sum, d in zip(own, new, strict=True)]
            return []

        def finish(d_outputs: list[TransformerData]) -> list[Doc]:
            add(d_outputs)
            d_docs = backprop_encoder(output.unsplit_by_doc(sums))
            if sgd is not None:
                self.model.finish_update(sgd)
            return d_docs

        batch_id = TransformerListener.get_batch_id(docs)
        for number, listener in enumerate(self.listeners, start=1):
            is_last = number == len(self.listeners)
            listener.receive(batch_id, output.doc_data, finish if is_last else add)
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Any) -> None:
        """Do nothing: the components that listen have the losses."""

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Transformer:
        """Load the component from a folder; its encoder is mapped into memory (see `mapped`).

        path (str | Path): The folder.
        exclude (Iterable[str]): Parts to leave as they are.
        RETURNS (Transformer): Itself.
        """
        super().from_disk(path, exclude=[*exclude, "model"])
        if "model" not in exclude:
            self.model.from_disk(Path(path) / "model")
        return self

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Load the pretrained encoder, and find the layers that listen.

        get_examples (Callable): Returns examples, which are not needed.
        nlp (Language): The pipeline.
        """
        self.model.initialize(X=[Doc(Vocab(), words=["hello"])])
        pipes = [pipe for _, pipe in nlp.pipeline] if nlp is not None else []
        for pipe in pipes[pipes.index(self) :] if self in pipes else []:
            self.find_listeners(pipe)
