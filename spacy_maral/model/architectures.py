"""The registered span model: a Thinc model over word vectors, its saved form, its torch module."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import logger
from thinc.api import (
    ArgsKwargs,
    Model,
    PyTorchShim,
    PyTorchWrapper_v3,
    get_torch_default_device,
    torch2xp,
    xp2torch,
)
from thinc.types import Floats2d

from ..errors import Errors, MaralError, Warnings
from .encoder.weights import digest_tensors
from .listening import listeners
from .span_model import SpanModel, SpanOutput, check_settings, check_sizes
from .spans import Candidates, word_shapes
from .visible import VisibleWords
from .word_vectors import WordEnds, output_width

FORMAT_VERSION = 1
HEADER = "spacy_maral"

SpanGradients = tuple[Floats2d | None, Floats2d | None]


@dataclass
class SpanBatch:
    """The candidate spans of a batch of documents, with their features and logits.

    z: Unit features, shape (n_spans, dim). logits: Logits of the linear head, shape (n_spans, K).
    """

    candidates: Candidates
    z: Floats2d
    logits: Floats2d


def build_span_model(
    tok2vec: Model[list[Doc], WordEnds],
    max_width: int = 8,
    dim: int = 64,
    hidden_width: int = 384,
    dropout: float = 0.1,
    width_embedding: int = 25,
    shape_embedding: int = 25,
    temperature: float = 0.07,
    pseudo_count: float = 3000.0,
    seed: int = 0,
    max_batch_spans: int = 32768,
) -> Model[list[Doc], SpanBatch]:
    """Make the model that embeds and scores all candidate spans of documents (see `SpanModel`).

    tok2vec (Model): Computes the word vectors, such as spacy-maral.WordPieceEnds.v1.
    max_width (int): Longest span, in words.
    dim (int): Dimensions of the features, q; at least the number of labels.
    hidden_width (int): Width of the hidden layer.
    dropout (float): Dropout rate of the word vectors and the hidden layer during training.
    width_embedding (int): Width of the span width's embedding.
    shape_embedding (int): Width of the word shape's embedding.
    temperature (float): Tau of Eq. 6.
    pseudo_count (float): Number of spans that each initial class mean counts for. With 0, the first
        spans of a class replace its mean, as in the paper, and the means start nearly equal.
    seed (int): Seed of the initial class means.
    max_batch_spans (int): Maximum number of spans embedded at once during prediction. It bounds
        the memory that a long document takes.
    RETURNS (Model): Maps documents to a `SpanBatch`. The model has no classes until its "nO" (the
        labels and outside) is set and it is initialised.
    RAISES (MaralError): If a setting is out of its range.
    """
    settings = {
        "max_width": max_width, "dim": dim, "hidden_width": hidden_width, "dropout": dropout,
        "width_embedding": width_embedding, "shape_embedding": shape_embedding,
        "temperature": temperature, "pseudo_count": pseudo_count,
    }  # fmt: skip
    check_settings(decision="likelihood", max_batch_spans=max_batch_spans, **settings)  # type: ignore[arg-type]
    if is_transformer(tok2vec):
        from .word_ends import over_own_transformer

        tok2vec = over_own_transformer(tok2vec)
    span_model = _wrap(torch.nn.Module())
    return Model(
        "maral_span_model",
        _forward_spans,
        init=partial(_initialize, settings={**settings, "seed": seed}),
        layers=[tok2vec, span_model],
        refs={"tok2vec": tok2vec, "span_model": span_model},
        dims={"nO": None},
        attrs={"max_batch_spans": max_batch_spans},
    )


def _wrap(module: torch.nn.Module) -> Model:
    return PyTorchWrapper_v3(
        module,
        convert_inputs=_convert_inputs,
        convert_outputs=_convert_outputs,
        serialize_model=serialize,
        deserialize_model=deserialize,
    )


def _initialize(
    model: Model, X: list[Doc] | None = None, Y: Any = None, *, settings: dict[str, Any]
) -> None:
    tok2vec, span_model = model.layers
    if any(not listener.has_dim("nO") for listener in listeners(tok2vec)):
        raise MaralError(Errors.M202)
    if not model.has_dim("nO"):
        raise MaralError(Errors.M201)
    tok2vec.initialize(X=X)
    if X:
        _check_ends(tok2vec.predict(X))
    if settings["pseudo_count"] == 0:
        logger.warning(Warnings.W208)
    module = SpanModel(output_width(tok2vec), model.get_dim("nO"), **settings)
    span_model.shims[0]._model = module.to(get_torch_default_device())


def _forward_spans(model: Model, docs: list[Doc], is_train: bool) -> tuple[SpanBatch, Callable]:
    # use the layers, not the refs: a copied model has no refs
    tok2vec, span_model = model.layers
    module = get_span_module(model)
    ends, backprop_words = tok2vec(docs, is_train)
    _check_ends(ends)
    visible = VisibleWords.of(docs)
    shapes = word_shapes(visible.texts)
    candidates = visible.candidates(module.max_width)
    rows: Any = None
    if not visible.mask.all():
        rows = model.ops.asarray1i(cast(Any, np.flatnonzero(visible.mask)))
        ends = (ends[0][rows], ends[1][rows])
    spans, words = candidates.words, (*ends, shapes)
    if is_train:
        (z, logits), backprop_spans = span_model((*words, *spans), True)
    else:
        size = model.attrs["max_batch_spans"]
        z, logits = _in_chunks(span_model, module, words, *spans, size)

    def backprop(d_output: SpanGradients) -> list[Doc]:
        d_ends = backprop_spans(d_output)
        if rows is not None:
            d_ends = tuple(_spread(model, d, rows, len(visible.mask)) for d in d_ends)
        backprop_words(d_ends)
        return docs

    return SpanBatch(candidates, z, logits), backprop


def _check_ends(ends: Any) -> None:
    """RAISES (MaralError): If a layer does not give the first and the last vectors of the words."""
    if not isinstance(ends, tuple):
        raise MaralError(Errors.M203.format(found=type(ends).__name__))


def _spread(model: Model, d_rows: Floats2d, rows: Any, size: int) -> Floats2d:
    """The gradient of all `size` rows from that of some; it is 0 for the others."""
    whole: Any = model.ops.alloc2f(size, d_rows.shape[1])
    whole[rows] = d_rows
    return whole


def _in_chunks(
    span_model: Model,
    module: SpanModel,
    words: tuple[Floats2d, Floats2d, NDArray[np.int8]],
    starts: NDArray[np.integer],
    ends: NDArray[np.integer],
    size: int,
) -> tuple[Floats2d, Floats2d]:
    """Embed spans chunk by chunk, each chunk with the words that it needs."""
    outputs = []
    for i in range(0, len(starts), size):
        low, high = starts[i], ends[i : i + size].max() + 1
        part = tuple(column[low:high] for column in words)
        spans = (starts[i : i + size] - low, ends[i : i + size] - low)
        outputs.append(_predict(span_model, module, (*part, *spans)))
    xp = span_model.ops.xp
    if not outputs:
        n_classes = module.head.out_features
        return span_model.ops.alloc2f(0, module.dim), span_model.ops.alloc2f(0, n_classes)
    return xp.concatenate([z for z, _ in outputs]), xp.concatenate([y for _, y in outputs])


def _predict(span_model: Model, module: SpanModel, inputs: tuple) -> tuple[Floats2d, Floats2d]:
    """Embed spans without the shim, whose return to training mode would affect other threads."""
    if module.training:
        module.eval()
    arguments, _ = _convert_inputs(span_model, inputs, False)
    with torch.no_grad():
        output = module(*arguments.args)
    return cast(Floats2d, torch2xp(output.z)), cast(Floats2d, torch2xp(output.logits))


def _convert_inputs(model: Model, inputs: tuple, is_train: bool) -> tuple[ArgsKwargs, Callable]:
    first, last, *indices = inputs
    device = _device(model)
    vectors = [xp2torch(x, requires_grad=is_train, device=device) for x in (first, last)]
    tensors = [torch.from_numpy(np.ascontiguousarray(index)).to(device) for index in indices]

    def reverse(d_inputs: ArgsKwargs) -> WordEnds:
        d_first, d_last = (
            model.ops.alloc2f(*x.shape) if d is None else cast(Floats2d, torch2xp(d))
            for d, x in zip(d_inputs.args[:2], (first, last), strict=True)
        )
        return d_first, d_last

    return ArgsKwargs(args=(*vectors, *tensors), kwargs={}), reverse


def _convert_outputs(
    model: Model, inputs_outputs: tuple[Any, SpanOutput], is_train: bool
) -> tuple[tuple, Callable]:
    output = inputs_outputs[1]
    device = _device(model)

    def reverse(d_output: SpanGradients) -> ArgsKwargs:
        pairs = zip(output, d_output, strict=True)
        used = [(y, xp2torch(d, device=device)) for y, d in pairs if d is not None]
        tensors, gradients = zip(*used, strict=True)
        return ArgsKwargs(args=(tensors,), kwargs={"grad_tensors": gradients})

    return (torch2xp(output.z), torch2xp(output.logits)), reverse


def serialize(module: torch.nn.Module) -> bytes:
    """Write a span model as one safetensors block, whose metadata holds the settings of the module.

    module (torch.nn.Module): A SpanModel, or the empty module before initialisation.
    RETURNS (bytes): The block, empty before initialisation.
    """
    if not isinstance(module, SpanModel):
        return b""
    settings = {
        "input_width": module.input_width,
        "n_classes": module.head.out_features,
        "max_width": module.max_width,
        "dim": module.dim,
        "hidden_width": module.hidden.out_features,
        "dropout": module.dropout.p,
        "width_embedding": module.widths.embedding_dim,
        "shape_embedding": module.shapes.embedding_dim,
        "temperature": module.statistics.temperature,
        "pseudo_count": module.statistics.pseudo_count,
        "decision": module.decision,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
    parts = {"settings": settings, "sha256": _digest(settings, tensors)}
    header = json.dumps({"version": FORMAT_VERSION, **parts}, sort_keys=True)
    return save_tensors(tensors, metadata={HEADER: header})


def _digest(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the settings, and of the tensors with their types and shapes."""
    ordered = sorted(tensors.items())
    kinds = [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in ordered]
    text = json.dumps([settings, kinds, digest_tensors(ordered)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def deserialize(module: torch.nn.Module, data: bytes, device: torch.device) -> torch.nn.Module:
    """Rebuild a span model from `serialize`'s bytes.

    module (torch.nn.Module): The module to be replaced; not used.
    data (bytes): The block.
    device (torch.device): Device of the new module.
    RETURNS (torch.nn.Module): The module; an empty one if the block is empty.
    RAISES (MaralError): If the block is damaged or of a newer format.
    """
    if not data:
        return torch.nn.Module()
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][HEADER])
        version = header["version"]
        if version > FORMAT_VERSION:
            raise MaralError(Errors.M205.format(found=version, known=FORMAT_VERSION))
        tensors = load_tensors(data)
        check_sizes(header["settings"], tensors)
        found = _digest(header["settings"], tensors)
        # those of 0.1 have no checksum
        if header.get("sha256", found) != found:
            raise ValueError("it does not have its checksum")
        built = SpanModel(**header["settings"])
        built.load_state_dict(tensors)
    except MaralError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        # a damaged block fails in the header, in the settings, or in the tensors
        raise MaralError(Errors.M204.format(problem=error)) from error
    return built.to(device)


def is_transformer(node: Model) -> bool:
    """Whether a layer is a transformer of spacy-transformers or of this package, which has a mark.

    Its class would be known only to those who import transformers.
    """
    return "has_transformer" in node.attrs


def get_span_module(model: Model) -> SpanModel:
    """Get the torch module behind the span model architecture.

    model (Model): A model made by `build_span_model`, initialised.
    RETURNS (SpanModel): The module itself, not a copy.
    RAISES (MaralError): If the model is not initialised.
    """
    module = model.layers[1].shims[0]._model
    if not isinstance(module, SpanModel):
        raise MaralError(Errors.M201)
    return module


def get_encoder(nlp: Language) -> tuple[torch.nn.Module, Any, Callable]:
    """Get the Hugging Face objects of a pipeline's first transformer.

    nlp (Language): The pipeline, initialised.
    RETURNS (tuple): The encoder (the module itself, not a copy), its tokenizer, and the function that
        cuts documents into the windows that it reads (see `window_getter`).
    RAISES (MaralError): If there is no transformer, or it is not initialised.
    """
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            if is_transformer(node) and node.attrs["has_transformer"]:
                from .encoder.transformer import window_getter

                return node.transformer, node.tokenizer, window_getter(node)  # type: ignore[attr-defined,arg-type]
    raise MaralError(Errors.M206.format(pipes=", ".join(nlp.pipe_names) or "none"))


def class_scores(model: Model, batch: SpanBatch) -> NDArray[np.float32]:
    """Score the classes of candidate spans by the span model's decision rule.

    model (Model): A model made by `build_span_model`.
    batch (SpanBatch): Its output for documents.
    RETURNS (NDArray[np.float32]): Scores, shape (n_spans, K), outside first; -inf for an entity
        class without training spans.
    """
    module = get_span_module(model)
    with torch.no_grad():
        output = SpanOutput(to_torch(model, batch.z), to_torch(model, batch.logits))
        return module.class_scores(output).float().cpu().numpy()


def to_torch(model: Model, array: Floats2d, *, requires_grad: bool = False) -> torch.Tensor:
    """Convert an array of a `SpanBatch` to a tensor on the span model's device."""
    device = _device(model.layers[1])
    return xp2torch(array, requires_grad=requires_grad, device=device)


def _device(span_model: Model) -> torch.device:
    return cast(PyTorchShim, span_model.shims[0]).device
