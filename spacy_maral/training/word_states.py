"""Vectors of words: the states of a layer of a pipeline's encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import Errors, MaralError
from ..model.architectures import get_encoder
from ..model.encoder.layers import layer_stack, split_encoder
from .corpus import encode, make_batch

# words whose vectors are in memory at once, and word pieces of a batch
CHUNK_WORDS, BATCH_PIECES = 50_000, 4096

Docs = TypeVar("Docs", bound=tuple[Doc, ...])
States = Callable[[Sequence[Doc]], list[NDArray]]


def make_states(nlp: Language, layer: int | None, name: str) -> States:
    """Make a function that gives each visible word the mean state of its first and its last piece.

    nlp (Language): A pipeline with an encoder.
    layer (int | None): See `project_labels`.
    name (str): Name of the pipeline in messages.
    RETURNS (Callable): Maps documents with words to an array of the shape (n_words, h) for each.
    RAISES (MaralError): If there is no such layer, or no encoder.
    """
    try:
        encoder, tokenizer, get_spans = get_encoder(nlp)
    except MaralError as error:
        pipes = ", ".join(nlp.pipe_names) or "nothing"
        raise MaralError(Errors.M543.format(name=name, pipes=pipes)) from error
    n_layers = len(layer_stack(encoder)[1])
    if layer is not None and not 1 <= layer <= n_layers:
        rule = f"its layers are 1 to {n_layers}" if n_layers else "its layers are one module"
        raise MaralError(Errors.M542.format(found=layer, rule=rule))
    wanted = layer or n_layers // 2
    lower = split_encoder(encoder, wanted)[0] if 0 < wanted < n_layers else None
    device = next(encoder.parameters()).device

    def compute(ids: Tensor, mask: Tensor) -> Tensor:
        if lower is not None:
            return cast(Tensor, lower(ids, mask))
        return cast(Any, encoder)(input_ids=ids, attention_mask=mask).last_hidden_state

    def states(docs: Sequence[Doc]) -> list[NDArray]:
        encoder.eval()
        corpus = encode(
            docs, tokenizer, get_spans, (), 1, labelled=False, name="sentences", progress=False
        )
        parts: dict[int, NDArray] = {}
        for numbers in corpus.plan(BATCH_PIECES):
            batch = make_batch(corpus, numbers, tokenizer.pad_token_id)
            given = (
                torch.from_numpy(a).to(device) for a in (batch.input_ids, batch.attention_mask)
            )
            with torch.inference_mode():
                flat = compute(*given).flatten(0, 1).float().cpu().numpy()
            # words without a piece have no state
            ends = [flat[place] * (place >= 0)[:, None] for place in (batch.first, batch.last)]
            sizes = corpus.doc_words[numbers + 1] - corpus.doc_words[numbers]
            own = np.split((ends[0] + ends[1]) / 2, np.cumsum(sizes)[:-1])
            parts.update(zip(numbers.tolist(), own, strict=True))
        return [parts[number] for number in range(len(docs))]

    return states


def read_chunks(
    docs: Sequence[Doc], states: States, n_words: int = CHUNK_WORDS, *, name: str, unit: str
) -> Iterator[tuple[list[Doc], NDArray]]:
    """Read documents chunk by chunk, and show the progress.

    docs (Sequence[Doc]): Documents with visible words.
    states (Callable): See `make_states`.
    n_words (int): Words of a chunk.
    name, unit (str): Title of the progress bar, and what a document is called there.
    YIELDS (tuple): Documents, and the vectors of all their visible words, shape (n, h).
    """
    with tqdm(total=len(docs), desc=name, unit=f" {unit}", disable=None) as bar:
        for group in divide([(doc,) for doc in docs], n_words):
            chunk = [doc for (doc,) in group]
            yield chunk, np.concatenate(states(chunk))
            bar.update(len(chunk))


def divide(pairs: Iterable[Docs], n_words: int) -> Iterator[list[Docs]]:
    """Divide pairs, or documents alone, into chunks of about so many words, at least one each."""
    chunk: list[Docs] = []
    size = 0
    for pair in pairs:
        chunk.append(pair)
        size += sum(map(len, pair))
        if size >= n_words:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
