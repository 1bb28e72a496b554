"""A real Ray cluster on this machine: started once, as its start takes seconds."""

from __future__ import annotations

import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import spacy
from scale_corpora import GOLDEN, LINES, contents, read, save_ruler
from spacy.tokens import DocBin

from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.errors import MaralError
from spacy_maral.scale import RayEngine, annotate_corpus
from spacy_maral.scale.annotate.ray_engine import same_signals

# not imported here: what the engine asks of Ray it asks before
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")

# a component that kills its process: once when it meets ONCE, always when it meets ALWAYS
DEADLY = """
import os, signal
from pathlib import Path
from spacy.language import Language
from spacy_maral.scale.annotate import shard

# rows are written before the worker dies
shard.WINDOW_WORDS = 8

@Language.component("maral_test_deadly")
def deadly(doc):
    mark = Path({mark!r})
    if "ALWAYS" in doc.text or ("ONCE" in doc.text and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return doc
"""


@pytest.fixture(scope="module")
def cluster():
    """Ray, with two cores for workers; runs use it and leave it as it is."""
    with RayEngine(workers=2).connected() as found:
        yield found


@pytest.fixture
def deadly(tmp_path, monkeypatch) -> dict[str, Path]:
    """A model with that component, its code, and the mark that it has killed once."""
    monkeypatch.setattr("spacy_maral.scale.annotate.shard.WINDOW_WORDS", 8)
    code, mark = tmp_path / "code.py", tmp_path / "mark"
    code.write_text(DEADLY.format(mark=str(mark)))
    spacy.util.import_file("deadly", code)
    path = save_ruler(tmp_path / "deadly")
    nlp = spacy.load(path)
    nlp.add_pipe("maral_test_deadly")
    nlp.to_disk(path)
    return {"model": path, "code": code, "mark": mark}


@pytest.fixture
def many(tmp_path) -> Path:
    """Six shards; in the middle of the third a worker dies."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(6):
        lines = [f"{number} {line}" for line in LINES * 3]
        if number == 2:
            lines[len(lines) // 2] = "ONCE in Paris"
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf8")
    return folder


def ids(folder: Path) -> list[str]:
    return [row["id"] for path in sorted(folder.glob("*.jsonl")) for row in read(path)]


def test_a_worker_that_is_killed_is_replaced(cluster, deadly, many, tmp_path):
    given = {"code": deadly["code"], "batch_words": 4}
    engine = RayEngine(workers=1)
    summary = annotate_corpus(deadly["model"], many, tmp_path / "out", engine=engine, **given)
    assert deadly["mark"].exists()
    wanted = [f"{n}:{line}" for n in range(6) for line in range(1, 3 * len(LINES) + 1)]
    assert ids(tmp_path / "out") == wanted
    assert (summary.documents, summary.engine, summary.finished) == (len(wanted), "ray", True)
    assert not [*tmp_path.glob("out/**/*.tmp"), *tmp_path.glob("out/_run/begun/*")]
    # the same bytes as without Ray
    annotate_corpus(deadly["model"], many, tmp_path / "local", **given)
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_is_given_up(cluster, deadly, many, tmp_path):
    deadly["mark"].touch()
    (many / "1.txt").write_text("fine\nALWAYS\n", encoding="utf8")
    engine, out = RayEngine(workers=1, retries=1), tmp_path / "out"
    with pytest.raises(MaralError, match=r"M475.*1 of 6(.|\n)*\[M483\] 1: 2 workers"):
        annotate_corpus(deadly["model"], many, out, engine=engine, code=deadly["code"])
    assert sorted(path.stem for path in out.glob("*.jsonl")) == ["0", "2", "3", "4", "5"]
    # without what kills, the same command does the rest
    (many / "1.txt").write_text("fine\n", encoding="utf8")
    summary = annotate_corpus(deadly["model"], many, out, code=deadly["code"])
    assert (summary.shards_skipped, summary.finished) == (5, True)


@pytest.mark.slow
def test_a_worker_that_cannot_be_set_up(cluster, deadly, many, tmp_path):
    with pytest.raises(MaralError, match=r"M480.*maral_test_deadly"):
        # the workers lack the code
        annotate_corpus(deadly["model"], many, tmp_path / "out", engine=RayEngine(workers=1))


def test_rows_come_once_though_their_worker_dies(cluster, tmp_path):
    mark = str(tmp_path / "mark")

    # defined here, so that it travels as a whole and loads nothing
    class Killed:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, table):
            for row in table.to_pylist():
                number = row["number"]
                for part in range(4):
                    if number == 3 and part == 2 and not os.path.exists(mark):
                        Path(mark).touch()
                        os.kill(os.getpid(), 9)
                    yield {"found": [f"{number * self.factor}-{part}"]}

    rows = RayEngine(workers=2).map(cluster, Killed, (10,), [{"number": n} for n in range(6)])
    found = [row["found"] for row in rows]
    assert os.path.exists(mark)
    assert sorted(found) == [f"{n * 10}-{part}" for n in range(6) for part in range(4)]


@pytest.mark.slow
def test_items_keep_their_order_and_bytes(cluster):
    def reverse_after(seconds: float):
        import time

        def reverse(item: bytes) -> bytes:
            time.sleep(seconds if item.startswith(b"slow") else 0)
            if item == b"bad":
                raise ValueError("a bad item")
            return item[::-1]

        return reverse

    items = [b"slow\0\0", b"", b"\0a\0", b"\xff" * 1000]
    engine = RayEngine(workers=2, cpus=0.5)
    assert list(engine.map_items(reverse_after, 0.5, items)) == [item[::-1] for item in items]
    with pytest.raises(MaralError, match=r"M480.*ValueError: a bad item"):
        list(engine.map_items(reverse_after, 0.0, [b"x", b"bad"]))


def test_pseudo_labels_are_the_same_file(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_maral.adaptation.chunks.CHUNK_DOCS", 5)
    docs = [spacy.blank("xx")(text) for text in LINES * 2]
    DocBin(docs=docs).to_disk(tmp_path / "target.spacy")
    for name, engine in (("here", None), ("there", RayEngine(workers=1))):
        pseudo_label(GOLDEN, tmp_path / "target.spacy", tmp_path / name, engine=engine)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_given_up(cluster):
    def deadly(limit: int):
        def kill(item: bytes) -> bytes:
            if item == b"bad":
                os.kill(os.getpid(), 9)
            return item

        return kill

    with pytest.raises(MaralError, match=r"M483.*part 2: 2 workers"):
        list(RayEngine(workers=1, retries=1).map_items(deadly, 0, [b"x", b"bad", b"y"]))


@pytest.mark.parametrize("fate", ["well", "lost", "bad"])
def test_items_that_come_in_another_order(cluster, monkeypatch, fate):
    rows = [{"number": n, "item": bytes([n]), "error": None} for n in (2, 0, 1)]
    if fate == "lost":
        rows.pop()
    elif fate == "bad":
        rows[1]["error"] = "[M343] no score"
    monkeypatch.setattr(RayEngine, "map", lambda *arguments: iter(rows))
    found = RayEngine().map_items(lambda argument: None, None, [b"x"] * 3)
    if fate == "well":
        assert list(found) == [b"\0", b"\1", b"\2"]
    else:
        with pytest.raises(MaralError, match=r"M484.*part 2 of 3" if fate == "lost" else "M343"):
            list(found)


def test_what_is_started_listens_to_this_machine_only(cluster):
    psutil = pytest.importorskip("psutil")
    names = ("gcs_server", "raylet")
    mine = [p for p in psutil.Process().children(recursive=True) if p.name().startswith(names)]
    assert len(mine) >= 2
    listening = {
        c.laddr.ip for p in mine for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN
    }
    assert listening and all(ip.removeprefix("::ffff:") in ("127.0.0.1", "::1") for ip in listening)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_cluster_that_is_not_there(cluster, monkeypatch):
    monkeypatch.setattr(cluster, "is_initialized", lambda: False)
    with (
        pytest.raises(MaralError, match="M479"),
        RayEngine(address="nonsense://127.0.0.1:1").connected(),
    ):
        pass


def test_a_worker_needs_something():
    with pytest.raises(MaralError, match="M481"):
        RayEngine(cpus=0)
    assert json.dumps({"room": RayEngine(cpus=0.5, gpus=0.25).room(Resources())}) == '{"room": 8}'


class Resources:
    """A cluster of 4 cores and 2 GPUs."""

    @staticmethod
    def cluster_resources() -> dict[str, float]:
        return {"CPU": 4.0, "GPU": 2.0}


def test_ray_gives_signals_back():
    before = signal.getsignal(signal.SIGTERM)
    with same_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before
