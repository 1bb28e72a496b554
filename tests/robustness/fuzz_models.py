"""What is fuzzed besides data: configurations, checkpoints, pseudo-labels, span models, components."""

from __future__ import annotations

import functools
import io
import json
import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import srsly
import torch
from fuzz_targets import Target, damaged_message
from mutations import damaged, damaged_value
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model

from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.data.config import read_config
from spacy_maral.data.files import sha256
from spacy_maral.model.architectures import build_span_model, deserialize, serialize
from spacy_maral.model.maral_ner import MaralNER
from spacy_maral.model.span_model import SpanModel, SpanOutput
from spacy_maral.training.checkpoint import (
    ARRAYS,
    PARTS,
    STATE,
    SUMS,
    TENSORS,
    Checkpoint,
    load_checkpoint,
    peek_state,
    save_checkpoint,
)
from spacy_maral.training.settings import SCHEMAS, read_section

CONFIG_TEXTS = tuple(
    path.read_bytes() for path in sorted((Path(__file__).parents[2] / "configs").glob("*.cfg"))
)
LABELS = ["LOC", "PER"]
WIDTH, DIM = 6, 4


def make_section(draw: random.Random) -> tuple[str, Any]:
    name = draw.choice(sorted(SCHEMAS))
    section = SCHEMAS[name]().model_dump()
    for _ in range(draw.choice((1, 1, 2, 5))):
        section = damaged_value(draw, section)
    return name, section


def check_settings(name: str, config: Any) -> None:
    """The settings have the types of their fields, and numbers are finite."""
    settings = read_section(config, name)
    again = SCHEMAS[name](**settings.model_dump())
    assert again == settings
    numbers = [v for v in settings.model_dump().values() if isinstance(v, float)]
    assert all(map(math.isfinite, numbers)), "a number is not finite"


def check_section(given: tuple[str, Any], folder: Path) -> None:
    name, section = given
    check_settings(name, {name: section})


def make_config(draw: random.Random) -> bytes:
    return damaged(draw, draw.choice(CONFIG_TEXTS), draw.choice(CONFIG_TEXTS))


def check_config(data: bytes, folder: Path) -> None:
    """A text is read, and those sections that it has."""
    path = folder / "config.cfg"
    path.write_bytes(data)
    config = read_config(path, {"paths.encoder": "x"} if b"[paths]" in data else {})
    for name in SCHEMAS:
        if name in config:
            check_settings(name, config)


@functools.cache
def checkpoint_files() -> dict[str, bytes]:
    """A folder with two checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for epoch in (1, 2):
            tensors = {"weight": torch.full((2, 3), float(epoch)), "step": torch.tensor(epoch)}
            arrays = {"labels": np.full((3, 2), epoch, np.float16)}
            state = {"log": [{"epoch": epoch}], "rng": [1, 2], "fingerprint": {"seed": "0"}}
            save_checkpoint(folder, Checkpoint(epoch, tensors, arrays, state))
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def make_checkpoint(draw: random.Random) -> tuple[dict[str, bytes], bool]:
    """Files with damage, of which some have checksums that are right again."""
    files = dict(checkpoint_files())
    for _ in range(draw.choice((1, 1, 2, 6))):
        name = draw.choice(sorted(files))
        if draw.random() < 0.1 and len(files) > 1:
            del files[name]
        elif name.endswith(".json") and draw.random() < 0.6:
            try:
                value = damaged_value(draw, json.loads(files[name]))
            except ValueError:
                continue
            files[name] = json.dumps(value).encode("utf8", errors="surrogatepass")
        else:
            files[name] = damaged(draw, files[name], files[draw.choice(sorted(files))])
    return files, draw.random() < 0.5


def check_checkpoint(given: tuple[dict[str, bytes], bool], folder: Path) -> None:
    """One of those that were saved, unless the checksums were put right; then one of right types."""
    files, sealed = given
    root = folder / "checkpoints"
    shutil.rmtree(root, ignore_errors=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if sealed:
        for part in root.iterdir():
            sums = {name: sha256(part / name) for name in PARTS if (part / name).exists()}
            (part / SUMS).write_text(json.dumps(sums))
    peek_state(root)
    found = load_checkpoint(root)
    if found is None:
        assert not any(root.glob("epoch-*"))
        return
    assert type(found.epoch) is int and type(found.step) is int and isinstance(found.state, dict)
    assert found.epoch >= 0 and found.step >= 0
    if not sealed:
        # a checkpoint that has its checksums is what was saved
        saved = [found.name in name for name in checkpoint_files()]
        assert any(saved)
        for name in (TENSORS, ARRAYS, STATE):
            original = checkpoint_files()[f"{found.name}/{name}"]
            assert (root / found.name / name).read_bytes() == original


def label_arrays() -> dict[str, Any]:
    rows = np.full((5, 3), 1 / 3, dtype=np.float16)
    return {
        "format_version": np.array(2), "probabilities": rows, "labels": np.array(LABELS),
        "max_width": np.array(4), "digest": np.array("abc"), "reliable": np.ones(5, dtype=bool),
    }  # fmt: skip


ODD_ARRAYS = (
    np.array("x"), np.array(-1), np.array(10**18), np.zeros((0, 3)), np.zeros((5, 3)),
    np.full((5, 3), np.nan), np.ones((5, 2), dtype=np.float16), np.ones((5, 3), dtype=complex),
    np.ones(5), np.ones(4, dtype=bool), np.array(["a", "a"]), np.array([b"a", b"b"]), np.array([1, 2]),
    np.array([]), np.array(2.5), np.full((5, 3), -1.0), np.array([["a", "b"]]), np.array("O"),
    np.array(["O", "X"]), np.full((5, 3), 1e30), np.array(np.inf), np.array("2001-01-01", dtype="M8"),
)  # fmt: skip


def make_labels(draw: random.Random) -> bytes:
    arrays = label_arrays()
    for _ in range(draw.choice((0, 1, 1, 2))):
        name = draw.choice(sorted(arrays))
        if draw.random() < 0.15:
            del arrays[name]
        else:
            arrays[name] = draw.choice(ODD_ARRAYS)
    file = io.BytesIO()
    draw.choice((np.savez, np.savez_compressed))(file, **arrays)
    data = file.getvalue()
    return damaged(draw, data, data) if draw.random() < 0.5 else data


def check_labels(data: bytes, folder: Path) -> None:
    """A table of probabilities that fits its labels."""
    path = folder / "labels.npz"
    path.write_bytes(data)
    found = PseudoLabels.load(path, digest="abc")
    rows = found.probabilities
    assert found.digest == "abc" and found.max_width >= 1
    assert rows.ndim == 2 and rows.shape[1] == len(found.labels) + 1
    assert np.issubdtype(rows.dtype, np.floating)
    assert ((rows >= 0) & (rows <= 1.01)).all()
    assert len(set(found.labels)) == len(found.labels) and "O" not in found.labels
    if found.reliable is not None:
        assert found.reliable.dtype == bool and found.reliable.shape == (len(rows),)


def span_model() -> SpanModel:
    torch.manual_seed(0)
    model = SpanModel(
        WIDTH, len(LABELS) + 1, max_width=3, dim=DIM, hidden_width=5, width_embedding=2,
        shape_embedding=2,
    )  # fmt: skip
    model.statistics.seen += 1
    return model


SPAN_MODEL = serialize(span_model())


def make_span_model(draw: random.Random) -> bytes:
    """The block with damage anywhere, or in the settings of its header."""
    if draw.random() < 0.5:
        return damaged(draw, SPAN_MODEL, SPAN_MODEL)
    size = int.from_bytes(SPAN_MODEL[:8], "little")
    header = json.loads(SPAN_MODEL[8 : 8 + size])
    inner = json.loads(header["__metadata__"]["spacy_maral"])
    for _ in range(draw.choice((1, 1, 2))):
        if draw.random() < 0.7:
            inner = damaged_value(draw, inner)
        else:
            header = damaged_value(draw, header)
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["spacy_maral"] = json.dumps(inner)
    packed = json.dumps(header).encode("utf8", errors="surrogatepass")
    return len(packed).to_bytes(8, "little") + packed + SPAN_MODEL[8 + size :]


def check_span_model(data: bytes, folder: Path) -> None:
    """A model that can score spans."""
    model = deserialize(torch.nn.Module(), data, torch.device("cpu"))
    if not isinstance(model, SpanModel):
        assert data == b""
        return
    words = torch.ones(2, model.input_width)
    places = torch.arange(2)
    output = model(words, words, torch.zeros(2, dtype=torch.int8), places, places)
    scores = model.class_scores(SpanOutput(*output))
    assert scores.shape == (2, model.head.out_features)


def toy_words() -> Model[list[Doc], tuple[NDArray, NDArray]]:
    """Word vectors without an encoder."""

    def forward(model: Model, docs: list[Doc], is_train: bool) -> tuple[Any, Any]:
        n_words = sum(map(len, docs))
        vectors = np.linspace(-1, 1, n_words * WIDTH, dtype=np.float32).reshape(n_words, WIDTH)
        return (vectors, vectors[::-1].copy()), lambda gradient: docs

    return Model("toy_words", forward)


def component() -> MaralNER:
    """A component that is initialised, without a transformer."""
    model = build_span_model(toy_words(), max_width=3, dim=DIM, hidden_width=5)
    found = MaralNER(spacy.blank("xx"), model, spans_key="sc", spans_threshold=0.1)
    found.cfg["labels"] = list(LABELS)
    model.set_dim("nO", len(LABELS) + 1)
    model.layers[1].shims[0]._model = span_model()
    return found


@functools.cache
def component_bytes() -> bytes:
    return component().to_bytes()


def make_component(draw: random.Random) -> bytes:
    """A component's bytes with damage anywhere, or in one of the values packed in it."""
    if draw.random() < 0.3:
        return damaged(draw, component_bytes(), b"\x81\xa1a\x01")
    message = dict(srsly.msgpack_loads(component_bytes()))
    part = draw.choice(("cfg", "cfg", "model", "vocab", "any"))
    if part == "any":
        message = damaged_message(draw, message)
    elif part == "cfg":
        settings = srsly.json_loads(message["cfg"])
        for _ in range(draw.choice((1, 2))):
            settings = damaged_value(draw, settings)
        message["cfg"] = json.dumps(settings).encode("utf8", errors="surrogatepass")
    elif draw.random() < 0.5:
        message[part] = damaged(draw, message[part], message["model"])
    else:
        inner = srsly.msgpack_loads(message[part])
        message[part] = srsly.msgpack_dumps(damaged_message(draw, inner))
    return srsly.msgpack_dumps(message)


def check_component(data: bytes, folder: Path) -> None:
    """A component that labels a text."""
    found = component().from_bytes(data)
    doc = Doc(found.vocab, words=["Angela", "visited", "Paris", "."])
    found(doc)
    assert len(doc) == 4
    assert all(ent.label_ in found.labels for ent in doc.ents)


MODELS = (
    Target("section", 4, make_section, check_section),
    Target("config", 2, make_config, check_config),
    Target("checkpoint", 1.5, make_checkpoint, check_checkpoint),
    Target("pseudo-labels", 2, make_labels, check_labels),
    Target("span model", 1.5, make_span_model, check_span_model),
    Target("component", 1, make_component, check_component),
)
