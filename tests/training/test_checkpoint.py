from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from spacy_maral.errors import MaralError
from spacy_maral.training import checkpoint as module
from spacy_maral.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    write_text,
)


def make(epoch: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(epoch)
    return Checkpoint(
        epoch,
        {
            "weight": torch.randn(3, 4, generator=generator, requires_grad=True),
            "half": torch.randn(5, generator=generator).bfloat16(),
            "count": torch.full((2,), 1e9 + epoch, dtype=torch.float64),
            "step": torch.tensor(7.0),
            "transposed": torch.randn(4, 2, generator=generator).T,
            "empty": torch.zeros(0, 3),
        },
        {
            "0.probabilities": np.random.default_rng(epoch).random((6, 3), dtype=np.float32),
            "0.reliable": np.array([True, False]),
        },
        {"fingerprint": {"source": "ab"}, "rows": [{"epoch": epoch, "score": 0.25}], "scaler": {}},
    )


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert found.epoch == expected.epoch
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor), name
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert (found.arrays[name] == array).all()
    for name, value in expected.state.items():
        assert found.state[name] == value


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, after epochs 1 and 2."""
    for epoch in (1, 2):
        save_checkpoint(tmp_path / "run", make(epoch))
    return tmp_path / "run"


def change_one_byte(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {
    "one bit of the tensors": lambda p: change_one_byte(p / module.TENSORS),
    "one bit of the arrays": lambda p: change_one_byte(p / module.ARRAYS),
    "one bit of the state": lambda p: change_one_byte(p / module.STATE),
    "one bit of the sums": lambda p: change_one_byte(p / module.SUMS),
    "cut short": lambda p: (p / module.TENSORS).write_bytes(b"12"),
    "file missing": lambda p: (p / module.ARRAYS).unlink(),
    "sums missing": lambda p: (p / module.SUMS).unlink(),
    "sums of another kind": lambda p: (p / module.SUMS).write_text("[1]"),
    "sum of a file missing": lambda p: (p / module.SUMS).write_text("{}"),
    "half deleted": lambda p: (shutil.rmtree(p), p.mkdir()),
}


def test_round_trip(folder):
    assert_same(load_checkpoint(folder), make(2))


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_without_arrays(tmp_path):
    saved = make(1)
    saved.arrays = {}
    save_checkpoint(tmp_path, saved)
    assert_same(load_checkpoint(tmp_path), saved)


def test_two_are_kept_and_the_newest_counts(tmp_path):
    for epoch in range(1, 13):
        save_checkpoint(tmp_path, make(epoch))
        assert [p.name for p in list_checkpoints(tmp_path)] == [
            f"epoch-{e:04d}" for e in range(max(1, epoch - 1), epoch + 1)
        ]
    assert_same(load_checkpoint(tmp_path), make(12))


def test_an_epoch_that_is_saved_again_is_replaced(folder):
    again = make(5)
    again.epoch = 2
    save_checkpoint(folder, again)
    assert_same(load_checkpoint(folder), again)


@pytest.mark.parametrize("damage", DAMAGE)
def test_of_a_damaged_checkpoint_the_one_before_is_used(folder, damage, caplog):
    DAMAGE[damage](folder / "epoch-0002")
    assert_same(load_checkpoint(folder), make(1))
    (message,) = [r.getMessage() for r in caplog.records if "damaged" in r.getMessage()]
    assert "epoch-0002" in message


def test_all_damaged(folder):
    for path in list_checkpoints(folder):
        change_one_byte(path / module.TENSORS)
    with pytest.raises(MaralError, match="are damaged") as error:
        load_checkpoint(folder)
    assert str(folder) in str(error.value)


def test_a_newer_format_is_refused(folder, monkeypatch):
    monkeypatch.setattr(module, "FORMAT_VERSION", 9)
    save_checkpoint(folder, make(3))
    monkeypatch.undo()
    with pytest.raises(MaralError, match="format version 9"):
        load_checkpoint(folder)


def test_what_an_interrupted_save_leaves_is_ignored(folder):
    leftover = folder / "epoch-0003.tmp"
    leftover.mkdir()
    (leftover / module.TENSORS).write_bytes(b"half")
    (folder / "epoch-0009").write_text("a file")
    assert_same(load_checkpoint(folder), make(2))
    save_checkpoint(folder, make(3))
    assert not leftover.exists()
    assert_same(load_checkpoint(folder), make(3))


@pytest.mark.parametrize("function", ["save_file", "sha256", "_sync", "os.replace"])
def test_a_save_that_fails_leaves_the_checkpoints_before_it(folder, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    owner, name = (module.os, "replace") if function == "os.replace" else (module, function)
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(folder, make(3))
    monkeypatch.undo()
    assert_same(load_checkpoint(folder), make(2))


def test_nothing_is_pickled(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    save_checkpoint(folder, make(3))
    assert_same(load_checkpoint(folder), make(3))
    names = {path.name for path in (folder / "epoch-0003").iterdir()}
    assert names == {module.TENSORS, module.ARRAYS, module.STATE, module.SUMS}


def test_a_removal_that_is_cut_short_leaves_no_half_checkpoint(folder, monkeypatch):
    rmtree, calls = shutil.rmtree, []

    def cut_short(path, **kwargs):
        calls.append(path)
        if not kwargs:
            (path / module.TENSORS).unlink()
            raise KeyboardInterrupt
        rmtree(path, **kwargs)

    monkeypatch.setattr(module.shutil, "rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        remove_checkpoint(folder / "epoch-0002")
    monkeypatch.undo()
    assert calls
    assert [p.name for p in list_checkpoints(folder)] == ["epoch-0001"]
    assert_same(load_checkpoint(folder), make(1))
    save_checkpoint(folder, make(2))
    assert_same(load_checkpoint(folder), make(2))


def test_pickled_arrays_are_not_loaded(folder):
    path = folder / "epoch-0002"
    np.savez(path / module.ARRAYS, evil=np.array([{"a": 1}], dtype=object))
    sums = json.loads((path / module.SUMS).read_text())
    sums[module.ARRAYS] = module.sha256(path / module.ARRAYS)
    (path / module.SUMS).write_text(json.dumps(sums))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_checkpoint(folder)


def test_text_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    write_text(path, "ä\n")
    write_text(path, "ö\n")
    assert path.read_text(encoding="utf8") == "ö\n"
    monkeypatch.setattr(module.os, "replace", lambda *a: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(path, "ü\n")
    assert path.read_text(encoding="utf8") == "ö\n"
