from __future__ import annotations

import fsspec
import pytest

from spacy_maral.errors import MaralError
from spacy_maral.scale.annotate.corpus_files import ending_of, find_shards, kind_of
from spacy_maral.scale.annotate.storage import (
    absolute,
    list_files,
    open_filesystem,
    open_read,
    read_json,
    replacing,
    write_json,
)


@pytest.fixture(params=["local", "memory"])
def base(request, tmp_path):
    """A folder of each kind of file system."""
    if request.param == "local":
        yield str(tmp_path)
        return
    yield "memory://bucket/x"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def write(address: str, data: bytes) -> None:
    with replacing(address) as file:
        file.write(data)


def names(base: str) -> list[str]:
    return [file.address.removeprefix(f"{base}/") for file in list_files(base)]


def test_a_file_is_written_read_and_replaced(base):
    for data in (b"one", b"three"):
        write(f"{base}/deep/a.txt", data)
        with open_read(f"{base}/deep/a.txt") as file:
            assert file.read() == data
    assert [(file.address, file.size) for file in list_files(base)] == [(f"{base}/deep/a.txt", 5)]


def test_a_failure_leaves_the_file_as_it_was(base):
    write(f"{base}/a.txt", b"old")
    with pytest.raises(ZeroDivisionError), replacing(f"{base}/a.txt") as file:
        file.write(b"new")
        raise ZeroDivisionError
    with open_read(f"{base}/a.txt") as file:
        assert file.read() == b"old"
    assert names(base) == ["a.txt"]


def test_two_writers_of_a_file_do_not_meet(base):
    with replacing(f"{base}/a.txt") as first:
        first.write(b"first, ")
        with replacing(f"{base}/a.txt") as second:
            second.write(b"second")
        first.write(b"and last")
    with open_read(f"{base}/a.txt") as file:
        assert file.read() == b"first, and last"
    assert names(base) == ["a.txt"]


def test_a_changed_file_has_another_version(base):
    write(f"{base}/a.txt", b"one")
    (before,) = list_files(base)
    write(f"{base}/a.txt", b"two")
    (after,) = list_files(base)
    assert before.version and before != after


def test_json_files_are_read_together(base):
    write_json(f"{base}/a.json", {"a": "ß"})
    write_json(f"{base}/b.json", {})
    write(f"{base}/broken.json", b"{")
    addresses = [f"{base}/{name}.json" for name in ("a", "b", "broken", "missing")]
    assert read_json(addresses) == {addresses[0]: {"a": "ß"}, addresses[1]: {}}


def test_an_address_of_an_unknown_kind():
    with pytest.raises(MaralError, match=r"M465.*nowhere://x"):
        open_filesystem("nowhere://x/y")


# shards


def shard_names(inputs: list[str], output: str) -> list[str]:
    return [shard.name for shard in find_shards(inputs, output)]


def test_shards_of_files_folders_and_patterns(base):
    for name in (
        "a.txt",
        "b.jsonl.gz",
        "deep/c.parquet",
        "x.md",
        "_run/d.jsonl",
        ".e.txt",
        "z/f.txt",
    ):
        write(f"{base}/{name}", b"x")
    assert shard_names([base], f"{base}-out") == ["a", "b", "deep/c", "z/f"]
    assert shard_names([f"{base}/a.txt", f"{base}/deep"], f"{base}-out") == ["a", "c"]
    assert shard_names([f"{base}/*.txt"], f"{base}-out") == ["a"]
    assert shard_names([f"{base}/**/*.*"], f"{base}-out") == ["a", "b", "deep/c", "z/f"]


def test_endings_in_capitals_are_the_same(base):
    names = ("A.TXT", "B.JSONL.GZ", "deep/C.Parquet")
    for name in names:
        write(f"{base}/{name}", b"x")
    assert shard_names([base], f"{base}-out") == ["A", "B", "deep/C"]
    assert [kind_of(f"{base}/{name}") for name in names] == [".txt", ".jsonl", ".parquet"]
    assert ending_of(f"{base}/B.JSONL.GZ") == ".JSONL.GZ" and ending_of(f"{base}/x.md") == ""


def test_shards_know_address_size_and_version(tmp_path):
    (tmp_path / "a.txt").write_text("four")
    (shard,) = find_shards([str(tmp_path)], str(tmp_path / "../out"))
    assert (shard.address, shard.size) == (absolute(str(tmp_path / "a.txt")), 4)
    assert float(shard.version) == (tmp_path / "a.txt").stat().st_mtime


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (["missing"], "M466"),
        (["empty"], "M467"),
        (["*.parquet"], "M467"),
        (["x.md"], "M468"),
        (["a.txt", "a.jsonl"], "M469"),
        ([""], "M470"),
        (["out/a.txt"], "M470"),
    ],
)
def test_inputs_that_cannot_be_used(base, inputs, code):
    for name in ("a.txt", "a.jsonl", "x.md", "empty/x.md", "out/a.txt"):
        write(f"{base}/{name}", b"x")
    with pytest.raises(MaralError, match=code):
        find_shards([f"{base}/{name}".rstrip("/") for name in inputs], f"{base}/out")
