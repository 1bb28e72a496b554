from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import fsspec
import pytest
from filelock import FileLock
from scale_corpora import LINES, contents, read, save_ruler
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.scale import ShardSummary, annotate_corpus
from spacy_maral.scale.annotate.model import load_model, model_version
from spacy_maral.scale.annotate.progress import Progress, progress_bar

OUTPUTS = ["a.jsonl", "more/b.jsonl"]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def test_each_document_is_in_the_output_or_set_aside(ruler, corpus, out):
    summary = annotate_corpus(ruler, corpus, out)
    assert [row["text"] for row in read(out / "a.jsonl")] == LINES
    assert [row["id"] for row in read(out / "more/b.jsonl")] == [
        f"doc{i}" for i in range(len(LINES))
    ]
    assert [row["line"] for row in read(out / "_rejected/more/b.jsonl")] == [4, 10]
    assert list(contents(out)) == ["_rejected/more/b.jsonl", *OUTPUTS]
    assert {row["model"] for row in read(out / "a.jsonl")} == {model_version(str(ruler))}
    assert (summary.shards, summary.shards_done, summary.shards_skipped) == (2, 2, 0)
    assert (summary.documents, summary.rejected) == (2 * len(LINES), 2)
    assert summary.size == sum(p.stat().st_size for p in corpus.rglob("*") if p.is_file())
    assert summary.finished and summary.words_per_second > 0
    written = json.loads((out / "_run/summary.json").read_text())
    assert {key: written[key] for key in summary.to_dict()} == summary.to_dict()


def test_a_second_start_passes_over_what_is_done(ruler, corpus, out, monkeypatch):
    first = annotate_corpus(ruler, corpus, out)
    before = contents(out)
    times = {name: (out / name).stat().st_mtime_ns for name in OUTPUTS}
    (corpus / "c.txt").write_text("Paris", encoding="utf8")
    second = annotate_corpus(ruler, corpus, out)
    assert (second.shards, second.shards_done, second.shards_skipped) == (3, 3, 2)
    assert second.documents == first.documents + 1
    assert second.entities["LOC"] == first.entities["LOC"] + 1
    assert {name: (out / name).stat().st_mtime_ns for name in OUTPUTS} == times
    assert contents(out).items() > before.items()

    def load(*arguments):
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr("spacy_maral.scale.annotate.worker.load_model", load)
    third = annotate_corpus(ruler, corpus, out)
    assert (third.documents, third.shards_skipped) == (second.documents, 3)


@pytest.mark.parametrize("damage", ["output", "record", "cut"])
def test_a_shard_that_is_not_whole_is_done_again(ruler, corpus, out, damage):
    annotate_corpus(ruler, corpus, out)
    before = contents(out)
    if damage == "output":
        (out / "a.jsonl").unlink()
    elif damage == "record":
        (out / "_run/shards/a.json").unlink()
    else:
        os.truncate(out / "a.jsonl", 10)
    assert annotate_corpus(ruler, corpus, out).shards_skipped == 1
    assert contents(out) == before


def test_a_shard_that_has_changed_is_done_again(ruler, corpus, out, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    annotate_corpus(ruler, corpus, out)
    # the same size
    (corpus / "a.txt").write_text("\n".join(reversed(LINES)) + "\n", encoding="utf8")
    os.utime(corpus / "a.txt", (1, 1))
    assert annotate_corpus(ruler, corpus, out).shards_skipped == 1
    assert [row["text"] for row in read(out / "a.jsonl")] == LINES[::-1]
    assert "W465" in caplog.text and "a.txt" in caplog.text


def test_other_settings_or_another_model_are_refused(ruler, corpus, out, tmp_path):
    annotate_corpus(ruler, corpus, out)
    before = contents(out)
    with pytest.raises(MaralError, match=r'M474[^$]*format: "jsonl" is now "jsonl.gz"'):
        annotate_corpus(ruler, corpus, out, format="jsonl.gz")
    # the name is the same, the patterns are not
    other = shutil.copytree(ruler, tmp_path / "other")
    path = other / "entity_ruler" / "patterns.jsonl"
    path.write_text(path.read_text(encoding="utf8").replace("Paris", "Lyon"), encoding="utf8")
    with pytest.raises(MaralError, match=r'M474[^$]*model: "xx_ruler-1.2.0\+\w+" is now "xx_ruler'):
        annotate_corpus(other, corpus, out)
    assert contents(out) == before
    # what only makes it faster may change
    annotate_corpus(ruler, corpus, out, batch_words=10)


def test_a_shard_that_fails_does_not_keep_the_others_from_it(ruler, corpus, out):
    (corpus / "aa.txt.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(MaralError, match=r"M475.*1 of 3 shards(.|\n)*aa: \[M482\].*aa.txt.gz"):
        annotate_corpus(ruler, corpus, out)
    assert [name for name in contents(out) if not name.startswith("_")] == OUTPUTS
    summary = json.loads((out / "_run/summary.json").read_text())
    assert (summary["shards_done"], summary["shards_failed"], summary["finished"]) == (2, 1, False)
    assert "M482" in summary["failures"]["aa"]
    (corpus / "aa.txt.gz").unlink()
    assert annotate_corpus(ruler, corpus, out).finished


def test_ctrl_c_says_how_to_go_on(ruler, corpus, out):
    def stop(progress: Progress) -> None:
        if progress.shards_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"W466.*1 of 2") as found:
        annotate_corpus(ruler, corpus, out, on_progress=stop)
    assert found.value.exit_code == 130
    assert list(contents(out)) == ["a.jsonl"]
    assert annotate_corpus(ruler, corpus, out).shards_skipped == 1


def test_what_a_killed_run_leaves_is_tidied_up(ruler, corpus, out):
    (out / "more").mkdir(parents=True)
    (out / "more" / ".b.jsonl.0123456789ab.tmp").write_text("half")
    annotate_corpus(ruler, corpus, out)
    assert not list(out.rglob("*.tmp"))


def test_two_runs_never_share_a_folder(ruler, corpus, out):
    (out / "_run").mkdir(parents=True)
    with FileLock(out / "_run" / "run.lock"), pytest.raises(MaralError, match="M324"):
        annotate_corpus(ruler, corpus, out)


def test_remote_corpora(ruler, corpus, out):
    annotate_corpus(ruler, corpus, out)
    files = fsspec.filesystem("memory")
    try:
        files.put(str(corpus), "/bucket/in", recursive=True)
        for _ in range(2):
            summary = annotate_corpus(ruler, "memory://bucket/in", "memory://bucket/out")
        assert (summary.shards_skipped, summary.finished) == (2, True)
        found = {
            path.removeprefix("/bucket/out/"): files.cat(path)
            for path in files.find("/bucket/out")
            if "_run" not in path
        }
        mine = contents(out)
        # places are in the reasons
        mine.pop("_rejected/more/b.jsonl")
        assert b"memory://bucket/in/more/b.jsonl:4" in found.pop("_rejected/more/b.jsonl")
        assert found == mine
    finally:
        files.rm("/bucket", recursive=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_goes_from_nothing_to_all(ruler, corpus, out, monkeypatch):
    monkeypatch.setattr("spacy_maral.scale.annotate.shard.WINDOW_WORDS", 1)
    monkeypatch.setattr(sys, "stderr", Terminal())
    seen = []
    annotate_corpus(
        ruler, corpus, out, batch_words=1,
        on_progress=lambda p: seen.append((p.size_done / p.size, p.documents, p.shards_done)),
    )  # fmt: skip
    shares = [share for share, *_ in seen]
    assert shares == sorted(shares) and shares[0] < 0.5 and shares[-1] == 1
    assert seen[-1][-1] == 2
    assert seen[-1][1] == 2 * len(LINES)
    first, *_, last = sys.stderr.getvalue().strip().split("\r")
    assert first.startswith("0.0 %|")
    assert last.startswith("100.0 %|") and "00:00 left, 2 of 2 shards" in last
    assert f"{2 * len(LINES)} documents" in last and "2 set aside" in last


def test_a_file_gets_no_progress_of_a_short_run(ruler, corpus, out, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    annotate_corpus(ruler, corpus, out)
    assert sys.stderr.getvalue() == ""


def test_the_speed_follows_from_the_time(monkeypatch):
    progress = Progress(shards=4, size=1000, started=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: 50.0)
    assert progress.words_per_second == 0
    progress.add(ShardSummary(documents=10, words=200, size=250))
    assert (progress.size_done, progress.seconds) == (250, 50)
    assert (progress.documents_per_second, progress.words_per_second) == (0.2, 4.0)
    assert str(progress) == "0 of 4 shards, 10 documents, 0 documents/s, 4 words/s"


def test_the_time_left_follows_from_the_bytes(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(1000) as bar:
        bar.start_t -= 1241.8
        bar.update(250)
        assert "25.0 %|" in str(bar) and "1:02:05 left" in str(bar)


# the model


def test_a_version_follows_the_weights(ruler, tmp_path):
    version = model_version(str(ruler))
    assert version.startswith("xx_ruler-1.2.0+")
    copy = shutil.copytree(ruler, tmp_path / "copy")
    (copy / "training").mkdir()
    (copy / "training" / "log.jsonl").write_text("{}")
    assert model_version(str(copy)) == version
    with (copy / "vocab" / "strings.json").open("a") as file:
        file.write(" ")
    assert model_version(str(copy)) != version
    with pytest.raises(MaralError, match="M478"):
        load_model(str(copy), version, -1)


@pytest.mark.parametrize("name", ["no_such_package", "."])
def test_a_model_that_is_not_there(name, corpus, out):
    with pytest.raises(MaralError, match="M477"):
        annotate_corpus(name, corpus, out)


# the command


def run(*arguments: object):
    return CliRunner().invoke(app, ["annotate", *map(str, arguments)])


def test_the_command_prints_json_and_nothing_else(ruler, corpus, out):
    result = run(ruler, corpus / "a.txt", corpus / "more", "-o", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["documents"] == 2 * len(LINES)
    assert list(contents(out)) == ["_rejected/b.jsonl", "a.jsonl", "b.jsonl"]


def test_the_command_prints_tables(ruler, corpus, out):
    result = run(ruler, corpus, "-o", out, "--text-field", "no", "--batch-words", 7)
    assert result.exit_code == 0, result.output
    assert "set aside" in result.stdout and "words/s" in result.stdout


def test_the_command_shows_errors_whole(ruler, corpus, out, tmp_path):
    result = run(ruler, tmp_path / "missing", "-o", out)
    assert result.exit_code == 1
    assert "[M466]" in result.stderr and result.stdout == ""


def test_code_is_imported(corpus, out, tmp_path):
    import spacy

    path = save_ruler(tmp_path / "model")
    code = tmp_path / "code.py"
    code.write_text(
        "from spacy.language import Language\n\n"
        "@Language.component('maral_test_in_code')\n"
        "def component(doc):\n    doc.ents = []\n    return doc\n"
    )
    spacy.util.import_file("code", code)
    nlp = spacy.load(path)
    nlp.add_pipe("maral_test_in_code")
    nlp.to_disk(path)
    result = run(path, corpus, "-o", out, "--code", code, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["entities"] == {}


def test_options_of_ray_need_ray(ruler, corpus, out):
    result = run(ruler, corpus, "-o", out, "--workers", "8", "--retries", "1")
    assert result.exit_code == 1 and not out.exists()
    assert "[M578] --workers would have no effect" in result.stderr
    assert "--engine ray" in result.stderr


def test_ray_is_asked_for(ruler, corpus, out, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    result = run(ruler, corpus, "-o", out, "--engine", "ray")
    assert result.exit_code == 1
    assert "[M471]" in result.stderr and 'pip install "spacy-maral[ray]"' in result.stderr
