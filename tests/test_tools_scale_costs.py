import argparse
import json
import os
from pathlib import Path

import measure_scale
import pytest
import spacy
from docs_measured import fill
from scale_costs import SIZES, Part, check_table, cost_table, main, read_parts
from spacy.tokens import DocBin

from spacy_maral.data.docs import read_docs

GIB = 2**30


def run(part, documents, seconds, memory, epochs=None):
    row = {
        "part": part, "documents": documents, "words": 10 * documents, "spans": 50 * documents,
        "seconds": seconds, "peak_memory_bytes": memory,
    }  # fmt: skip
    return row | ({} if epochs is None else {"epoch_seconds": epochs})


def make_measured():
    """annotate: 5 s and 0.02 s a document, 100 kB each. adapt: 1 s and 0.1 s, epochs of 0.04 s."""
    sizes = (100, 1000, 10_000)
    return {
        "runs": [
            *(run("annotate", n, 5 + 0.02 * n, GIB + 100_000 * n) for n in sizes),
            *(run("adapt", n, 1 + 0.1 * n, 2 * GIB, [0.04 * n, 0.04 * n]) for n in sizes),
        ]
    }


@pytest.fixture
def parts():
    return read_parts(make_measured())


def test_lines_go_through_the_smaller_runs(parts):
    annotate = parts["annotate"]
    assert annotate.seconds.start == pytest.approx(5)
    assert annotate.time(1e6, epochs=4) == pytest.approx(20_005)
    assert annotate.peak(1e6) == pytest.approx(GIB + 1e11)
    assert annotate.words_per_second == pytest.approx(500)
    assert annotate.bytes_per_span == pytest.approx(2000)


def test_further_epochs_are_added(parts):
    # 0.1 s a document with two epochs, 0.02 s of it beside them
    assert parts["adapt"].time(1e6, epochs=2) == pytest.approx(100_001)
    assert parts["adapt"].time(1e6, epochs=4) == pytest.approx(180_001)


def test_what_is_told_is_not_what_was_measured():
    rows = make_measured()["runs"][:3]
    rows[2]["seconds"] *= 2
    found = check_table({"annotate": Part.of(rows)})
    assert "| 205 s | 410 s |" in found


def test_table_of_costs(parts):
    lines = cost_table(parts, [1e6], cores=10, price=0.5, epochs=2).splitlines()
    assert len(lines) == 4
    # 20,005 s are 5.6 core-hours
    # a worker takes what it took for the largest corpus
    assert lines[2] == "| 1,000,000 | `annotate` | 6 | 33 min | 3 | 1.9 GiB a worker |"
    assert lines[3].startswith("| 1,000,000 | `adapt` | 28 | 3 h | 14 |")


def test_command_line(tmp_path, capsys):
    path = tmp_path / "scale.json"
    path.write_text(json.dumps(make_measured()))
    main(["--measured", str(path), "--documents", "1e6", "--cores", "10", "--price", "0.5"])
    assert "| 1,000,000 | `annotate` | 6 | 33 min | 3 |" in capsys.readouterr().out
    main(["--measured", str(path)])
    assert capsys.readouterr().out.count("annotate") == len(SIZES)


def test_pages_without_a_place_are_refused():
    with pytest.raises(ValueError, match="no place for nothing"):
        fill("scale.md", {"nothing": "table"})
    with pytest.raises(ValueError, match="more than check"):
        fill("scale.md", {"check": "table"})


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs a POSIX system")
def test_commands_are_measured(tmp_path):
    found = measure_scale.run(["--help"], tmp_path)
    assert 0 < found["seconds"] < 120
    assert 2**24 < found["peak_memory_bytes"] < 2**36
    with pytest.raises(SystemExit, match=r"stats nothing(.|\n)*nothing"):
        measure_scale.run(["stats", "nothing"], tmp_path)


def test_corpora_of_a_size(tmp_path):
    nlp = spacy.blank("en")
    path = tmp_path / "three.spacy"
    DocBin(docs=[nlp(text) for text in ("One here", "Two\tthere", "Three")]).to_disk(path)
    options = argparse.Namespace(
        target=[path, path], source=path, dev=path, teacher="teacher", config="c.cfg", max_width=2
    )
    work = measure_scale.Work(tmp_path, options)
    command = work.annotate(8)
    assert command[:2] == ["annotate", "teacher"]
    shard = Path(command[2]).read_text(encoding="utf8")
    lines = [json.loads(line)["text"] for line in shard.splitlines()]
    assert lines == ["One here", "Two\tthere", "Three"] * 2 + ["One here", "Two\tthere"]
    assert len(read_docs(work.corpus(work.docs, "target", 4))) == 4


def test_what_is_measured_of_a_size(tmp_path, monkeypatch):
    path = tmp_path / "one.spacy"
    DocBin(docs=[spacy.blank("en")("a b c")]).to_disk(path)
    options = argparse.Namespace(
        target=[path], source=path, dev=path, teacher="teacher", config="c.cfg", max_width=2
    )
    commands = []

    def run(words, folder):
        commands.append(words[0])
        if words[0] == "adapt":
            assert words[words.index("--student.freeze_layers") + 1] == "6"
            log = folder / "student-6-5" / "training" / "log.jsonl"
            log.parent.mkdir(parents=True)
            log.write_text('{"seconds": 2.0, "reliable": {}}\n{"seconds": 3.0}\n')
        return {"seconds": 9.0, "peak_memory_bytes": 7}

    monkeypatch.setattr(measure_scale, "run", run)
    row = measure_scale.Work(tmp_path, options).measure("adapt", 5)
    # the student needs pseudo-labels
    assert commands == ["pseudo-label", "adapt"]
    assert row == {
        "part": "adapt", "documents": 5, "words": 15, "spans": 25, "seconds": 9.0,
        "peak_memory_bytes": 7, "epoch_seconds": [2.0, 3.0], "reliable": {},
    }  # fmt: skip
