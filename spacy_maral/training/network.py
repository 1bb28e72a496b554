"""The encoder and the span model of a pipeline as one torch module, and what it predicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..evaluation import Entities
from ..span_model import SpanModel, SpanOutput
from ..spans import decode
from .corpus import Batch, Corpus, make_batch, plan_batches

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Network(nn.Module):
    """The torch modules of `transformer` and `maral_ner`, trained in place.

    encoder (nn.Module): The transformer component's Hugging Face model.
    span_model (SpanModel): The module behind the span model architecture.
    pad_id (int): The tokenizer's padding piece.
    precision (str): "float32", "bfloat16", "float16", or "auto": bfloat16 where the device
        computes it natively, otherwise float32.
    """

    def __init__(
        self, encoder: nn.Module, span_model: SpanModel, *, pad_id: int, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.span_model = span_model
        self.pad_id = pad_id
        self.precision = resolve_precision(precision, self.device)

    @property
    def device(self) -> torch.device:
        return self.span_model.hidden.weight.device

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Last hidden states, shape (rows, length, h)."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state

    def forward(self, batch: Batch) -> SpanOutput:
        """Encode the rows of a batch and embed its candidate spans."""
        with self.autocast():
            states = self.encode(self.tensor(batch.input_ids), self.tensor(batch.attention_mask))
            flat = states.flatten(0, 1)
            return self.span_model(
                _gather(flat, self.tensor(batch.first)),
                _gather(flat, self.tensor(batch.last)),
                self.tensor(batch.shapes),
                self.tensor(batch.starts),
                self.tensor(batch.ends),
            )

    def tensor(self, array: NDArray) -> Tensor:
        """An array as a tensor on the network's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def batch(self, corpus: Corpus, docs: NDArray[np.int64]) -> Batch:
        return make_batch(corpus, docs, self.pad_id)


def _gather(states: Tensor, places: Tensor) -> Tensor:
    """Rows of states; zeros for words without a piece (place -1)."""
    return states[places.clamp(min=0)] * (places >= 0).unsqueeze(-1).to(states.dtype)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Choose the number format of the encoder's matrix products.

    precision (str): "auto" or a format.
    device (torch.device): Where the network is.
    RETURNS (str): "float32", "bfloat16" or "float16".
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if native else "float32"


def run_over(
    network: Network, corpus: Corpus, *, batch_tokens: int, name: str
) -> Iterator[tuple[Batch, SpanOutput]]:
    """Apply the network without dropout or gradients to a whole corpus, in batches by length."""
    was_training = network.training
    network.eval()
    try:
        plan = plan_batches(corpus, max_tokens=batch_tokens)
        with torch.inference_mode():
            for docs in tqdm(plan, desc=name, leave=False, disable=None):
                batch = network.batch(corpus, docs)
                yield batch, network(batch)
    finally:
        network.train(was_training)


def predict_entities(network: Network, corpus: Corpus, *, batch_tokens: int) -> Entities:
    """Annotate a corpus by the span model's decision rule.

    network (Network): The network.
    corpus (Corpus): The documents.
    batch_tokens (int): Most word pieces of a batch.
    RETURNS (Entities): Entities without overlaps; words are numbered within their documents.
    """
    found = []
    for batch, output in run_over(network, corpus, batch_tokens=batch_tokens, name="Evaluate"):
        scores = network.span_model.class_scores(output).cpu().numpy()
        kept, classes, _ = decode(scores, batch.starts, batch.ends)
        n_words = corpus.doc_words[batch.docs + 1] - corpus.doc_words[batch.docs]
        first_word = np.cumsum(n_words) - n_words
        owner = np.searchsorted(first_word, batch.starts[kept], side="right") - 1
        starts = batch.starts[kept] - first_word[owner]
        ends = batch.ends[kept] - first_word[owner]
        found.append(np.stack([batch.docs[owner], starts, ends, classes]))
    table = np.concatenate(found, axis=1) if found else np.zeros((4, 0), dtype=np.int64)
    return Entities(*table[:, np.lexsort((table[1], table[0]))])


def collect(
    network: Network,
    corpus: Corpus,
    columns: int,
    take: Callable[[SpanOutput], Tensor],
    *,
    batch_tokens: int,
    name: str,
) -> NDArray[np.float16]:
    """Collect one row for every candidate span of a corpus.

    take (Callable): From the output for a batch to its rows, shape (n_spans, columns).
    RETURNS (NDArray[np.float16]): Shape (corpus.n_spans, columns).
    """
    table = np.zeros((corpus.n_spans, columns), dtype=np.float16)
    for batch, output in run_over(network, corpus, batch_tokens=batch_tokens, name=name):
        table[batch.span_ids] = take(output).to(torch.float16).cpu().numpy()
    return table
