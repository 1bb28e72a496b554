from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import normalizers

from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.training import pipelines
from spacy_maral.training.cache import Cache

KEY = {"what": "test", "number": 3}


def never():
    raise AssertionError("it is there already")


def test_arrays_are_made_once(tmp_path):
    made = {"a": np.arange(5), "name": np.asarray("Zürich"), "n": np.asarray(7)}
    assert Cache(tmp_path / "new", 1.0).arrays(KEY, lambda: made) == made
    found = Cache(tmp_path / "new", 1.0).arrays(KEY, never)
    assert found.keys() == made.keys()
    np.testing.assert_array_equal(found["a"], made["a"])
    assert found["name"].item() == "Zürich" and found["n"].item() == 7
    other = Cache(tmp_path / "new", 1.0).arrays({**KEY, "number": 4}, lambda: {"a": np.zeros(1)})
    assert other["a"].tolist() == [0]


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_damaged_arrays_are_made_again(tmp_path, content):
    cache = Cache(tmp_path, 1.0)
    cache.arrays(KEY, lambda: {"a": np.arange(500)})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    assert cache.arrays(KEY, lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    assert cache.arrays(KEY, never)["a"].tolist() == [0, 1, 2]
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_come_back_whatever_order_they_were_made_in(tmp_path, dtype):
    table = torch.randn(40, 6).to(dtype)
    cuts = [(20, 33), (0, 7), (7, 7), (33, 40), (7, 20)]

    def make():
        for part in (cuts[:2], cuts[2:]):
            starts, stops = np.array(part).T
            yield starts, stops, torch.cat([table[i:j] for i, j in part])

    rows = Cache(tmp_path, 1.0).rows(KEY, (40, 6), dtype, make)
    again = Cache(tmp_path, 1.0).rows(KEY, (40, 6), dtype, never)
    for found in (rows, again):
        assert torch.equal(found.read(np.array([0]), np.array([40])), table)
        some = found.read(np.array([30, 2, 9]), np.array([35, 3, 9]))
        assert torch.equal(some, torch.cat([table[30:35], table[2:3]]))


def test_rows_of_another_type_or_shape_are_others(tmp_path):
    def make(shape, dtype):
        def give():
            yield np.array([0]), np.array([shape[0]]), torch.ones(shape).to(dtype)

        return Cache(tmp_path, 1.0).rows(KEY, shape, dtype, give)

    for shape, dtype in (
        ((2, 8), torch.float32),
        ((4, 4), torch.float32),
        ((2, 16), torch.bfloat16),
    ):
        found = make(shape, dtype).read(np.array([0]), np.array([shape[0]]))
        assert found.dtype == dtype and found.shape == shape and (found == 1).all()
    assert len([*tmp_path.iterdir()]) == 3


def test_nothing_is_left_of_rows_that_could_not_be_made(tmp_path):
    def fails():
        yield np.array([0]), np.array([1]), torch.ones(1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, 1.0).rows(KEY, (2, 2), torch.float32, fails)
    assert not [*tmp_path.iterdir()]


def test_a_cache_that_is_deleted_while_it_is_used(tmp_path):
    def make():
        yield np.array([0]), np.array([2]), torch.ones(2, 2)

    rows = Cache(tmp_path, 1.0).rows(KEY, (2, 2), torch.float32, make)
    rows.path.write_bytes(b"short")
    with pytest.raises(MaralError, match=r"M347.*ends before row 2.*--resume"):
        rows.read(np.array([0]), np.array([2]))
    rows.path.unlink()
    with pytest.raises(MaralError, match="M347"):
        rows.read(np.array([0]), np.array([2]))


def test_word_pieces_that_nothing_identifies_are_not_shared(world, tmp_path, monkeypatch):
    """The state of a slow tokenizer cannot be serialised."""
    monkeypatch.setattr(pipelines, "digest_tokenizer", lambda *args: None)
    docs, found = read_docs(world["target"])[:9], []
    for tokenizer in (0, 1):
        pipeline = pipelines.load_pipeline(world["teacher"])
        pipeline.cache = Cache(tmp_path, 1.0)
        if tokenizer:
            change_case(pipeline)
        found.append(pipeline.encode(docs, labelled=False, name="target").pieces)
    assert not np.array_equal(*found)


def change_case(pipeline):
    """Let a tokenizer read capitals."""
    _, tokenizer, _ = pipelines.get_encoder(pipeline.nlp)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Replace("a", "A")
