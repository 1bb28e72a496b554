"""The encoder and the span model of a pipeline as one torch module, and its predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..evaluation.metrics import Entities
from ..model.encoder.layers import LowerLayers, UpperLayers, input_embeddings, split_encoder
from ..model.encoder.weights import digest_tensors, has_bfloat16
from ..model.memory import give_back_memory
from ..model.span_model import SpanModel, SpanOutput
from ..model.spans import UNKNOWN, decode
from .cache import Cache
from .corpus import Batch, Corpus, make_batch

REMEMBER_TOKENS = 2048
# number of batches after which the memory of frozen layers is released
GIVE_BACK = 40
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Network(nn.Module):
    """The torch modules of `transformer` and `maral_ner`, trained in place.

    encoder (nn.Module): The transformer component's Hugging Face model.
    span_model (SpanModel): The module behind the span model architecture.
    pad_id (int): Id of the tokenizer's padding piece.
    precision (str): "float32", "bfloat16", "float16", or "auto" (see `resolve_precision`).
    offsets (NDArray): Number that decisions add to the scores of each class, shape (K,); None for 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        span_model: SpanModel,
        *,
        pad_id: int,
        precision: str = "float32",
        offsets: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.span_model = span_model
        self.pad_id = pad_id
        self.offsets = offsets
        self.precision = resolve_precision(precision, self.device)
        self._split: tuple[LowerLayers, UpperLayers] | None = None
        self._frozen_digest: str | None = None

    @property
    def device(self) -> torch.device:
        return self.span_model.hidden.weight.device

    def autocast(self) -> contextlib.AbstractContextManager:
        """Make the context in which matrix products have the network's number format."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])

    def freeze(self, *, embeddings: bool, layers: int) -> None:
        """Exclude the encoder's word embeddings and its lowest layers from training.

        Frozen layers have no dropout, so that the frozen-layer states of a corpus can be cached.

        embeddings (bool): Whether to freeze the word embeddings; frozen layers always freeze them.
        layers (int): Number of layers to freeze, from the lowest.
        RAISES (MaralError): If the encoder has no list of layers, or no layer would stay trainable.
        """
        self.requires_grad_(True)
        self._frozen_digest = None
        if embeddings or layers:
            input_embeddings(self.encoder).requires_grad_(False)
        if layers:
            self._split = split_encoder(self.encoder, layers)
            self._split[0].requires_grad_(False)
            self.train(self.training)

    def frozen_digest(self) -> str | None:
        """Compute the SHA-256 of the frozen weights, which checkpoints omit; None without any."""
        if self._frozen_digest is None:
            frozen = [(name, p) for name, p in self.named_parameters() if not p.requires_grad]
            self._frozen_digest = digest_tensors(frozen) if frozen else None
            give_back_memory()
        return self._frozen_digest

    def remember(self, corpus: Corpus, cache: Cache) -> None:
        """Run the frozen layers over a corpus once and cache the frozen-layer states.

        If the cache has no space, the frozen layers run for every batch.
        """
        if self._split is None:
            return
        dtype = PRECISIONS.get(self.precision, torch.float32)
        key = {
            "what": "states", "layers": self.frozen_digest(), "pieces": corpus.digest_pieces(),
            "device": self.device.type, "torch": torch.__version__, "tokens": REMEMBER_TOKENS,
        }  # fmt: skip
        shape = len(corpus.pieces), self.span_model.input_width
        corpus.frozen = cache.rows(key, shape, dtype, lambda: self._run_frozen(corpus, dtype))

    def _run_frozen(
        self, corpus: Corpus, dtype: torch.dtype
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Tensor]]:
        """Yield (starts, stops, states): ranges of pieces, and their frozen-layer states."""
        plan = corpus.plan(REMEMBER_TOKENS)
        for number, docs in enumerate(tqdm(plan, desc="Frozen layers", disable=None), start=1):
            batch = self.batch(corpus, docs)
            mask = self.tensor(batch.attention_mask).bool()
            yield *corpus.piece_ranges(docs), self._lower(batch)[mask].to(dtype)
            if number % GIVE_BACK == 0 or number == len(plan):
                # includes the table of word pieces, which is not needed until other text comes
                give_back_memory()

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if self._split is not None:
            self._split[0].eval()
        return self

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the last hidden states of rows of pieces, shape (rows, length, h)."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state

    def forward(self, batch: Batch) -> SpanOutput:
        """Encode the rows of a batch and embed its candidate spans."""
        with self.autocast():
            flat = self._states(batch).flatten(0, 1)
            return self.span_model(
                _gather(flat, self.tensor(batch.first)),
                _gather(flat, self.tensor(batch.last)),
                self.tensor(batch.shapes),
                self.tensor(batch.starts),
                self.tensor(batch.ends),
            )

    def _states(self, batch: Batch) -> Tensor:
        """Compute the last hidden states of a batch, from cached frozen-layer states if any."""
        mask = self.tensor(batch.attention_mask)
        if self._split is None:
            return self.encode(self.tensor(batch.input_ids), mask)
        if batch.corpus.frozen is None:
            lower = self._lower(batch)
        else:
            known = batch.corpus.frozen.read(*batch.corpus.piece_ranges(batch.docs))
            lower = known.new_zeros(*mask.shape, known.shape[1], device=self.device)
            lower[mask.bool()] = known.to(self.device)
        return self._split[1](lower.float(), mask)

    def _lower(self, batch: Batch) -> Tensor:
        """Compute the frozen-layer states of a batch, shape (rows, length, h)."""
        assert self._split is not None
        with torch.no_grad(), self.autocast():
            return self._split[0](self.tensor(batch.input_ids), self.tensor(batch.attention_mask))

    def class_scores(self, output: SpanOutput) -> Tensor:
        """The scores by which the pipeline decides: those of the span model, shifted by the offset.

        output (SpanOutput): Output of `forward` for N spans.
        RETURNS (Tensor): Scores, shape (N, K).
        """
        scores = self.span_model.class_scores(output)
        return scores if self.offsets is None else scores + self.tensor(self.offsets)

    def tensor(self, array: NDArray) -> Tensor:
        """Copy an array to a tensor on the network's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def batch(self, corpus: Corpus, docs: NDArray[np.int64]) -> Batch:
        return make_batch(corpus, docs, self.pad_id)


def _gather(states: Tensor, places: Tensor) -> Tensor:
    """Look up the rows of states at places; words without a piece (place -1) get zeros."""
    return states[places.clamp(min=0)] * (places >= 0).unsqueeze(-1).to(states.dtype)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Choose the number format of the encoder's matrix products.

    precision (str): A format, or "auto": bfloat16 where the device computes it natively, otherwise
        float16 on a GPU and float32 on a CPU.
    device (torch.device): The network's device.
    RETURNS (str): "float32", "bfloat16" or "float16".
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "bfloat16" if has_bfloat16() else "float32"


def run_over(
    network: Network, corpus: Corpus, *, batch_tokens: int, name: str, dropout: bool = False
) -> Iterator[tuple[Batch, SpanOutput]]:
    """Apply the network without gradients to a whole corpus, in batches by length."""
    was_training = network.training
    network.train(dropout)
    try:
        plan = corpus.plan(batch_tokens)
        with torch.inference_mode():
            for docs in tqdm(plan, desc=name, leave=False, disable=None):
                batch = network.batch(corpus, docs)
                yield batch, network(batch)
    finally:
        network.train(was_training)


def predict_entities(network: Network, corpus: Corpus, *, batch_tokens: int) -> Entities:
    """Annotate a corpus by the span model's decision rule and the component's offset.

    RETURNS (Entities): Entities without overlaps; words are numbered within their documents. Those
        that touch a word without gold annotation are left out, as spaCy's scorer does.
    """
    found = []
    for batch, output in run_over(network, corpus, batch_tokens=batch_tokens, name="Evaluate"):
        scores = network.class_scores(output).cpu().numpy()
        kept, classes, _ = decode(scores, batch.starts, batch.ends)
        if corpus.classes is not None:
            judged = corpus.classes[batch.span_ids[kept]] != UNKNOWN
            kept, classes = kept[judged], classes[judged]
        spans = batch.candidates
        owner = batch.docs[spans.owner[kept]]
        found.append(np.stack([owner, spans.starts[kept], spans.ends[kept], classes]))
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
    dtype: torch.dtype = torch.float16,
    dropout: bool = False,
) -> NDArray[np.floating]:
    """Collect one row for every candidate span of a corpus.

    columns (int): Number of columns.
    take (Callable): Function from a batch's output to its rows, shape (n_spans, columns).
    dtype (torch.dtype): Number format of the table.
    RETURNS (NDArray[np.floating]): Shape (corpus.n_spans, columns).
    """
    table = torch.zeros(corpus.n_spans, columns, dtype=dtype).numpy()
    for batch, output in run_over(
        network, corpus, batch_tokens=batch_tokens, name=name, dropout=dropout
    ):
        table[batch.span_ids] = take(output).to(dtype).cpu().numpy()
    return table
