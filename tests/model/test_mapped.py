from __future__ import annotations

import mmap
from hashlib import sha256

import pytest
import srsly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors
from test_encoder_files import blank, pipeline

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_encoder
from spacy_maral.model.encoder import mapped
from spacy_maral.model.encoder.mapped import digest_view, forget, map_file, read_tensors, unpack

LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text() | st.binary()
)  # fmt: skip
MESSAGES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


@given(MESSAGES)
@settings(max_examples=200, deadline=None)
def test_messages_are_what_srsly_reads(message):
    data = srsly.msgpack_dumps(message)
    assert unpack(memoryview(data)) == srsly.msgpack_loads(data)


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_messages_of_all_lengths(size):
    message = {
        "text": "x" * size,
        "bytes": b"y" * size,
        "list": [1] * size,
        **{str(i): i for i in range(size)},
    }
    data = srsly.msgpack_dumps(message)
    assert unpack(memoryview(data)) == message


def test_long_byte_strings_are_not_copied():
    data = srsly.msgpack_dumps({"long": bytes(mapped.LARGE_BYTES), "short": b"ab"})
    found = unpack(memoryview(data))
    assert isinstance(found["long"], memoryview) and found["long"].obj is data
    assert found["long"] == bytes(mapped.LARGE_BYTES) and found["short"] == b"ab"


@given(MESSAGES, st.integers(0, 1000), st.binary(min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_damaged_messages_are_refused(message, place, more):
    data = srsly.msgpack_dumps({"message": message})
    for damaged in (
        data[: place % len(data)],
        data + more,
        b"\xdb\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc7\x00\x01",
        b"\xc1",
    ):
        with pytest.raises(ValueError):
            unpack(memoryview(damaged))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_those_that_were_saved(dtype):
    tensors = {
        "a.b": torch.arange(6).reshape(2, 3).to(dtype), "scalar": torch.ones((), dtype=dtype),
        "empty": torch.zeros((0, 4), dtype=dtype),
    }  # fmt: skip
    found = read_tensors(memoryview(save_tensors(tensors, metadata={"a": "b"})))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    "change",
    [
        (b'"F32"', b'"F64"'),
        (b'"F32"', b'"I16"'),
        (b"[0,8]", b"[0,9]"),
        (b"[0,8]", b"[8,0]"),
        (b"[2]", b"[3]"),
    ],
)
def test_damaged_tensors_are_refused(change):
    data = save_tensors({"a": torch.ones(2)})
    assert change[0] in data
    with pytest.raises(ValueError):
        read_tensors(memoryview(data.replace(*change)))


def test_a_mapped_file_is_its_bytes_and_can_be_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "BLOCK", 5000)
    content = bytes(i % 251 for i in range(3 * mmap.PAGESIZE + 7))
    (tmp_path / "file").write_bytes(content)
    data = map_file(tmp_path / "file")
    assert isinstance(data.obj, mmap.mmap)
    assert digest_view(data[3:]) == sha256(content[3:]).hexdigest()
    forget(data)
    assert data == content
    (tmp_path / "file").write_bytes(b"")
    assert map_file(tmp_path / "file") == b""


def test_the_embeddings_stay_in_the_file(encoder_dir, tmp_path, monkeypatch):
    nlp = pipeline(encoder_dir)
    model, path = nlp.get_pipe("transformer").model, tmp_path / "model"
    model.to_disk(path)
    monkeypatch.setattr(
        mapped, "LARGE_TENSOR", get_encoder(nlp)[0].embeddings.word_embeddings.weight.nbytes
    )
    again = blank(encoder_dir)
    again.get_pipe("transformer").model.from_disk(path)
    encoder = get_encoder(again)[0]
    table = encoder.embeddings.word_embeddings.weight
    assert table.untyped_storage().nbytes() == table.nbytes
    # a change stays in memory, and one of the file does not reach what is in use
    expected = table.detach().clone()
    with torch.no_grad():
        table[1] += 1
    assert model.to_bytes() == path.read_bytes()
    again.get_pipe("transformer").model.to_disk(path)
    assert torch.equal(table[0], expected[0]) and torch.equal(table[1], expected[1] + 1)
    third = blank(encoder_dir)
    third.get_pipe("transformer").model.from_disk(path)
    for (name, new), old in zip(
        get_encoder(third)[0].state_dict().items(), encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(new, old), name


def test_tensors_start_where_numbers_may(encoder_dir, tmp_path):
    model = pipeline(encoder_dir).get_pipe("transformer").model
    model.to_disk(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    state = unpack(memoryview(unpack(memoryview(data))["shims"][1][0]))["state"]
    assert data.index(bytes(state)) % 8 == 0


def test_a_file_that_is_no_message_is_refused(encoder_dir, tmp_path):
    (tmp_path / "model").write_bytes(b"\xc1")
    with pytest.raises(MaralError, match="M224"):
        blank(encoder_dir).get_pipe("transformer").model.from_disk(tmp_path / "model")
