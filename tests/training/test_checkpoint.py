from __future__ import annotations

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spacy_maral.data import files
from spacy_maral.data.files import remove_folder, sha256
from spacy_maral.errors import MaralError
from spacy_maral.training import checkpoint as module
from spacy_maral.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)

ROOT = Path(module.__file__).parents[2]


def make(epoch: int, step: int = 0) -> Checkpoint:
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
        step,
    )


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert (found.epoch, found.step) == (expected.epoch, expected.step)
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
    """Two checkpoints, after epochs 1 and 2, the second with the best weights of the first."""
    best = tmp_path / "best"
    module.save_tensors(best, {"weight": torch.arange(5.0)})
    for epoch in (1, 2):
        checkpoint = make(epoch)
        checkpoint.best = best
        best = save_checkpoint(tmp_path / "run", checkpoint) / module.BEST
    return tmp_path / "run"


FILES = (module.TENSORS, module.ARRAYS, module.STATE, module.SUMS, module.BEST)


def change_one_bit(path, place=0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))


def cut_short(path, share=0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


DAMAGE = {
    **{
        f"{what} of {name}": lambda p, do=do, name=name, at=at: do(p / name, at)
        for name in FILES
        for what, do, at in [
            ("first bit", change_one_bit, 0.0),
            ("a bit in the middle", change_one_bit, 0.5),
            ("last bit", change_one_bit, 1.0),
            ("second half", cut_short, 0.5),
            ("last byte", cut_short, 0.999999),
            ("everything", cut_short, 0.0),
            ("the whole", lambda path, _: path.unlink(), None),
        ]
    },
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
    assert "[W301]" in message and "epoch-0002" in message


def test_all_damaged(folder):
    for path in list_checkpoints(folder):
        change_one_bit(path / module.TENSORS)
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
    leftover = folder / ".epoch-0003.0123456789ab.tmp"
    leftover.mkdir()
    (leftover / module.TENSORS).write_bytes(b"half")
    (folder / "epoch-0009").write_text("a file")
    assert_same(load_checkpoint(folder), make(2))
    save_checkpoint(folder, make(3))
    assert_same(load_checkpoint(folder), make(3))


def test_an_older_format_is_refused(folder, monkeypatch):
    monkeypatch.setattr(module, "FORMAT_VERSION", 1)
    save_checkpoint(folder, make(3))
    monkeypatch.undo()
    with pytest.raises(MaralError, match=r"M320.*format version 1 of an earlier release"):
        load_checkpoint(folder)


def test_the_order_is_that_of_the_steps(tmp_path):
    for epoch, step in [(0, 5), (0, 12), (1, 0), (1, 3)]:
        save_checkpoint(tmp_path, make(epoch, step))
        assert_same(load_checkpoint(tmp_path), make(epoch, step))
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == ["epoch-0001", "epoch-0001-step-0000003"]
    for name in ("epoch-0001-step-0000002", "epoch-10000", "epoch-9999", "epoch-0001-old"):
        (tmp_path / name).mkdir()
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == [
        "epoch-0001", "epoch-0001-step-0000002", "epoch-0001-step-0000003", "epoch-9999",
        "epoch-10000",
    ]  # fmt: skip


def test_what_was_passed_over_goes_once_there_is_something_newer(tmp_path):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, make(epoch))
    # a run that was killed before it could remove the oldest leaves three
    shutil.copytree(tmp_path / "epoch-0002", tmp_path / "epoch-0003")
    for name in ("epoch-0002", "epoch-0003"):
        change_one_bit(tmp_path / name / module.TENSORS)
    assert_same(load_checkpoint(tmp_path), make(1))
    save_checkpoint(tmp_path, make(1, 4))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["epoch-0001", "epoch-0001-step-0000004"]
    assert_same(load_checkpoint(tmp_path), make(1, 4))


def test_the_best_weights_are_in_each_checkpoint(tmp_path):
    best = tmp_path / "best"
    module.save_tensors(best, {"weight": torch.arange(5.0)})
    for epoch in range(1, 5):
        checkpoint = make(epoch)
        checkpoint.best = best
        save_checkpoint(tmp_path, checkpoint)
        best.unlink()
        best = load_checkpoint(tmp_path).best
    assert torch.equal(load_file(best)["weight"], torch.arange(5.0))
    assert best.parent.name == "epoch-0004"


def test_the_state_is_read_without_the_tensors(folder):
    assert module.peek_state(folder)["rows"] == make(2).state["rows"]
    (folder / "epoch-0002" / module.TENSORS).unlink()
    assert module.peek_state(folder)["rows"] == make(2).state["rows"]
    change_one_bit(folder / "epoch-0002" / module.STATE)
    assert module.peek_state(folder)["rows"] == make(1).state["rows"]
    assert module.peek_state(folder / "nowhere") is None


def test_differences():
    old = {"[student] epochs": 3, "[nlp] lang": "de", "gone": None, "same": [1, 2]}
    new = {"[student] epochs": 4, "[nlp] lang": "sr", "same": [1, 2], "came": 0.5}
    assert files.differences(old, new) == [
        '[nlp] lang: "de" is now "sr"', "[student] epochs: 3 is now 4",
        "came: not set is now 0.5", "gone: null is now not set",
    ]  # fmt: skip
    assert files.differences(old, old) == []


def save_until_it_fails(folder) -> None:
    """Save checkpoints, each larger than the one before, until one cannot be written."""
    saved = 0
    with pytest.raises(MaralError, match="M322"):
        for epoch in range(1, 40):
            tensors = {"weight": torch.full((epoch, 4096), float(epoch))}
            with module.writing(folder):
                save_checkpoint(folder, Checkpoint(epoch, tensors, {}, {}))
            saved = epoch
    found = load_checkpoint(folder)
    assert found.epoch == saved > 2
    assert found.tensors["weight"].eq(saved).all() and len(found.tensors["weight"]) == saved
    assert not list(folder.glob("*.tmp"))


def test_a_write_that_fails_in_the_middle_of_a_file(tmp_path):
    resource = pytest.importorskip("resource")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        save_until_it_fails(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path):
    """In a process with a file system of 512 kB that only it sees."""
    mount = f"mount -t tmpfs -o size=512k tmpfs {shlex.quote(str(tmp_path))}"
    private = ["unshare", "-rm", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*private, mount], check=False).returncode:
        pytest.skip("needs a mount namespace of its own")
    script = (
        f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]!r}\n"
        f"from pathlib import Path; from test_checkpoint import save_until_it_fails\n"
        f"save_until_it_fails(Path({str(tmp_path)!r}))"
    )
    command = f"{mount} && {shlex.join([sys.executable, '-c', script])}"
    result = subprocess.run([*private, command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("function", ["save_file", "sha256", "_sync", "os.replace"])
def test_a_save_that_fails_leaves_the_checkpoints_before_it(folder, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    owners = {"os.replace": os, "_sync": files}
    owner, name = owners.get(function, module), function.removeprefix("os.")
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

    monkeypatch.setattr(shutil, "rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(folder / "epoch-0002")
    monkeypatch.undo()
    assert calls
    assert [p.name for p in list_checkpoints(folder)] == ["epoch-0001"]
    assert_same(load_checkpoint(folder), make(1))
    save_checkpoint(folder, make(2))
    assert_same(load_checkpoint(folder), make(2))


def test_pickled_arrays_are_not_loaded(folder, caplog):
    path = folder / "epoch-0002"
    np.savez(path / module.ARRAYS, evil=np.array([{"a": 1}], dtype=object))
    sums = json.loads((path / module.SUMS).read_text())
    sums[module.ARRAYS] = sha256(path / module.ARRAYS)
    (path / module.SUMS).write_text(json.dumps(sums))
    assert_same(load_checkpoint(folder), make(1))
    assert "allow_pickle" in caplog.text
