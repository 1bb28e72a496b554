"""A text or shard that nobody can process costs itself and nothing else."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import spacy
from spacy.language import Language

from spacy_maral.data.raw import read_raw
from spacy_maral.data.text import LongLine, raw_lines
from spacy_maral.data.tokens import Splitter, tokenize
from spacy_maral.errors import MaralError
from spacy_maral.scale import annotate_corpus
from spacy_maral.scale.annotate import readers
from spacy_maral.scale.annotate.time_limit import time_limit
from spacy_maral.scale.annotate.worker import LocalEngine

MANY = 1_000_000


@Language.component("maral_test_poison")
def poison(doc):
    if "DIE" in doc.text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "SLEEP" in doc.text:
        time.sleep(30)
    return doc


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    nlp = spacy.blank("xx", meta={"name": "poison", "version": "1.0.0"})
    nlp.add_pipe("maral_test_poison")
    path = tmp_path_factory.mktemp("poison") / "model"
    nlp.to_disk(path)
    return path


def corpus(folder: Path, **shards: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in shards.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf8")
    return folder


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_shard_on_which_the_process_dies_does_not_stop_the_others(model, tmp_path):
    given = corpus(tmp_path / "in", a="fine\nDIE", b="fine", c="fine")
    out = tmp_path / "out"

    def start() -> int:
        context = multiprocessing.get_context("fork")
        process = context.Process(
            target=annotate_corpus, args=(model, given, out),
            kwargs={"engine": LocalEngine(retries=1)},
        )  # fmt: skip
        process.start()
        process.join(60)
        return process.exitcode

    assert start() == -signal.SIGKILL
    assert not (out / "b.jsonl").exists()
    # the deadly one comes last
    assert start() == -signal.SIGKILL
    assert (out / "b.jsonl").exists() and (out / "c.jsonl").exists()
    with pytest.raises(MaralError, match=r"M475.*1 of 3(.|\n)*\[M483\] a: 2 workers"):
        annotate_corpus(model, given, out, engine=LocalEngine(retries=1))
    # once it is reported, and divided, the next start does it
    corpus(given, a="fine\nlive")
    assert annotate_corpus(model, given, out, engine=LocalEngine(retries=1)).finished


def test_a_stop_is_no_death(model, tmp_path):
    given, out = corpus(tmp_path / "in", a="fine"), tmp_path / "out"

    def stop(progress):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            annotate_corpus(model, given, out, engine=LocalEngine(retries=0), on_progress=stop)
    assert annotate_corpus(model, given, out, engine=LocalEngine(retries=0)).finished


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_a_text_that_takes_too_long_is_set_aside(model, tmp_path, timer):
    given, out = corpus(tmp_path / "in", a="one\nSLEEP\ntwo"), tmp_path / "out"
    started = time.perf_counter()
    summary = annotate_corpus(model, given, out, text_seconds=0.3)
    assert time.perf_counter() - started < 10
    assert (summary.documents, summary.rejected) == (2, 1)
    (row,) = rows(out / "_rejected" / "a.jsonl")
    assert row["text"] == "SLEEP" and "[M533]" in row["reason"]
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    with pytest.raises(MaralError, match=r"M481.*text_seconds"):
        annotate_corpus(model, given, tmp_path / "other", text_seconds=-1)


def test_the_timer_is_left_alone_where_it_cannot_be_used():
    def work():
        with time_limit(0.01):
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGALRM, lambda *args: None)
    try:
        work()
    finally:
        signal.signal(signal.SIGALRM, before)


# long lines


def lines(data: bytes, most: int = 50) -> list:
    return list(raw_lines(io.BytesIO(data), most))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_long_lines_are_counted_and_cut(monkeypatch, block):
    monkeypatch.setattr("spacy_maral.data.text.BLOCK", block)
    long = b"x" * 60
    for end in (b"\n", b"\r\n", b"\r", b"\r\r\n"):
        found = lines(end.join([b"a", long, b"", b"b", long]))
        shown = LongLine(long[:50], 60)
        if end != b"\r\r\n" or block > 1:
            assert found == [*enumerate([b"a", shown, b"", b"b", shown], start=1)]
    # many short lines that end in CR are no long line
    assert lines(b"ab\r" * 100) == [(n, b"ab") for n in range(1, 101)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_change_nothing_in_short_lines(monkeypatch, end, block):
    data = end.join([b"a", b"", b"bc", b"", b"", b"d"]) + end
    whole = lines(data)
    monkeypatch.setattr("spacy_maral.data.text.BLOCK", block)
    assert lines(data) == whole and [t for _, t in whole if t] == [b"a", b"bc", b"d"]


def test_a_packed_line_of_a_gibibyte_takes_no_gibibyte(model, tmp_path, monkeypatch):
    """64 MiB here: the memory does not grow with the line."""
    given = tmp_path / "in"
    given.mkdir()
    with gzip.open(given / "a.txt.gz", "wb", 1) as file:
        file.write(b"fine\n")
        for _ in range(64):
            file.write(b"a" * (1 << 20))
        file.write(b"\nfine too")
    monkeypatch.setattr(readers, "MOST_BYTES", 1 << 20)
    tracemalloc.start()
    summary = annotate_corpus(model, given, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20
    assert (summary.documents, summary.rejected) == (2, 1)
    (row,) = rows(tmp_path / "out" / "_rejected" / "a.jsonl")
    assert "[M531]" in row["reason"] and "64.0 MiB" in row["reason"] and len(row["text"]) == 1000


def test_a_long_text_of_a_table_is_set_aside(model, tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    given = tmp_path / "in"
    given.mkdir()
    pq.write_table(pa.table({"text": ["fine", "a" * 3000, "fine"]}), given / "a.parquet")
    monkeypatch.setattr(readers, "MOST_BYTES", 2000)
    summary = annotate_corpus(model, given, tmp_path / "out")
    assert (summary.documents, summary.rejected) == (2, 1)


def test_a_long_line_of_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_maral.data.text.MOST_BYTES", 1000)
    monkeypatch.setattr(raw_lines, "__defaults__", (1000,))
    (tmp_path / "a.txt").write_text("fine\n" + "a" * 2000, encoding="utf8")
    with pytest.raises(MaralError, match=r"^\[M531\] .*a.txt:2"):
        list(read_raw([tmp_path / "a.txt"], "xx"))


def test_an_empty_packed_file_is_damage(model, tmp_path):
    given = corpus(tmp_path / "in", b="fine")
    (given / "a.txt.gz").touch()
    with pytest.raises(MaralError, match=r"M475(.|\n)*\[M482\].*a.txt.gz.*0 bytes"):
        annotate_corpus(model, given, tmp_path / "out")
    assert (tmp_path / "out" / "b.jsonl").exists()
    with pytest.raises(MaralError, match=r"^\[M118\].*0 bytes"):
        list(read_raw([given / "a.txt.gz"], "xx"))


# runs of one sign


@pytest.mark.parametrize("sign", ["=", "-", ".", "/", "a", "中", "\u0301", "😀"])
def test_a_ruler_is_one_word(sign):
    nlp, ruler = spacy.blank("xx"), sign * 20_000
    started = time.perf_counter()
    for text in (
        ruler,
        f"Title: {ruler} Paris",
        f"{ruler}{ruler}\n{ruler} x{ruler}y",
        f"a {ruler}",
    ):
        doc = tokenize(nlp, text)
        assert doc.text == text
        assert all(text.startswith(token.text, token.idx) for token in doc)
    assert time.perf_counter() - started < 5
    assert [token.text for token in tokenize(nlp, f"Title: {ruler} Paris")] == [
        "Title", ":", ruler, "Paris"
    ]  # fmt: skip


def test_a_million_signs_take_no_day():
    started = time.perf_counter()
    assert len(tokenize(spacy.blank("en"), "=" * MANY)) == 1
    (piece,) = Splitter("en")("=" * MANY)
    assert len(piece.words) == 1 and time.perf_counter() - started < 10


def test_short_runs_are_the_tokenizers(model):
    nlp = spacy.blank("en")
    for text in ("wait ... what", "=" * 255, "Hmmmmm, well!", ""):
        assert [t.text for t in tokenize(nlp, text)] == [t.text for t in nlp.make_doc(text)]


# records of the run


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '"x"', '{"output_size": null}', '{"summary": {"a": 1}}', "\x00"]
)
def test_damaged_records_are_made_again(model, tmp_path, damage, caplog):
    given, out = corpus(tmp_path / "in", a="fine", b="fine"), tmp_path / "out"
    annotate_corpus(model, given, out)
    before = {path: path.read_bytes() for path in out.glob("*.jsonl")}
    (out / "_run" / "shards" / "a.json").write_text(damage, encoding="utf8")
    (out / "_run" / "begun").mkdir(exist_ok=True)
    (out / "_run" / "begun" / "a.json").write_text(damage, encoding="utf8")
    summary = annotate_corpus(model, given, out)
    assert summary.shards_skipped == 1 and summary.finished
    assert {path: path.read_bytes() for path in out.glob("*.jsonl")} == before


def test_a_damaged_run_is_never_another_models(model, tmp_path, caplog):
    given, out = corpus(tmp_path / "in", a="fine", b="fine"), tmp_path / "out"
    annotate_corpus(model, given, out)
    (out / "_run" / "run.json").write_text('{"model', encoding="utf8")
    assert annotate_corpus(model, given, out).shards_skipped == 2
    assert "[W534]" in caplog.text
    (out / "_run" / "run.json").write_text("", encoding="utf8")
    nlp = spacy.load(model)
    nlp.meta["version"] = "2.0.0"
    nlp.to_disk(tmp_path / "other")
    summary = annotate_corpus(tmp_path / "other", given, out)
    assert summary.shards_skipped == 0 and summary.finished
    assert all("-2.0.0+" in row["model"] for row in rows(out / "a.jsonl"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a timer and fork")
def test_options_of_the_command_line(model, tmp_path, timer):
    from typer.testing import CliRunner

    from spacy_maral.cli import app

    given = corpus(tmp_path / "in", a="one\nSLEEP")
    arguments = ["annotate", model, given, "-o", tmp_path / "out", "--text-seconds", "0.3", "-j"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--retries", "0"])
    assert done.exit_code == 0 and json.loads(done.stdout)["rejected"] == 1
