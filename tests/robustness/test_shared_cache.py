"""A cache that several trainings share: in containers, with damage, after kills, for months."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
import torch

from spacy_maral.errors import MaralError
from spacy_maral.training.cache import Cache

DAY = 86_400


def never():
    raise AssertionError("it is there already")


def table(value: float, rows: int = 64):
    """What makes a table of 16 columns."""

    def make():
        yield np.array([0]), np.array([rows]), torch.full((rows, 16), float(value))

    return make


def read(rows) -> torch.Tensor:
    return rows.read(np.array([0]), np.array([64]))


def test_processes_of_one_number_write_the_same_file_at_once(tmp_path, monkeypatch):
    """In two containers, both trainings are often process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    both, failed = threading.Barrier(2, timeout=20), []

    def make():
        both.wait()
        yield np.array([0]), np.array([64]), torch.ones(64, 16)
        both.wait()

    def work():
        try:
            arrays = Cache(tmp_path, 1.0).arrays(
                {"a": 1}, lambda: {"x": np.ones(both.wait() * 0 + 3)}
            )
            rows = Cache(tmp_path, 1.0).rows({"b": 1}, (64, 16), torch.float32, make)
            assert (arrays["x"] == 1).all() and (read(rows) == 1).all()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len([*tmp_path.iterdir()]) == 2
    assert (read(Cache(tmp_path, 1.0).rows({"b": 1}, (64, 16), torch.float32, never)) == 1).all()


@pytest.mark.parametrize("seed", range(9))
def test_a_changed_byte_is_found(tmp_path, seed):
    def both(arrays, rows):
        cache = Cache(tmp_path, 1.0)
        found = cache.arrays({"a": 1}, arrays)["x"]
        return found, read(cache.rows({"b": 1}, (64, 16), torch.float32, rows))

    both(lambda: {"x": np.arange(500.0)}, table(1.0))
    rng = np.random.default_rng(seed)
    for path in tmp_path.iterdir():
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    for arrays, rows in ((lambda: {"x": np.arange(500.0)}, table(1.0)), (never, never)):
        x, y = both(arrays, rows)
        assert (x == np.arange(500.0)).all() and (y == 1).all()


def test_leftovers_of_dead_trainings_are_removed(tmp_path):
    old, new = tmp_path / ".a.rows.0123456789ab.tmp", tmp_path / ".b.rows.0123456789ab.tmp"
    for path, age in ((old, 2 * DAY), (new, 60)):
        path.write_text("half")
        os.utime(path, (time.time() - age,) * 2)
    Cache(tmp_path, 1.0)
    assert [*tmp_path.iterdir()] == [new]


def test_what_is_unused_makes_room(tmp_path):
    size = 64 * 16 * 4
    limit = 2.5 * size / 2**30
    files = []
    for number in range(3):
        rows = Cache(tmp_path, 1.0).rows({"n": number}, (64, 16), torch.float32, table(number))
        files.append(rows.path)
    for path, age in zip(files, (3 * DAY, 2 * DAY, 60), strict=True):
        os.utime(path, (time.time() - age,) * 2)
    Cache(tmp_path, limit).rows({"n": 3}, (64, 16), torch.float32, table(3.0))
    assert not files[0].exists() and not files[1].exists() and files[2].exists()


def test_use_is_noted(tmp_path):
    rows = Cache(tmp_path, 1.0).rows({"n": 1}, (64, 16), torch.float32, table(1.0))
    os.utime(rows.path, (1.0, 1.0))
    read(rows)
    assert time.time() - rows.path.stat().st_atime < 60
    os.utime(rows.path, (1.0, 1.0))
    Cache(tmp_path, 1.0).rows({"n": 1}, (64, 16), torch.float32, never)
    assert time.time() - rows.path.stat().st_atime < 60


def test_a_file_that_is_gone_is_named(tmp_path):
    rows = Cache(tmp_path, 1.0).rows({"n": 1}, (64, 16), torch.float32, table(1.0))
    rows.path.unlink()
    with pytest.raises(MaralError, match=r"^\[M347\]"):
        read(rows)


def test_the_folder_never_exceeds_the_limit(tmp_path, caplog):
    """What other trainings use now stays, and this one does without."""
    size, shape = 64 * 16 * 4 + 32, (64, 16)
    limit = 2.5 * size / 2**30

    def begin(number):
        return Cache(tmp_path, limit).rows({"n": number}, shape, torch.float32, table(number))

    first, second = begin(0), begin(1)
    assert begin(2) is None
    # what all files would take, not the one alone
    assert f"[W303] With the frozen-layer states, the files in {tmp_path} would take" in caplog.text
    assert f"{3 * size / 2**30:.1f} GiB" in caplog.text
    assert sorted(tmp_path.iterdir()) == sorted([first.path, second.path])
    # one that is there already needs no room
    assert (read(begin(1)) == 1).all()
    # a damaged one is replaced within the room that it had
    second.path.write_bytes(bytes(size))
    assert (read(begin(1)) == 1).all()


def test_two_that_begin_at_once_do_not_exceed_the_limit(tmp_path):
    size = 64 * 16 * 4 + 32
    limit, both, found = 1.5 * size / 2**30, threading.Barrier(2, timeout=20), []

    def make():
        yield from table(1.0)()

    def work(number):
        cache = Cache(tmp_path, limit)
        both.wait()
        found.append(cache.rows({"n": number}, (64, 16), torch.float32, make))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit * 2**30
    assert len(found) == 2 and None in found


def test_a_file_is_created_by_one_process_only(tmp_path, monkeypatch):
    """If names ever collide, the second process fails rather than writes into the first one's file."""
    taken = tmp_path / ".taken.tmp"
    monkeypatch.setattr("spacy_maral.data.files._beside", lambda path: taken)
    taken.write_text("of another process")
    with pytest.raises(MaralError, match="exists"):
        Cache(tmp_path, 1.0).arrays({"a": 1}, lambda: {"x": np.ones(3)})
