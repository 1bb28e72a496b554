from __future__ import annotations

import errno
import hashlib
import json
import os
import stat

import pytest

from spacy_maral.data import files
from spacy_maral.data.files import (
    remove_leftovers,
    replacing,
    sha256,
    write_file,
    write_json,
    write_text,
)
from spacy_maral.errors import MaralError


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "new" / "log.jsonl"
    write_text(path, "ä\n")
    write_text(path, "ö\n")
    assert path.read_bytes() == "ö\n".encode()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "replace", full)
        write_text(path, "ü\n")
    assert path.read_text(encoding="utf8") == "ö\n" and names(path.parent) == ["log.jsonl"]


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "written", "a")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (plain, tmp_path / "written")}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt(), ValueError("bug")])
def test_half_a_file_is_removed(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        assert names(tmp_path) == [temporary.name, "a"]
        raise error
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_a_folder_only(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "precious").write_text("x")
    with pytest.raises(MaralError, match="cannot be written"):
        write_file(old, "text")
    assert names(old) == ["precious"] and names(tmp_path) == ["old"]
    with replacing(old) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("y")
    assert names(old) == ["new"] and names(tmp_path) == ["old"]


def test_what_must_last_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    target, synced = tmp_path / "folder", []

    def note(path):
        synced.append(("before" if not target.exists() else "after", path.name))

    monkeypatch.setattr(files, "_sync", note)
    monkeypatch.setattr(files, "sync_folder", note)
    with replacing(target, durable=True) as temporary:
        (temporary / "inner").mkdir(parents=True)
        for name in ("a", "inner/b"):
            (temporary / name).write_text(name)
    assert synced == [
        ("before", "a"), ("before", "b"), ("before", "inner"), ("before", temporary.name),
        ("after", tmp_path.name),
    ]  # fmt: skip


def test_what_a_killed_process_left_is_removed(tmp_path):
    write_text(tmp_path / "log.jsonl", "x")
    for name in (".log.jsonl.1.tmp", "pipeline.tmp/part", ".epoch-0001.2.tmp/inner/part"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["log.jsonl"]
    remove_leftovers(tmp_path / "nowhere")


def test_what_the_user_asked_for_fails_with_a_coded_error(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    write_json(path, {"name": "Zoë"})
    with pytest.raises(TypeError):
        write_json(path, {"name": object()})
    assert json.loads(path.read_text(encoding="utf8")) == {"name": "Zoë"}
    assert names(path.parent) == ["metrics.json"]
    with pytest.raises(MaralError, match=r"M406.*cannot be written"):
        write_json(path / "below-a-file.json", {})


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_checksum(tmp_path, size):
    data = bytes(i % 251 for i in range(size))
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
