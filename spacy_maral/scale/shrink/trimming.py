"""Trim the vocabulary of a pipeline to the word pieces that given text needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.util import minibatch
from tqdm.auto import tqdm

from ...data.raw import read_raw
from ...errors import Errors, MaralError
from ...evaluation.evaluate import load_pipeline
from ...model.encoder.files import make_objects, tokenizer_files
from ...model.encoder.shim import EncoderShim
from ...model.encoder.weights import check_trainable, stored_tensors
from .parity import pair
from .pipelines import Smaller, check_output, find_encoder, save_small
from .vocabulary import Vocabulary, tokenizer_parts

BATCH = 512


def trim_vocab(
    model: str | Path,
    corpus: Sequence[str | Path],
    output: str | Path,
    *,
    test: str | Path | None = None,
    min_count: int = 1,
    weights: str | None = None,
    lang: str | None = None,
) -> Smaller:
    """Keep the word pieces of an encoder that a text needs, and drop the others.

    The encoder keeps the pieces of the text, all single characters of its scripts, and the special
    pieces; the scores of the tokenizer stay. Text whose pieces are all kept is split as before, other
    text into smaller pieces.

    EXAMPLE: trim_vocab("student", ["german.txt"], "student-small", test="de-test.spacy")

    model (str | Path): The pipeline: its folder, or its name if it is installed.
    corpus (Sequence): Raw text similar to what the pipeline will read, see `read_raw`.
    output (str | Path): Folder for the new pipeline.
    test (str | Path): Labelled documents (.spacy) to compare the two pipelines on.
    min_count (int): How often a piece must occur in the text.
    weights (str): "float16" or "float32", format of the saved weights; by default that of the old
        pipeline.
    lang (str): Language code of the text's tokenizer; by default the pipeline's.
    RETURNS (Smaller): The changes, also in trim-vocab.json and meta.json of the new pipeline.
    RAISES (MaralError): If the pipeline cannot be trimmed, or a file cannot be read or written.
    """
    check_output(Path(output))
    nlp = load_pipeline(model)
    shim, get_spans = find_encoder(nlp)
    check_trainable(shim._model)
    vocabulary = Vocabulary.read(shim.objects.tokenizer)
    docs = read_raw(corpus, lang or str(nlp.lang), split=False, min_words=1, max_words=sys.maxsize)
    counts = count_pieces(docs, shim.objects.tokenizer, get_spans)
    facts = trim(shim, vocabulary, counts, min_count)
    facts |= {"corpus": [Path(path).name for path in corpus], "min_count": min_count}
    weights = weights or shim.weights
    return save_small(nlp, model, Path(output), "trim-vocab", facts, weights=weights, test=test)


def count_pieces(docs: Iterable[Doc], tokenizer: Any, get_spans: Any) -> NDArray[np.int64]:
    """Count the word pieces of documents, split into windows as in the pipeline.

    docs (Iterable[Doc]): The documents.
    tokenizer (PreTrainedTokenizerBase): The encoder's tokenizer.
    get_spans (Callable): Splits documents into windows.
    RETURNS (NDArray[np.int64]): How often each piece occurs, shape (n_pieces,).
    """
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    bar = tqdm(docs, desc="Word pieces", unit=" texts", disable=None, leave=False)
    for batch in minibatch(bar, BATCH):
        if texts := [window.text for windows in get_spans(batch) for window in windows]:
            found = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            numbers = np.array([number for text in found for number in text], dtype=np.int64)
            counts += np.bincount(numbers, minlength=len(counts))
    return counts


def trim(
    shim: EncoderShim, vocabulary: Vocabulary, counts: NDArray[np.int64], min_count: int
) -> dict[str, Any]:
    """Replace a pipeline's encoder and tokenizer by smaller ones.

    shim (EncoderShim): Holds them.
    vocabulary (Vocabulary): The tokenizer's pieces.
    counts (NDArray[np.int64]): Occurrences of each piece, shape (n_pieces,).
    min_count (int): Least occurrences of a piece.
    RETURNS (dict): Sizes and scripts, for the report.
    RAISES (MaralError): If the word table and the tokenizer do not fit.
    """
    objects = shim.objects
    encoder, tokenizer = objects.encoder, objects.tokenizer
    config = encoder.config.to_dict()
    named = {key: value for key, value in config.items() if key.endswith("_token_id")}
    kept = vocabulary.choose(counts, min_count, needed_pieces(encoder, named))
    table = encoder.get_input_embeddings().weight
    if kept[-1] >= len(table):
        problem = f"piece {kept[-1]} of its tokenizer has no row in a table of {len(table):,}"
        raise MaralError(Errors.M461.format(problem=problem))
    description, rows = vocabulary.trimmed(kept)
    new = {int(old): number for number, old in enumerate(rows)}
    config |= {key: _renumbered(value, new) for key, value in named.items()}
    config["vocab_size"] = len(rows)
    objects = make_objects(
        config,
        tokenizer_parts(tokenizer_files(objects), tokenizer, description),
        _trimmed_tensors(encoder, table, rows),
        "float32",
    )
    shim.hold(objects)
    shares = vocabulary.scripts(counts)
    return {
        "scripts": {script: round(share, 6) for script, share in shares.items()},
        "pieces": {"seen": int((counts > 0).sum()), **pair(len(vocabulary.pieces), len(rows))},
        "rows": pair(len(table), len(rows)),
    }


def needed_pieces(encoder: torch.nn.Module, named: dict[str, Any]) -> list[int]:
    """Find the pieces that an encoder needs besides those of the text.

    encoder (nn.Module): The encoder.
    named (dict): Pieces that its configuration names: numbers, lists of them, or None.
    RETURNS (list[int]): Their numbers. Where positions start at the number of the padding piece, as
        in RoBERTa, all numbers up to it are among them, so that it stays the same.
    """
    values = [v for x in named.values() for v in (x if isinstance(x, list) else [x])]
    numbers = [value for value in values if isinstance(value, int)]
    table = encoder.get_input_embeddings()  # type: ignore[operator]
    for module in encoder.modules():
        if isinstance(module, torch.nn.Embedding) and module is not table:
            numbers += range((-1 if module.padding_idx is None else module.padding_idx) + 1)
    return numbers


def _renumbered(value: Any, new: dict[int, int]) -> Any:
    return [new.get(v) for v in value] if isinstance(value, list) else new.get(value)


def _trimmed_tensors(
    encoder: torch.nn.Module, table: torch.Tensor, rows: NDArray[np.int64]
) -> dict[str, torch.Tensor]:
    """An encoder's tensors, with only some rows of the word table."""
    chosen = torch.from_numpy(rows)
    place, tensors = table.data_ptr(), stored_tensors(encoder, "float32")
    tables = {name for name, t in encoder.state_dict().items() if t.data_ptr() == place}
    return {name: t[chosen] if name in tables else t for name, t in tensors.items()}
