import json

import pytest
from docs_measured import fill
from scale_costs import SIZES, Part, check_table, cost_table, main, read_parts

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
    assert annotate.memory.at(1e6) == pytest.approx(GIB + 1e11)
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
    assert lines[2] == "| 1,000,000 | `annotate` | 6 | 33 min | 3 | 94.1 GiB |"
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
