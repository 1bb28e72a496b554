"""Small files that would become large, names that are markup, records that are damaged, folders of the dead."""

from __future__ import annotations

import os
import random
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest
from make_golden import GOLDEN
from test_damage import damaged
from worlds import adapt_in

from spacy_maral.data.files import prove_writable
from spacy_maral.data.yaml import read_yaml
from spacy_maral.errors import MaralError, shown
from spacy_maral.evaluation.report.card import read_sources
from spacy_maral.evaluation.report.page import write_report
from spacy_maral.evaluation.tables import escape_markdown, markdown_table
from spacy_maral.experiments.matrix import read_matrix
from spacy_maral.scale import optimise

MODEL = GOLDEN / "0.1" / "model"


def bomb(first: str, level: str) -> str:
    """Nine levels of nine aliases."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {level.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, 10)]
    return "\n".join(lines)


BOMBS = {
    "lists": bomb('["lol","lol"]', "[{}]"),
    "merged": bomb("{x: 1}", "{{<<: [{}]}}"),
    "itself": "a: &a [*a, *a]",
    "large": "a: " + "x" * (1 << 21),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_takes_no_memory(tmp_path, kind):
    path = tmp_path / "benchmark.yml"
    path.write_text(BOMBS[kind], encoding="utf8")
    assert len(BOMBS["lists"]) < 600
    tracemalloc.start()
    started = time.perf_counter()
    for read, code in ((read_matrix, "M420"), (read_sources, "M410")):
        with pytest.raises(MaralError, match=rf"^\[{code}\]") as error:
            read(path)
        assert len(str(error.value)) < 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20 and time.perf_counter() - started < 10


def test_aliases_that_a_person_writes_are_read(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("base: &base {x: 1}\none: *base\ntwo: {<<: *base, y: 2}\n", encoding="utf8")
    assert read_yaml(path) == {"base": {"x": 1}, "one": {"x": 1}, "two": {"x": 1, "y": 2}}
    path.write_text("", encoding="utf8")
    assert read_yaml(path) is None


def test_values_are_never_printed_whole():
    for value in ("x" * 10**6, ["y" * 300] * 1000, {n: n for n in range(10**5)}, 10**150):
        assert len(shown(value)) < 6000
    assert shown("short") == "'short'" and shown([1, 2, 3]) == "[1, 2, 3]"


MARKUP = [
    "A|B", "*PER*", "__PER__", "`x`", "<script>alert(1)</script>", "[a](http://b)", "a\nb", "~~a~~",
    "&lt;", "a\\|b", "![x](y)",
]  # fmt: skip


@pytest.mark.parametrize("name", MARKUP)
def test_names_are_no_markup(name):
    parser = (
        pytest.importorskip("markdown_it")
        .MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
    )
    tokens = parser.parse(markdown_table(["", "F1"], [[name, "1.00"]]))
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert {child.type for child in cells[2].children} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[2].children) == " ".join(name.split())


@pytest.mark.parametrize("name", ["max_width", "en-de", "PER", "84.20 ± 0.10 (+1.00)", "F1, P"])
def test_ordinary_names_stay(name):
    assert escape_markdown(name) == name


def test_a_report_of_damaged_records_is_refused_with_a_code(world, tmp_path, quick_map):
    run = adapt_in(world, tmp_path / "run", overrides={"student.epochs": 2})
    write_report(run, tmp_path / "whole.html")
    files = sorted(
        p for p in (run / "training").rglob("*") if p.suffix in (".json", ".jsonl", ".npz")
    )
    rng, outcomes = random.Random(0), {"fine": 0, "refused": 0}
    for number in range(16):
        file, copy = files[number % len(files)], tmp_path / "copy"
        shutil.copytree(run / "training", copy / "training")
        place = copy / file.relative_to(run)
        data = file.read_bytes()
        if number % 3 == 0 and file.suffix != ".npz":
            # it parses, and holds something else
            data = data.replace(b": [", b': "x", "z": [', 1 + number % 4).replace(
                b"0.", b"null,0.", 0
            )
            place.write_bytes(data)
        else:
            place.write_bytes(damaged(data, rng))
        try:
            write_report(copy, tmp_path / "page.html")
            outcomes["fine"] += 1
        except MaralError as error:
            assert str(error)[:4] in ("[M44", "[M53")
            outcomes["refused"] += 1
        shutil.rmtree(copy)
    assert outcomes["refused"] > 4


def old(path: Path, age: float) -> Path:
    path.mkdir(parents=True)
    (path / "model").write_text("half", encoding="utf8")
    for part in (path / "model", path):
        os.utime(part, (time.time() - age,) * 2)
    return path


def test_folders_of_killed_commands_are_removed(tmp_path, quick_loading):
    dead = old(tmp_path / ".small.0123456789ab.tmp", 3600)
    alive = old(tmp_path / ".small.123456789abc.tmp", 10)
    other = old(tmp_path / ".other.0123456789ab.tmp", 3600)
    optimise(MODEL, tmp_path / "small")
    assert not dead.exists() and alive.exists() and other.exists()
    dead = tmp_path / ".table.md.0123456789ab.tmp"
    dead.write_text("half", encoding="utf8")
    os.utime(dead, (1, 1))
    prove_writable(tmp_path / "table.md")
    assert not dead.exists()
