"""The name memory of a corpus: built before its shards are annotated, and given to each worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import MaralError
from ...model.maral_ner import set_names
from ...model.name_files import names_from_bytes, names_to_bytes
from ...training.pipelines import COMPONENT, require_component
from ..names import build_names, component
from . import storage
from .corpus_files import RUN, Shard
from .model import load_model
from .readers import Document, ShardReader
from .shard import OFF, TWO_PASS, ShardSettings, make_doc
from .time_limit import time_limit

FILE = "names.safetensors"


def remember_corpus(
    model: str, output: str, settings: ShardSettings, shards: Sequence[Shard], *, gpu_id: int
) -> None:
    """Build the name memory of a corpus, if the run does not have it yet.

    The memory does not depend on the order of the documents, and holds the strings of those that will be
    set aside too, apart from those that the pipeline fails on or takes too long for.

    model (str): Folder or name of the pipeline.
    output (str): The output folder.
    settings (ShardSettings): How to read shards.
    shards (Sequence[Shard]): The corpus.
    gpu_id (int): GPU to use, -1 for the CPU.
    RAISES (MaralError): If the model has no maral_ner.
    """
    address = storage.join(output, RUN, FILE)
    if storage.list_files(address):
        return
    nlp = load_model(model, settings.model, gpu_id)
    require_component(nlp, model)
    memory = build_names(
        nlp, lambda: read_corpus(nlp, settings, shards), skip_failing=True,
        limit=lambda: time_limit(settings.text_seconds),
    )  # fmt: skip
    with storage.replacing(address) as file:
        file.write(names_to_bytes(memory, component(nlp).labels))


def read_corpus(nlp: Language, settings: ShardSettings, shards: Sequence[Shard]) -> Iterator[Doc]:
    """Tokenise the documents of a corpus, without those that cannot be read."""
    for shard in shards:
        reader = ShardReader(
            shard.address, shard.name, text_field=settings.text_field, id_field=settings.id_field
        )
        # the worker reports a shard that is damaged, and sets aside what is no document
        with suppress(MaralError, FileNotFoundError):
            yield from tokenise(nlp, reader, settings)


def tokenise(nlp: Language, reader: ShardReader, settings: ShardSettings) -> Iterator[Doc]:
    """Tokenise the documents of a shard, without those that the tokenizer fails on."""
    for item in reader:
        if isinstance(item, Document):
            try:
                doc = make_doc(nlp, item.text, settings)
            except Exception:
                # tokenizers raise errors of any kind
                continue
            yield doc


def use_names(nlp: Language, output: str, settings: ShardSettings) -> None:
    """Set what a run says about the name memory of its model.

    nlp (Language): The pipeline.
    output (str): The output folder.
    settings (ShardSettings): What the run says.
    RAISES (MaralError): If the model has no maral_ner, or the memory cannot be read.
    """
    if settings.names is None:
        return
    require_component(nlp, settings.model)
    pipe = component(nlp)
    if settings.names == OFF:
        set_names(nlp, COMPONENT, None, None)
    if settings.names == TWO_PASS:
        with storage.open_read(storage.join(output, RUN, FILE)) as file:
            memory = names_from_bytes(file.read(), pipe.labels)
        weights = {**(pipe.cfg["names"] or {}), "consistency": "memory", "leave_one_out": True}
        set_names(nlp, COMPONENT, memory, weights)
