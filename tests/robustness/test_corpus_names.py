"""Corpora whose files are links, or have names that look like patterns, addresses or no text."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from make_golden import GOLDEN

from spacy_maral.errors import MaralError
from spacy_maral.scale import annotate_corpus
from spacy_maral.scale.annotate.corpus_files import find_shards

MODEL = GOLDEN / "0.1" / "model"
NAMES = [
    "a[1]",
    "a1",
    "a",
    "b*",
    "q?",
    "c::d",
    "zip::e",
    "f,g",
    "h:i",
    "s3:",
    "j k",
    "%20",
    "#l",
    "~m",
]


def texts(folder: Path) -> Counter[str]:
    return Counter(
        json.loads(line)["text"]
        for file in folder.rglob("*.jsonl")
        for line in file.read_text(encoding="utf8").splitlines()
    )


def names(*inputs: Path | str) -> list[str]:
    return [shard.name for shard in find_shards(map(str, inputs), "out")]


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.txt").write_text(name, encoding="utf8")
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_real_names_are_no_patterns(corpus, tmp_path):
    """Each file once, as a folder and by its own name, and none again by a second start."""
    out = tmp_path / "out"
    for inputs in (corpus, [corpus / f"{name}.txt" for name in NAMES]):
        summary = annotate_corpus(MODEL, inputs, out)
        assert summary.finished and summary.shards == len(NAMES)
        assert texts(out) == Counter(NAMES)
    assert summary.shards_skipped == len(NAMES)
    assert names(corpus / "a?.txt") == ["a1"]
    assert sorted(names(corpus / "*.txt")) == sorted(NAMES)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_patterns_below_a_folder_with_such_a_name(tmp_path):
    folder = tmp_path / "[x]*"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (folder / name).write_text("text")
    assert names(folder) == ["a", "deep/b"]
    assert names(folder / "*.txt") == ["a"]
    assert sorted(names(f"{folder}/**/*.txt")) == ["a", "deep/b"]
    with pytest.raises(MaralError, match=r"^\[M466\]"):
        names(folder / "c.txt")


def test_links_are_followed(corpus, tmp_path):
    """As in snapshots of a hub, DVC and git-annex: the content lies elsewhere, under other names."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    (blobs / "more").mkdir(parents=True)
    snapshot.mkdir()
    for number in range(3):
        (blobs / f"{number}").write_text(f"blob {number}")
        (snapshot / f"{number}.txt").symlink_to(blobs / f"{number}")
    (blobs / "more" / "4.txt").write_text("blob 4")
    (snapshot / "folder").symlink_to(blobs / "more")
    (snapshot / "folder" / "loop").symlink_to(snapshot)
    assert sorted(names(snapshot)) == ["0", "1", "2", "folder/4"]
    out = tmp_path / "out"
    assert annotate_corpus(MODEL, snapshot, out).documents == 4
    assert texts(out) == Counter(f"blob {n}" for n in (0, 1, 2, 4))


def test_a_link_to_nothing_is_listed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("text")
    (tmp_path / "in" / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MaralError, match=r"^\[M475\] 1 of 2 shards failed, 1 are done:\n  gone: "):
        annotate_corpus(MODEL, tmp_path / "in", tmp_path / "out")
    assert texts(tmp_path / "out") == Counter(["text"])


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_utf8_or_too_long(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("latin")
    (folder / f"{'x' * 250}.txt").write_text("long")
    (folder / f"{'y' * 240}.txt").write_text("shorter")
    with pytest.raises(MaralError, match=r"^\[M475\] 1 of 3 shards failed, 2 are done:\n  xxx"):
        annotate_corpus(MODEL, folder, tmp_path / "out")
    assert texts(tmp_path / "out") == Counter(["latin", "shorter"])
    with pytest.raises(MaralError, match=r"^\[M475\]"):
        annotate_corpus(MODEL, folder, tmp_path / "out")
    assert texts(tmp_path / "out") == Counter(["latin", "shorter"])
